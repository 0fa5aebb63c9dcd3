"""Throughput: how many durable steps a second, and what each costs."""

import time
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from psycopg.types.json import Jsonb

from pgorch.cli.bench.counters import Counters, read
from pgorch.cli.bench.graphs import QUEUE
from pgorch.cli.bench.ground import checkpoint
from pgorch.cli.session import Session
from pgorch.errors import PgorchError

_CHUNK = 10_000
_POLL_SECONDS = 0.01
_STALLED_SECONDS = 60.0


@dataclass(frozen=True)
class Load:
    """What a number of runs took. `steps` are checkpoints that were really recorded."""

    runs: int
    steps: int
    seconds: float
    cost: Counters
    by_worker: dict[str, int]

    @property
    def steps_per_second(self) -> float:
        return self.steps / self.seconds

    def figures(self) -> dict[str, Any]:
        return {
            "steps_per_second": round(self.steps_per_second, 1),
            "runs_per_second": round(self.runs / self.seconds, 1),
            "wal_bytes_per_step": round(self.cost.wal_bytes / self.steps, 1),
            "transactions_per_step": round(self.cost.transactions / self.steps, 5),
            "server_cpu_us_per_step": _micros(self.cost.server_cpu, self.steps),
            "client_cpu_us_per_step": _micros(self.cost.client_cpu, self.steps),
            "seconds": round(self.seconds, 3),
            "steps": self.steps,
            "runs": self.runs,
            "steps_by_worker": self.by_worker,
        }


def create(db: Session, graph: dict[str, Any]) -> str:
    """Create a graph whose tools a worker has registered; its id."""
    return str(db.value("select graph_id from pgorch.create_graph(%s)", [Jsonb(graph)]))


def measure(
    db: Session, graph: str, runs: int, worker_pids: list[int], *, value: dict[str, Any] | None = None
) -> Load:
    """Start `runs` runs at one moment, with workers waiting for them, and time until the last has ended.

    They are started in one transaction: its commit is the starting signal. `value` is the input of each.
    """
    checkpoint(db)
    with db.connection.transaction():
        ids = start_many(db, graph, runs, value or {})
        before = read(db, worker_pids)
        began = time.perf_counter()
    wait_until_ended(db, ids)
    seconds = time.perf_counter() - began
    cost = read(db, worker_pids) - before
    done = db.rows(
        "select coalesce(w.name, h.worker_id::text) as worker, count(*) as steps"
        " from pgorch.history h left join pgorch._worker_leases w"
        " on w.bucket = h.bucket and w.worker_id = h.worker_id"
        " where h.bucket = 0 and h.run_id = any (%s) and h.kind = 'step_completed' group by 1 order by 1",
        [ids],
    )
    completed = db.value(
        "select count(*) from pgorch.runs r"
        " where r.bucket = 0 and r.id = any (%s) and r.status = 'completed'",
        [ids],
    )
    if completed != runs:
        raise PgorchError(f"Only {completed} of {runs} runs completed.", hint="See the view pgorch.run_list.")
    by_worker = {row["worker"]: row["steps"] for row in done}
    return Load(runs, sum(by_worker.values()), seconds, cost, by_worker)


def start_many(
    db: Session, graph: str, runs: int, value: dict[str, Any], *, chunk: int = _CHUNK
) -> list[UUID]:
    """Start runs in bulk, `chunk` to a call; their ids."""
    ids: list[UUID] = []
    while len(ids) < runs:
        inputs = [Jsonb(value)] * min(chunk, runs - len(ids))
        ids += db.value(
            "select pgorch.start_many(p_graph => %s, p_inputs => %s::jsonb[], p_queue => %s, p_bucket => 0)",
            [graph, inputs, QUEUE],
        )
    return ids


def wait_until_ended(db: Session, ids: list[UUID]) -> None:
    """Poll, cheaply: one run is asked for until it has ended, and then once which others have not."""
    left = ids
    changed = time.monotonic()
    while left:
        if unfinished(db, left[-1:]):
            if time.monotonic() - changed > _STALLED_SECONDS:
                raise PgorchError(f"{len(left)} runs do not go on.", hint="pgorch doctor")
            time.sleep(_POLL_SECONDS)
            continue
        left = unfinished(db, left)
        changed = time.monotonic()


def unfinished(db: Session, ids: list[UUID]) -> list[UUID]:
    """Those of the runs that have not ended, in the same order."""
    rows = db.rows(
        "select r.id from pgorch.runs r where r.bucket = 0 and r.id = any (%s) and r.finished_at is null",
        [ids],
    )
    live = {row["id"] for row in rows}
    return [run_id for run_id in ids if run_id in live]


def _micros(seconds: float | None, steps: int) -> float | None:
    return None if seconds is None else round(seconds / steps * 1e6, 1)
