"""Retry and skip: what is kept, what begins anew, live steps, refusals and races."""

import re
from typing import Any
from uuid import UUID

import psycopg
import pytest
from psycopg.types.json import Jsonb

from tests.operator.verbs import Tools, call, children, fork, retry, skip, tick
from tests.support.engine import Engine, Step, definition
from tests.support.races import Rival, open_connection

RETRY = {"max_attempts": 3, "initial_interval": "1 minute", "jitter": 0}


def never(step: Step) -> bool:
    return False


def at(node: str) -> Any:
    return lambda step: step.node == node


def failed_run(
    engine: Engine, graph: Any, node: str, input: Any = None, **outputs: Any
) -> tuple[UUID, Tools]:
    """A run that failed at a node, and its tools, mended."""
    tools = Tools(engine, outputs, at(node))
    run_id = engine.start(graph, input)
    tools.run()
    assert engine.status(run_id) == "failed"
    tools.breaks = never
    tools.done.clear()
    return run_id, tools


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


def beside(*nodes: Any) -> dict[str, Any]:
    """a, and beside it `bad` and others; all come together in j."""
    ids = [n if isinstance(n, str) else n["id"] for n in nodes]
    edges = ["s>bad", "bad>j", *[f"s>{n}" for n in ids], *[f"{n}>j" for n in ids]]
    return definition(["s", "bad", *nodes, "j"], edges)


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


# Live steps -----------------------------------------------------------------------------------------


def flaky_run(engine: Engine) -> UUID:
    run_id = engine.start(definition([{"id": "a", "retry": RETRY}, "b"], ["a>b"]))
    engine.worker.fail(engine.worker.claim_one())
    assert engine.worker.claim() == []
    return run_id


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


def test_a_run_that_took_too_long_goes_on_with_what_was_live(engine: Engine) -> None:
    graph = definition(["a", {"id": "q", "type": "approval"}, "b"], ["a>q", "q>b"], timeout="1 day")
    run_id = engine.start(graph)
    tools = Tools(engine)
    tools.run()
    engine.jump("1 day")
    engine.worker.enlist()
    tick(engine)
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
    graph = definition(["a", {"id": "q", "type": "approval"}, "b"], ["a>q", "q>b"], timeout="1 day")
    run_id = engine.start(graph)
    tools = Tools(engine)
    tools.run()
    engine.jump("1 day")
    engine.worker.enlist()
    tick(engine)
    skip(engine, run_id, node="q")
    assert tools.run() == "b"


# Refusals -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("verb", [retry, skip])
def test_what_has_not_failed_is_not_taken_up(engine: Engine, verb: Any) -> None:
    run_id = engine.start(definition("a"))
    Tools(engine).run()
    with pytest.raises(psycopg.Error, match="has not failed: it is completed since") as problem:
        verb(engine, run_id)
    assert problem.value.sqlstate == "OR002"
    assert "fork" in str(problem.value)
    cancelled = engine.start(definition("a"))
    engine.cancel(cancelled)
    with pytest.raises(psycopg.Error, match="has not failed: it is cancelled since"):
        verb(engine, cancelled)
    with pytest.raises(psycopg.Error, match="there is no run"):
        verb(engine, UUID(int=7))


@pytest.mark.parametrize("verb", [retry, skip])
def test_what_was_undone_is_not_taken_up_but_may_be_forked(engine: Engine, verb: Any) -> None:
    graph = definition([{"id": "a", "compensate": "un"}, "b"], ["a>b"])
    run_id, tools = failed_run(engine, graph, "b")
    with pytest.raises(psycopg.Error, match="has been undone"):
        verb(engine, run_id)
    again = fork(engine, run_id, node="b")
    assert tools.run() == "b"
    assert engine.status(again) == "completed"


@pytest.mark.parametrize("verb", [retry, skip])
def test_an_unknown_node_is_told_with_those_there_are(engine: Engine, verb: Any) -> None:
    run_id, _ = failed_run(engine, beside("c"), "bad")
    with pytest.raises(psycopg.Error, match=r"did not fail at z"):
        verb(engine, run_id, node="z")
    assert engine.status(run_id) == "failed"
    live = engine.start(definition("a"))
    with pytest.raises(psycopg.Error, match="no live step at z"):
        verb(engine, live, node="z")


def test_where_several_steps_could_be_meant_one_must_be_named(engine: Engine) -> None:
    run_id = engine.start(definition("s a b", ["s>a", "s>b"]))
    engine.worker.succeed(engine.worker.claim_one())
    with pytest.raises(psycopg.Error, match="2 steps that could be meant, at a, b"):
        skip(engine, run_id)
    skip(engine, run_id, node="b")
    assert Tools(engine).run() == "a"


def test_a_child_whose_parent_has_gone_on_is_not_taken_up(engine: Engine) -> None:
    below = definition("x")
    engine.graph(below)
    graph = definition(
        [{"id": "g", "type": "graph", "graph": below["name"]}, "z"], [("g>z", {"on": "error"})]
    )
    tools = Tools(engine, breaks=at("x"))
    run_id = engine.start(graph)
    tools.run()
    assert engine.status(run_id) == "completed"
    (child,) = children(engine, run_id)
    with pytest.raises(psycopg.Error, match=f"is the child of {run_id}, which has gone on without it"):
        retry(engine, child)


def test_a_child_whose_parent_waits_to_start_another_is_taken_up_in_its_place(engine: Engine) -> None:
    below = definition("x")
    engine.graph(below)
    graph = definition([{"id": "g", "type": "graph", "graph": below["name"], "retry": RETRY}, "z"], ["g>z"])
    tools = Tools(engine, breaks=at("x"))
    run_id = engine.start(graph)
    tools.run()
    (child,) = children(engine, run_id)
    assert (engine.status(run_id), engine.status(child)) == ("waiting", "failed")
    tools.breaks = never
    retry(engine, child)
    engine.jump("1 hour")
    engine.worker.enlist()
    assert tick(engine) == 0
    assert tools.run() == "x z"
    assert children(engine, run_id) == [child]


def test_outputs_and_arguments_are_checked(engine: Engine) -> None:
    run_id, _ = failed_run(engine, definition("a"), "a")
    with pytest.raises(psycopg.Error, match="needs an output"):
        engine.value("select pgorch.skip(%s, p_output => null)", run_id)
    with pytest.raises(psycopg.Error, match=r"too large|larger|bytes"):
        retry(engine, run_id, input={"x": "y" * 1_100_000})
    assert engine.status(run_id) == "failed"


# Races ----------------------------------------------------------------------------------------------

TAKE_UP = {
    "retry": "select pgorch.retry(%s) as status",
    "skip": "select pgorch.skip(%s) as status",
    "cancel": "select pgorch.cancel(%s) as status",
    "fork": "select pgorch.fork(%s, p_seq => 1)::text as status",
}


@pytest.mark.parametrize(
    ("first", "second", "outcome"),
    [
        ("retry", "retry", "running"),
        ("retry", "skip", "running"),
        ("skip", "retry", "running"),
        ("retry", "cancel", "cancelled"),
    ],
)
def test_two_verbs_at_once_follow_each_other(
    engine: Engine, database: str, first: str, second: str, outcome: str
) -> None:
    run_id, tools = failed_run(engine, definition("a b c", ["a>b", "b>c"]), "b")
    with open_connection(database, autocommit=False) as other:
        other.execute(TAKE_UP[first].encode(), [run_id])
        rival = Rival(database, TAKE_UP[second], run_id)
        rival.wait_until_blocked()
        other.commit()
    assert rival.rows()[0]["status"] == outcome
    assert engine.status(run_id) == outcome
    tools.run()
    done = {"retry": "b c", "skip": "c"}[first]
    if outcome == "running":
        assert " ".join(tools.done) in (done, done.replace("b ", ""))
        assert engine.status(run_id) == "completed"


def test_a_retry_after_a_cancel_is_refused(engine: Engine, database: str) -> None:
    run_id = flaky_run(engine)
    with open_connection(database, autocommit=False) as other:
        other.execute(TAKE_UP["cancel"].encode(), [run_id])
        rival = Rival(database, TAKE_UP["retry"], run_id)
        rival.wait_until_blocked()
        other.commit()
    with pytest.raises(psycopg.Error, match="has not failed: it is cancelled"):
        rival.rows()


def test_a_child_and_its_parent_are_taken_up_at_once(engine: Engine, database: str) -> None:
    below = definition("x")
    engine.graph(below)
    graph = definition([{"id": "g", "type": "graph", "graph": below["name"]}, "z"], ["g>z"])
    run_id, tools = failed_run(engine, graph, "x")
    (child,) = children(engine, run_id)
    with open_connection(database, autocommit=False) as other:
        other.execute(TAKE_UP["retry"].encode(), [run_id])
        rival = Rival(database, TAKE_UP["retry"], child)
        rival.wait_until_blocked()
        other.commit()
    assert re.match("running", rival.rows()[0]["status"])
    assert tools.run() == "x z"
    assert children(engine, run_id) == [child]


def test_a_child_that_failed_again_meanwhile_is_not_taken_up_over_its_parents_head(
    engine: Engine, database: str
) -> None:
    below = definition("x")
    engine.graph(below)
    graph = definition(
        [{"id": "g", "type": "graph", "graph": below["name"]}, {"id": "h", "type": "approval"}],
        [("g>h", {"on": "error", "condition": '$error.message like_regex "second"'})],
    )
    run_id, _ = failed_run(engine, graph, "x")
    (child,) = children(engine, run_id)
    with open_connection(database, autocommit=False) as other:
        # Taken up, failed again, and the parent has gone on along another way: all before the rival has
        # the locks.
        other.execute(TAKE_UP["retry"].encode(), [run_id])
        rival = Rival(database, TAKE_UP["retry"], child)
        rival.wait_until_blocked()
        worker = engine.new_worker(connection=other)
        worker.fail(worker.claim_one("x"), message="second", retryable=False)
        other.commit()
    with pytest.raises(psycopg.Error, match="gone on without it"):
        rival.rows()
    assert engine.status(run_id) == "awaiting_approval"


def test_a_fork_while_a_step_is_under_way_leaves_it_to_the_old_run(engine: Engine) -> None:
    run_id = engine.start(definition("a b c", ["a>b", "b>c"]))
    engine.worker.succeed(engine.worker.claim_one())
    old = engine.worker.claim_one("b")
    new = fork(engine, run_id, seq=1)
    mine = engine.worker.claim_one("b")
    assert (mine.run_id, mine.step_id != old.step_id) == (new, True)
    engine.worker.succeed(old)
    engine.worker.succeed(mine)
    Tools(engine).run()
    assert (engine.status(run_id), engine.status(new)) == ("completed", "completed")
