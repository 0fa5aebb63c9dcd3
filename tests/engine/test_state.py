"""What outputs write into the state, and what parallel writers may not do."""

from typing import Any

import pytest

from tests.support.engine import Engine, Step, chain, definition

FORK = ["a>b", "a>c", "b>d", "c>d"]


def test_an_object_is_merged_into_the_state_key_by_key(engine: Engine) -> None:
    run_id = engine.start(chain("a b"), {"x": {"deep": 1}, "y": 1})
    engine.run({"a": {"x": {"other": 2}}, "b": {"z": 3}})
    assert engine.state(run_id) == {"x": {"other": 2}, "y": 1, "z": 3}


@pytest.mark.parametrize("output", [1, "text", [1, 2], True, None])
def test_any_other_output_leaves_the_state_alone_and_stands_in_nodes(engine: Engine, output: Any) -> None:
    nodes = ["a", {"id": "b", "input": {"seen": "${$nodes.a.output}"}}]
    run_id = engine.start(definition(nodes, ["a>b"]), {"x": 1})
    [b] = engine.worker.succeed(engine.worker.claim_one("a"), output, want=1)
    assert engine.state(run_id) == {"x": 1}
    assert b.input == {"seen": output}
    assert engine.output(run_id, "a") == output


@pytest.mark.parametrize("output", [1, {"k": 2}, [], None])
def test_into_puts_the_output_under_one_key(engine: Engine, output: Any) -> None:
    run_id = engine.start(definition([{"id": "a", "into": "answer"}, "b"], ["a>b"]), {"x": 1})
    engine.run({"a": output})
    assert engine.state(run_id) == {"x": 1, "answer": output}


def test_a_failed_step_writes_nothing(engine: Engine) -> None:
    run_id = engine.start(definition("a b", [("a>b", {"on": "error"})]), {"x": 1})
    engine.worker.fail(engine.worker.claim_one(), retryable=False, x=2)
    engine.run()
    assert engine.state(run_id) == {"x": 1}


def test_state_keys_never_hide_the_other_roots(engine: Engine) -> None:
    graph = definition("a b c", [("a>b", {"condition": "$input.x == 1 && $.input == 5"}), "a>c"])
    run_id = engine.start(graph, {"x": 1, "input": 5, "nodes": {}, "run": {}})
    engine.run({"a": {"x": 9}})
    assert engine.order(run_id) == "a b"


def test_a_large_state_is_the_same_after_many_small_writes(engine: Engine) -> None:
    big = {f"key{i}": "x" * 40 for i in range(500)}
    names = [f"n{i}" for i in range(60)]
    run_id = engine.start(chain(" ".join(names)), big)
    engine.run({n: {n: "y" * 100, "last": n} for n in names})
    assert engine.state(run_id) == big | dict.fromkeys(names, "y" * 100) | {"last": "n59"}
    assert engine.value("select snapshot is not null from pgorch.runs where id = %s", run_id), "never folded"


def test_parallel_writers_of_one_key_conflict(engine: Engine) -> None:
    run_id = engine.start(definition("a b c d", FORK))
    engine.run({"b": {"x": 1}, "c": {"x": 2}})
    assert engine.status(run_id) == "failed"
    assert engine.error(run_id)["type"] == "StateConflict"
    assert "x" in engine.error(run_id)["message"]


def test_the_first_of_two_conflicting_writes_stays(engine: Engine) -> None:
    run_id = engine.start(definition("a b c d", FORK))
    engine.worker.succeed(engine.worker.claim_one("a"), {})
    engine.worker.succeed(engine.worker.claim_one("c"), {"x": 2})
    engine.worker.succeed(engine.worker.claim_one("b"), {"x": 1})
    assert engine.state(run_id) == {"x": 2}
    assert engine.error(run_id)["node"] == "b"


def test_a_conflict_can_be_caught_by_an_error_edge(engine: Engine) -> None:
    run_id = engine.start(definition("a b c d e", [*FORK, ("c>e", {"on": "error"})]))
    engine.worker.succeed(engine.worker.claim_one("a"), {})
    engine.worker.succeed(engine.worker.claim_one("b"), {"x": 1})
    engine.worker.succeed(engine.worker.claim_one("c"), {"x": 2})
    engine.run()
    assert engine.status(run_id) == "completed"
    assert engine.state(run_id) == {"x": 1}


def test_parallel_writers_of_different_keys_do_not_conflict(engine: Engine) -> None:
    run_id = engine.start(definition("a b c d", FORK))
    engine.run({"b": {"x": 1}, "c": {"y": 2}})
    assert engine.state(run_id) == {"x": 1, "y": 2}


def test_writers_before_and_after_the_fork_do_not_conflict_with_the_branches(engine: Engine) -> None:
    run_id = engine.start(definition("a b c d", FORK))
    engine.run({"a": {"x": 1, "y": 1}, "b": {"x": 2}, "c": {"y": 2}, "d": {"x": 3, "y": 3}})
    assert engine.status(run_id) == "completed"
    assert engine.state(run_id) == {"x": 3, "y": 3}


def test_one_branch_may_write_a_key_again_and_again(engine: Engine) -> None:
    run_id = engine.start(definition("a b b2 c d", ["a>b", "b>b2", "a>c", "b2>d", "c>d"]))
    engine.run({"b": {"x": 1}, "b2": {"x": 2}})
    assert engine.state(run_id) == {"x": 2}


def test_writers_in_an_inner_fork_conflict_with_the_outer_branch(engine: Engine) -> None:
    edges = ["a>b", "a>c", "b>e", "b>f", "e>z", "f>z", "c>z"]
    run_id = engine.start(definition("a b c e f z", edges))
    engine.run({"f": {"x": 1}, "c": {"x": 2}})
    assert engine.error(run_id)["type"] == "StateConflict"


def test_a_writer_behind_an_inner_join_conflicts_with_the_outer_branch(engine: Engine) -> None:
    edges = ["a>b", "a>c", "b>e", "b>f", "e>j", "f>j", "j>z", "c>z"]
    run_id = engine.start(definition("a b c e f j z", edges))
    engine.run({"j": {"x": 1}, "c": {"x": 2}})
    assert engine.error(run_id)["type"] == "StateConflict"


def test_a_writer_behind_an_inner_join_follows_the_inner_branches(engine: Engine) -> None:
    edges = ["a>b", "a>c", "b>e", "b>f", "e>j", "f>j", "j>z", "c>z"]
    run_id = engine.start(definition("a b c e f j z", edges))
    engine.run({"e": {"x": 1}, "j": {"x": 2}})
    assert (engine.status(run_id), engine.state(run_id)) == ("completed", {"x": 2})


def test_rounds_of_a_loop_follow_each_other(engine: Engine) -> None:
    edges = [*FORK, ("d>a", {"condition": "$.n < 3", "limit": 5})]
    edges += ["d>z"]
    run_id = engine.start(definition("a b c d z", edges), {"n": 0})
    engine.run({"b": lambda s: {"b": s.state["n"]}, "c": {"c": 1}, "d": lambda s: {"n": s.state["n"] + 1}})
    assert (engine.status(run_id), engine.state(run_id)["n"]) == ("completed", 3)


def test_a_step_sees_the_state_of_the_moment_it_is_claimed(engine: Engine) -> None:
    engine.start(chain("a b"), {"x": 1})
    first = engine.worker.claim_one()
    assert first.state == {"x": 1}
    [second] = engine.worker.succeed(first, {"x": 2}, want=1)
    assert isinstance(second, Step)
    assert (second.node, second.state) == ("b", {"x": 2})


def test_a_writer_beside_a_join_of_parts_of_two_forks_conflicts_with_what_follows_it(engine: Engine) -> None:
    edges = ["a>b", "a>c", "b>b1", "b>b2", "b1>j", "c>j", "j>z", "b2>z"]
    run_id = engine.start(definition("a b c b1 b2 j z", edges))
    engine.run({"b2": {"x": 1}, "j": {"x": 2}})
    assert engine.error(run_id)["type"] == "StateConflict"


def test_a_writer_behind_a_join_of_parts_of_two_forks_follows_both(engine: Engine) -> None:
    edges = ["a>b", "a>c", "b>b1", "b>b2", "b1>j", "c>j", "j>z", "b2>z"]
    run_id = engine.start(definition("a b c b1 b2 j z", edges))
    engine.run({"b1": {"x": 1}, "c": {"y": 1}, "j": {"x": 2, "y": 2}, "b2": {"w": 1}, "z": {"x": 3, "w": 3}})
    assert (engine.status(run_id), engine.state(run_id)) == ("completed", {"x": 3, "y": 2, "w": 3})
