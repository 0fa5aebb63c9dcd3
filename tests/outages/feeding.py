"""A steady load, and what is seen of it: for the figures that take minutes or hours."""

import contextlib
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import psycopg
from psycopg.types.json import Jsonb

from tests.outages.calls import percentile
from tests.outages.cluster import Cluster
from tests.outages.ground import Ground
from tests.support.engine import chain

STEPS = 5
_TICK_SECONDS = 0.1
_HOT = ("runs", "steps", "_worker_leases", "timers")


class Feeder:
    """Starts runs of five steps, so many steps a second, from a thread and over a connection of its own."""

    def __init__(self, dsn: str, graph: str, steps_per_second: float) -> None:
        self._dsn = dsn
        self._graph = graph
        self._rate = steps_per_second / STEPS
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._feed, daemon=True)
        self.started = 0
        self.round_trips: list[tuple[float, float]] = []
        """When (monotonic) a statement that does nothing was asked, and how many milliseconds it took: by
        this one sees how busy the machine is."""

    def __enter__(self) -> "Feeder":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        self._thread.join(30)

    def _feed(self) -> None:
        began = time.monotonic()
        with (
            # A test that ends early takes the server away.
            contextlib.suppress(psycopg.OperationalError),
            psycopg.connect(self._dsn, autocommit=True, application_name="feeder") as db,
        ):
            while not self._stopping.wait(_TICK_SECONDS):
                asked = time.monotonic()
                db.execute("select 1")
                self.round_trips.append((asked, (time.monotonic() - asked) * 1000))
                wanted = int((time.monotonic() - began) * self._rate) - self.started
                if wanted > 0:
                    # One by one, as callers do, not as one batch that is claimed together.
                    for _ in range(wanted):
                        db.execute("select pgorch.start(%s, %s)", [self._graph, Jsonb({})])
                    self.started += wanted


@dataclass(frozen=True)
class Window:
    """What happened in a time of the database's. Milliseconds from a start to the claim of its first step."""

    steps_per_second: float
    p50: float
    p95: float
    p99: float
    blocks_per_step: float = 0.0
    """Blocks of tables and indexes that the server looked at, however busy the machine was."""
    idle_p99: float = 0.0
    """The same milliseconds of a statement that does nothing."""


@dataclass(frozen=True)
class Mark:
    """A moment: the database's clock, ours (monotonic), and the blocks looked at so far."""

    at: str
    here: float
    blocks: int


def mark(ground: Ground) -> Mark:
    row = ground.rows(
        "select clock_timestamp()::text as at, d.blks_hit + d.blks_read as blocks from pg_stat_database d"
        " where d.datname = current_database()"
    )[0]
    return Mark(row["at"], time.monotonic(), row["blocks"])


def between(ground: Ground, feeder: Feeder, since: Mark, until: Mark) -> Window:
    seen = window(ground, since.at, until.at)
    steps = max(1.0, seen.steps_per_second * (until.here - since.here))
    idle = [took for asked, took in feeder.round_trips if since.here <= asked < until.here]
    return replace(seen, blocks_per_step=(until.blocks - since.blocks) / steps, idle_p99=percentile(idle, 99))


def moment(ground: Ground) -> str:
    return str(ground.value("select clock_timestamp()::text"))


def window(ground: Ground, since: str, until: str) -> Window:
    row = ground.rows(
        """
        select extract(epoch from %(until)s::timestamptz - %(since)s::timestamptz)::float8 as seconds,
               (select count(*) from pgorch.history h where h.kind = 'step_completed'
                and h.at >= %(since)s::timestamptz and h.at < %(until)s::timestamptz) as steps,
               p.late[1] as p50, p.late[2] as p95, p.late[3] as p99
        from (select percentile_cont(array[0.5, 0.95, 0.99]) within group (
                  order by extract(epoch from h.started_at - r.created_at)::float8 * 1000) as late
              from pgorch.runs r
              join pgorch.history h on h.bucket = r.bucket and h.run_id = r.id and h.seq = 1
              where r.created_at >= %(since)s::timestamptz and r.created_at < %(until)s::timestamptz) p
        """.replace("%(since)s", f"'{since}'").replace("%(until)s", f"'{until}'")
    )[0]
    late = [float(row[name] or 0) for name in ("p50", "p95", "p99")]
    return Window(row["steps"] / max(row["seconds"], 0.001), *late)


def dead_tuples(ground: Ground) -> dict[str, tuple[int, int]]:
    """The hot tables: live and dead rows, as the statistics have them."""
    rows = ground.rows(
        "select s.relname, s.n_live_tup as live, s.n_dead_tup as dead from pg_stat_user_tables s"
        " where s.schemaname = 'pgorch' and s.relname = any (%s)", list(_HOT),
    )  # fmt: skip
    return {row["relname"]: (row["live"], row["dead"]) for row in rows}


@contextlib.contextmanager
def steady_ground(*, workers: int = 2, fsync: bool = True) -> Iterator[tuple[Ground, str]]:
    """A ground on a server of its own with fsync, its workers, and a graph of five steps."""
    with contextlib.ExitStack() as stack:
        place = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="pgorch-outage-")))
        place.chmod(0o755)
        settings = {"fsync": "on" if fsync else "off", "max_wal_size": "2GB", "shared_buffers": "256MB"}
        cluster = Cluster(place, settings=settings).create().start().migrate()
        stack.callback(cluster.stop)
        logs = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="pgorch-logs-")))
        ground = Ground(cluster.dsn, logs)
        stack.callback(ground.close)
        ground.prepare()
        names = [{"id": f"s{n}", "function": "step"} for n in range(STEPS)]
        graph = ground.create(
            {**chain("a b"), "nodes": names, "start_node": "s0",
             "edges": [{"source": f"s{n}", "target": f"s{n + 1}"} for n in range(STEPS - 1)]}
        )  # fmt: skip
        for _ in range(workers):
            ground.worker(slots=100)
        yield ground, graph
