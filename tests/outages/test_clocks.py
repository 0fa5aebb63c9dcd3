"""Clocks that lie: the database's jumps, the worker's is wrong."""

import contextlib
import os
import signal
import time
from pathlib import Path

import pytest

from tests.outages.cluster import Cluster
from tests.outages.ground import Ground
from tests.outages.machine import faketime_library

pytestmark = [pytest.mark.long, pytest.mark.timeout(300)]
# Times in the history are the database's, so a clock that goes back makes steps that end before they began.
NOT_OF_CLOCKS = ("I14 a step begins after what leads to it has ended",)


def waiting_for(duration: str) -> list[dict[str, str]]:
    return [{"id": "wait", "type": "wait", "for": duration}, {"id": "step"}]


def test_the_clock_of_the_database_jumps(place: Path, tmp_path: Path) -> None:
    """+1 h, back again, and 120 s into the past, with sessions that stay open."""
    clock = place / "clock"
    clock.write_text("+0\n")
    clock.chmod(0o644)
    cluster = Cluster(
        place,
        environment={
            "LD_PRELOAD": faketime_library(),
            "FAKETIME_TIMESTAMP_FILE": str(clock),
            "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        },
    )
    with contextlib.ExitStack() as stack:
        cluster.create().start().migrate()
        stack.callback(cluster.stop)
        ground = Ground(cluster.dsn, tmp_path)
        stack.callback(ground.close)
        graph = ground.prepare()
        napping = ground.graph(["nap"])
        waiting = ground.graph(waiting_for("90 seconds"), ["wait>step"])
        ground.worker(lease=5, beat=0.3)
        ground.worker(lease=5, beat=0.3)
        (timed,) = ground.start(waiting)
        ground.start(graph, 50)

        skews = []
        for offset in ("+3600", "+0", "-120", "+0"):
            clock.write_text(f"{offset}\n")
            skews.append(ground.value("select extract(epoch from clock_timestamp())::float8") - time.time())
            if offset == "+3600":
                assert ground.value("select count(*) from pgorch.runs where id = %s", timed) == 1
            ground.start(graph, 30)
            ground.start(napping, 3, {"seconds": 1})
            time.sleep(4)
        print(f"injected: the database's clock off by {[round(s) for s in skews]} s in turn")
        assert [round(s / 10) for s in skews] == [360, 0, -12, 0]

        # No lease that lasts an hour: a worker that enlists in the wrong hour, stops there, and is forgotten.
        clock.write_text("+3600\n")
        sleeper = ground.worker(lease=5, beat=0.3)
        time.sleep(1)
        os.kill(sleeper.pid, signal.SIGSTOP)
        clock.write_text("+0\n")
        longest = "select extract(epoch from max(expires_at) - clock_timestamp())::float8 as s" \
                  " from pgorch._worker_leases where status = 'alive'"  # fmt: skip
        before = ground.value(longest)
        ground.until(lambda: ground.value(longest) < 100, 20, "no lease that lasts an hour")
        after = ground.value(longest)
        print(f"a stopped worker's lease that was to last {before:.0f} s was cut to {after:.0f} s")
        assert before > 3000
        sleeper.kill()

        done = ground.all_ended_but(timed)
        print(f"all runs ended {done:.1f} s after the last jump")
        assert ground.value("select count(*) from pgorch.runs where status in ('failed', 'cancelled')") == 0
        ground.check(except_for=NOT_OF_CLOCKS)


@pytest.mark.parametrize("offset", ["+600s", "-600s"])
def test_a_worker_s_wrong_clock_changes_nothing(ground: Ground, offset: str) -> None:
    """Leases, timers and due times are the database's; the worker counts on its monotonic clock."""
    library = faketime_library()
    graph = ground.prepare()
    waiting = ground.graph(waiting_for("3 seconds"), ["wait>step"])
    napping = ground.graph([{"id": "nap", "timeout": "20 seconds"}])
    name = ground.value("select current_user")
    ground.db.execute(f"alter role {name} set timezone = 'America/St_Johns'")
    ground.worker(
        environment={"LD_PRELOAD": library, "FAKETIME": offset, "FAKETIME_DONT_FAKE_MONOTONIC": "1",
                     "TZ": "America/St_Johns"},
    )  # fmt: skip
    runs = ground.start(waiting, 5) + ground.start(napping, 5, {"seconds": 5})
    ground.start(graph, 50)
    ground.all_ended()
    said = ground.log_lines("is enlisted")
    waits = ground.rows(
        "select extract(epoch from h.at - r.created_at)::float8 as seconds from pgorch.history h"
        " join pgorch.runs r on r.bucket = h.bucket and r.id = h.run_id"
        " where h.node = 'wait' and h.kind = 'step_completed' and h.run_id = any (%s)", runs,
    )  # fmt: skip
    took = [row["seconds"] for row in waits]
    stamps = [
        line[:19]
        for file in ground.directory.glob("worker-*.log")
        for line in file.read_text().splitlines()
        if "is enlisted" in line
    ]
    print(f"injected: a worker's clock off by {offset} (its log says {stamps[0]}); waits of 3 s took"
          f" {min(took):.2f} to {max(took):.2f} s")  # fmt: skip
    skew = time.mktime(time.strptime(stamps[0], "%Y-%m-%d %H:%M:%S")) - time.time()
    assert said >= 1
    assert abs(skew) > 300
    assert len(took) == 5
    assert min(took) >= 3
    assert max(took) < 60
    assert ground.lost_attempts() == 0
    assert ground.value("select count(*) from pgorch.runs where status <> 'completed'") == 0
    ground.check()
