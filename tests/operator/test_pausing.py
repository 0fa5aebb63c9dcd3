"""Pause and resume: nothing begins while a run is paused, and everything goes on afterwards."""

from typing import Any
from uuid import UUID

import psycopg
import pytest

from tests.operator.verbs import Tools, call, children, skip, tick
from tests.support.engine import Engine, chain, definition
from tests.support.races import Rival, open_connection

RETRY = {"max_attempts": 2, "initial_interval": "1 minute", "jitter": 0}


def pause(engine: Engine, run_id: UUID) -> None:
    assert call(engine, "pause", run_id) == "paused"
    assert engine.status(run_id) == "paused"


def resume(engine: Engine, run_id: UUID) -> str:
    return str(call(engine, "resume", run_id))


def nothing_begins(engine: Engine) -> None:
    for worker in (engine.worker, engine.new_worker()):
        assert worker.claim(100) == []
        assert not worker.beat()["work_waiting"]


def test_a_step_that_waits_is_held_and_given_back(engine: Engine) -> None:
    run_id = engine.start(chain("a b"))
    pause(engine, run_id)
    nothing_begins(engine)
    assert resume(engine, run_id) == "running"
    assert Tools(engine).run() == "a b"
    assert engine.kinds(run_id)[:2] == ["run_paused", "run_resumed"]


@pytest.mark.parametrize("branches", ["a>b", "a>b a>c"])
def test_a_step_under_way_ends_and_what_follows_is_held(engine: Engine, branches: str) -> None:
    run_id = engine.start(definition("a b c" if "c" in branches else "a b", branches.split()))
    step = engine.worker.claim_one()
    pause(engine, run_id)
    came = engine.worker.advance([(step, "success", {"x": 1})], want=10)
    assert came == [], "the next step does not go straight to the worker"
    nothing_begins(engine)
    assert (engine.status(run_id), engine.state(run_id)) == ("paused", {"x": 1})
    resume(engine, run_id)
    assert Tools(engine).run() == " ".join(b[2] for b in branches.split())


def test_the_last_step_under_way_completes_the_run(engine: Engine) -> None:
    run_id = engine.start(chain("a"))
    step = engine.worker.claim_one()
    pause(engine, run_id)
    engine.worker.succeed(step)
    assert engine.status(run_id) == "completed"
    with pytest.raises(psycopg.Error, match="is not paused: it is completed"):
        resume(engine, run_id)


def test_a_step_between_two_attempts_keeps_its_time(engine: Engine) -> None:
    run_id = engine.start(definition([{"id": "a", "retry": RETRY}]))
    engine.worker.fail(engine.worker.claim_one())
    pause(engine, run_id)
    resume(engine, run_id)
    nothing_begins(engine)
    pause(engine, run_id)
    engine.jump("61 seconds")
    engine.worker.enlist()
    nothing_begins(engine)
    resume(engine, run_id)
    assert engine.worker.claim_one().attempt == 2


def test_an_attempt_that_fails_is_lost_or_given_back_while_paused_is_held(engine: Engine) -> None:
    run_id = engine.start(definition([{"id": "a", "retry": RETRY}]))
    step = engine.worker.claim_one()
    pause(engine, run_id)
    engine.worker.release(step)
    nothing_begins(engine)
    resume(engine, run_id)
    step = engine.worker.claim_one()
    pause(engine, run_id)
    engine.worker.fail(step)
    resume(engine, run_id)
    engine.jump("61 seconds")
    engine.worker.enlist()
    assert len(engine.new_worker(name="doomed").claim()) == 1
    pause(engine, run_id)
    engine.jump("1 hour")
    engine.worker.enlist()
    engine.worker.beat_everywhere()
    nothing_begins(engine)
    resume(engine, run_id)
    assert engine.worker.claim_one().attempt == 3


def test_a_paused_step_leaves_its_place_under_a_key_to_others(engine: Engine) -> None:
    graph = engine.graph(definition([{"id": "k", "concurrency_key": "k", "concurrency": 1}]))
    first = engine.start(graph, bucket=0)
    second = engine.start(graph, bucket=0)
    pause(engine, first)
    step = engine.worker.claim_one()
    assert step.run_id == second
    resume(engine, first)
    nothing_begins(engine)
    engine.worker.succeed(step)
    assert engine.worker.claim_one().run_id == first


def test_what_is_entered_while_paused_asks_for_its_place_afterwards(engine: Engine) -> None:
    graph = definition(["a", {"id": "k", "concurrency_key": "k", "concurrency": 1}], ["a>k"])
    run_id = engine.start(graph)
    step = engine.worker.claim_one()
    pause(engine, run_id)
    engine.worker.succeed(step)
    nothing_begins(engine)
    resume(engine, run_id)
    assert Tools(engine).run() == "k"


def test_people_may_decide_and_clocks_go_on(engine: Engine) -> None:
    graph = definition(
        [
            "s",
            {"id": "q", "type": "approval"},
            {"id": "w", "type": "wait", "for": "1 day"},
            {"id": "v", "type": "wait", "signal": "go"},
            *"xyzj",
        ],
        ["s>q", "s>w", "s>v", "q>x", "w>y", "v>z", "x>j", "y>j", "z>j"],
    )
    run_id = engine.start(graph)
    Tools(engine).run()
    pause(engine, run_id)
    engine.approve(run_id)
    engine.jump("1 day")
    engine.worker.enlist()
    assert tick(engine) == 1
    call(engine, "signal", run_id, name="go")
    assert engine.status(run_id) == "paused"
    nothing_begins(engine)
    assert resume(engine, run_id) == "running"
    assert sorted(Tools(engine).run().split()) == ["j", "x", "y", "z"]


@pytest.mark.parametrize(
    ("node", "status"),
    [({"type": "approval"}, "awaiting_approval"), ({"type": "wait", "signal": "s"}, "waiting")],
)
def test_resumed_a_run_has_the_status_of_what_it_waits_for(
    engine: Engine, node: dict[str, Any], status: str
) -> None:
    run_id = engine.start(definition([{"id": "n", **node}]))
    pause(engine, run_id)
    assert resume(engine, run_id) == status


def test_items_of_a_map_are_held(engine: Engine) -> None:
    node = {"id": "m", "type": "map", "function": "f", "items": "${$.list}", "into": "out", "concurrency": 2}
    run_id = engine.start(definition([node, "z"], ["m>z"]), {"list": [0, 1, 2, 3]})
    (held,) = engine.worker.claim(1)
    pause(engine, run_id)
    engine.worker.succeed(held, held.item)
    nothing_begins(engine)
    resume(engine, run_id)
    assert sorted(Tools(engine, {"f": lambda s: s.item}).run().split()) == ["m/1", "m/2", "m/3", "z"]
    assert engine.state(run_id)["out"] == [0, 1, 2, 3]


def test_child_runs_are_paused_with_their_parent_and_resumed_with_it(engine: Engine) -> None:
    below = chain("x y")
    engine.graph(below)
    middle = definition([{"id": "g", "type": "graph", "graph": below["name"]}])
    engine.graph(middle)
    run_id = engine.start(definition([{"id": "h", "type": "graph", "graph": middle["name"]}, "z"], ["h>z"]))
    (child,) = children(engine, run_id)
    (grandchild,) = children(engine, child)
    pause(engine, run_id)
    assert {engine.status(r) for r in (run_id, child, grandchild)} == {"paused"}
    nothing_begins(engine)
    assert resume(engine, run_id) == "waiting"
    assert engine.status(grandchild) == "running"
    assert Tools(engine).run() == "x y z"


def test_a_child_that_is_paused_by_itself_holds_up_its_parent_alone(engine: Engine) -> None:
    below = chain("x")
    engine.graph(below)
    run_id = engine.start(definition([{"id": "g", "type": "graph", "graph": below["name"]}]))
    (child,) = children(engine, run_id)
    pause(engine, child)
    nothing_begins(engine)
    assert engine.status(run_id) == "waiting"
    resume(engine, child)
    assert Tools(engine).run() == "x"


def test_a_child_that_is_started_while_its_parent_is_paused_waits_too(engine: Engine) -> None:
    below = chain("x")
    engine.graph(below)
    run_id = engine.start(
        definition(["a", {"id": "g", "type": "graph", "graph": below["name"], "retry": RETRY}], ["a>g"])
    )
    step = engine.worker.claim_one()
    pause(engine, run_id)
    engine.worker.succeed(step)
    (child,) = children(engine, run_id)
    assert engine.status(child) == "paused"
    nothing_begins(engine)
    resume(engine, run_id)
    failed = engine.worker.claim_one("x")
    pause(engine, run_id)
    engine.worker.fail(failed, retryable=False)
    engine.jump("61 seconds")
    engine.worker.enlist()
    assert tick(engine) == 1
    assert engine.status(children(engine, run_id)[1]) == "paused"
    nothing_begins(engine)
    resume(engine, run_id)
    assert Tools(engine).run() == "x"


def test_what_is_skipped_while_paused_lets_nothing_begin(engine: Engine) -> None:
    run_id = engine.start(chain("a b"))
    pause(engine, run_id)
    assert skip(engine, run_id) == "paused"
    nothing_begins(engine)
    resume(engine, run_id)
    assert Tools(engine).run() == "b"


def test_pausing_twice_is_once_and_a_run_that_is_over_is_not_paused(engine: Engine) -> None:
    run_id = engine.start(chain("a"))
    pause(engine, run_id)
    pause(engine, run_id)
    assert engine.kinds(run_id) == ["run_paused"]
    assert len(engine.rows("select from pgorch.audit where run_id = %s", run_id)) == 1
    engine.cancel(run_id)
    with pytest.raises(psycopg.Error, match="cannot be paused: it is cancelled since"):
        call(engine, "pause", run_id)


def test_a_pause_that_is_rolled_back_changes_nothing(engine: Engine, database: str) -> None:
    run_id = engine.start(chain("a"))
    with open_connection(database, autocommit=False) as other:
        other.execute("select pgorch.pause(%s)", [run_id])
        other.rollback()
    assert Tools(engine).run() == "a"


def test_of_a_pause_and_a_claim_at_once_one_is_first(engine: Engine, database: str) -> None:
    run_id = engine.start(chain("a b"))
    with open_connection(database, autocommit=False) as other:
        worker = engine.new_worker(connection=other)
        other.commit()
        step = worker.claim_one()
        rival = Rival(database, "select pgorch.pause(%s) as status", run_id)
        rival.wait_until_blocked()
        other.commit()
        assert rival.rows()[0]["status"] == "paused"
        worker.succeed(step)
        other.commit()
    nothing_begins(engine)
    resume(engine, run_id)
    assert Tools(engine).run() == "b"
