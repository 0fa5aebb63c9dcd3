"""A server that dies under load, and how long it takes until work goes on as before."""

import time
from typing import NamedTuple

import psycopg

from pgorch.embedded import EmbeddedServer
from tests.crash.conftest import Crew, kill_server

_STEPS = "select count(*) from pgorch.history"
_MEASURED_SECONDS = 2.0
# More than two workers end while this is measured.
_RUNS = 40_000


class Recovery(NamedTuple):
    """Seconds from the return of the server to the first step, and steps per second before, and from five
    seconds after the return on."""

    farewell: str
    first_step: float
    rate_before: float
    rate_after: float


def seconds_to_recover(crew: Crew, server: EmbeddedServer, *, away: float, runs: int = _RUNS) -> Recovery:
    """Kills the server under load, and brings it back after `away` seconds."""
    crew.hire(2)
    graph = crew.graph("step")
    for _ in range(runs // _RUNS):
        crew.start(graph, _RUNS)
    crew.until_done(500)
    before = _rate(crew)
    kill_server(server)
    farewell = _last_words(crew)
    time.sleep(away)
    server.start()
    back_at = time.monotonic()
    crew.reconnect()
    done = crew.value(_STEPS)
    crew.until(lambda: crew.value(_STEPS) > done)
    first = time.monotonic() - back_at
    time.sleep(max(0.0, 5.0 - first))
    after = _rate(crew)
    return Recovery(farewell, first, before, after)


def _rate(crew: Crew) -> float:
    began_at, before = time.monotonic(), crew.value(_STEPS)
    time.sleep(_MEASURED_SECONDS)
    return float(crew.value(_STEPS) - before) / (time.monotonic() - began_at)


def _last_words(crew: Crew) -> str:
    try:
        crew.value("select 1")
    except psycopg.OperationalError as problem:
        return str(problem).splitlines()[0]
    return ""
