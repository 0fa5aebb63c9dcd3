"""Child runs: nodes that are graphs."""

from typing import Any
from uuid import UUID

import psycopg
import pytest

from tests.operator.verbs import Tools, call, children, fork, tick
from tests.support.engine import Engine, chain, definition
from tests.support.races import open_connection

RETRY = {"max_attempts": 2, "initial_interval": "1 minute", "jitter": 0}


def above(engine: Engine, below: dict[str, Any], more: Any = (), **node: Any) -> dict[str, Any]:
    """A graph whose node g is the graph below; z follows, and `bad` after an error."""
    engine.graph(below)
    g = {"id": "g", "type": "graph", "graph": below["name"], "into": "g", **node}
    return definition([g, "z", *more], ["g>z"])


def test_a_child_keeps_the_version_that_was_there_when_its_graph_was_created(engine: Engine) -> None:
    below = chain("x")
    graph = above(engine, below)
    engine.graph(graph)
    engine.graph({**chain("y"), "name": below["name"]})
    engine.start(graph["name"])
    tools = Tools(engine)
    assert tools.run() == "x z"


def test_steps_of_a_child_go_along_the_plain_path_and_its_end_does_not(engine: Engine) -> None:
    run_id = engine.start(above(engine, chain("x y w")), {"k": 1})
    tools = Tools(engine, {"x": {"x": 1}, "w": {"w": 2}})
    assert tools.run(batch=10) == "x y w z"
    assert engine.state(run_id)["g"] == {"k": 1, "x": 1, "w": 2}
    (child,) = children(engine, run_id)
    assert engine.kinds(child) == ["step_completed"] * 3 + ["run_completed"]
    assert engine.kinds(run_id) == ["child_started", "step_completed", "step_completed", "run_completed"]
    assert engine.rows("select * from pgorch.timers") == []


def test_priority_queue_and_initiator_are_those_of_the_parent(engine: Engine) -> None:
    run_id = engine.start(above(engine, chain("x")), priority=7, queue="slow", actor="anna")
    (child,) = children(engine, run_id)
    query = "select priority, queue, initiator, depth from pgorch.runs where id = %s"
    assert engine.rows(query, child) == [{"priority": 7, "queue": "slow", "initiator": "anna", "depth": 1}]


def test_another_child_is_started_after_the_delay_of_the_nodes_own_retry(engine: Engine) -> None:
    run_id = engine.start(above(engine, chain("x y"), retry=RETRY))
    tools = Tools(engine, breaks=lambda s: s.node == "y")
    assert tools.run() == "x y"
    assert (engine.status(run_id), len(children(engine, run_id))) == ("waiting", 1)
    assert tick(engine) == 0
    engine.jump("61 seconds")
    engine.worker.enlist()
    assert tick(engine) == 1
    tools.breaks = lambda s: False
    assert tools.run() == "x y z"
    first, second = children(engine, run_id)
    assert (engine.status(first), engine.status(second)) == ("failed", "completed")
    assert engine.kinds(run_id)[:4] == ["child_started", "attempt_failed", "child_started", "step_completed"]
    assert engine.history(run_id)[3]["attempt"] == 2


def test_a_failure_comes_up_with_its_cause_and_can_be_routed(engine: Engine) -> None:
    graph = above(engine, chain("x"), more=["bad"])
    graph["edges"].append(
        {"source": "g", "target": "bad", "on": "error", "condition": '$error.cause.node == "x"'}
    )
    run_id = engine.start(graph)
    assert Tools(engine, breaks=lambda s: s.node == "x").run() == "x bad"
    (child,) = children(engine, run_id)
    (failed,) = [h for h in engine.history(run_id) if h["kind"] == "step_failed"]
    assert (failed["error"]["type"], failed["error"]["child_run_id"]) == ("Broken", str(child))


def test_cancel_goes_down_all_levels_and_not_up(engine: Engine) -> None:
    middle = above(engine, chain("x"))
    run_id = engine.start(above(engine, middle))
    (child,) = children(engine, run_id)
    (grandchild,) = children(engine, child)
    engine.cancel(run_id)
    assert {engine.status(r) for r in (run_id, child, grandchild)} == {"cancelled"}
    assert engine.worker.claim() == []
    assert engine.rows("select * from pgorch.timers") == []


def test_a_child_that_is_cancelled_by_itself_is_an_error_above(engine: Engine) -> None:
    run_id = engine.start(above(engine, chain("x"), retry=RETRY))
    (child,) = children(engine, run_id)
    engine.cancel(child, "no longer wanted")
    assert engine.error(run_id)["type"] == "ChildCancelled"
    assert len(children(engine, run_id)) == 1, "what a person has cancelled is not started again"


def test_sixteen_levels_and_no_more(engine: Engine) -> None:
    graph = definition([{"id": "end", "type": "pass"}])
    for _ in range(17):
        graph = above(engine, graph)
    engine.graph(graph)
    run_id = engine.start(graph["name"])
    assert engine.status(run_id) == "failed"
    assert engine.error(run_id)["type"] == "TooDeep"
    assert engine.value("select max(depth) from pgorch.runs") == 16
    below = graph["nodes"][0]["graph"]
    run_id = engine.start(below)
    Tools(engine).run()
    assert engine.status(run_id) == "completed"


def test_a_child_that_ends_at_once_ends_in_the_call_that_started_it(engine: Engine) -> None:
    below = definition([{"id": "p", "type": "pass", "input": {"p": 1}}])
    run_id = engine.start(above(engine, below))
    assert Tools(engine).run() == "z"
    assert engine.state(run_id)["g"] == {"p": 1}
    assert engine.rows("select * from pgorch.timers") == []


def test_a_child_that_fails_at_once_fails_the_call_that_started_it(engine: Engine) -> None:
    below = definition([{"id": "p", "type": "fail", "error": "Never", "message": "no"}])
    run_id = engine.start(above(engine, below))
    assert engine.error(run_id)["type"] == "Never"
    assert engine.rows("select * from pgorch.timers") == []


def test_one_that_fails_at_once_is_tried_again_as_any_other(engine: Engine) -> None:
    below = definition([{"id": "p", "type": "fail", "error": "Never"}])
    run_id = engine.start(above(engine, below, retry=RETRY))
    assert engine.status(run_id) == "waiting"
    engine.jump("61 seconds")
    engine.worker.enlist()
    tick(engine)
    assert engine.error(run_id)["type"] == "Never"
    assert len(children(engine, run_id)) == 2


def test_a_parent_that_somebody_holds_is_told_by_its_timer(engine: Engine, database: str) -> None:
    run_id = engine.start(above(engine, chain("x")))
    step = engine.worker.claim_one()
    with open_connection(database, autocommit=False) as other:
        other.execute("select from pgorch.runs where id = %s for update", [run_id])
        engine.worker.succeed(step)
        (child,) = children(engine, run_id)
        assert (engine.status(child), engine.status(run_id)) == ("completed", "waiting")
        assert tick(engine) == 0
        other.rollback()
    assert tick(engine) == 1
    assert Tools(engine).run() == "z"


def test_the_input_is_checked_by_the_childs_schema(engine: Engine) -> None:
    schema = {"type": "object", "required": ["n"], "properties": {"n": {"type": "number"}}}
    below = chain("x") | {"input_schema": schema}
    good = above(engine, below, input={"n": 1})
    run_id = engine.start(good)
    assert Tools(engine).run() == "x z"
    run_id = engine.start(above(engine, below, input={"n": "one"}))
    assert engine.error(run_id)["type"] == "InvalidInput"
    assert children(engine, run_id) == []


def test_a_join_that_waits_no_longer_cancels_the_child(engine: Engine) -> None:
    below = definition([{"id": "q", "type": "approval", "deadline": "1 day"}])
    engine.graph(below)
    graph = definition(
        [
            "s",
            {"id": "g", "type": "graph", "graph": below["name"]},
            "x",
            {"id": "j", "join": "any", "cancel_rest": True},
        ],
        ["s>g", "s>x", "g>j", "x>j"],
    )
    run_id = engine.start(graph)
    assert Tools(engine).run() == "s x j"
    (child,) = children(engine, run_id)
    assert (engine.status(run_id), engine.status(child)) == ("completed", "cancelled")
    assert [a["status"] for a in engine.approvals(child)] == ["cancelled"]
    assert engine.rows("select * from pgorch.timers") == []


def test_a_join_that_waits_no_longer_cancels_a_map_in_one_entry(engine: Engine) -> None:
    graph = definition(
        [
            "s",
            {"id": "m", "type": "map", "function": "f", "items": "${$.list}"},
            "x",
            {"id": "j", "join": "any", "cancel_rest": True},
        ],
        ["s>m", "s>x", "m>j", "x>j"],
    )
    run_id = engine.start(graph, {"list": [1, 2, 3]})
    engine.worker.succeed(engine.worker.claim_one("s"))
    engine.worker.succeed(engine.worker.claim_one("x"))
    assert Tools(engine).run() == "j"
    assert engine.kinds(run_id).count("step_cancelled") == 1
    assert engine.status(run_id) == "completed"


def test_fifty_children_side_by_side(engine: Engine) -> None:
    below = chain("x")
    engine.graph(below)
    ids = [f"g{n}" for n in range(50)]
    nodes = ["s", *({"id": g, "type": "graph", "graph": below["name"], "into": g} for g in ids), "j"]
    graph = definition(nodes, [*(f"s>{g}" for g in ids), *(f"{g}>j" for g in ids)])
    run_id = engine.start(graph)
    Tools(engine).run(batch=7)
    assert engine.status(run_id) == "completed"
    assert len(children(engine, run_id)) == 50
    assert engine.order(run_id).split()[-1] == "j"
    assert len({h["seq"] for h in engine.history(run_id)}) == len(engine.history(run_id))


def test_fifty_forks_of_a_parent_have_fifty_children(engine: Engine) -> None:
    run_id = engine.start(above(engine, chain("x")))
    forks = [fork(engine, run_id, seq=1) for _ in range(50)]
    Tools(engine).run(batch=20)
    assert {engine.status(f) for f in [run_id, *forks]} == {"completed"}
    assert engine.value("select count(*) from pgorch.runs where parent_run_id is not null") == 51


def test_a_run_timeout_of_the_child_is_a_failure_above(engine: Engine) -> None:
    below = chain("x") | {"timeout": "1 hour"}
    run_id = engine.start(above(engine, below))
    engine.jump("1 hour")
    engine.worker.enlist()
    tick(engine)
    assert engine.error(run_id)["type"] == "RunTimeout"


def test_an_error_that_names_another_run_does_not_reach_it(engine: Engine) -> None:
    stranger = engine.start(chain("a"), bucket=0)
    engine.worker.fail(engine.worker.claim_one(), retryable=False)
    run_id = engine.start(chain("b"), bucket=0)
    engine.worker.fail(engine.worker.claim_one(), retryable=False, child_run_id=str(stranger))
    call(engine, "retry", run_id)
    assert Tools(engine).run() == "b"
    assert engine.status(stranger) == "failed"


def test_a_child_whose_graph_is_named_cannot_be_deleted(engine: Engine) -> None:
    below = chain("x")
    engine.graph(above(engine, below))
    with pytest.raises(psycopg.Error, match="graph"):
        engine.rows("select * from pgorch.delete_graph(%s)", below["name"])


def test_a_decision_below_lets_the_parent_go_on(engine: Engine) -> None:
    below = definition([{"id": "q", "type": "approval"}])
    run_id = engine.start(above(engine, below))
    (child,) = children(engine, run_id)
    assert (engine.status(run_id), engine.status(child)) == ("waiting", "awaiting_approval")
    engine.approve(UUID(str(child)))
    assert Tools(engine).run() == "z"


def test_a_timer_that_finds_a_child_locked_is_tried_again_soon_and_holds_up_no_others(
    engine: Engine, database: str
) -> None:
    below = chain("x")
    graph = engine.graph(above(engine, below) | {"timeout": "1 hour"})
    first, second = engine.start(graph, bucket=0), engine.start(graph, bucket=0)
    engine.jump("2 hours")
    engine.connection.execute("set lock_timeout = '100ms'")
    with open_connection(database, autocommit=False) as somebody:
        somebody.execute("select from pgorch.runs where parent_run_id is not null for update")
        assert engine.value("select pgorch.tick(0)") == 1
        due = "select count(*) from pgorch.timers where kind = 'run_timeout' and due_at <= pgorch.clock_now()"
        assert engine.value(due) == 1, "the other one was not waited for as well"
        assert engine.value("select pgorch.tick(0)") == 1
        assert engine.value(due) == 0
        somebody.rollback()
    engine.jump("1 second")
    assert engine.value("select pgorch.tick(0)") == 2
    assert (engine.status(first), engine.status(second)) == ("failed", "failed")
