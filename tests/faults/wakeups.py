"""Notifications that do not arrive, and what they cost."""

import threading
import time
from collections.abc import Callable
from typing import NamedTuple

from psycopg.types.json import Jsonb

from tests.crash.conftest import Crew
from tests.faults.storms import storm
from tests.support.races import open_connection

_DELAYS = """
    select extract(epoch from h.started_at - r.created_at)::float8 as seconds
    from pgorch.run_history h join pgorch.runs r on r.id = h.run_id
    where r.id = any (%s) and h.kind = 'step_completed'
"""


class Deaf(NamedTuple):
    """Runs that were started while nobody listened: how long the slowest and the middle one waited until it
    was claimed, how many never were, and how often a listener was ended."""

    slowest: float
    middle: float
    stranded: int
    cuts: int


def start_while_deaf(crew: Crew, runs: int, seconds: float) -> Deaf:
    """Starts runs one by one while every listener is ended as soon as it is there."""
    crew.hire(2)
    graph = crew.graph("step")
    ids = []
    with storm(crew.dsn, "pg_terminate_backend", "listener", every=0.02, share=1.0) as seen:
        for _ in range(runs):
            ids += crew.start(graph)
            time.sleep(seconds / runs)
        crew.all_ended()
    delays = sorted(float(row["seconds"]) for row in crew.connection.execute(_DELAYS, [ids]).fetchall())
    return Deaf(delays[-1], delays[len(delays) // 2], runs - len(delays), seen.total)


class Cost(NamedTuple):
    """Starts per second of 32 writers while workers sleep and are told (with), and while nobody is known to
    sleep (without); and how many notifications were heard in the first case, over how many seconds."""

    with_notify: float
    without: float
    heard: int
    seconds: float


def cost_of_notify(crew: Crew, writers: int, seconds: float) -> Cost:
    """Each writer starts runs that nobody performs, so that whoever sleeps goes on sleeping."""
    crew.value("select pgorch.register_tools(%s)", Jsonb([_nobody()]))
    graph = crew.graph("nobody")
    sleeper(crew, asleep=True)
    heard = 0
    over = threading.Event()
    ready = threading.Event()

    def listen() -> None:
        nonlocal heard
        with open_connection(crew.dsn) as listener:
            listener.execute("listen pgorch_work")
            ready.set()
            while not over.is_set():
                heard += sum(1 for _ in listener.notifies(timeout=0.2))

    thread = threading.Thread(target=listen)
    thread.start()
    ready.wait(20)
    told = _starts_per_second(crew, graph, writers, seconds)
    over.set()
    thread.join(20)
    sleeper(crew, asleep=False)
    return Cost(told, _starts_per_second(crew, graph, writers, seconds), heard, seconds)


def _nobody() -> dict[str, object]:
    return {"name": "nobody", "description": "", "parameters": {"type": "object"}}


def sleeper(crew: Crew, *, asleep: bool) -> None:
    """A worker that is nothing but its row, and serves something else."""
    for bucket in range(crew.value("select pgorch.bucket_count()")):
        crew.connection.execute(
            "insert into pgorch._worker_leases"
            " (bucket, worker_id, name, queues, tools, slots, started_at, expires_at, asleep)"
            " values (%s, '00000000-0000-0000-0000-000000000001', 'sleeper', '{other}', '{step}', 1, now(),"
            " now() + interval '1 hour', %s)"
            " on conflict (bucket, worker_id) do update set asleep = excluded.asleep",
            [bucket, asleep],
        )


def _starts_per_second(crew: Crew, graph: str, writers: int, seconds: float) -> float:
    started = [0] * writers
    barrier = threading.Barrier(writers)
    problems: list[BaseException] = []

    def write(at: int) -> None:
        try:
            with open_connection(crew.dsn) as connection:
                query = b"select pgorch.start(%s, '{}')"
                connection.execute(query, [graph])
                barrier.wait(60)
                end = time.monotonic() + seconds
                while time.monotonic() < end:
                    connection.execute(query, [graph])
                    started[at] += 1
        except BaseException as problem:
            problems.append(problem)

    run_all(write, writers)
    assert not problems, problems[0]
    return sum(started) / seconds


def run_all(act: Callable[[int], None], count: int) -> None:
    threads = [threading.Thread(target=act, args=(at,)) for at in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
