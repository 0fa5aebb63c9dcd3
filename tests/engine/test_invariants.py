"""Every invariant notices a violation: a check that cannot fail is worth nothing."""

from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
from psycopg.rows import DictRow

from tests.support.engine import Engine, Fails, Step, chain, definition
from tests.support.invariants import INVARIANTS, violations
from tests.support.races import open_connection

RUN = "(select id from pgorch.runs where idempotency_key = '{}')"

# What is broken, and how. The runs are those of `populated`, named by their idempotency keys.
SEEDED: dict[str, str] = {
    "I1 an unfinished run waits for something that can be named": (
        f"update pgorch.runs set status = 'awaiting_approval' where id = {RUN.format('under way')}"
    ),
    "I1 a wait for a time has a timer": f"delete from pgorch.timers where run_id = {RUN.format('wait')}",
    "I1 an item has its map, and a map its items": (
        f"update pgorch.steps set item = item + 1 where kind = 'map' and run_id = {RUN.format('map')}"
    ),
    "I1 a child run that is live is waited for": (
        f"update pgorch.runs set parent_run_id = id, parent_step_id = 0 where id = {RUN.format('ready')}"
    ),
    "I1 a paused run has nothing that can be claimed": (
        f"update pgorch.runs set status = 'paused' where id = {RUN.format('ready')}"
    ),
    "I1 only a paused run holds steps as paused": (
        "update pgorch.steps set held = 'paused', lane_queue = null, lane_tool = null"
        f" where run_id = {RUN.format('ready')}"
    ),
    "I1 who wrote what is known of runs that there are": (
        "insert into pgorch._writes select 0, pgorch.new_run_id(0), 'key', '[]'"
    ),
    "I1 an open approval and its step exist together": (
        f"delete from pgorch.approvals where run_id = {RUN.format('waits')}"
    ),
    "I2 a leased step belongs to a worker that is known": "delete from pgorch._worker_leases",
    "I2 a step that can be claimed waits where its workers look": (
        "update pgorch.steps set lane_tool = 'unheard of' where lane_tool is not null"
    ),
    "I2 a step waits for a place only if there is none, or somebody is to look": (
        "delete from pgorch.steps where limiter is not null and held is null"
    ),
    "I2 what waits for its time under a key is noted for then": (
        "update pgorch.steps set ready_at = ready_at + interval '1 hour' where held = 'limit'"
    ),
    "I2 no more steps have a place than their key has": (
        "update pgorch.steps set held = null, lane_queue = 'default', lane_tool = node where held = 'limit'"
    ),
    "I4 an idempotency key names one run": "delete from pgorch._idempotency_keys where key = 'chain'",
    "I5 nothing belongs to a run that does not exist": (
        f"update pgorch.history set run_id = pgorch.new_run_id(bucket) where run_id = {RUN.format('chain')}"
    ),
    "I6 I16 a node ends once in each visit": (
        f"update pgorch.history set node = 'd' where node = 'b' and run_id = {RUN.format('fork')}"
    ),
    "I8 attempts of a visit only grow": (
        f"update pgorch.history set attempt = 1 where attempt = 2 and run_id = {RUN.format('retried')}"
    ),
    "I9 nothing is live in a run that is over, and live counts what is": (
        f"delete from pgorch.steps where run_id = {RUN.format('ready')}"
    ),
    "I11 history is numbered without gaps": (
        f"delete from pgorch.history where seq = 2 and run_id = {RUN.format('chain')}"
    ),
    "I12 the state is the fold of the history": (
        f"update pgorch.runs set delta = delta || '{{\"x\": 5}}' where id = {RUN.format('chain')}"
    ),
    "I12 the state is what is put together from the history, forks and reducers included": (
        "update pgorch.runs set delta = delta || '{\"x\": 5}' where forked_from is not null"
    ),
    "I12 the status is what the history ended with": (
        f"update pgorch.runs set status = 'cancelled' where id = {RUN.format('chain')}"
    ),
    "I13 nothing follows the end of a run": (
        f"update pgorch.history set seq = -seq where run_id = {RUN.format('chain')}"
    ),
    "I14 a step begins after what leads to it has ended": (
        "update pgorch.history set started_at = started_at - interval '1 second'"
        f" where node = 'b' and run_id = {RUN.format('chain')}"
    ),
    "I15 every node was reached along an edge": (
        f"update pgorch.history set node = 'c' where node = 'b' and run_id = {RUN.format('chain')}"
    ),
    "I15 edges without condition are taken": (
        f"delete from pgorch.history where node = 'c' and run_id = {RUN.format('fork')}"
    ),
    "I20 an approval is decided once, as its row says": (
        f"update pgorch.approvals set status = 'rejected' where run_id = {RUN.format('decided')}"
    ),
    "I22 a cancelled run has no open question": (
        "update pgorch.approvals set status = 'open', decided_at = null where status = 'cancelled'"
    ),
}


def flaky(step: Step) -> Any:
    if step.attempt == 1:
        raise Fails(retryable=True)
    return {}


@pytest.fixture
def populated(fresh_database: str) -> Iterator[psycopg.Connection[DictRow]]:
    with open_connection(fresh_database) as connection:
        engine = Engine(connection)
        approval = engine.graph(definition([{"id": "ok", "type": "approval"}, "z"], ["ok>z"]))
        retry = {"max_attempts": 2, "initial_interval": "1 second", "jitter": 0}
        engine.start(chain("a b c"), idempotency_key="chain")
        engine.start(definition("a b c d", ["a>b", "a>c", "b>d", "c>d"]), idempotency_key="fork")
        engine.start(definition([{"id": "flaky", "retry": retry}]), idempotency_key="retried")
        for key in ("waits", "decided", "cancelled"):
            engine.start(approval, idempotency_key=key)
        engine.approve(run_with(engine, "decided"))
        engine.cancel(run_with(engine, "cancelled"))
        engine.run({"a": {"x": 1}, "flaky": flaky})
        engine.jump("2 seconds")
        engine.run({"flaky": flaky})
        engine.start(definition([{"id": "w", "type": "wait", "for": "1 day"}]), idempotency_key="wait")
        engine.start(below := chain("x"))
        engine.run()
        engine.start(
            definition([{"id": "g", "type": "graph", "graph": below["name"]}]), idempotency_key="child"
        )
        engine.value("select pgorch.fork(%s, 1)", run_with(engine, "chain"))
        engine.value("select pgorch.pause(%s)", engine.start(chain("a b")))
        mapped = {"id": "m", "type": "map", "function": "m", "items": "${$.list}"}
        engine.start(definition([mapped]), {"list": [1, 2]}, idempotency_key="map")
        keyed = definition([{"id": "k", "concurrency_key": "k", "concurrency": 1}])
        graph = engine.graph(keyed)
        for bucket in engine.buckets:
            for _ in range(2):
                engine.start(graph, bucket=bucket)
        while engine.worker.claim():
            pass
        engine.start(chain("a b"), idempotency_key="under way")
        engine.worker.claim_one()
        engine.start(chain("a b"), idempotency_key="ready")
        yield connection


def run_with(engine: Engine, key: str) -> Any:
    return engine.value("select id from pgorch.runs where idempotency_key = %s", key)


def test_nothing_is_found_where_nothing_is_wrong(populated: psycopg.Connection[DictRow]) -> None:
    statuses = populated.execute("select status from pgorch.runs order by status").fetchall()
    assert len({s["status"] for s in statuses}) >= 4
    assert violations(populated) == {}


def test_every_invariant_is_proved() -> None:
    assert set(SEEDED) == set(INVARIANTS)


def test_a_seeded_violation_is_found_by_its_invariant(populated: psycopg.Connection[DictRow]) -> None:
    missed = []
    for name, statement in SEEDED.items():
        with populated.transaction(force_rollback=True):
            changed = populated.execute(statement.encode()).rowcount
            if changed == 0 or name not in violations(populated):
                missed.append((name, changed))
    assert missed == []
