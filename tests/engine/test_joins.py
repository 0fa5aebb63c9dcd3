"""Rule R4: a join runs its node once in a visit, when nothing can arrive any more."""

import itertools
from collections.abc import Callable

import pytest

from tests.support.engine import Engine, Fails, Step, definition


def take(nodes: str) -> Callable[[list[Step]], list[Step]]:
    """A choice for Engine.run(): the steps at hand in the order named, those not named before all others."""
    ranks = {n: i for i, n in enumerate(nodes.split())}

    def choose(at_hand: list[Step]) -> list[Step]:
        return [min(at_hand, key=lambda s: ranks.get(str(s.node), -1))]

    return choose


DIAMOND = definition("a b c d", ["a>b", "a>c", "b>d", "c>d"])


@pytest.mark.parametrize("first", ["b c", "c b"])
def test_a_join_runs_once_after_the_last_branch(engine: Engine, first: str) -> None:
    run_id = engine.start(DIAMOND)
    engine.run(choose=take(first + " d"))
    assert engine.order(run_id) == f"a {first} d"
    assert engine.status(run_id) == "completed"


def test_a_join_does_not_run_before_the_last_branch(engine: Engine) -> None:
    run_id = engine.start(DIAMOND)
    engine.worker.succeed(engine.worker.claim_one(), {})
    b, c = engine.worker.claim(2)
    engine.worker.succeed(b, {})
    assert engine.worker.claim(9) == []
    assert sorted((s["node"], s["kind"]) for s in engine.live(run_id)) == sorted(
        [(str(c.node), "task"), ("d", "join")]
    )


def test_branches_handed_in_together_join_once(engine: Engine) -> None:
    run_id = engine.start(DIAMOND)
    engine.run(batch=10)
    assert engine.order(run_id).split().count("d") == 1
    assert engine.status(run_id) == "completed"


@pytest.mark.parametrize(("x", "expected"), [(1, "a b d"), (2, "a c d")])
def test_a_join_behind_an_if_runs_after_the_branch_taken(engine: Engine, x: int, expected: str) -> None:
    graph = definition("a b c d", [("a>b", {"condition": "$.x == 1"}), "a>c", "b>d", "c>d"])
    run_id = engine.start(graph, {"x": x})
    engine.run()
    assert (engine.order(run_id), engine.status(run_id)) == (expected, "completed")


@pytest.mark.parametrize("order", list(itertools.permutations(["b", "c1", "c2", "c3"])))
def test_a_join_waits_for_branches_of_unequal_length(engine: Engine, order: tuple[str, ...]) -> None:
    graph = definition("a b c1 c2 c3 d", ["a>b", "a>c1", "c1>c2", "c2>c3", "b>d", "c3>d"])
    run_id = engine.start(graph)
    engine.run(choose=take(" ".join(order)))
    done = engine.order(run_id).split()
    assert done[0] == "a"
    assert done[-1] == "d"
    assert sorted(done[1:-1]) == ["b", "c1", "c2", "c3"]


def test_a_join_runs_though_a_branch_turned_away(engine: Engine) -> None:
    edges = ["a>b", "a>c", "b>d", ("c>d", {"condition": "$.to_d == true"}), "c>e"]
    graph = engine.graph(definition("a b c d e", edges))
    away, along = engine.start(graph, {"to_d": False}), engine.start(graph, {"to_d": True})
    engine.run(choose=take("b c d e"))
    assert sorted(engine.order(away).split()) == ["a", "b", "c", "d", "e"]
    assert engine.order(along) == "a b c d"


def test_a_join_runs_when_the_branch_that_turned_away_is_the_last_to_end(engine: Engine) -> None:
    edges = ["a>b", "a>c", "b>d", ("c>d", {"condition": "$.x == 1"}), "c>e", "e>f"]
    run_id = engine.start(definition("a b c d e f", edges), {"x": 2})
    engine.worker.succeed(engine.worker.claim_one("a"), {})
    engine.worker.succeed(engine.worker.claim_one("b"), {})
    assert "d" not in {s["node"] for s in engine.live(run_id) if s["kind"] == "task"}
    engine.worker.succeed(engine.worker.claim_one("c"), {})
    assert {s["node"] for s in engine.live(run_id) if s["kind"] == "task"} == {"d", "e"}


def test_a_join_that_no_branch_leads_to_is_skipped(engine: Engine) -> None:
    edges = ["a>b", "a>c", "b>e", "c>f", ("b>d", {"on": "error"}), ("c>d", {"on": "error"})]
    run_id = engine.start(definition("a b c d e f", edges))
    engine.run()
    assert sorted(engine.order(run_id).split()) == ["a", "b", "c", "e", "f"]
    assert engine.status(run_id) == "completed"


@pytest.mark.parametrize("order", ["b c d e f", "c b d e f", "d e b c f", "b d c e f", "e d c b f"])
def test_a_diamond_in_a_diamond_joins_inside_first(engine: Engine, order: str) -> None:
    edges = ["a>b", "a>e", "b>c", "b>d", "c>x", "d>x", "x>f", "e>f"]
    run_id = engine.start(definition("a b c d e x f", edges))
    engine.run(choose=take(order))
    done = engine.order(run_id).split()
    assert sorted(done) == ["a", "b", "c", "d", "e", "f", "x"]
    assert done.index("x") > max(done.index("c"), done.index("d"))
    assert done[-1] == "f"


def test_forks_may_nest_and_join_in_one_node(engine: Engine) -> None:
    edges = ["a>b", "a>c", "b>d", "b>e", "c>f", "c>g", "d>z", "e>z", "f>z", "g>z"]
    run_id = engine.start(definition("a b c d e f g z", edges))
    engine.run(choose=take("g f c d b e"))
    done = engine.order(run_id).split()
    assert done[-1] == "z"
    assert len(done) == 8


def test_a_join_may_follow_a_join(engine: Engine) -> None:
    edges = ["a>b", "a>c", "a>d", "b>x", "c>x", "x>y", "d>y"]
    run_id = engine.start(definition("a b c d x y", edges))
    engine.run(choose=take("d b c x y"))
    assert engine.order(run_id) == "a d b c x y"


def test_an_edge_past_a_node_joins_with_it(engine: Engine) -> None:
    run_id = engine.start(definition("a b c", ["a>b", "a>c", "b>c"]))
    engine.run()
    assert engine.order(run_id) == "a b c"


def test_an_error_branch_arrives_at_the_join_like_any_other(engine: Engine) -> None:
    edges = ["a>b", "a>c", "b>d", "c>d", ("c>repair", {"on": "error"}), "repair>d"]
    run_id = engine.start(definition("a b c repair d", edges))

    def c(_: Step) -> object:
        raise Fails

    engine.run({"c": c}, choose=take("c b repair d"))
    assert engine.order(run_id) == "a c b repair d"
    assert engine.status(run_id) == "completed"


def test_two_branches_that_both_fail_into_one_node_run_it_once(engine: Engine) -> None:
    edges = ["a>b", "a>c", ("b>d", {"on": "error"}), ("c>d", {"on": "error"})]
    run_id = engine.start(definition("a b c d", edges))

    def fail(_: Step) -> object:
        raise Fails

    engine.run({"b": fail, "c": fail})
    assert sorted(engine.order(run_id).split()) == ["a", "b", "c", "d"]


def test_a_fork_inside_a_loop_joins_in_every_round(engine: Engine) -> None:
    edges = ["a>b", "a>c", "b>d", "c>d", ("d>a", {"condition": "$.n < 3", "limit": 5}), "d>z"]
    nodes = ["a", {"id": "b", "into": "b"}, {"id": "c", "into": "c"}, "d", "z"]
    run_id = engine.start(definition(nodes, edges), {"n": 0})
    engine.run({"d": lambda s: {"n": s.state["n"] + 1}}, choose=take("c b d"))
    assert engine.order(run_id) == "a c b d a c b d a c b d z"


def test_a_branch_may_loop_before_it_joins(engine: Engine) -> None:
    edges = ["a>b", "a>c", ("b>b", {"condition": "$.n < 3", "limit": 9}), "b>d", "c>d"]
    graph = engine.graph(definition(["a", "b", {"id": "c", "into": "c"}, "d"], edges))
    for order in ("c b", "b c"):
        run_id = engine.start(graph, {"n": 0})
        engine.run({"b": lambda s: {"n": s.state["n"] + 1}}, choose=take(order))
        done = engine.order(run_id).split()
        assert sorted(done) == ["a", "b", "b", "b", "c", "d"]
        assert done[-1] == "d"


def test_a_join_inside_a_loop_in_a_branch_does_not_wait_for_the_other_branch(engine: Engine) -> None:
    edges = [
        "a>x",
        "a>slow",
        "x>b",
        "x>c",
        "b>y",
        "c>y",
        ("y>x", {"condition": "$.n < 2", "limit": 9}),
        "y>z",
    ]
    edges += ["slow>z"]
    nodes = [
        "a",
        "x",
        {"id": "b", "into": "b"},
        {"id": "c", "into": "c"},
        "y",
        {"id": "slow", "into": "s"},
        "z",
    ]
    run_id = engine.start(definition(nodes, edges), {"n": 0})
    engine.run({"y": lambda s: {"n": s.state["n"] + 1}}, choose=take("x b c y slow z"))
    assert engine.order(run_id) == "a x b c y x b c y slow z"


def test_a_loop_header_that_two_branches_enter_is_joined_at_entry_and_not_at_going_back(
    engine: Engine,
) -> None:
    edges = ["a>b", "a>c", "b>h", "c>h", ("h>h", {"condition": "$.n < 2", "limit": 5}), "h>z"]
    nodes = ["a", {"id": "b", "into": "b"}, {"id": "c", "into": "c"}, "h", "z"]
    run_id = engine.start(definition(nodes, edges), {"n": 0})
    engine.run({"h": lambda s: {"n": s.state["n"] + 1}}, choose=take("b c h"))
    assert engine.order(run_id) == "a b c h h z"


def test_an_approval_in_a_branch_keeps_the_join_waiting(engine: Engine) -> None:
    nodes = ["a", "b", {"id": "ok", "type": "approval"}, "d"]
    run_id = engine.start(definition(nodes, ["a>b", "a>ok", "b>d", "ok>d"]))
    engine.run()
    assert engine.status(run_id) == "awaiting_approval"
    engine.approve(run_id)
    engine.run()
    assert engine.order(run_id) == "a b ok d"


def test_pass_nodes_may_join(engine: Engine) -> None:
    nodes = ["a", "b", "c", {"id": "j", "type": "pass"}, "d"]
    run_id = engine.start(definition(nodes, ["a>b", "a>c", "b>j", "c>j", "j>d"]))
    engine.run()
    done = engine.order(run_id).split()
    assert done[-2:] == ["j", "d"]
    assert done.count("d") == 1


@pytest.mark.parametrize("width", [2, 64])
def test_a_wide_fork_joins_once(engine: Engine, width: int) -> None:
    names = [f"b{i}" for i in range(width)]
    nodes = ["a", *({"id": n, "function": "b", "into": n} for n in names), "z"]
    run_id = engine.start(definition(nodes, [f"a>{n}" for n in names] + [f"{n}>z" for n in names]))
    engine.run({"b": 1}, batch=width)
    assert engine.order(run_id).split().count("z") == 1
    assert engine.state(run_id) == dict.fromkeys(names, 1)


@pytest.mark.parametrize("order", ["a b", "b a"])
def test_a_node_behind_a_loop_that_a_fork_leaves_runs_once(engine: Engine, order: str) -> None:
    graph = definition("a b", ["a>b", ("a>a", {"condition": "$.n < 3", "limit": 5})])
    graph["nodes"][0]["branch"] = "all"
    run_id = engine.start(graph, {"n": 0})
    engine.run({"a": lambda s: {"n": s.state["n"] + 1}}, choose=take(order))
    assert engine.order(run_id) == "a a a b"


@pytest.mark.parametrize("order", ["a b", "b a"])
def test_the_next_round_of_a_loop_waits_for_every_branch_that_may_go_back(engine: Engine, order: str) -> None:
    again = {"condition": "$.n < 2", "limit": 5}
    edges = ["h>a", "h>b", ("a>h", again), ("b>h", again), "a>z", "b>z"]
    run_id = engine.start(definition("h a b z", edges), {"n": 0})
    engine.run({"h": lambda s: {"n": s.state["n"] + 1}}, choose=take(order))
    assert engine.order(run_id) == f"h {order} h {order} z"
