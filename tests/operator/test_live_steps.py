"""Retry and skip of steps that are live, and of items of maps."""

from typing import Any
from uuid import UUID

import psycopg
import pytest
from psycopg.types.json import Jsonb

from tests.operator.verbs import Tools, children, failed_run, flaky_run, never, retry, skip, tick
from tests.support.engine import Engine, definition


def test_a_step_that_waits_for_its_next_attempt_is_tried_now(engine: Engine) -> None:
    run_id = flaky_run(engine)
    assert retry(engine, run_id, input={"x": 1}) == "running"
    step = engine.worker.claim_one()
    assert (step.attempt, step.input) == (2, {"x": 1})
    # Its attempts are counted anew.
    for attempt in (2, 3):
        engine.worker.fail(step)
        engine.jump("1 hour")
        engine.worker.enlist()
        step = engine.worker.claim_one()
        assert step.attempt == attempt + 1


def test_a_live_step_is_skipped(engine: Engine) -> None:
    run_id = flaky_run(engine)
    skip(engine, run_id, output={"k": 1})
    assert Tools(engine).run() == "b"
    assert engine.state(run_id) == {"k": 1}
    assert engine.kinds(run_id) == ["attempt_failed", "step_skipped", "step_completed", "run_completed"]


def test_a_step_under_way_is_skipped_but_not_tried_again(engine: Engine) -> None:
    run_id = engine.start(definition("a b", ["a>b"]))
    step = engine.worker.claim_one()
    with pytest.raises(psycopg.Error, match="no live step that could be tried again: it is running"):
        retry(engine, run_id)
    skip(engine, run_id, node="a")
    assert engine.worker.beat(step.bucket)["revoked"] == [step.step_id]
    assert [r.kind for r in engine.worker.succeed(step)] == ["refused"]
    assert Tools(engine).run() == "b"


def test_a_step_that_killed_its_workers_is_tried_again(engine: Engine) -> None:
    run_id = engine.start(definition("a"))
    for _ in range(3):
        engine.jump("2 seconds")
        doomed = engine.new_worker(name="doomed")
        assert len(doomed.claim()) == 1
        engine.jump("1 hour")
        engine.worker.enlist()
        engine.worker.beat_everywhere()
    assert engine.rows("select deaths, lane_queue from pgorch.steps") == [{"deaths": 3, "lane_queue": ""}]
    retry(engine, run_id)
    assert engine.worker.claim_one().kind == "step"


@pytest.mark.parametrize("kind", ["approval", "wait", "map", "graph"])
def test_what_waits_is_skipped_with_all_that_belongs_to_it(engine: Engine, kind: str) -> None:
    below = definition([{"id": "q", "type": "approval"}])
    engine.graph(below)
    fields: dict[str, dict[str, Any]] = {
        "approval": {
            "deadline": "1 day",
            "form": {"type": "object", "properties": {"x": {"type": "number"}}},
        },
        "wait": {"signal": "s", "deadline": "1 day"},
        "map": {"function": "f", "items": "${$.list}"},
        "graph": {"graph": below["name"]},
    }
    node = {"id": "n", "type": kind, **fields[kind]}
    run_id = engine.start(definition([node, "z"], ["n>z"]), {"list": [1, 2]})
    skip(engine, run_id, output={"x": 5})
    assert Tools(engine).run() == "z"
    assert engine.status(run_id) == "completed"
    assert engine.state(run_id)["x"] == 5
    assert engine.rows("select * from pgorch.timers") == []
    assert {a["status"] for a in engine.rows("select status from pgorch.approvals")} <= {"cancelled"}
    assert {engine.status(c) for c in children(engine, run_id)} <= {"cancelled"}


def test_an_item_is_helped_by_its_index_also_before_it_has_begun(engine: Engine) -> None:
    node = {"id": "m", "type": "map", "function": "f", "items": "${$.list}", "into": "out", "concurrency": 2}
    run_id = engine.start(definition([node]), {"list": list("abcde")})
    skip(engine, run_id, item=1, output="one")
    skip(engine, run_id, node="m", item=4, output=Jsonb(None))
    retry(engine, run_id, item=3, input={"patched": 1})
    tools = Tools(engine, {"f": lambda s: s.input.get("patched", s.item)})
    assert tools.run() == "m/0 m/2 m/3"
    assert engine.state(run_id)["out"] == [0, "one", 2, 1, None]
    with pytest.raises(psycopg.Error, match="has not failed"):
        skip(engine, run_id, item=1)


def test_items_of_a_failed_map_are_helped_by_their_index(engine: Engine) -> None:
    node = {"id": "m", "type": "map", "function": "f", "items": "${$.list}", "into": "out", "concurrency": 1}
    node |= {"tolerate": 1}
    tools = Tools(engine, {"f": lambda s: s.input.get("patched", s.item)}, lambda s: s.item in (1, 2))
    run_id = engine.start(definition([node]), {"list": list("abcd")})
    tools.run()
    assert engine.status(run_id) == "failed"
    tools.breaks = never
    retry(engine, run_id, item=2, input={"patched": "two"})
    assert tools.run() == "m/1 m/2 m/3"
    assert engine.state(run_id)["out"] == [0, 1, "two", 3]


def test_the_last_item_can_be_skipped(engine: Engine) -> None:
    node = {"id": "m", "type": "map", "function": "f", "items": "${$.list}", "into": "out"}
    run_id, tools = failed_run(engine, definition([node, "z"], ["m>z"]), "m", {"list": [1]})
    skip(engine, run_id, item=0, output="x")
    assert tools.run() == "z"
    assert engine.state(run_id)["out"] == ["x"]


def test_an_item_of_a_child_is_skipped_and_the_parent_goes_on(engine: Engine) -> None:
    node = {"id": "m", "type": "map", "function": "f", "items": "${$.list}", "into": "out"}
    below = definition([node])
    engine.graph(below)
    graph = definition([{"id": "g", "type": "graph", "graph": below["name"], "into": "g"}, "z"], ["g>z"])
    run_id, tools = failed_run(engine, graph, "m", {"list": [1]})
    (child,) = children(engine, run_id)
    assert skip(engine, child, item=0, output="x") == "completed"
    assert tools.run() == "z"
    assert engine.state(run_id)["g"]["out"] == ["x"]
    assert engine.order(run_id) == "g g z"


def run_that_took_too_long(engine: Engine) -> tuple[UUID, Tools]:
    """One that failed by its timeout, while it waited for an approval."""
    graph = definition(["a", {"id": "q", "type": "approval"}, "b"], ["a>q", "q>b"], timeout="1 day")
    run_id = engine.start(graph)
    tools = Tools(engine)
    tools.run()
    engine.jump("1 day")
    engine.worker.enlist()
    tick(engine)
    return run_id, tools


def test_a_run_that_took_too_long_goes_on_with_what_was_live(engine: Engine) -> None:
    run_id, tools = run_that_took_too_long(engine)
    assert engine.error(run_id)["type"] == "RunTimeout"
    with pytest.raises(psycopg.Error, match="failed at no single step"):
        skip(engine, run_id)
    with pytest.raises(psycopg.Error, match="failed at no single step"):
        retry(engine, run_id, input={"x": 1})
    assert retry(engine, run_id) == "awaiting_approval"
    assert len(engine.rows("select * from pgorch.timers where kind = 'run_timeout'")) == 1
    engine.approve(run_id)
    assert tools.run() == "b"
    assert engine.status(run_id) == "completed"


def test_a_run_that_took_too_long_is_helped_at_a_node_that_is_named(engine: Engine) -> None:
    run_id, tools = run_that_took_too_long(engine)
    skip(engine, run_id, node="q")
    assert tools.run() == "b"
