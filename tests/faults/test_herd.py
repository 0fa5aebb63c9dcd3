"""Fault 38: thousands of timers due at once and many workers, after an outage in which they came due."""

import random
import time
from pathlib import Path

import pytest

from pgorch.embedded import EmbeddedServer
from tests.crash.conftest import Crew, kill_server
from tests.faults.proof import injected
from tests.faults.storms import sessions_opened
from tests.support.engine import definition

TIMERS = 10_000
WORKERS = 8
AWAY_SECONDS = 10.0

_DUE = """
    update pgorch.timers t set due_at = now() + interval '5 seconds' + o.at * interval '0.1 ms'
    from (select id, row_number() over (order by id) as at from pgorch.timers) o where o.id = t.id
"""
_ORDER = """
    select max(h.at) filter (where o.at <= %(first)s)
         < min(h.at) filter (where o.at > %(rest)s) as oldest_first
    from (select r.id, row_number() over (order by r.id) as at from pgorch.runs r) o
    join pgorch.history h on h.run_id = o.id and h.kind = 'step_completed'
"""


@pytest.mark.long
@pytest.mark.timeout(600)
def test_a_herd_is_let_in_one_by_one_after_an_outage(own_crew: Crew, own_server: EmbeddedServer) -> None:
    crew = own_crew
    graph = crew.graph(definition([{"id": "w", "type": "wait", "for": "1 day"}])["nodes"])
    crew.start(graph, TIMERS, bucket=0)
    workers = crew.hire(WORKERS)
    crew.connection.execute(_DUE.encode())
    kill_server(own_server)
    time.sleep(AWAY_SECONDS * random.uniform(0.9, 1.1))
    own_server.start()
    crew.reconnect()
    back_at = time.monotonic()
    due = crew.value("select count(*) from pgorch.timers where due_at < now()")
    injected(
        f"{TIMERS} timers due during an outage", due > TIMERS / 2, f"{due} were due when the server was back"
    )
    time.sleep(3)
    opened = sessions_opened(crew.connection)
    per_second = opened / (time.monotonic() - back_at) / WORKERS
    print(f"{opened} sessions were opened: {per_second:.1f}/s a worker")
    assert per_second <= 20
    crew.until(lambda: not crew.value("select count(*) from pgorch.runs where finished_at is null"), 300)
    print(f"all timers had fired {time.monotonic() - back_at:.1f} s after the server was back")
    assert all(worker.is_alive() for worker in workers)
    row = crew.connection.execute(_ORDER, {"first": TIMERS // 4, "rest": TIMERS * 3 // 4}).fetchone()
    assert row == {"oldest_first": True}
    before = server_seconds(own_server)
    time.sleep(2)
    busy = (server_seconds(own_server) - before) / 2
    print(f"then the server used {busy * 100:.0f} % of a core")
    assert busy < 0.3


def server_seconds(server: EmbeddedServer) -> float:
    """Processor time that the postmaster and its children have used."""
    postmaster = (server.data_dir / "data" / "postmaster.pid").read_text().splitlines()[0]
    ticks = 0
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if postmaster in (fields[1], stat.parent.name):
            ticks += int(fields[11]) + int(fields[12])
    return ticks / 100
