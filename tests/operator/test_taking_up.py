"""What is kept, and what begins anew, in a failed run that is taken up again."""

from typing import Any

import psycopg
import pytest

from tests.operator.verbs import (
    RETRY,
    Tools,
    at,
    beside,
    call,
    children,
    failed_run,
    fork,
    never,
    retry,
    tick,
)
from tests.support.engine import Engine, Step, definition


def test_nulls_in_arguments_are_kept(engine: Engine) -> None:
    run_id, tools = failed_run(
        engine, definition([{"id": "a", "input": {"x": None, "y": [{"z": None}]}}]), "a"
    )
    retry(engine, run_id)
    tools.run()
    assert tools.last("a").input == {"x": None, "y": [{"z": None}]}
    run_id, tools = failed_run(engine, definition("a"), "a")
    retry(engine, run_id, input={"x": None})
    tools.run()
    assert tools.last("a").input == {"x": None}
    audit = engine.rows("select after from pgorch.audit where run_id = %s", run_id)
    assert audit[-1]["after"]["input"] == {"x": None}


# What was live beside it ----------------------------------------------------------------------------


def test_a_question_is_asked_again_and_the_old_one_is_closed(engine: Engine) -> None:
    run_id, tools = failed_run(engine, beside({"id": "ask", "type": "approval", "deadline": "1 day"}), "bad")
    assert [a["status"] for a in engine.approvals(run_id)] == ["cancelled"]
    engine.jump("12 hours")
    retry(engine, run_id)
    tools.run()
    old, new = engine.approvals(run_id)
    assert (old["status"], new["status"]) == ("cancelled", "open")
    assert new["deadline"] - new["requested_at"] == old["deadline"] - old["requested_at"]
    with pytest.raises(psycopg.Error, match="waits for no decision"):
        engine.approve(run_id, approval_id=old["id"])
    engine.approve(run_id)
    assert tools.run() == "j"
    assert engine.status(run_id) == "completed"


def test_a_wait_begins_anew_and_signals_that_came_are_kept(engine: Engine) -> None:
    waits = [
        {"id": "w", "type": "wait", "for": "1 hour"},
        {"id": "v", "type": "wait", "signal": "s", "into": "v"},
    ]
    graph = beside(*waits)
    tools = Tools(engine)
    run_id = engine.start(graph)
    step = engine.worker.claim_one("s")
    engine.worker.succeed(step)
    call(engine, "signal", run_id, name="s", payload=7)
    engine.worker.fail(engine.worker.claim_one("bad"), retryable=False)
    assert engine.status(run_id) == "failed"
    assert engine.rows("select * from pgorch.timers") == []
    engine.jump("2 hours")
    retry(engine, run_id)
    tools.run()
    assert tick(engine) == 0
    engine.jump("1 hour")
    assert tick(engine) == 1
    assert tools.run() == "j"
    assert engine.state(run_id)["v"] == 7
    assert engine.kinds(run_id).count("signal_received") == 1


def test_arrivals_at_a_join_are_kept(engine: Engine) -> None:
    run_id, tools = failed_run(engine, beside("c", "d"), "bad")
    retry(engine, run_id)
    left = {n for n in ("c", "d") if n not in engine.order(run_id).split()}
    again = tools.run().split()
    assert (set(again), again[-1], len(again)) == ({"bad", "j", *left}, "j", 2 + len(left))
    assert engine.order(run_id).split().count("j") == 1
    assert sorted(set(engine.order(run_id).split())) == ["bad", "c", "d", "j", "s"]


@pytest.mark.parametrize("join", ["any", {"at_least": 2}])
def test_a_join_that_has_run_does_not_run_again_for_who_comes_late(engine: Engine, join: Any) -> None:
    nodes = ["s", "x", "y", "bad", {"id": "j", "join": join}, "end"]
    graph = definition(nodes, ["s>x", "s>y", "s>bad", "x>j", "y>j", "bad>j", "j>end"])
    tools = Tools(engine, breaks=at("bad"))
    run_id = engine.start(graph)
    order = ["s", "x", "y", "j", "bad", "end"]
    tools.run(choose=lambda steps: [min(steps, key=lambda s: order.index(str(s.node)))])
    assert engine.status(run_id) == "failed"
    tools.breaks = never
    tools.done.clear()
    retry(engine, run_id)
    tools.run()
    assert engine.status(run_id) == "completed"
    assert engine.order(run_id).split().count("j") == 1
    assert engine.order(run_id).split().count("end") == 1
    assert "x" not in tools.done
    assert "y" not in tools.done


def test_a_step_that_was_between_two_attempts_is_tried_at_once_with_new_attempts(engine: Engine) -> None:
    graph = beside({"id": "flaky", "retry": RETRY})
    run_id = engine.start(graph)
    engine.worker.succeed(engine.worker.claim_one("s"))
    engine.worker.fail(engine.worker.claim_one("flaky"))
    engine.worker.fail(engine.worker.claim_one("bad"), retryable=False)
    assert engine.status(run_id) == "failed"
    retry(engine, run_id)
    tools = Tools(engine)
    assert sorted(tools.run().split()) == ["bad", "flaky", "j"]
    assert engine.status(run_id) == "completed"


def test_a_step_that_was_under_way_is_begun_anew_and_its_old_result_does_not_count(engine: Engine) -> None:
    run_id = engine.start(beside("slow"))
    engine.worker.succeed(engine.worker.claim_one("s"))
    slow = engine.worker.claim_one("slow")
    engine.worker.fail(engine.worker.claim_one("bad"), retryable=False)
    retry(engine, run_id)
    assert [r.kind for r in engine.worker.succeed(slow)] == ["refused"]
    again = engine.worker.claim_one("slow")
    assert again.born == slow.born, "the same visit, the same idempotency key"
    engine.worker.succeed(again)
    Tools(engine).run()
    assert engine.status(run_id) == "completed"


def test_limits_of_edges_go_on_counting(engine: Engine) -> None:
    graph = definition("a b end", ["a>b", ("b>a", {"limit": 2, "condition": "true == true"}), "b>end"])
    tools = Tools(engine, breaks=lambda s: s.node == "a" and len(tools.done) == 5)
    run_id = engine.start(graph)
    assert tools.run() == "a b a b a"
    tools.breaks = never
    retry(engine, run_id)
    assert tools.run() == "a b end"
    assert engine.status(run_id) == "completed"


def test_who_wrote_a_key_is_kept_so_that_a_conflict_is_still_one(engine: Engine) -> None:
    nodes = ["s", {"id": "x", "into": "k"}, "bad", {"id": "y", "into": "k"}, "j"]
    graph = definition(nodes, ["s>x", "s>bad", "bad>y", "x>j", "y>j"])
    tools = Tools(engine, breaks=at("bad"))
    run_id = engine.start(graph)
    tools.run(choose=lambda steps: sorted(steps, key=lambda s: s.node == "bad")[:1])
    assert engine.status(run_id) == "failed"
    tools.breaks = never
    retry(engine, run_id)
    tools.run()
    assert engine.error(run_id)["type"] == "StateConflict"
    again = fork(engine, run_id, node="y")
    tools.run()
    assert engine.error(again)["type"] == "StateConflict"


def test_a_map_beside_goes_on_with_the_items_that_were_left(engine: Engine) -> None:
    graph = beside({"id": "m", "type": "map", "function": "f", "items": "${$.list}", "into": "out"})
    tools = Tools(engine, {"f": lambda s: s.item}, at("bad"))
    run_id = engine.start(graph, {"list": [1, 2, 3]})
    order = ["s", "m/0", "m/2", "bad", "m/1"]

    def key(step: Step) -> int:
        return order.index(f"{step.node}/{step.item}" if step.node == "m" else str(step.node))

    tools.run(choose=lambda steps: [min(steps, key=key)])
    assert engine.status(run_id) == "failed"
    tools.breaks = never
    retry(engine, run_id)
    order.append("j")
    assert tools.run(choose=lambda steps: [min(steps, key=key)]) == "bad m/1 j"
    assert engine.state(run_id)["out"] == [0, 1, 2]


def test_a_child_beside_what_failed_is_started_anew(engine: Engine) -> None:
    below = definition("x y", ["x>y"])
    engine.graph(below)
    run_id = engine.start(beside({"id": "g", "type": "graph", "graph": below["name"]}))
    engine.worker.succeed(engine.worker.claim_one("s"))
    engine.worker.succeed(engine.worker.claim_one("x"))
    engine.worker.fail(engine.worker.claim_one("bad"), retryable=False)
    (first,) = children(engine, run_id)
    assert engine.status(first) == "cancelled"
    retry(engine, run_id)
    tools = Tools(engine)
    tools.run()
    assert len(children(engine, run_id)) == 2
    assert sorted(tools.done) == ["bad", "j", "x", "y"]


def test_an_input_that_is_given_to_an_approval_is_shown_and_its_title_stays(engine: Engine) -> None:
    ask = {"id": "ask", "type": "approval", "title": "Pay ${$.a}?", "show": {"a": "${$.a}"}}
    run_id, _ = failed_run(engine, beside(ask), "bad", {"a": 3})
    retry(engine, run_id, node="ask", input={"a": 5})
    (asked,) = [a for a in engine.approvals(run_id) if a["status"] == "open"]
    assert (asked["title"], asked["show"]) == ("Pay 3?", {"a": 5})
