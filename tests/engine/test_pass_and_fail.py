"""Nodes that nobody performs: pass and fail."""

import pytest

from tests.support.engine import Engine, definition


def test_a_pass_node_leads_on_by_itself(engine: Engine) -> None:
    run_id = engine.start(definition(["a", {"id": "p", "type": "pass"}, "b"], ["a>p", "p>b"]))
    [b] = engine.worker.succeed(engine.worker.claim_one("a"), {}, want=1)
    assert b.node == "b"
    assert engine.order(run_id) == "a p"


def test_a_pass_node_writes_its_input_into_the_state(engine: Engine) -> None:
    node = {"id": "p", "type": "pass", "input": {"sum": "${$.x + $.y}", "kept": "${$.x}"}}
    run_id = engine.start(definition([node]), {"x": 1, "y": 2})
    assert engine.state(run_id) == {"x": 1, "y": 2, "sum": 3, "kept": 1}
    assert engine.status(run_id) == "completed"


def test_a_pass_node_may_write_under_a_key(engine: Engine) -> None:
    node = {"id": "p", "type": "pass", "input": {"x": "${$.x}"}, "into": "kept"}
    run_id = engine.start(definition([node]), {"x": 1})
    assert engine.state(run_id) == {"x": 1, "kept": {"x": 1}}


def test_a_run_of_pass_nodes_ends_without_any_worker(engine: Engine) -> None:
    nodes = [{"id": n, "type": "pass"} for n in "abc"]
    run_id = engine.start(
        definition(nodes, [("a>b", {"condition": "$.x == 1"}), ("a>c", {}), "b>c"]), {"x": 1}
    )
    assert (engine.order(run_id), engine.status(run_id)) == ("a b c", "completed")


def test_a_fail_node_fails_the_run_with_its_error(engine: Engine) -> None:
    node = {"id": "f", "type": "fail", "error": "TooBad", "message": "quality ${$.q}"}
    run_id = engine.start(definition(["a", node], ["a>f"]), {"q": 0.5})
    engine.run()
    assert engine.status(run_id) == "failed"
    error = engine.error(run_id)
    assert (error["type"], error["message"], error["node"]) == ("TooBad", "quality 0.5", "f")


def test_a_fail_node_without_error_says_where_it_is(engine: Engine) -> None:
    run_id = engine.start(definition(["a", {"id": "f", "type": "fail"}], ["a>f"]))
    engine.run()
    assert engine.error(run_id)["type"] == "Failed"
    assert "f" in engine.error(run_id)["message"]


def test_a_fail_node_ends_the_other_branches(engine: Engine) -> None:
    run_id = engine.start(definition(["a", "b", {"id": "f", "type": "fail"}], ["a>b", "a>f"]))
    engine.worker.succeed(engine.worker.claim_one("a"), {})
    assert engine.status(run_id) == "failed"
    assert engine.live(run_id) == []


def test_a_loop_of_pass_nodes_that_hardly_ends_fails_the_run(engine: Engine) -> None:
    nodes = [{"id": "p", "type": "pass"}, {"id": "q", "type": "pass"}, "z"]
    edges = [("p>q", {"condition": "$.x == 1", "limit": 1_000_000}), "q>p", "p>z"]
    run_id = engine.start(definition(nodes, edges), {"x": 1})
    assert engine.status(run_id) == "failed"
    assert engine.error(run_id)["type"] == "RunawayLoop"


@pytest.mark.parametrize("rounds", [3, 500])
def test_a_loop_of_pass_nodes_may_count(engine: Engine, rounds: int) -> None:
    nodes = [{"id": "p", "type": "pass", "input": {"n": "${$.n + 1}"}}, "z"]
    run_id = engine.start(
        definition(nodes, [("p>p", {"condition": f"$.n < {rounds}", "limit": 1000}), "p>z"]), {"n": 0}
    )
    engine.run()
    assert engine.state(run_id) == {"n": rounds}
