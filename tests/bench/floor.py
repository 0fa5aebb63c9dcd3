"""What the machine allows: the same writes without an engine.

A graph of ten steps, but known to the worker beforehand: no graph, no conditions, no retries, no leases that
end. A step is a row of history and a new version of the run's row, in one statement and one commit; who waits
for the end is told by NOTIFY. Goals in milliseconds and steps a second hold for one machine on one day;
ratios to this, taken in the same run, hold for others.
"""

import contextlib
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator

import psycopg

from pgorch.cli.bench.latency import measure_latency, percentile
from pgorch.cli.bench.workers import workers
from pgorch.cli.session import Session
from tests.bench.arena import STEPS, Arena, Figure, median_rate

_OUTPUT = '{"value": 7, "status": "ok"}'
_BATCH = 100
_TABLES = """
create table floor_runs (id int primary key, worker int, n int not null default 0, steps int not null,
                         state jsonb not null default '{}') with (fillfactor = 50);
create table floor_history (run_id int, seq int, at timestamptz, output jsonb, primary key (run_id, seq))
"""
_STEP = """
with done as (insert into floor_history select id, seq, clock_timestamp(), output
              from unnest(%s::int[], %s::int[], %s::jsonb[]) d(id, seq, output) returning run_id, output)
update floor_runs r set n = r.n + 1, state = r.state || d.output from done d where r.id = d.run_id
returning r.id, r.n, r.steps, r.state
"""
_CLAIM = """
update floor_runs set worker = %s where id in (
    select id from floor_runs where worker is null order by id limit %s for update skip locked)
returning id, n, steps, state
"""


def worker(dsn: str, number: int) -> None:
    """Takes runs and makes their steps until it is killed."""
    with psycopg.connect(dsn, autocommit=True) as db:
        db.execute("listen floor_work")
        while True:
            taken = db.execute(_CLAIM, [number, _BATCH], prepare=True).fetchall()
            if not taken:
                for _ in db.notifies(timeout=0.5, stop_after=1):
                    pass
            while taken:
                arguments = [[row[0] for row in taken], [row[1] + 1 for row in taken], [_OUTPUT] * len(taken)]
                rows = db.execute(_STEP, arguments, prepare=True).fetchall()
                taken = [row for row in rows if row[1] < row[2]]
                if len(taken) < len(rows):
                    db.execute("notify floor_done")


@contextlib.contextmanager
def _floor_workers(db: Session, dsn: str, count: int) -> Iterator[None]:
    db.connection.execute(_TABLES)
    running = [
        subprocess.Popen([sys.executable, "-m", "tests.bench.floor", dsn, str(number)])
        for number in range(count)
    ]
    try:
        time.sleep(2.0)
        yield
    finally:
        for process in running:
            process.kill()
            process.wait()


def _run(db: Session, count: int, steps: int) -> float:
    """Seconds from the start of so many runs until the last of them has ended."""
    began = time.perf_counter()
    with db.connection.transaction():
        db.connection.execute(
            "insert into floor_runs (id, steps) select coalesce((select max(id) from floor_runs), 0) + g, %s"
            " from generate_series(1, %s) g",
            [steps, count],
        )
        db.connection.execute("notify floor_work")
    while db.value("select exists (select from floor_runs where n < steps)"):
        for _ in db.connection.notifies(timeout=0.5, stop_after=1):
            pass
    took = time.perf_counter() - began
    db.connection.execute("truncate floor_runs")
    db.connection.execute("truncate floor_history")
    return took


def _idle(db: Session, samples: int) -> tuple[float, float]:
    """Milliseconds of a run of ten steps (median), and of one more step."""
    whole, one = (percentile([_run(db, 1, steps) * 1000 for _ in range(samples)], 50) for steps in (STEPS, 1))
    return whole, (whole - one) / (STEPS - 1)


def floor(arena: Arena) -> list[Figure]:
    """W1 and W2 beside the same writes without an engine, in turn."""
    samples, runs = arena.scaled(100, least=5), arena.scaled(5000, least=50)
    idle: list[tuple[float, float, float, float]] = []
    loaded: list[tuple[float, float]] = []
    for _ in range(3):
        with arena.database() as (dsn, db), workers(db, dsn, 2) as pids:
            found = measure_latency(db, STEPS, samples)
            ours = median_rate(arena.chains(db, pids, runs, times=1))
        with arena.empty_database() as (dsn, db), _floor_workers(db, dsn, 2):
            db.connection.execute("listen floor_done")
            _idle(db, 3)
            whole, more = _idle(db, samples)
            db.connection.execute("unlisten floor_done")
            rate = runs * STEPS / _run(db, runs, STEPS)
        idle.append((found["idle_run_ms_p50"], found["marginal_step_ms"], whole, more))
        loaded.append((ours, rate))
    return [
        Figure("10 steps, ms, p50", statistics.median(i[0] for i in idle)),
        Figure("10 steps, the floor's", statistics.median(i[2] for i in idle)),
        Figure("10 steps, ratio", statistics.median(i[0] / i[2] for i in idle), "<= 1.36"),
        Figure("one more step, ms", statistics.median(i[1] for i in idle)),
        Figure("one more step, the floor's", statistics.median(i[3] for i in idle)),
        Figure("one more step, ratio", statistics.median(i[1] / i[3] for i in idle), "<= 1.35"),
        Figure("steps/s, 2 workers", statistics.median(r[0] for r in loaded)),
        Figure("steps/s, the floor's", statistics.median(r[1] for r in loaded)),
        Figure("steps/s, ratio", statistics.median(r[0] / r[1] for r in loaded), ">= 0.49"),
    ]


if __name__ == "__main__":
    worker(sys.argv[1], int(sys.argv[2]))
