"""Two sessions at one run, in an order that the test arranges: the second is seen waiting for the first."""

import contextlib
from collections.abc import Iterator
from typing import Any
from uuid import UUID

import psycopg
import pytest
from psycopg.rows import DictRow
from psycopg.types.json import Jsonb

from tests.support.engine import Engine, Step, Worker, chain, definition
from tests.support.races import Rival, open_connection, wait_until

ADVANCE = (
    "select * from pgorch.advance(%s::int, %s::uuid, array[%s]::bigint[], array[%s]::uuid[],"
    " array['success'], array[%s]::jsonb[], 0)"
)
DIAMOND = definition("a b c d", ["a>b", "a>c", "b>d", "c>d"])
APPROVAL = definition([{"id": "ok", "type": "approval"}, "b"], ["ok>b"])


@pytest.fixture
def first(database: str) -> Iterator[psycopg.Connection[DictRow]]:
    """A session whose transaction stays open until the test commits it."""
    with open_connection(database, autocommit=False) as connection:
        yield connection


def hands_in(database: str, worker: Worker, step: Step, output: Any = None) -> Rival:
    value = Jsonb(output or {})
    return Rival(database, ADVANCE, step.bucket, worker.id, step.step_id, step.lease_token, value)


def two_branches(engine: Engine) -> tuple[UUID, Step, Step]:
    run_id = engine.start(DIAMOND)
    engine.worker.succeed(engine.worker.claim_one("a"), {})
    b, c = sorted(engine.worker.claim(2), key=lambda s: str(s.node))
    return run_id, b, c


def test_two_branches_that_end_at_once_fire_their_join_once(
    engine: Engine, database: str, first: psycopg.Connection[DictRow]
) -> None:
    run_id, b, c = two_branches(engine)
    first.execute(ADVANCE.encode(), [b.bucket, engine.worker.id, b.step_id, b.lease_token, Jsonb({})])
    second = hands_in(database, engine.worker, c)
    second.wait_until_blocked()
    first.commit()
    assert second.rows() == []
    engine.run()
    assert engine.order(run_id) == "a b c d"


def test_two_parallel_writers_of_one_key_conflict_though_neither_saw_the_other(
    engine: Engine, database: str, first: psycopg.Connection[DictRow]
) -> None:
    run_id, b, c = two_branches(engine)
    first.execute(ADVANCE.encode(), [b.bucket, engine.worker.id, b.step_id, b.lease_token, Jsonb({"x": 1})])
    second = hands_in(database, engine.worker, c, {"x": 2})
    second.wait_until_blocked()
    first.commit()
    second.rows()
    assert engine.error(run_id)["type"] == "StateConflict"
    assert engine.state(run_id) == {"x": 1}


def test_a_result_that_waits_for_a_cancel_is_refused(
    engine: Engine, database: str, first: psycopg.Connection[DictRow]
) -> None:
    run_id = engine.start(chain("a b"))
    step = engine.worker.claim_one()
    Engine(first).cancel(run_id)
    second = hands_in(database, engine.worker, step)
    second.wait_until_blocked()
    first.commit()
    assert [r["kind"] for r in second.rows()] == ["refused"]
    assert engine.kinds(run_id) == ["run_cancelled"]


@pytest.mark.parametrize("fast", [True, False])
def test_a_cancel_that_waits_for_a_result_cancels_what_follows(
    engine: Engine, database: str, first: psycopg.Connection[DictRow], fast: bool
) -> None:
    run_id = engine.start(chain("a b"))
    if not fast:
        engine.without_fast_path()
    step = engine.worker.claim_one()
    first.execute(
        ADVANCE.encode(), [step.bucket, engine.worker.id, step.step_id, step.lease_token, Jsonb({})]
    )
    second = Rival(database, "select pgorch.cancel(%s)", run_id)
    second.wait_until_blocked()
    first.commit()
    second.rows()
    assert engine.kinds(run_id) == ["step_completed", "run_cancelled"]
    assert engine.worker.claim(9) == []


def test_a_cancel_that_waits_for_the_last_result_is_refused(
    engine: Engine, database: str, first: psycopg.Connection[DictRow]
) -> None:
    run_id = engine.start(definition("a"))
    step = engine.worker.claim_one()
    first.execute(
        ADVANCE.encode(), [step.bucket, engine.worker.id, step.step_id, step.lease_token, Jsonb({})]
    )
    second = Rival(database, "select pgorch.cancel(%s)", run_id)
    second.wait_until_blocked()
    first.commit()
    with pytest.raises(psycopg.Error, match="completed") as caught:
        second.rows()
    assert caught.value.sqlstate == "OR002"
    assert engine.status(run_id) == "completed"


def test_a_decision_that_waits_for_another_is_refused(
    engine: Engine, database: str, first: psycopg.Connection[DictRow]
) -> None:
    run_id = engine.start(APPROVAL)
    Engine(first).approve(run_id)
    second = Rival(database, "select pgorch.decide(%s, 'rejected')", run_id)
    second.wait_until_blocked()
    first.commit()
    with pytest.raises(psycopg.Error) as caught:
        second.rows()
    assert caught.value.sqlstate == "OR002"
    assert engine.approvals(run_id)[0]["status"] == "approved"


def test_a_decision_that_waits_for_one_that_is_rolled_back_counts(
    engine: Engine, database: str, first: psycopg.Connection[DictRow]
) -> None:
    run_id = engine.start(APPROVAL)
    Engine(first).approve(run_id)
    second = Rival(database, "select pgorch.decide(%s, 'rejected')", run_id)
    second.wait_until_blocked()
    first.rollback()
    second.rows()
    assert engine.approvals(run_id)[0]["status"] == "rejected"


def test_a_decision_that_waits_for_a_cancel_is_refused(
    engine: Engine, database: str, first: psycopg.Connection[DictRow]
) -> None:
    run_id = engine.start(APPROVAL)
    Engine(first).cancel(run_id)
    second = Rival(database, "select pgorch.decide(%s, 'approved')", run_id)
    second.wait_until_blocked()
    first.commit()
    with pytest.raises(psycopg.Error, match="cancelled") as caught:
        second.rows()
    assert caught.value.sqlstate == "OR002"


def test_a_cancel_that_waits_for_a_decision_cancels_what_follows(
    engine: Engine, database: str, first: psycopg.Connection[DictRow]
) -> None:
    run_id = engine.start(APPROVAL)
    Engine(first).approve(run_id)
    second = Rival(database, "select pgorch.cancel(%s)", run_id)
    second.wait_until_blocked()
    first.commit()
    second.rows()
    assert engine.status(run_id) == "cancelled"
    assert engine.approvals(run_id)[0]["status"] == "approved"


@pytest.mark.parametrize("fast", [True, False])
def test_the_same_result_handed_in_twice_at_once_counts_once(
    engine: Engine, database: str, first: psycopg.Connection[DictRow], fast: bool
) -> None:
    run_id = engine.start(chain("a b"))
    if not fast:
        engine.without_fast_path()
    step = engine.worker.claim_one()
    first.execute(
        ADVANCE.encode(), [step.bucket, engine.worker.id, step.step_id, step.lease_token, Jsonb({})]
    )
    second = hands_in(database, engine.worker, step)
    second.wait_until_blocked()
    first.commit()
    # Either answer is right: a worker repeats the call after the second.
    with contextlib.suppress(psycopg.errors.SerializationFailure):
        assert [r["kind"] for r in second.rows()] == ["refused"]
    assert engine.order(run_id) == "a"


def test_recovery_does_not_wait_for_a_run_that_is_being_worked_on(
    engine: Engine, first: psycopg.Connection[DictRow]
) -> None:
    run_id = engine.start(chain("a b"), bucket=0)
    victim = engine.new_worker()
    step = victim.claim_one()
    engine.jump("31 seconds")
    engine.worker.enlist()
    first.execute(ADVANCE.encode(), [step.bucket, victim.id, step.step_id, step.lease_token, Jsonb({"x": 1})])
    engine.connection.execute("set lock_timeout = '10s'")
    engine.worker.beat()
    first.commit()
    assert (engine.order(run_id), engine.state(run_id)) == ("a", {"x": 1})


def test_a_late_result_that_waits_for_the_recovery_of_its_step_is_refused(
    engine: Engine, database: str, first: psycopg.Connection[DictRow]
) -> None:
    run_id = engine.start(chain("a b"), bucket=0)
    victim = engine.new_worker()
    step = victim.claim_one()
    engine.jump("31 seconds")
    engine.worker.enlist()
    Worker(first, [], engine.buckets, id=engine.worker.id).beat()
    second = hands_in(database, victim, step, {"late": True})
    second.wait_until_blocked()
    first.commit()
    with contextlib.suppress(psycopg.errors.SerializationFailure):
        assert [r["kind"] for r in second.rows()] == ["refused"]
    assert [r.kind for r in victim.succeed(step, {"late": True})] == ["refused"]
    assert engine.kinds(run_id) == ["attempt_lost"]


def test_a_step_that_is_being_claimed_is_not_waited_for(
    engine: Engine, first: psycopg.Connection[DictRow]
) -> None:
    graph = engine.graph(definition("a"))
    one, two = engine.start(graph, bucket=0), engine.start(graph, bucket=0)
    rival = engine.new_worker()
    rival.connection = first
    assert [s.run_id for s in rival.claim(1)] == [one]
    engine.connection.execute("set lock_timeout = '10s'")
    assert [s.run_id for s in engine.worker.claim(9)] == [two]
    first.commit()


def test_starts_with_one_key_wait_for_each_other(
    engine: Engine, database: str, first: psycopg.Connection[DictRow]
) -> None:
    graph = engine.graph(definition("a"))
    run_id = Engine(first).start(graph, idempotency_key="k")
    second = Rival(database, "select pgorch.start(%s, '{}', 'k') as id", graph)
    second.wait_until_blocked()
    first.commit()
    assert [r["id"] for r in second.rows()] == [run_id]


def test_a_start_that_waits_for_one_that_is_rolled_back_makes_the_run(
    engine: Engine, database: str, first: psycopg.Connection[DictRow]
) -> None:
    graph = engine.graph(definition("a"))
    lost = Engine(first).start(graph, idempotency_key="k")
    second = Rival(database, "select pgorch.start(%s, '{}', 'k') as id", graph)
    second.wait_until_blocked()
    first.rollback()
    [row] = second.rows()
    assert row["id"] != lost
    assert engine.status(row["id"]) == "running"


def test_batches_in_opposite_order_do_not_deadlock(engine: Engine, database: str) -> None:
    graph = engine.graph(definition("a b c d", ["a>b", "a>c", "b>d", "c>d"]))
    runs = [engine.start(graph, bucket=0) for _ in range(12)]
    engine.worker.advance([(s, "success", {}) for s in engine.worker.claim(12)])
    steps = sorted(engine.worker.claim(24), key=lambda s: str(s.run_id))
    halves = [[s for s in steps if s.node == n] for n in ("b", "c")]
    halves[1].reverse()
    rivals = [
        Rival(
            database,
            "select * from pgorch.advance(0, %s, %s::bigint[], %s::uuid[], %s::text[], %s::jsonb[], 0)",
            engine.worker.id,
            [s.step_id for s in half],
            [s.lease_token for s in half],
            ["success"] * len(half),
            [Jsonb({})] * len(half),
        )
        for half in halves
    ]
    for rival in rivals:
        assert rival.rows() == []
    wait_until(lambda: engine.value("select count(*) from pgorch.live_steps where node = 'd'") == 12)
    engine.run(batch=12)
    assert {engine.status(r) for r in runs} == {"completed"}


CLAIM = "select * from pgorch.advance(%s::int, %s::uuid, '{}', '{}', '{}', '{}', 1)"


def test_a_worker_that_leaves_during_a_claim_leaves_no_step_behind(
    engine: Engine, first: psycopg.Connection[DictRow]
) -> None:
    run_id = engine.start(definition("a"), bucket=0)
    leaving = engine.new_worker()
    assert first.execute(CLAIM.encode(), [0, leaving.id]).fetchall()
    assert leaving.leave() == 0
    first.commit()
    engine.worker.beat(0)
    # Whoever left has not died of it.
    assert engine.rows("select worker_id, deaths from pgorch.steps") == [{"worker_id": None, "deaths": 0}]
    engine.run()
    assert engine.kinds(run_id) == ["step_completed", "run_completed"]


def test_a_cancel_that_waits_for_a_claim_revokes_the_step(
    engine: Engine, database: str, first: psycopg.Connection[DictRow]
) -> None:
    run_id = engine.start(definition("a"), bucket=0)
    engine.worker.enlist()
    [claimed] = [r for r in first.execute(CLAIM.encode(), [0, engine.worker.id]) if r["kind"] == "step"]
    second = Rival(database, "select pgorch.cancel(%s)", run_id)
    second.wait_until_blocked()
    first.commit()
    second.rows()
    assert engine.worker.beat(0)["revoked"] == [claimed["step_id"]]


def test_maintenance_gives_way_to_somebody_who_reads_the_history(
    engine: Engine, first: psycopg.Connection[DictRow]
) -> None:
    query = (
        "select max(inhrelid::regclass::text) from pg_inherits where inhparent = 'pgorch.history'::regclass"
    )
    last = engine.value(query + " and inhrelid <> 'pgorch._history_rest'::regclass")
    engine.connection.execute(f"drop table {last}".encode())
    first.execute("select from pgorch.run_history")
    engine.connection.execute("set statement_timeout = '20s'; select pgorch.maintain()")
    assert engine.value("select to_regclass(%s)::text", last) is None
    first.rollback()
    engine.connection.execute("select pgorch.maintain()")
    assert engine.value("select to_regclass(%s)::text", last) == last
