"""W1, and everything that is W1 under a difficulty."""

import json
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import psycopg

from pgorch.cli.bench.counters import read
from pgorch.cli.bench.graphs import chain
from pgorch.cli.bench.load import create, measure, start_many, wait_until_ended
from pgorch.cli.bench.workers import workers
from pgorch.cli.session import Session
from tests.bench.arena import STEPS, Arena, Figure, median_rate
from tests.bench.flat import prefill
from tests.bench.graphs import asking, fan, mapping, sleeping


def chains(arena: Arena) -> list[Figure]:
    """10-step chains with conditions on every third edge, two workers, then one."""
    with arena.database() as (dsn, db):
        with workers(db, dsn, 2) as pids:
            loads = arena.chains(db, pids, 5000)
        single = arena.rate(db, dsn, count=1)
    middle = sorted(loads, key=lambda load: load.steps_per_second)[1].figures()
    return [
        Figure("steps/s, 2 workers", middle["steps_per_second"], ">= 30000"),
        Figure("steps/s, 1 worker", single, ">= 15000"),
        Figure("WAL bytes per step", middle["wal_bytes_per_step"], "<= 650"),
        Figure("transactions per step", middle["transactions_per_step"], "<= 0.02"),
        Figure("server CPU per step, µs", middle["server_cpu_us_per_step"]),
        Figure("worker CPU per step, µs", middle["client_cpu_us_per_step"]),
    ]


def finished(arena: Arena) -> list[Figure]:
    """W1 in a database that holds 1,000,000 finished runs with their histories, against an empty one."""
    runs = arena.scaled(1_000_000)
    with arena.database() as (dsn, db):
        before = arena.rate(db, dsn)
        prefill(db, create(db, chain(STEPS)), runs)
        after = arena.rate(db, dsn)
    # Once more on empty ground: the machine itself drifts while rows are being made.
    with arena.database() as (dsn, db):
        empty = (before + arena.rate(db, dsn)) / 2
    return [
        Figure("finished runs", runs),
        Figure("steps/s, empty", empty),
        Figure("steps/s, beside them", after),
        Figure("ratio", after / empty, ">= 0.97"),
    ]


def waiting(arena: Arena) -> list[Figure]:
    """W1 beside 100,000 runs that wait, half of them for a decision and half for a time; and what they cost
    workers that have nothing to do."""
    half = arena.scaled(50_000)
    seconds = arena.scaled(10)
    with arena.database() as (dsn, db):
        before = arena.rate(db, dsn)
        idle = _idle_cpu(db, dsn, seconds)
        for graph in (asking(), sleeping()):
            start_many(db, create(db, graph), half, {}, chunk=5000)
        db.connection.execute("vacuum analyze")
        after = arena.rate(db, dsn)
        idle_beside = _idle_cpu(db, dsn, seconds)
        waiting_ones = db.value("select count(*) from pgorch.steps s where s.kind in ('approval', 'wait')")
    with arena.database() as (dsn, db):
        empty = (before + arena.rate(db, dsn)) / 2
    return [
        Figure("waiting runs", waiting_ones, f">= {2 * half}"),
        Figure("steps/s, empty", empty),
        Figure("steps/s, beside them", after),
        Figure("ratio", after / empty, ">= 0.97"),
        Figure("server CPU while idle, % of a core more", idle_beside - idle, "<= 0.1"),
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
        Figure("ratio", sixteen / base, ">= 0.9"),
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
        Figure("ratio", counted.get(5, 0) / max(1, counted.get(0, 0)), ">= 0.75"),
    ]


def large_state(arena: Arena) -> list[Figure]:
    """W7: a state of 1 MB that does not compress, and outputs of a hundred bytes, each under a key of its
    own: runs of 10 steps, and runs so long that what was written is folded into the state."""
    figures = []
    with arena.database() as (dsn, db), workers(db, dsn, 2) as pids:
        state = {"blob": incompressible(db), "value": 0}
        figures.append(Figure("bytes of the state", len(json.dumps(state))))
        for steps, runs in ((STEPS, 100), (400, 4)):
            graph = chain(steps, tool="pgorch_bench_text")
            for node in graph["nodes"]:
                node["into"] = node["id"]
            made = create(db, graph)
            wait_until_ended(db, start_many(db, made, 2, state))
            load = measure(db, made, arena.scaled(runs), pids, value=state).figures()
            figures += [
                Figure(f"WAL bytes per step, runs of {steps}", load["wal_bytes_per_step"], "<= 10000"),
                Figure(f"steps/s, runs of {steps}", load["steps_per_second"], ">= 300"),
            ]
    return figures


def maps(arena: Arena) -> list[Figure]:
    """W8: a map over 1,000 items and one over 10,000, 200 at once."""
    rates = []
    with arena.database() as (dsn, db), workers(db, dsn, 2) as pids:
        graph = create(db, mapping())
        for items in (arena.scaled(1000, least=10), arena.scaled(10_000, least=20)):
            load = measure(db, graph, 1, pids, value={"items": list(range(items))})
            rates.append(items / load.seconds)
    return [
        Figure("items/s, map over 1,000", rates[0]),
        Figure("items/s, map over 10,000", rates[1], ">= 10000"),
        Figure("long against short (1: linear)", rates[1] / rates[0], ">= 0.5"),
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
            graph = create(db, fan(width))
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


def _idle_cpu(db: Session, dsn: str, seconds: float) -> float:
    """Percent of a core that the server takes while two workers have nothing to do."""
    with workers(db, dsn, 2) as pids:
        time.sleep(1)
        before = read(db, pids)
        time.sleep(seconds)
        return 100 * ((read(db, pids) - before).server_cpu or 0.0) / seconds
