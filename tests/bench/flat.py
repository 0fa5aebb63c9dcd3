"""Whether claiming stays as quick as in an empty database, whatever lies about."""

import contextlib
import statistics
import time
from collections.abc import Callable, Iterator
from typing import LiteralString

import psycopg
from psycopg.types.json import Jsonb

from pgorch.cli.bench.graphs import chain
from pgorch.cli.bench.load import create, start_many
from pgorch.cli.session import Session
from tests.bench.arena import STEPS, Arena, Figure
from tests.bench.graphs import asking
from tests.bench.profile.caller import Caller

_ROUNDS = 11
_RUNS = 100
_QUEUES = 1000
_FINISHED: LiteralString = """
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


def flat(arena: Arena) -> list[Figure]:
    """The calls for 100 runs, from claim to end, under each difficulty, in turn with an empty database; and a
    claim with the worst of plans."""
    with arena.database() as (_, empty):
        base = Caller(empty, chain(STEPS))
        base.start(_RUNS)
        base.go(_RUNS)
        figures = []
        for name, difficulty in _DIFFICULTIES.items():
            with arena.database() as (dsn, db), difficulty(arena, dsn, db) as caller:
                ratio = _ratio(base, caller)
            figures.append(Figure(f"{name}, speed against empty", ratio, ">= 0.9"))
    with arena.database() as (_, db):
        figures.append(
            Figure("ms of a claim, no index scans, generic plans", _worst_plans(arena, db), "<= 50")
        )
    return figures


@contextlib.contextmanager
def _waiting(arena: Arena, dsn: str, db: Session) -> Iterator[Caller]:
    caller = Caller(db, chain(STEPS))
    start_many(db, create(db, asking()), arena.scaled(100_000), {}, chunk=5000)
    db.connection.execute("vacuum analyze")
    yield caller


@contextlib.contextmanager
def _finished(arena: Arena, dsn: str, db: Session) -> Iterator[Caller]:
    caller = Caller(db, chain(STEPS))
    graph = db.value("select g.id from pgorch.graphs g limit 1")
    prefill(db, str(graph), arena.scaled(200_000))
    yield caller


@contextlib.contextmanager
def _graphs(arena: Arena, dsn: str, db: Session) -> Iterator[Caller]:
    caller = Caller(db, chain(STEPS))
    for first in range(0, arena.scaled(10_000), 500):
        db.rows(
            "select count(c.*) as made from generate_series(%s::int, %s::int) n"
            " cross join lateral pgorch.create_graph(jsonb_set(%s, '{name}', to_jsonb('other_' || n))) c",
            [first + 1, min(first + 500, arena.scaled(10_000)), Jsonb(chain(STEPS))],
        )
    db.connection.execute("vacuum analyze")
    yield caller


@contextlib.contextmanager
def _queues(arena: Arena, dsn: str, db: Session) -> Iterator[Caller]:
    """A worker that serves one queue, and steps in many others."""
    caller = Caller(db, chain(STEPS))
    graph = db.value("select g.id from pgorch.graphs g limit 1")
    for number in range(arena.scaled(_QUEUES)):
        db.rows(
            "select pgorch.start_many(%s, array_fill('{}'::jsonb, array[20]), p_queue => %s)",
            [str(graph), f"queue{number}"],
        )
    db.connection.execute("vacuum analyze")
    yield caller


@contextlib.contextmanager
def _many_lanes(arena: Arena, dsn: str, db: Session) -> Iterator[Caller]:
    """A worker that serves many queues, all but one of them empty."""
    names = [f"queue{number}" for number in range(arena.scaled(_QUEUES))]
    yield Caller(db, chain(STEPS), queues=["default", *names])


@contextlib.contextmanager
def _pinned(arena: Arena, dsn: str, db: Session) -> Iterator[Caller]:
    """40,000 steps and 4,000 runs have gone through since the horizon was pinned."""
    caller = Caller(db, chain(STEPS))
    with psycopg.connect(dsn) as holder:
        holder.execute("set transaction isolation level repeatable read")
        holder.execute("select from pgorch.settings")
        for _ in range(arena.scaled(20)):
            caller.start(200)
            caller.go(200)
        yield caller


@contextlib.contextmanager
def _no_statistics(arena: Arena, dsn: str, db: Session) -> Iterator[Caller]:
    """20,000 runs that nobody has analysed."""
    for table in ("runs", "steps", "history"):
        names = db.rows(
            "select c.oid::regclass::text as name from pg_class c where c.relkind = 'r'"
            " and c.relnamespace = 'pgorch'::regnamespace and c.relname ~ ('^' || %s)",
            [table],
        )
        for row in names:
            db.connection.execute(f"alter table {row['name']} set (autovacuum_enabled = off)".encode())
    caller = Caller(db, chain(STEPS))
    start_many(db, create(db, asking()), arena.scaled(20_000), {}, chunk=5000)
    yield caller


_DIFFICULTIES: dict[str, Callable[[Arena, str, Session], contextlib.AbstractContextManager[Caller]]] = {
    "100,000 runs that wait": _waiting,
    "200,000 finished runs": _finished,
    "10,000 graphs": _graphs,
    "1,000 other queues with work": _queues,
    "1,000 queues of one worker": _many_lanes,
    "a pinned horizon": _pinned,
    "no statistics": _no_statistics,
}


def _ratio(base: Caller, other: Caller) -> float:
    """How quick the other one is, in turn with the base: the median of the ratios of each pair of rounds."""

    def seconds(caller: Caller) -> float:
        caller.start(_RUNS)
        return caller.go(_RUNS).seconds

    seconds(other)
    return statistics.median(seconds(base) / seconds(other) for _ in range(_ROUNDS))


def _worst_plans(arena: Arena, db: Session) -> float:
    """Milliseconds of a claim of one step among 20,000, in a session without index scans or custom plans."""
    caller = Caller(db, chain(STEPS))
    caller.start(arena.scaled(20_000))
    db.connection.execute("set enable_indexscan = off")
    db.connection.execute("set enable_indexonlyscan = off")
    db.connection.execute("set plan_cache_mode = force_generic_plan")
    took = []
    for _ in range(_ROUNDS):
        began = time.perf_counter()
        assert len(caller.claim(1)) == 1
        took.append((time.perf_counter() - began) * 1000)
    return statistics.median(took)


def prefill(db: Session, graph: str, runs: int) -> None:
    """Finished runs with ten steps each, made by SQL in the shape that the engine gives them."""
    made = 0
    while made < runs:
        count = min(50_000, runs - made)
        db.rows(_FINISHED, {"count": count, "graph": graph})
        made += count
    db.connection.execute("vacuum analyze")
