"""Latency on an idle system: whole runs, one more step, and going on after a decision."""

import math
import time
from collections.abc import Collection
from typing import Any
from uuid import UUID

from psycopg.types.json import Jsonb

from pgorch.cli.bench.graphs import QUEUE, approval, chain
from pgorch.cli.bench.load import create, start_many
from pgorch.cli.session import Session
from pgorch.errors import PgorchError

ENDED = frozenset({"completed", "failed", "cancelled"})
_LIMIT_SECONDS = 30.0


def percentile(values: list[float], percent: float) -> float:
    """The smallest value that at least so many percent do not exceed."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(len(ordered) * percent / 100) - 1)]


def measure_latency(db: Session, steps: int, samples: int) -> dict[str, Any]:
    """Runs one after the other on an idle system, started and awaited through SQL and NOTIFY."""
    long, short = create(db, chain(steps)), create(db, chain(1))
    db.connection.execute("listen pgorch_runs")
    for graph in (long, short):
        _timed_runs(db, graph, max(3, samples // 10))
    whole, one = _timed_runs(db, long, samples), _timed_runs(db, short, samples)
    resumed = _timed_resumes(db, samples)
    db.connection.execute("unlisten pgorch_runs")
    marginal = None
    if steps > 1:
        marginal = round((percentile(whole, 50) - percentile(one, 50)) / (steps - 1), 3)
    return {
        "idle_run_ms_p50": round(percentile(whole, 50), 2),
        "idle_run_ms_p99": round(percentile(whole, 99), 2),
        "marginal_step_ms": marginal,
        "resume_ms_p50": round(percentile(resumed, 50), 2),
        "resume_ms_p99": round(percentile(resumed, 99), 2),
    }


def _timed_runs(db: Session, graph: str, samples: int) -> list[float]:
    """Milliseconds from the call of start() until the run's end is known here."""
    took = []
    for _ in range(samples):
        began = time.perf_counter()
        with db.connection.transaction():
            run_id = db.value(
                "select pgorch.start(p_graph => %s, p_input => '{}', p_queue => %s, p_bucket => 0)",
                [graph, QUEUE],
            )
            db.row("select * from pgorch.watch_run(%s::uuid, 60, p_steps => false)", [run_id])
        wait_for(db, run_id, ENDED)
        took.append((time.perf_counter() - began) * 1000)
    return took


def _timed_resumes(db: Session, samples: int) -> list[float]:
    """Milliseconds from the call of decide() until the next step runs in a worker on this machine."""
    graph = create(db, approval())
    took = []
    for run_id in start_many(db, graph, samples, {}):
        db.row("select * from pgorch.watch_run(%s::uuid, 60, p_steps => false)", [run_id])
        began = time.time()
        db.value("select pgorch.decide(p_run_id => %s::uuid, p_decision => 'approved')", [run_id])
        wait_for(db, run_id, ENDED)
        at = db.value("select (pgorch.run_state(%s::uuid) ->> 'at')::float8", [run_id])
        took.append((at - began) * 1000)
    return took


def wait_for(db: Session, run_id: UUID, statuses: Collection[str]) -> str:
    """Wait, by notifications, until the run has one of the statuses. It is watched already."""
    deadline = time.monotonic() + _LIMIT_SECONDS
    while True:
        status: str = db.value(
            "select r.status from pgorch.runs r where r.bucket = 0 and r.id = %s::uuid", [run_id]
        )
        if status in statuses:
            return status
        if time.monotonic() > deadline:
            raise PgorchError(f"The run {run_id} is {status} after 30 seconds.", hint="pgorch doctor")
        for notification in db.connection.notifies(timeout=1.0):
            if notification.payload == str(run_id):
                break


def measure_starts(db: Session, graph: str, samples: int) -> dict[str, Any]:
    """Starts a second, in bulk (1,000 to a call) and one by one, each its own transaction. No worker runs."""
    bulk = 10 * samples
    start_many(db, graph, 1000, {"n": 1})
    began = time.perf_counter()
    start_many(db, graph, bulk, {"n": 1}, chunk=1000)
    bulk_rate = bulk / (time.perf_counter() - began)
    began = time.perf_counter()
    for number in range(samples):
        db.value(
            "select pgorch.start(p_graph => %s, p_input => %s, p_queue => %s)",
            [graph, Jsonb({"n": number}), QUEUE],
        )
    single_rate = samples / (time.perf_counter() - began)
    return {"starts_per_second_bulk": round(bulk_rate, 1), "starts_per_second_single": round(single_rate, 1)}
