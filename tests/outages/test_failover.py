"""The primary dies and its standby takes over, with and without loss; or it becomes read only."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from tests.outages.calls import calling, percentile
from tests.outages.cluster import Cluster
from tests.outages.ground import ROOT, Ground

pytestmark = [pytest.mark.long, pytest.mark.timeout(300)]


class Pair:
    """A primary and its standby, and a DSN that names both."""

    def __init__(self, place: Path) -> None:
        place.joinpath("one").mkdir()
        place.joinpath("two").mkdir()
        self.primary = Cluster(place / "one").create().start().migrate()
        self.primary.stop()
        self.standby = self.primary.copy(place / "two")
        self.primary.start()
        self.standby.start()
        self.dsn = (
            f"host=127.0.0.1,127.0.0.1 port={self.primary.port},{self.standby.port}"
            " user=postgres dbname=postgres target_session_attrs=read-write"
        )

    def wait_until_followed(self, state: str = "async") -> int:
        """The process id of the primary's walsender, once the standby follows with this state."""
        deadline = time.monotonic() + 60
        with self.primary.connect() as db:
            while True:
                row = db.execute("select pid, state, sync_state from pg_stat_replication").fetchone()
                if row and row["state"] == "streaming" and row["sync_state"] == state:
                    return int(row["pid"])
                assert time.monotonic() < deadline, row
                time.sleep(0.05)

    def be_synchronous(self) -> None:
        with self.primary.connect() as db:
            db.execute("alter system set synchronous_standby_names = 'standby'")
            db.execute("select pg_reload_conf()")

    def kill_primary(self, walsender: int) -> None:
        os.kill(walsender, signal.SIGKILL)
        self.primary.stop(signal.SIGKILL)

    def stop(self) -> None:
        self.standby.stop(signal.SIGQUIT)
        self.primary.stop(signal.SIGQUIT)


@pytest.fixture
def pair(place: Path) -> Iterator[Pair]:
    pair = Pair(place)
    yield pair
    pair.stop()


@pytest.fixture
def ground(pair: Pair, tmp_path: Path) -> Iterator[Ground]:
    ground = Ground(pair.dsn, tmp_path)
    yield ground
    ground.close()


def lost(*arguments: str) -> list[dict[str, Any]]:
    """What the command `pgorch lost` lists."""
    done = subprocess.run(
        [sys.executable, "-m", "pgorch", "lost", "-o", "json", *arguments],
        cwd=ROOT, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    rows: list[dict[str, Any]] = json.loads(done.stdout)
    assert done.returncode == (1 if rows else 0), done.stderr
    return rows


def test_a_failover_that_loses_what_was_acknowledged(pair: Pair, ground: Ground, tmp_path: Path) -> None:
    graph = ground.prepare()
    napping = ground.graph(["nap"])
    api = ground.api(pair.dsn)
    worker = ground.worker(pair.dsn)
    walsender = pair.wait_until_followed()
    with calling([api], graph, clients=4) as callers:
        ground.until(lambda: len(callers.acknowledged) > 100, what="100 starts")
        os.kill(walsender, signal.SIGSTOP)
        stopped = time.monotonic()
        (doomed,) = ground.start(napping, input={"seconds": 8})
        ground.until(lambda: any(e["run"] == str(doomed) for e in ground.effects("began")), what="a nap")
        ground.until(lambda: len(callers.since(stopped)) > 20, what="starts into the void")
        pair.kill_primary(walsender)
        killed = time.monotonic()
        promoted = pair.standby.promote()
        ground.reconnect()
        back = time.monotonic()
        ground.until(lambda: any(call.status == 200 for call in callers.since(back)), what="a 2xx")
        first = min(c.sent + c.took for c in callers.since(back) if c.status == 200) - back
        told = dict(callers.acknowledged)
        ground.until(lambda: len(callers.since(back)) > 100, what="calls go on")
    kept = {row["id"] for row in ground.rows("select id from pgorch.runs")}
    gone = {run_id for run_id in told.values() if run_id not in kept}
    print(f"injected: SIGSTOP of the walsender, kill -9, promote ({promoted:.2f} s). {len(gone)} of"
          f" {len(told)} acknowledged starts are gone; first 2xx after {first:.2f} s")  # fmt: skip
    assert gone, "the failover lost nothing: the fault did not happen"
    assert doomed not in kept
    assert first <= 2

    # What is lost can be listed: from what callers wrote down, and from the old server's disk.
    list_of_callers = tmp_path / "told"
    list_of_callers.write_text("\n".join(f"{key} {run_id}" for key, run_id in told.items()))
    assert {UUID(row["run_id"]) for row in lost(str(list_of_callers), "--dsn", pair.dsn)} == gone
    pair.primary.start()
    records = lost("--old", pair.primary.dsn, "--dsn", pair.standby.dsn)
    runs = {UUID(row["run_id"]) for row in records if row["seq"] == 0}
    print(f"pgorch lost --old lists {len(runs)} runs and {len(records) - len(runs)} entries of histories")
    assert gone | {doomed} <= runs
    assert not runs & kept

    # A tool whose lease the new primary does not know is stopped, not left to run beside its successor.
    ground.until(lambda: any(e["run"] == str(doomed) for e in ground.effects("stopped")), 20, "a stop")
    (at,) = [e["at"] for e in ground.effects("stopped") if e["run"] == str(doomed)]
    print(f"the tool of a lost run was stopped {at - killed:.1f} s after the primary was killed")
    assert not any(e["run"] == str(doomed) for e in ground.effects("ended"))

    # Whoever repeats a lost request with its key gets a run, and one.
    again = {key for key, run_id in told.items() if run_id in gone}
    for key in again:
        ground.value("select pgorch.start(%s, p_idempotency_key => %s)", graph, key)
    ground.all_ended()
    assert worker.poll() is None
    counted = ground.value("select count(*) from pgorch.runs where idempotency_key = any (%s)", list(again))
    assert counted == len(again)
    ground.check()


def test_a_failover_with_a_synchronous_standby_loses_nothing(pair: Pair, ground: Ground) -> None:
    graph = ground.prepare()
    pair.be_synchronous()
    walsender = pair.wait_until_followed("sync")
    api = ground.api(pair.dsn)
    ground.worker(pair.dsn)
    with calling([api], graph, clients=8) as callers:
        ground.until(lambda: len(callers.acknowledged) > 200, what="200 starts")
        os.kill(walsender, signal.SIGSTOP)
        stopped = time.monotonic()
        time.sleep(1.5)
        hung = [call for call in callers.since(stopped) if call.status == 200]
        pair.kill_primary(walsender)
        pair.standby.promote()
        ground.reconnect()
        back = time.monotonic()
        ground.until(lambda: any(call.status == 200 for call in callers.since(back)), what="a 2xx")
        first = min(c.sent + c.took for c in callers.since(back) if c.status == 200) - back
        ground.until(lambda: len(callers.since(back)) > 100, what="calls go on")
    ground.all_ended()
    acknowledged = callers.check(ground.db)
    print(f"injected: SIGSTOP of the walsender, after which {len(hung)} starts were acknowledged, kill -9,"
          f" promote. {acknowledged} acknowledged, 0 lost; first 2xx after {first:.2f} s")  # fmt: skip
    assert hung == []
    assert first <= 2
    ground.check()


def test_a_primary_that_becomes_read_only_is_left_for_the_new_one(pair: Pair, ground: Ground) -> None:
    """Row 24: the old primary stays up and answers, as after a demotion by hand."""
    graph = ground.prepare()
    api = ground.api(pair.dsn)
    worker = ground.worker(pair.dsn)
    pair.wait_until_followed()
    with calling([api], graph, clients=4) as callers:
        ground.until(lambda: len(callers.acknowledged) > 100, what="100 starts")
        with pair.primary.connect() as db:
            db.execute("alter system set default_transaction_read_only = on")
            db.execute("select pg_reload_conf()")
            demoted = time.monotonic()
            time.sleep(3)
            last = db.execute("select pg_current_wal_lsn() as lsn").fetchone()
        assert last is not None
        with pair.standby.connect() as db:
            caught_up = "select pg_last_wal_replay_lsn() >= %s::pg_lsn as caught_up"
            while db.execute(caught_up, [last["lsn"]]).fetchone() != {"caught_up": True}:
                time.sleep(0.05)
        pair.standby.promote()
        ground.reconnect()
        back = time.monotonic()
        ground.until(lambda: any(call.status == 200 for call in callers.since(back)), what="a 2xx")
        first = min(c.sent + c.took for c in callers.since(back) if c.status == 200) - back
        done = ground.done()
        ground.until(lambda: ground.done() > done + 50, what="the worker works on the new primary")
    refused = [call for call in callers.since(demoted) if call.status != 200]
    print(f"injected: default_transaction_read_only for {back - demoted:.1f} s, then a promotion: "
          f"{len(refused)} refused with {({c.status for c in refused})}, p99"
          f" {percentile([c.took for c in refused], 99):.2f} s, first 2xx after {first:.2f} s")  # fmt: skip
    assert refused
    assert {call.status for call in refused} == {503}
    assert first <= 2
    ground.all_ended()
    callers.check(ground.db)
    assert pair.primary.said("cannot execute") or pair.primary.said("read-only transaction")
    assert worker.poll() is None
    assert ground.value("select count(*) from pgorch.history where kind = 'step_failed'") == 0
    ground.check()
