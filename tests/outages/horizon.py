"""Row 25 and figure G10: somebody keeps the vacuum horizon where it was, by a transaction that is never idle
and has no long statement, so that no timeout of PostgreSQL ends it.

    python -m tests.outages.horizon --minutes 20 --rate 500
"""

import argparse
import threading
import time
from dataclasses import dataclass

import psycopg

from tests.outages.feeding import Feeder, Window, between, dead_tuples, mark, steady_ground
from tests.outages.ground import Ground


class Holder:
    """The session that keeps the horizon."""

    def __init__(self, dsn: str) -> None:
        self._dsn = dsn
        self._stopping = threading.Event()
        self._holding = threading.Event()
        self._thread = threading.Thread(target=self._hold, daemon=True)
        self.pid = 0

    def __enter__(self) -> "Holder":
        self._thread.start()
        assert self._holding.wait(30)
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        self._thread.join(30)

    def _hold(self) -> None:
        with psycopg.connect(self._dsn, application_name="forgotten report") as db:
            db.execute("set transaction isolation level repeatable read")
            db.execute("select count(*) from pgorch.settings")
            self.pid = db.info.backend_pid
            self._holding.set()
            while not self._stopping.is_set():
                db.execute("select pg_sleep(1)")
            db.rollback()


@dataclass(frozen=True)
class Report:
    before: Window
    first: Window
    last: Window
    horizon_age: int
    dead_before_release: int
    clean_after: float
    """Seconds until the hot tables were clean again, once it had been let go."""


def measure(ground: Ground, graph: str, *, seconds: float, rate: float, clean_seconds: float) -> Report:
    with Feeder(ground.dsn, graph, rate) as feeder:
        time.sleep(5)
        marks = [mark(ground)]
        time.sleep(min(60.0, seconds / 2))
        marks.append(mark(ground))
        with Holder(ground.dsn) as holder:
            for part in (0, seconds / 4, seconds / 2, seconds / 4):
                time.sleep(part)
                marks.append(mark(ground))
            age = ground.value("select age(backend_xmin) from pg_stat_activity where pid = %s", holder.pid)
            held = sum(dead for _, dead in dead_tuples(ground).values())
        clean_after = ground.until(lambda: is_clean(ground), clean_seconds, "the hot tables are clean")
    return Report(
        between(ground, feeder, marks[0], marks[1]),
        between(ground, feeder, marks[2], marks[3]),
        between(ground, feeder, marks[4], marks[5]),
        int(age),
        held,
        clean_after,
    )


def is_clean(ground: Ground) -> bool:
    """Has each hot table fewer dead rows than twice its live ones, and 5,000?"""
    return all(dead < 2 * live + 5000 for live, dead in dead_tuples(ground).values())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=20)
    parser.add_argument("--rate", type=float, default=500)
    options = parser.parse_args()
    with steady_ground() as (ground, graph):
        report = measure(ground, graph, seconds=options.minutes * 60, rate=options.rate, clean_seconds=300)
    for name in ("before", "first", "last"):
        print(f"{name:>7}: {getattr(report, name)}")
    ratio = report.last.p99 / max(report.before.p99, 0.001)
    print(
        f"horizon {report.horizon_age} transactions old, {report.dead_before_release} dead hot rows;"
        f" claim p99 {ratio:.2f} times as before; clean {report.clean_after:.0f} s after it was let go"
    )


if __name__ == "__main__":
    main()
