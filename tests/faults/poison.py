"""A step that kills every worker that begins it, among good ones; and who starts workers again."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from typing import NamedTuple

from tests.crash.conftest import Crew

_CHAIN = 5


class Poisoned(NamedTuple):
    """Good runs per second without and with a poison step among them; how many processes it killed, and after
    how many seconds it was given up."""

    without: float
    beside: float
    deaths: int
    given_up_after: float


@contextmanager
def supervised(crew: Crew, count: int) -> Iterator[list[int]]:
    """So many workers; whoever dies is followed by another in a moment. The exit codes of the dead."""
    workers = crew.hire(count)
    deaths: list[int] = []
    over = threading.Event()

    def watch() -> None:
        while not over.wait(0.05):
            for worker in [w for w in workers if not w.is_alive()]:
                workers.remove(worker)
                deaths.append(worker.exitcode or 0)
                workers.append(crew.start_one())

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield deaths
    finally:
        over.set()
        thread.join(20)
        for worker in workers:
            worker.terminate()
        for worker in workers:
            worker.join(20)


def poison_among(crew: Crew, good_runs: int) -> Poisoned:
    """Runs of five steps on three workers: at first alone, then with one that kills."""
    names = [f"n{at}" for at in range(_CHAIN)]
    graph = crew.graph(
        [{"id": name, "function": "step"} for name in names],
        [f"{a}>{b}" for a, b in pairwise(names)],
    )
    bad = crew.graph("poison")
    with supervised(crew, 3) as deaths:
        crew.start(graph, good_runs // 4)
        crew.all_ended()
        without = _rate(crew, graph, good_runs)
        assert not deaths
        began_at = time.time()
        (bad_run,) = crew.start(bad)
        beside = _rate(crew, graph, good_runs)
        run = crew.ended(bad_run)
        assert run["error"]["type"] == "WorkerLost"
        finished = crew.value(
            "select extract(epoch from finished_at) from pgorch.runs where id = %s", bad_run
        )
        return Poisoned(without, beside, len(deaths), float(finished) - began_at)


def _rate(crew: Crew, graph: str, runs: int) -> float:
    """Runs per second, over the time in which they were performed."""
    began_at = time.monotonic()
    ids = crew.start(graph, runs)
    left = "select count(*) from pgorch.runs where id = any (%s) and finished_at is null"
    crew.until(lambda: not crew.value(left, ids), 120)
    return runs / (time.monotonic() - began_at)
