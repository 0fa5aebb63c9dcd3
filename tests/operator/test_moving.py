"""Moving a live run to another version of its graph."""

from typing import Any
from uuid import UUID

import psycopg
import pytest

from tests.operator.verbs import Tools, call, children, move, retry, tick
from tests.support.engine import Engine, definition

APPROVAL = {"id": "n", "type": "approval"}


def versions(engine: Engine, old: dict[str, Any], new: dict[str, Any], input: Any = None) -> tuple[UUID, str]:
    """A run of the first version, and the second version's name."""
    engine.graph(old)
    run_id = engine.start(old["name"], input)
    engine.graph(new | {"name": old["name"]})
    return run_id, old["name"] + "@2"


def problems(engine: Engine, run_id: UUID, graph: str) -> list[str]:
    found = engine.value("select pgorch.check_move(%s, %s)", run_id, graph)
    assert isinstance(found, list)
    return found


def graph_of(engine: Engine, run_id: UUID) -> int:
    return int(
        engine.value(
            "select g.version from pgorch.runs r join pgorch.graphs g on g.id = r.graph_id where r.id = %s",
            run_id,
        )
    )


def test_what_follows_is_that_of_the_new_version(engine: Engine) -> None:
    run_id, new = versions(
        engine, definition("a b", ["a>b"]), definition(["a", "x", {"id": "y", "into": "y"}], ["a>x", "x>y"])
    )
    move(engine, run_id, new)
    assert Tools(engine, {"y": 1}).run() == "a x y"
    assert engine.state(run_id) == {"y": 1}
    assert graph_of(engine, run_id) == 2


def test_a_step_that_waits_goes_to_the_new_tool_and_queue(engine: Engine) -> None:
    old, new = definition("a"), definition([{"id": "a", "function": "other", "queue": "fast"}])
    run_id, name = versions(engine, old, new)
    move(engine, run_id, name)
    assert engine.worker.claim() == []
    step = engine.new_worker(queues=["fast"]).claim_one()
    assert step.tool == "other"
    engine.cancel(run_id)


def test_a_step_under_way_ends_as_it_began_and_goes_on_in_the_new_version(engine: Engine) -> None:
    run_id, name = versions(engine, definition("a b", ["a>b"]), definition("a c", ["a>c"]))
    step = engine.worker.claim_one()
    move(engine, run_id, name)
    engine.worker.succeed(step)
    assert Tools(engine).run() == "c"


def test_an_open_question_stays_open(engine: Engine) -> None:
    run_id, name = versions(
        engine, definition([APPROVAL, "b"], ["n>b"]), definition([APPROVAL, "c"], ["n>c"])
    )
    before = engine.approvals(run_id)[0]["id"]
    move(engine, run_id, name)
    assert engine.approve(run_id) == before
    assert Tools(engine).run() == "c"


def test_a_wait_keeps_its_clock(engine: Engine) -> None:
    wait = {"id": "n", "type": "wait", "for": "1 day"}
    run_id, name = versions(
        engine, definition([wait, "b"], ["n>b"]), definition([{**wait, "for": "9 days"}, "c"], ["n>c"])
    )
    move(engine, run_id, name)
    engine.jump("1 day")
    engine.worker.enlist()
    assert tick(engine) == 1
    assert Tools(engine).run() == "c"


def test_items_that_are_done_are_kept_and_the_others_go_to_the_new_tool(engine: Engine) -> None:
    node = {"id": "m", "type": "map", "function": "f", "items": "${$.list}", "into": "out", "concurrency": 1}
    run_id, name = versions(
        engine,
        definition([node]),
        definition([{**node, "function": "g", "concurrency": 2}]),
        {"list": [1, 2, 3, 4]},
    )
    engine.worker.succeed(engine.worker.claim_one(), "f")
    held = engine.worker.claim_one()
    move(engine, run_id, name)
    engine.worker.succeed(held, "f")
    Tools(engine, {"g": "g"}).run()
    assert engine.state(run_id)["out"] == ["f", "f", "g", "g"]
    assert engine.status(run_id) == "completed"


def test_a_child_run_goes_on_as_it_is(engine: Engine) -> None:
    below = definition("x")
    engine.graph(below)
    node = {"id": "g", "type": "graph", "graph": below["name"]}
    run_id, name = versions(engine, definition([node, "b"], ["g>b"]), definition([node, "c"], ["g>c"]))
    move(engine, run_id, name)
    assert Tools(engine).run() == "x c"


def test_limits_of_edges_go_on_counting_in_the_new_version(engine: Engine) -> None:
    def loop(first: str, limit: int) -> dict[str, Any]:
        back = ("b>a", {"limit": limit, "condition": "true == true"})
        return definition(
            ["a", "b", first, "end"],
            ["a>b", ("b>" + first, {"condition": "false == true"}), back, "b>end", first + ">end"],
        )

    old, new = loop("p", 3), loop("p", 2)
    new["edges"].reverse()
    run_id, name = versions(engine, old, new)
    engine.worker.succeed(engine.worker.claim_one())
    engine.worker.succeed(engine.worker.claim_one())
    move(engine, run_id, name)
    # Once round already, and once more.
    assert Tools(engine).run() == "a b a b end"
    assert engine.status(run_id) == "completed"


def test_arrivals_at_a_join_are_kept(engine: Engine) -> None:
    edges = ["s>x", "s>y", "x>j", "y>j"]
    run_id, name = versions(engine, definition("s x y j", edges), definition("s x y j k", [*edges, "j>k"]))
    tools = Tools(engine)
    engine.worker.succeed(engine.worker.claim_one("s"))
    engine.worker.succeed(engine.worker.claim_one("x"))
    move(engine, run_id, name)
    assert tools.run() == "y j k"


def test_a_paused_run_is_moved_and_stays_paused(engine: Engine) -> None:
    run_id, name = versions(engine, definition("a b", ["a>b"]), definition("a c", ["a>c"]))
    call(engine, "pause", run_id)
    move(engine, run_id, name)
    assert engine.worker.claim() == []
    call(engine, "resume", run_id)
    assert Tools(engine).run() == "a c"


def test_a_run_that_fails_after_a_move_is_taken_up_in_the_new_version(engine: Engine) -> None:
    run_id, name = versions(engine, definition("a b", ["a>b"]), definition("a c d", ["a>c", "c>d"]))
    move(engine, run_id, name)
    tools = Tools(engine, {}, lambda s: s.node == "c")
    tools.run()
    tools.breaks = lambda s: False
    retry(engine, run_id)
    assert tools.run() == "c d"
    with pytest.raises(psycopg.Error, match="was moved to another version"):
        call(engine, "fork", run_id, node="d")


def test_what_was_done_before_a_move_is_undone_as_the_new_version_says(engine: Engine) -> None:
    old = definition([{"id": "a", "compensate": "un"}, "b"], ["a>b"])
    new = definition([{"id": "a", "compensate": "un_new"}, "b"], ["a>b"])
    run_id, name = versions(engine, old, new)
    engine.worker.succeed(engine.worker.claim_one())
    move(engine, run_id, name)
    tools = Tools(engine, {}, lambda s: s.node == "b")
    tools.run()
    assert tools.steps[-1].tool == "un_new"
    assert engine.status(run_id) == "failed"


NEXT = definition([APPROVAL, "z"], ["n>z"])


@pytest.mark.parametrize(
    ("new", "problem"),
    [
        (definition("other"), "it is at n, which version 2 has not"),
        (definition(["n"]), "n is a node of type task there, and of type approval here"),
        (definition([APPROVAL, "z", "y"], ["n>z", "n>y"]), "one of the versions has parallel branches"),
        (definition([APPROVAL, "z"], ["n>z", ("z>n", {"limit": 2})]), "n is in other loops there"),
    ],
)
def test_each_problem_is_told_and_nothing_is_moved(engine: Engine, new: dict[str, Any], problem: str) -> None:
    run_id, name = versions(engine, NEXT | {"name": f"old_{abs(hash(problem))}"}, new)
    assert any(problem in p for p in problems(engine, run_id, name)), problems(engine, run_id, name)
    with pytest.raises(psycopg.Error, match="cannot be moved: ") as refused:
        move(engine, run_id, name)
    assert refused.value.sqlstate == "OR002"
    assert graph_of(engine, run_id) == 1
    assert Tools(engine).run() == ""
    engine.approve(run_id)
    assert Tools(engine).run() == "z"


def test_an_edge_whose_limit_has_been_used_must_be_there(engine: Engine) -> None:
    def loop(edges: list[Any]) -> dict[str, Any]:
        return definition("a b end", ["a>b", *edges, "b>end"])

    back = ("b>a", {"limit": 3, "condition": "$.again == true"})
    run_id, name = versions(
        engine, loop([back]), loop([("b>a", {"condition": "$.again == true"})]), {"again": True}
    )
    engine.worker.succeed(engine.worker.claim_one())
    engine.worker.succeed(engine.worker.claim_one())
    assert "it has used the limit of the edge from b to a, which version 2 has not" in problems(
        engine, run_id, name
    )


def test_another_graph_another_child_and_runs_that_are_over(engine: Engine) -> None:
    below, beside = definition("x"), definition("y")
    engine.graph(below)
    engine.graph(beside)
    node = {"id": "g", "type": "graph", "graph": below["name"]}
    run_id, name = versions(engine, definition([node]), definition([{**node, "graph": beside["name"]}]))
    assert problems(engine, run_id, name) == ["g runs another graph there"]
    assert f"it is of the graph {name[:-2]}, and not of {beside['name']}" in problems(
        engine, run_id, beside["name"]
    )
    assert problems(engine, run_id, name[:-1] + "1") == ["it is of this version already"]
    (child,) = children(engine, run_id)
    engine.cancel(run_id)
    assert "it is cancelled since" in problems(engine, run_id, name)[0]
    assert engine.status(child) == "cancelled"
    with pytest.raises(psycopg.Error, match="there is no run"):
        problems(engine, UUID(int=3), name)


def test_a_run_that_is_being_undone_is_not_moved(engine: Engine) -> None:
    old = definition([{"id": "a", "compensate": "un"}, "b"], ["a>b"])
    run_id, name = versions(engine, old, definition("a b", ["a>b"]))
    engine.worker.succeed(engine.worker.claim_one())
    engine.worker.fail(engine.worker.claim_one(), retryable=False)
    assert problems(engine, run_id, name) == ["what it has done is being undone"]


@pytest.mark.parametrize(
    ("rule", "value"),
    [
        ("form", {"type": "object", "properties": {"n": {"type": "number"}}, "required": ["n"]}),
        ("quorum", 2),
        ("exclude_initiator", True),
        ("assignees", ["role:finance"]),
    ],
)
def test_the_rules_of_an_open_question_are_not_changed_by_moving(
    engine: Engine, rule: str, value: Any
) -> None:
    run_id, name = versions(engine, definition([APPROVAL | {rule: value}]), definition([APPROVAL]))
    [problem] = problems(engine, run_id, name)
    assert "open question" in problem
    assert rule in problem
    engine.cancel(run_id)
