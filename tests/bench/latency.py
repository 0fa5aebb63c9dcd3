"""What one waits for: starts, whole runs on an idle system, resumes, and the cost of doing nothing."""

import asyncio
import time

from pgorch.cli.bench.counters import read
from pgorch.cli.bench.graphs import approval, chain
from pgorch.cli.bench.latency import measure_latency, measure_starts, percentile
from pgorch.cli.bench.load import create, start_many, wait_until_ended
from pgorch.cli.bench.workers import workers
from tests.bench.arena import STEPS, Arena, Figure, api
from tests.bench.http_client import Connection

_CLIENTS = 32


def idle_runs(arena: Arena) -> list[Figure]:
    """W2: a 10-step run on an idle system."""
    with arena.database() as (dsn, db), workers(db, dsn, 2):
        found = measure_latency(db, STEPS, arena.scaled(300, least=5))
    return [
        Figure("10 steps, ms, p50", found["idle_run_ms_p50"], "<= 8"),
        Figure("10 steps, ms, p99", found["idle_run_ms_p99"], "<= 20"),
        Figure("one more step, ms", found["marginal_step_ms"], "<= 0.5"),
        Figure("decision in SQL to next step, ms, p50", found["resume_ms_p50"]),
        Figure("decision in SQL to next step, ms, p99", found["resume_ms_p99"]),
    ]


def starts(arena: Arena) -> list[Figure]:
    """W3: starts a second in bulk, one by one, and over HTTP with 32 connections to one process."""
    with arena.database() as (dsn, db):
        with workers(db, dsn, 1):
            graph = create(db, chain(STEPS))
        found = measure_starts(db, graph, arena.scaled(5000, least=50))
        with api(dsn) as port:
            asyncio.run(_http_starts(port, graph, arena.scaled(1000, least=64)))
            over_http = asyncio.run(_http_starts(port, graph, arena.scaled(10_000, least=64)))
    return [
        Figure("starts/s, in bulk", found["starts_per_second_bulk"], ">= 40000"),
        Figure("starts/s, one by one in SQL", found["starts_per_second_single"], ">= 3000"),
        Figure("starts/s, HTTP, one process", over_http, ">= 2500"),
    ]


async def _http_starts(port: int, graph: str, count: int) -> float:
    connections = [await Connection(port).open() for _ in range(_CLIENTS)]
    left = iter(range(count))

    async def client(connection: Connection) -> None:
        for number in left:
            answer = await connection.post("/graph/run", {"graph_id": graph, "initial_state": {"n": number}})
            assert answer["run_id"]

    began = time.perf_counter()
    await asyncio.gather(*(client(connection) for connection in connections))
    took = time.perf_counter() - began
    for connection in connections:
        connection.close()
    return count / took


def resume(arena: Arena) -> list[Figure]:
    """W4: from the decision over HTTP to the start of the next step."""
    samples = arena.scaled(500, least=5)
    with arena.database() as (dsn, db), workers(db, dsn, 2):
        graph = create(db, approval())
        ids = start_many(db, graph, samples + 20, {})
        with api(dsn) as port:
            sent = asyncio.run(_http_resumes(port, [str(run_id) for run_id in ids]))
        wait_until_ended(db, ids)
        rows = db.rows(
            "select r.run_id, (r.state ->> 'at')::float8 as at from pgorch.run_list r where r.bucket = 0"
        )
    at = {str(row["run_id"]): row["at"] for row in rows}
    took = [(at[run_id] - moment) * 1000 for run_id, moment in sent][20:]
    return [
        Figure("decision to next step, ms, p50", percentile(took, 50), "<= 3"),
        Figure("decision to next step, ms, p99", percentile(took, 99), "<= 10"),
    ]


async def _http_resumes(port: int, run_ids: list[str]) -> list[tuple[str, float]]:
    """When each decision was sent. A pause in between lets the system become idle."""
    connection = await Connection(port).open()
    sent = []
    for run_id in run_ids:
        sent.append((run_id, time.time()))
        await connection.post(f"/graph/resume/{run_id}")
        await asyncio.sleep(0.02)
    connection.close()
    return sent


def idle(arena: Arena) -> list[Figure]:
    """Queries and CPU of workers that have nothing to do."""
    count = 2
    short, long = 5.0, float(arena.scaled(60, least=8))
    transactions, cpu = [], []
    with arena.database() as (dsn, db):
        for seconds in (short, long):
            began = _committed(arena, db.connection.info.dbname)
            with workers(db, dsn, count) as pids:
                before = read(db, pids)
                time.sleep(seconds)
                cpu.append((read(db, pids) - before).client_cpu or 0.0)
            transactions.append(_committed(arena, db.connection.info.dbname) - began)
    # Starting and stopping cost the same in both, so the difference is what idling costs.
    idle_seconds = (long - short) * count
    return [
        Figure("queries/s per worker", (transactions[1] - transactions[0]) / idle_seconds, "<= 1"),
        Figure("CPU per worker, %", max(0.0, cpu[1] - cpu[0]) / idle_seconds * 100, "<= 0.3"),
    ]


def _committed(arena: Arena, database: str) -> int:
    """Transactions of the database so far. Sessions report theirs when they end, if not before."""
    from pgorch.cli.bench.ground import bench_session

    time.sleep(0.5)
    with bench_session(arena.dsn) as admin:
        return int(
            admin.value(
                "select d.xact_commit + d.xact_rollback from pg_stat_database d where d.datname = %s",
                [database],
            )
        )
