"""Steering many runs at once, and by a predicate of one's own."""

from typing import Any
from uuid import UUID

import psycopg
import pytest
from psycopg.types.json import Jsonb

from tests.support.engine import Engine, Fails, Row, Step, chain, definition
from tests.support.races import open_connection

ASK = {"id": "ask", "type": "approval"}


def bulk(engine: Engine, action: str, filter: Any, arguments: Any = None, **options: Any) -> list[Row]:
    """What bulk() says of each run. It is no dry run, unless that is said."""
    options = {"dry_run": False, **options}
    rest = "".join(f", p_{name} => %s" for name in options)
    query = f"select * from pgorch.bulk(%s, %s, %s{rest})"
    return engine.rows(query, action, Jsonb(filter), Jsonb(arguments or {}), *options.values())


def said(rows: list[Row]) -> dict[UUID, tuple[str, str | None]]:
    return {row["run_id"]: (row["status"], row["problem"]) for row in rows}


def refused(engine: Engine, *arguments: Any, **options: Any) -> str:
    with pytest.raises(psycopg.Error) as caught:
        bulk(engine, *arguments, **options)
    assert caught.value.sqlstate == "OR006"
    assert caught.value.diag.message_hint
    return str(caught.value.diag.message_primary)


def audited(engine: Engine) -> list[tuple[str, UUID | None]]:
    return [
        (a["action"], a["run_id"]) for a in engine.rows("select action, run_id from pgorch.audit order by id")
    ]


def breaks(step: Step) -> None:
    raise Fails("Broken", "it broke")


def test_a_dry_run_lists_what_would_be_touched_and_touches_nothing(engine: Engine) -> None:
    runs = [engine.start(chain("a") | {"name": "one"}) for _ in range(3)]
    engine.start(chain("a") | {"name": "other"})
    engine.cancel(runs[1])
    dry = engine.rows("select * from pgorch.bulk('cancel', %s)", Jsonb({"graph": "one"}))
    assert said(dry) == {runs[0]: ("running", None), runs[2]: ("running", None)}
    assert [engine.status(r) for r in runs] == ["running", "cancelled", "running"]
    assert audited(engine) == [("cancel", runs[1])]


def test_runs_are_cancelled_in_the_order_of_their_ids(engine: Engine) -> None:
    runs = sorted(engine.start(chain("a") | {"name": "one"}, bucket=0) for _ in range(5))
    done = bulk(engine, "cancel", {"graph": "one"}, {"reason": "a wrong file"}, actor="ada", limit=3)
    assert [(row["run_id"], row["status"], row["problem"]) for row in done] == [
        (run_id, "cancelled", None) for run_id in runs[:3]
    ]
    last = engine.history(runs[0])[-1]
    assert (last["actor"], last["error"]["message"]) == ("ada", "a wrong file")
    assert [engine.status(r) for r in runs[3:]] == ["running", "running"]
    # Called again, it goes on with those that are left.
    assert said(bulk(engine, "cancel", {"graph": "one"})).keys() == set(runs[3:])
    assert [action for action, _ in audited(engine)].count("cancel") == 5
    noted = engine.rows(
        "select actor, before, after from pgorch.audit where action = 'bulk_cancel' order by id"
    )
    assert noted[0] == {
        "actor": "ada",
        "before": {"graph": "one"},
        "after": {"arguments": {"reason": "a wrong file"}, "runs": 3, "problems": 0},
    }


def test_each_part_of_a_filter_leaves_out_what_does_not_fit(engine: Engine) -> None:
    engine.graph(chain("a") | {"name": "one"})
    engine.graph(chain("a b") | {"name": "one"})
    meant = engine.start("one", {"o": {"n": 1, "m": 2}}, labels=Jsonb({"team": "x", "k": "1"}), actor="ada")
    waits = engine.start(definition([ASK], name="asks"))
    others = [
        engine.start("one@1", {"o": {"n": 1}}, labels=Jsonb({"team": "x"}), actor="ada"),
        engine.start("one", {"o": {"n": 2}}, labels=Jsonb({"team": "y"}), actor="bob"),
        engine.start("one", {"o": [1]}),
    ]
    before = engine.value("select pgorch.clock_now() - interval '1 hour'")
    after = engine.value("select pgorch.clock_now() + interval '1 hour'")

    def found(**filter: Any) -> set[UUID]:
        return set(said(bulk(engine, "pause", filter, dry_run=True)))

    everything = {meant, waits, *others}
    assert found() == everything
    assert found(graph="one") == {meant, *others}
    assert found(graph="one", version=2) == {meant, *others[1:]}
    assert found(graph="one@1") == {others[0]}
    assert found(status="awaiting_approval") == {waits}
    assert found(status=["awaiting_approval", "running"]) == everything
    assert found(labels={"team": "x"}) == {meant, others[0]}
    assert found(labels={"team": "x", "k": "1"}) == {meant}
    assert found(labels={}) == everything
    assert found(state={"o": {"n": 1}}) == {meant, others[0]}
    assert found(state={"o": [1]}) == {others[2]}
    assert found(initiator="bob") == {others[1]}
    assert found(created_after=before.isoformat()) == everything
    assert found(created_after=after.isoformat()) == found(created_before=before.isoformat()) == set()
    assert found(created_before=after.isoformat()) == everything
    assert found(graph="one", version=2, labels={"team": "x"}, state={"o": {"m": 2}}, initiator="ada") == {
        meant
    }


def test_the_state_is_the_one_of_now(engine: Engine) -> None:
    run_id = engine.start(definition(["a", ASK], ["a>ask"]), {"n": 1})
    engine.run({"a": {"n": 2}})
    assert said(bulk(engine, "cancel", {"state": {"n": 1}})) == {}
    assert said(bulk(engine, "cancel", {"state": {"n": 2}})) == {run_id: ("cancelled", None)}


def test_failed_runs_are_retried_by_the_type_of_their_error(engine: Engine) -> None:
    graph = engine.graph(chain("a b"))
    runs = [engine.start(graph, {"n": n}) for n in range(4)]

    def fails(step: Step) -> Any:
        if step.state["n"] < 3:
            raise Fails("Timeout" if step.state["n"] < 2 else "Broken")
        return {}

    engine.run({"a": fails})
    done = bulk(engine, "retry", {"graph": graph, "error_type": "Timeout"})
    assert said(done) == {runs[0]: ("running", None), runs[1]: ("running", None)}
    engine.run()
    assert [engine.status(r) for r in runs] == ["completed", "completed", "failed", "completed"]
    assert said(bulk(engine, "skip", {"graph": graph}, {"output": {"x": 1}})) == {runs[2]: ("running", None)}
    engine.run()
    assert engine.state(runs[2]) == {"n": 2, "x": 1}


def test_live_steps_are_skipped_only_if_their_status_is_named(engine: Engine) -> None:
    run_id = engine.start(definition([ASK, "a"], ["ask>a"]))
    assert bulk(engine, "skip", {}, {"node": "ask"}) == []
    assert said(bulk(engine, "skip", {"status": "awaiting_approval"}, {"node": "ask"})) == {
        run_id: ("running", None)
    }


def test_runs_are_paused_and_resumed(engine: Engine) -> None:
    runs = {engine.start(chain("a b") | {"name": "one"}) for _ in range(3)}
    assert set(said(bulk(engine, "pause", {"graph": "one"})).values()) == {("paused", None)}
    # Those that are paused already are not meant.
    assert bulk(engine, "pause", {"graph": "one"}) == []
    engine.run()
    assert {engine.status(r) for r in runs} == {"paused"}
    assert said(bulk(engine, "resume", {})) == dict.fromkeys(runs, ("running", None))
    engine.run()
    assert {engine.status(r) for r in runs} == {"completed"}


def test_runs_move_to_another_version_and_those_that_cannot_are_named(engine: Engine) -> None:
    engine.graph(definition([ASK, "a", "old"], ["ask>a", "a>old"], name="g"))
    waits = engine.start("g")
    stands = engine.start("g")
    engine.approve(stands)
    worker = engine.worker
    worker.succeed(worker.claim_one(), {})
    engine.start(definition([ASK], name="another"))
    second = engine.graph(definition([ASK, "a", "new"], ["ask>a", "a>new"], name="g"))
    newer = engine.start("g")
    dry = said(bulk(engine, "move", {}, {"graph": "g"}, dry_run=True))
    assert dry.keys() == {waits, stands}
    assert dry[waits][1] is None
    assert dry[stands][1] == "it is at old, which version 2 has not"
    done = said(bulk(engine, "move", {}, {"graph": "g"}))
    assert done[waits] == ("awaiting_approval", None)
    assert "it is at old, which version 2 has not" in str(done[stands][1])
    on = engine.rows("select run_id from pgorch.run_list where graph_id = %s", second)
    assert {row["run_id"] for row in on} == {waits, newer}


def test_a_problem_with_one_run_does_not_stop_the_others(engine: Engine) -> None:
    engine.graph(definition(["c"], name="child"))
    call = {"id": "call", "type": "graph", "graph": "child"}
    engine.graph(definition([call, "after"], [("call>after", {"on": "error"})], name="parent"))
    parent = engine.start("parent")
    alone = engine.start("child", bucket=parent.bytes[15])
    engine.run({"c": breaks})
    [orphan] = engine.rows("select run_id from pgorch.run_list where parent_run_id = %s", parent)
    found = said(bulk(engine, "retry", {"graph": "child"}, dry_run=True))
    done = said(bulk(engine, "retry", {"graph": "child"}))
    assert found.keys() == done.keys() == {orphan["run_id"], alone}
    assert done[alone] == ("running", None)
    for answer in (found, done):
        status, problem = answer[orphan["run_id"]]
        assert status == "failed"
        assert "has gone on without it" in str(problem)


def test_what_is_done_to_a_parent_is_no_problem_of_its_children(engine: Engine) -> None:
    engine.graph(definition(["c"], name="child"))
    engine.graph(definition([{"id": "call", "type": "graph", "graph": "child"}], name="middle"))
    parent = engine.start(definition([{"id": "call", "type": "graph", "graph": "middle"}], name="parent"))
    three = {row["run_id"] for row in engine.rows("select run_id from pgorch.run_tree(%s)", parent)}
    assert said(bulk(engine, "pause", {})) == dict.fromkeys(three, ("paused", None))
    assert said(bulk(engine, "resume", {})).keys() == three
    engine.run({"c": breaks})
    assert {engine.status(r) for r in three} == {"failed"}
    assert {problem for _, problem in said(bulk(engine, "retry", {})).values()} == {None}
    assert "failed" not in {engine.status(r) for r in three}
    assert said(bulk(engine, "cancel", {})) == dict.fromkeys(three, ("cancelled", None))


def test_a_run_that_somebody_holds_is_left_alone(engine: Engine, database: str) -> None:
    runs = sorted(engine.start(chain("a") | {"name": "one"}, bucket=0) for _ in range(3))
    with open_connection(database, autocommit=False) as other:
        other.execute("select from pgorch.runs where id = %s for update", [runs[1]])
        done = said(bulk(engine, "cancel", {"graph": "one"}))
    assert done == {
        runs[0]: ("cancelled", None),
        runs[1]: ("running", "somebody else works on it just now"),
        runs[2]: ("cancelled", None),
    }


def test_many_runs_that_somebody_holds_are_not_waited_for_one_by_one(engine: Engine, database: str) -> None:
    engine.graph(chain("a") | {"name": "one"})
    engine.value("select pgorch.start_many('one', %s, p_bucket => 0)", [Jsonb({})] * 200)
    with open_connection(database, autocommit=False) as other:
        other.execute("select from pgorch.runs for update")
        # Half a second for each would be 100 seconds.
        engine.connection.execute("set statement_timeout = '30s'")
        done = bulk(engine, "cancel", {"graph": "one"})
        engine.connection.execute("reset statement_timeout")
    assert {row["problem"] for row in done} == {"somebody else works on it just now"}
    assert len(done) == 200


def test_a_run_that_changes_before_its_turn_is_looked_at_again(engine: Engine, database: str) -> None:
    first, second = sorted(
        engine.start(definition([ASK, "a"], ["ask>a"], name="g"), bucket=0) for _ in range(2)
    )
    filter = {"status": "awaiting_approval"}
    [ids] = engine.rows(
        "select pgorch._bulk_ids(0, pgorch._bulk_filter('cancel', %s, '{}', 9), 9) as found", Jsonb(filter)
    )
    assert ids["found"] == [first, second]
    engine.approve(second)
    act = (
        "select pgorch._bulk_act(0, %s, 'cancel', pgorch._bulk_filter('cancel', %s, '{}', 9),"
        " '{}', '{}', true, 'ada', null)"
    )
    assert engine.value(act, first, Jsonb(filter)) == [first]
    with pytest.raises(psycopg.Error, match="changed meanwhile"):
        engine.value(act, second, Jsonb(filter))
    assert engine.status(second) == "running"


def test_what_has_been_done_can_be_undone_for_many(engine: Engine) -> None:
    node = {"id": "a", "function": "a", "compensate": "undo_a"}
    runs = {engine.start(definition([node, ASK], ["a>ask"], name="g")) for _ in range(2)}
    engine.run()
    assert said(bulk(engine, "cancel", {"graph": "g"}, {"compensate": True})).keys() == runs
    # What is being undone is not undone again.
    assert bulk(engine, "cancel", {"graph": "g"}, {"compensate": True}, dry_run=True) == []
    engine.run()
    assert {engine.status(r) for r in runs} == {"cancelled"}
    assert {engine.kinds(r).count("step_undone") for r in runs} == {1}


def test_what_cannot_be_meant_is_refused_and_touches_nothing(engine: Engine) -> None:
    run_id = engine.start(chain("a") | {"name": "one"})
    assert "no action" in refused(engine, "delete", {})
    assert "no action" in refused(engine, None, {})
    assert '"grpah"' in refused(engine, "cancel", {"grpah": "one"})
    assert "object" in refused(engine, "cancel", [])
    assert "object" in refused(engine, "cancel", {}, [1])
    assert "reason" in refused(engine, "cancel", {}, {"reason": 5})
    assert '"reason"' in refused(engine, "pause", {}, {"reason": "x"})
    assert "graph is of type string" in refused(engine, "cancel", {"graph": 5})
    assert "graph is of type string, not null" in refused(engine, "cancel", {"graph": None})
    assert "version is of type integer" in refused(engine, "cancel", {"graph": "one", "version": 1.5})
    assert "version" in refused(engine, "cancel", {"version": 1})
    assert 'not "done"' in refused(engine, "cancel", {"status": "done"})
    assert "completed" in refused(engine, "cancel", {"status": ["running", "completed"]})
    assert "resume is for runs that are paused" in refused(engine, "resume", {"status": "failed"})
    assert "[]" in refused(engine, "cancel", {"status": []})
    assert "labels" in refused(engine, "cancel", {"labels": {"n": 1}})
    assert "times" in refused(engine, "cancel", {"created_before": "next week"})
    assert "times" in refused(engine, "cancel", {"created_after": "2026-13-01"})
    assert "version to which" in refused(engine, "move", {})
    assert "100,000" in refused(engine, "cancel", {}, limit=0)
    assert "100,000" in refused(engine, "cancel", {}, limit=100_001)
    for filter in ({"graph": "on"}, {"graph": "one", "version": 2}):
        with pytest.raises(psycopg.Error) as caught:
            bulk(engine, "cancel", filter)
        assert caught.value.sqlstate == "OR003"
    assert engine.status(run_id) == "running"
    assert audited(engine) == []


def test_null_for_a_dry_run_is_one(engine: Engine) -> None:
    run_id = engine.start(chain("a"))
    assert said(bulk(engine, "cancel", {}, dry_run=None)) == {run_id: ("running", None)}


def test_runs_are_steered_by_a_predicate_joined_with_a_table_of_ones_own(engine: Engine) -> None:
    runs = [engine.start(chain("a b") | {"name": "one"}, {"order": n}) for n in range(4)]
    with engine.connection.transaction(force_rollback=True):
        engine.connection.execute("create table recalled (order_id int)")
        engine.connection.execute("insert into recalled values (1), (3), (7)")
        done = engine.rows(
            "select r.run_id, pgorch.cancel(r.run_id, 'recalled') as status"
            " from pgorch.run_list r join recalled o on o.order_id = (r.state ->> 'order')::int"
            " where r.graph = 'one' and r.finished_at is null"
        )
        assert {(row["run_id"], row["status"]) for row in done} == {
            (runs[1], "cancelled"),
            (runs[3], "cancelled"),
        }
        assert [engine.status(r) for r in runs] == ["running", "cancelled", "running", "cancelled"]
        query = (
            "select pgorch.signal(r.run_id, 'recalled', jsonb_build_object('order', o.order_id))"
            " from pgorch.run_list r join recalled o on o.order_id <> (r.state ->> 'order')::int"
            " where r.finished_at is null"
        )
        assert len(engine.rows(query)) == 6
