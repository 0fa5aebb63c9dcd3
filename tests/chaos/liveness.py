"""The liveness plan: one fault stays for ever, and everything else must end all the same."""

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

from tests.chaos.drivers import Drivers
from tests.chaos.faults import DEADLY, Scene, poison
from tests.chaos.ground import Ground
from tests.chaos.plan import until_quiet, warm_up
from tests.chaos.verdict import Injected, Verdict, judge

RUNS = 150
_PIN = "select pg_sleep(0.2)"


@contextmanager
def black_holed_worker(scene: Scene) -> Iterator[Callable[[], int]]:
    """The first worker is cut off from the database, in the midst of its work, and nobody is told."""
    scene.ground.lines.set(0, hole=True)
    yield lambda: scene.ground.lines.happened()["swallowed"]
    scene.ground.lines.set(0, hole=False)


@contextmanager
def poisoned(scene: Scene) -> Iterator[Callable[[], int]]:
    """There is always a step about that takes its worker with it."""
    stop = threading.Event()

    def always() -> None:
        while not stop.wait(3.0):
            if not scene.drivers.stopping:
                poison(scene)

    thread = threading.Thread(target=always, daemon=True)
    poison(scene)
    thread.start()
    yield lambda: sum(sum(worker.exits.values()) for worker in scene.ground.workers)
    stop.set()
    thread.join()


@contextmanager
def pinned_horizon(scene: Scene) -> Iterator[Callable[[], int]]:
    """A session that is never idle, and never in one long statement, keeps its snapshot."""
    stop, looked = threading.Event(), 0

    def hold() -> None:
        nonlocal looked
        with scene.ground.connect() as connection:
            connection.execute("begin isolation level repeatable read")
            while not stop.is_set():
                connection.execute(_PIN)
                looked += 1

    thread = threading.Thread(target=hold, daemon=True)
    thread.start()
    yield lambda: looked
    stop.set()
    thread.join()


@contextmanager
def dead_listeners(scene: Scene) -> Iterator[Callable[[], int]]:
    """No listener of a worker lives longer than a moment."""
    stop, cut = threading.Event(), 0
    query = (
        "select count(*) filter (where pg_terminate_backend(a.pid)) as n from pg_stat_activity a"
        " where a.datname = current_database() and a.application_name like 'pgorch worker%listener%'"
    )

    def kill() -> None:
        nonlocal cut
        with scene.ground.connect() as connection:
            while not stop.wait(0.05):
                row = connection.execute(query).fetchone()
                cut += row["n"] if row else 0

    thread = threading.Thread(target=kill, daemon=True)
    thread.start()
    yield lambda: cut
    stop.set()
    thread.join()


Lasting = Callable[[Scene], AbstractContextManager[Callable[[], int]]]
LASTING: tuple[tuple[str, Lasting, str], ...] = (
    ("a worker is black-holed", black_holed_worker, "messages swallowed"),
    ("a step kills its workers", poisoned, "workers that died"),
    ("the vacuum horizon is pinned", pinned_horizon, "statements in the snapshot"),
    ("listeners are dead", dead_listeners, "listeners cut"),
)


async def liveness(ground: Ground, *, seed: int, drivers: int, runs: int = RUNS) -> Verdict:
    """Each in turn: so many runs are started under it, and must have ended while it is still there."""
    began = time.monotonic()
    injected: list[Injected] = []
    problems: list[str] = []
    slowest: float | None = 0.0
    crowd: Drivers | None = None
    before = Drivers(ground, seed=seed, count=drivers)
    driving = asyncio.create_task(before.drive())
    await warm_up(ground)
    before.stopping = True
    await until_quiet(before, driving)
    for number, (what, fault, proof) in enumerate(LASTING, 1):
        later = crowd
        crowd = Drivers(ground, seed=seed + number, count=drivers, limit=runs)
        if later is not None:
            crowd.ended, crowd.errors, crowd.statuses = later.ended, later.errors, later.statuses
        since = time.monotonic()
        with fault(Scene(ground, crowd, seed, short=True)) as seen:
            driving = asyncio.create_task(crowd.drive())
            while crowd.started < runs and not driving.done() and time.monotonic() - since < 120:
                await asyncio.sleep(0.1)
            crowd.stopping = True
            quiet = await until_quiet(crowd, driving)
            injected.append(Injected(number, f"{what}, {runs} runs", 1, seen(), proof))
        took = time.monotonic() - since
        if quiet is None:
            problems.append(f"while {what}, runs did not end: {sorted(crowd.under_way)[:10]}")
        print(f"{what}: {crowd.started} runs in {took:.1f} s, quiet after {quiet or 0:.1f} s", flush=True)
        slowest = None if quiet is None or slowest is None else max(slowest, quiet)
    await asyncio.to_thread(ground.mend)
    assert crowd is not None
    verdict = await asyncio.to_thread(
        judge, ground, crowd, quiet_seconds=slowest, deaths=DEADLY, clock_shift=0.0, settle_seconds=130
    )
    verdict.injected, verdict.lasted = injected, time.monotonic() - began
    verdict.problems += problems
    return verdict
