"""Disks that are full, or that stand still."""

import contextlib
import subprocess
import threading
import time
from pathlib import Path

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from pgorch.database.migrations import migrate
from tests.outages.calls import calling, percentile
from tests.outages.cluster import Cluster
from tests.outages.ground import Ground
from tests.outages.machine import fill, freezable_disk, memory_disk

pytestmark = [pytest.mark.long, pytest.mark.timeout(300)]


def test_the_disk_with_the_data_is_full_and_has_space_again(
    cluster: Cluster, place: Path, tmp_path: Path
) -> None:
    with memory_disk(place / "small", 48) as disk, contextlib.ExitStack() as stack:
        (disk / "space").mkdir(mode=0o700)
        with cluster.connect() as admin:
            admin.execute(f"create tablespace small location '{disk / 'space'}'".encode())
            admin.execute("create database app tablespace small")
        dsn = make_conninfo(cluster.dsn, dbname="app")
        migrate(dsn)
        ground = Ground(dsn, tmp_path)
        stack.callback(ground.close)
        graph = ground.prepare()
        api = ground.api()
        worker = ground.worker()
        with calling([api], graph, clients=4, pause=0.02) as callers:
            ground.until(lambda: len(callers.acknowledged) > 50, what="50 starts")
            ballast = fill(disk)
            full = time.monotonic()
            ground.until(lambda: any(c.status == 503 for c in callers.since(full)), 90, "a refusal")
            with (
                pytest.raises(psycopg.errors.DiskFull) as refusal,
                psycopg.connect(dsn, autocommit=True) as db,
            ):
                db.execute("create table filling as select repeat('x', 1000) from generate_series(1, 20000)")
            refused_at = time.monotonic()
            time.sleep(5)
            logged = ground.log_lines("was not taken")
            answers = callers.since(refused_at)
            ballast.unlink()
            freed = time.monotonic()
            ground.until(lambda: len([c for c in callers.since(freed) if c.status == 200]) > 20, 30, "2xx")
            first = min(c.sent + c.took for c in callers.since(freed) if c.status == 200) - freed
        print(f"injected: a full disk ({refusal.value.sqlstate}) for {freed - refused_at:.0f} s; answers"
              f" {sorted({c.status for c in answers})}; first 2xx {first:.2f} s after there was space;"
              f" {logged} lines of log")  # fmt: skip
        assert {call.status for call in callers.calls} <= {200, 503, 507}
        assert first <= 2
        # It backs off: no endless stream of refusals.
        assert logged < 200
        ground.all_ended()
        callers.check(ground.db)
        assert worker.poll() is None
        assert ground.value("select count(*) from pgorch.history where kind = 'step_failed'") == 0
        ground.check()


def test_the_disk_with_the_wal_is_full_and_the_server_is_down(place: Path, tmp_path: Path) -> None:
    with memory_disk(place / "wal", 96) as disk, contextlib.ExitStack() as stack:
        cluster = Cluster(place, settings={"max_wal_size": "64MB", "min_wal_size": "32MB"})
        cluster.create(disk / "pg_wal").start().migrate()
        stack.callback(cluster.stop)
        ground = Ground(cluster.dsn, tmp_path)
        stack.callback(ground.close)
        graph = ground.prepare()
        api = ground.api()
        worker = ground.worker()
        with calling([api], graph, clients=4) as callers:
            ground.until(lambda: len(callers.acknowledged) > 100, what="100 starts")
            ballast = fill(disk)
            # More than the segments that are there already.
            with contextlib.suppress(psycopg.Error), cluster.connect() as db:
                db.execute("create table much (t text)")
                while True:
                    db.execute("insert into much select repeat('x', 1000) from generate_series(1, 5000)")
            deadline = time.monotonic() + 60
            while not cluster.said("PANIC") and time.monotonic() < deadline:
                time.sleep(0.05)
            assert cluster.said("PANIC")
            down = time.monotonic()
            time.sleep(4)
            during = callers.since(down + 0.5)
            ballast.unlink()
            cluster.stop()
            cluster.start()
            back = time.monotonic()
            ground.until(lambda: any(c.status == 200 for c in callers.since(back)), what="a 2xx")
            first = min(c.sent + c.took for c in callers.since(back) if c.status == 200) - back
        took = [call.took for call in during]
        print(f"injected: a full WAL disk (PANIC), down {back - down:.0f} s;"
              f" answers {sorted({c.status for c in during})}, p99 {percentile(took, 99):.2f} s;"
              f" first 2xx after {first:.2f} s")  # fmt: skip
        assert {call.status for call in during} == {503}
        assert percentile(took, 99) <= 2
        assert first <= 2
        ground.all_ended()
        print(f"{callers.check(ground.db)} acknowledged, none lost")
        assert worker.poll() is None
        ground.check()


def test_a_disk_that_stands_still_for_five_seconds_costs_time_and_nothing_else(
    place: Path, tmp_path: Path
) -> None:
    with freezable_disk(place / "disk", 600) as disk, contextlib.ExitStack() as stack:
        cluster = Cluster(place, data=disk / "data", settings={"fsync": "on"})
        cluster.create().start().migrate()
        stack.callback(cluster.stop)
        ground = Ground(cluster.dsn, tmp_path)
        stack.callback(ground.close)
        graph = ground.prepare()
        api = ground.api()
        ground.worker()
        with calling([api], graph, clients=4, pause=0.02) as callers:
            ground.until(lambda: len(callers.acknowledged) > 50, what="50 starts")
            subprocess.run(["fsfreeze", "-f", str(disk)], check=True, timeout=60)
            thaw = threading.Timer(5, subprocess.run, (["fsfreeze", "-u", str(disk)],), {"timeout": 60})
            thaw.start()
            frozen = time.monotonic()
            thaw.join()
            thawed = time.monotonic()
            ground.until(lambda: len(callers.since(thawed)) > 50, what="calls go on")
        longest = max(call.took for call in callers.calls)
        print(f"injected: the disk frozen for {thawed - frozen:.1f} s; the longest call took {longest:.1f} s")
        assert longest > 3, "the fault was not felt"
        assert {call.status for call in callers.calls} == {200}
        ground.all_ended()
        callers.check(ground.db)
        assert ground.lost_attempts() == 0
        assert ground.log_lines("the lease is lost") == 0
        ground.check()
