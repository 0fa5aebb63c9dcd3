"""W1, and everything that is W1 under a difficulty."""

import json
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import LiteralString

import psycopg

from pgorch.cli.bench.graphs import approval, chain
from pgorch.cli.bench.load import create, measure, start_many, wait_until_ended
from pgorch.cli.bench.workers import workers
from pgorch.cli.session import Session
from tests.bench.arena import STEPS, Arena, Figure, median_rate

_PREFILL_CHUNK = 50_000
_FINISHED_RUNS: LiteralString = """
with ids as (select pgorch.new_run_id(0) as id from generate_series(1, %(count)s)),
made as (
    insert into pgorch.runs (
        bucket, id, graph_id, initiator, created_at, input, status, finished_at, live, seq, delta)
    select 0, i.id, %(graph)s::uuid, 'prefill', now(), '{}', 'completed', now(), 0, 11,
           '{"value": 7, "status": "ok"}'
    from ids i returning id),
steps as (
    insert into pgorch.history (bucket, run_id, seq, kind, attempt, at, started_at, node, output)
    select 0, m.id, s, 'step_completed', 1, now(), now(), 'n' || s, '{"value": 7, "status": "ok"}'
    from made m cross join generate_series(1, 10) s returning 1),
ends as (
    insert into pgorch.history (bucket, run_id, seq, kind, at)
    select 0, m.id, 11, 'run_completed', now() from made m returning 1)
select (select count(*) from steps) + (select count(*) from ends) as entries"""


def chains(arena: Arena) -> list[Figure]:
    """10-step chains with conditions on every third edge, two workers, then one."""
    with arena.database() as (dsn, db):
        with workers(db, dsn, 2) as pids:
            loads = arena.chains(db, pids, 5000)
        single = arena.rate(db, dsn, count=1)
    middle = sorted(loads, key=lambda load: load.steps_per_second)[1].figures()
    return [
        Figure("steps/s, 2 workers", middle["steps_per_second"], ">= 15000"),
        Figure("steps/s, 1 worker", single),
        Figure("WAL bytes per step", middle["wal_bytes_per_step"], "<= 800"),
        Figure("transactions per step", middle["transactions_per_step"], "<= 0.1"),
        Figure("server CPU per step, µs", middle["server_cpu_us_per_step"]),
        Figure("worker CPU per step, µs", middle["client_cpu_us_per_step"]),
    ]


def finished(arena: Arena) -> list[Figure]:
    """W1 in a database that holds 1,000,000 finished runs with their histories, against an empty one."""
    runs = arena.scaled(1_000_000)
    with arena.database() as (dsn, db):
        before = arena.rate(db, dsn)
        _prefill(db, runs)
        after = arena.rate(db, dsn)
    # Once more on empty ground: the machine itself drifts while rows are being made.
    with arena.database() as (dsn, db):
        empty = (before + arena.rate(db, dsn)) / 2
    return [
        Figure("finished runs", runs),
        Figure("steps/s, empty", empty),
        Figure("steps/s, beside them", after),
        Figure("ratio", after / empty, ">= 0.9"),
    ]


def waiting(arena: Arena) -> list[Figure]:
    """W1 beside 100,000 runs that wait for a decision."""
    runs = arena.scaled(100_000)
    with arena.database() as (dsn, db):
        before = arena.rate(db, dsn)
        graph = create(db, approval())
        start_many(db, graph, runs, {}, chunk=5000)
        db.connection.execute("vacuum analyze")
        after = arena.rate(db, dsn)
        open_ones = db.value("select count(*) from pgorch.waiting_approvals")
    with arena.database() as (dsn, db):
        empty = (before + arena.rate(db, dsn)) / 2
    return [
        Figure("waiting runs", open_ones, f">= {runs}"),
        Figure("steps/s, empty", empty),
        Figure("steps/s, beside them", after),
        Figure("ratio", after / empty, ">= 0.9"),
    ]


def many_workers(arena: Arena) -> list[Figure]:
    """16 worker processes against 2, on the same machine."""
    with arena.database() as (dsn, db):
        two = arena.rate(db, dsn)
        sixteen = arena.rate(db, dsn, count=16)
        again = arena.rate(db, dsn)
    base = (two + again) / 2
    return [
        Figure("steps/s, 2 workers", base),
        Figure("steps/s, 16 workers", sixteen),
        Figure("ratio", sixteen / base, ">= 0.7"),
    ]


def pinned(arena: Arena) -> list[Figure]:
    """Full load for 60 s while another session keeps the vacuum horizon where it was."""
    seconds = arena.scaled(60, least=3)
    slice_seconds = seconds / 6
    stop = threading.Event()
    with arena.database() as (dsn, db), psycopg.connect(dsn) as holder:
        with workers(db, dsn, 2) as pids:
            loads = arena.chains(db, pids, 5000)
            rate = median_rate(loads)
            holder.execute("set transaction isolation level repeatable read")
            holder.execute("select count(*) from pgorch.settings")
            began = db.value("select clock_timestamp()")
            graph = create(db, chain(STEPS))
            with ThreadPoolExecutor(1) as executor:
                feeding = executor.submit(_feed, dsn, graph, rate, stop)
                time.sleep(seconds + 1)
                stop.set()
                feeding.result()
        rows = db.rows(
            "select floor(extract(epoch from h.at - %(began)s) / %(slice)s)::int as slice, count(*) as steps"
            " from pgorch.history h where h.at >= %(began)s and h.kind = 'step_completed'"
            " group by 1 order by 1",
            {"began": began, "slice": slice_seconds},
        )
    counted = {row["slice"]: row["steps"] / slice_seconds for row in rows}
    return [
        Figure("steps/s, before", rate),
        Figure("steps/s, first sixth", counted.get(0, 0)),
        Figure("steps/s, last sixth", counted.get(5, 0)),
        Figure("ratio", counted.get(5, 0) / max(1, counted.get(0, 0)), ">= 0.5"),
    ]


def large_state(arena: Arena) -> list[Figure]:
    """A state of 1 MB that does not compress, and outputs of a hundred bytes."""
    with arena.database() as (dsn, db):
        blob = incompressible(db)
        with workers(db, dsn, 2) as pids:
            graph = create(db, chain(STEPS))
            wait_until_ended(db, start_many(db, graph, 4, {"blob": blob}))
            load = measure(db, graph, arena.scaled(60), pids, value={"blob": blob}).figures()
    return [
        Figure("bytes of the state", len(json.dumps({"blob": blob}))),
        Figure("WAL bytes per step", load["wal_bytes_per_step"], "<= 50000"),
        Figure("steps/s", load["steps_per_second"]),
    ]


def incompressible(db: Session) -> str:
    """A megabyte of text that does not get shorter when it is stored."""
    return str(
        db.value(
            "select string_agg(md5(i::text || random()::text), '') as blob from generate_series(1, 32768) i"
        )
    )


def fan_out(arena: Arena) -> list[Figure]:
    """100 and 1,000 parallel branches and a join behind them."""
    rates = {}
    figures = []
    with arena.database() as (dsn, db), workers(db, dsn, 2) as pids:
        for width, runs in ((arena.scaled(100, least=3), 20), (arena.scaled(1000, least=6), 2)):
            began = time.perf_counter()
            graph = create(db, _fan(width))
            created = time.perf_counter() - began
            load = measure(db, graph, runs, pids)
            assert load.steps == runs * (width + 2), f"{load.steps} steps of {runs} runs"
            rates[width] = load.steps_per_second
            figures += [
                Figure(f"branches/s, {width} branches, {runs} runs", load.steps_per_second),
                Figure(f"seconds to create the graph of {width}", created),
            ]
    narrow, wide = rates.values()
    return [*figures, Figure("wide against narrow (1: linear)", wide / narrow, ">= 0.5")]


def _fan(width: int) -> dict[str, object]:
    names = [f"b{number}" for number in range(width)]
    nodes = [
        {"id": name, "function": "pgorch_bench_step", "into": name} for name in ["first", *names, "last"]
    ]
    edges = [{"source": "first", "target": name} for name in names]
    edges += [{"source": name, "target": "last"} for name in names]
    return {"name": f"fan_{width}", "nodes": nodes, "edges": edges, "start_node": "first"}


def _feed(dsn: str, graph: str, rate: float, stop: threading.Event) -> None:
    """Start runs a little faster than they end, a quarter of a second's worth at a time."""
    from pgorch.cli.bench.ground import bench_session

    with bench_session(dsn) as db:
        share = max(10, int(rate / STEPS / 4))
        start_many(db, graph, 2 * share, {})
        while not stop.is_set():
            began = time.monotonic()
            backlog = db.value(
                "select count(*) from (select from pgorch.runs r where r.bucket = 0 and r.finished_at is null"
                " and r.status = 'running' limit %s) waiting",
                [6 * share],
            )
            if backlog < 6 * share:
                start_many(db, graph, share, {})
            stop.wait(max(0.0, 0.15 - (time.monotonic() - began)))


def _prefill(db: Session, runs: int) -> None:
    """Finished runs with ten steps each, made by SQL in the shape that the engine gives them."""
    graph = create(db, chain(STEPS))
    made = 0
    while made < runs:
        count = min(_PREFILL_CHUNK, runs - made)
        db.rows(
            _FINISHED_RUNS,
            {"count": count, "graph": graph},
        )
        made += count
    db.connection.execute("vacuum analyze")
