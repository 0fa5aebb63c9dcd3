"""Faults 3, 7 and 9: a worker that stands still in the middle of a commit, one that has hardly any processor
time, and two with one name."""

import os
import signal
import time

import pytest

from tests.crash.conftest import Crew
from tests.faults.cgroups import group, put_into
from tests.faults.proof import injected
from tests.faults.takeover import process_state

pytestmark = pytest.mark.long

# What the database lets a transaction stand still that has made its checkpoint (`record` in worker_queries).
IDLE_SECONDS = 10.0
# Milliseconds in each tenth of a second.
QUOTA = {"cfs_period_us": 100_000, "cfs_quota_us": 5_000}


def test_a_pause_inside_the_completing_transaction_holds_its_run_no_longer_than_a_lease(crew: Crew) -> None:
    graph = crew.graph(
        ["step", "pay", "effect", {"id": "end", "function": "step"}],
        ["step>pay", "step>effect", "pay>end", "effect>end"],
    )
    (paused,) = crew.hire(die_at="stop in the completing transaction")
    (run_id,) = crew.start(graph)
    crew.until(crew.note.exists)
    stopped_at = time.monotonic()
    (session,) = idle_in_transaction(crew)
    injected("kill -STOP after the step's UPDATE, before COMMIT", process_state(paused.pid or 0) == "T")

    crew.hire(2)
    others = crew.start(crew.graph("effect"), 30)
    crew.until(lambda: all(crew.run(other)["finished_at"] for other in others), 8)
    print(f"30 other runs were over after {time.monotonic() - stopped_at:.1f} s")
    assert idle_in_transaction(crew) == [session], "the others were to be done while it stands still"
    run = crew.ended(run_id)
    took = time.monotonic() - stopped_at
    print(f"the run itself after {took:.1f} s")
    assert took < IDLE_SECONDS + 5
    assert run["status"] == "completed"
    assert crew.value("select count(*) from payments") == 1
    os.kill(paused.pid or 0, signal.SIGCONT)
    crew.until(lambda: "the lease is lost" in crew.logs())
    assert crew.run(run_id) == run
    assert crew.value("select count(*) from payments") == 1


def idle_in_transaction(crew: Crew) -> list[int]:
    rows = crew.connection.execute(
        "select pid from pg_stat_activity where datname = current_database()"
        " and state = 'idle in transaction' and application_name = 'pgorch worker transaction'"
    ).fetchall()
    return [row["pid"] for row in rows]


def test_two_workers_with_one_name_do_not_have_each_other_s_steps(crew: Crew) -> None:
    one, other = crew.hire(2, name="same")
    ids = "select count(distinct worker_id) from pgorch._worker_leases where name = 'same'"
    injected("two workers under one name", crew.value(ids) == 2)
    # More than one of them has places for.
    runs = crew.start(crew.graph("hold"), 30)
    crew.until(lambda: len(crew.effects()) == 30)
    of_one = [effect["run_id"] for effect in crew.effects() if effect["pid"] == one.pid]
    assert 0 < len(of_one) < 30
    one.kill()
    crew.start_one(name="same")
    crew.until(lambda: all(crew.run(run)["finished_at"] for run in of_one))
    assert {crew.run(run)["state"]["attempt"] for run in of_one} == {2}
    # The other's are where they were: an id was declared dead, not a name.
    rest = [run for run in runs if run not in of_one]
    assert {crew.run(run)["current_nodes"][0]["attempt"] for run in rest} == {1}
    assert {effect["pid"] for effect in crew.effects() if effect["run_id"] in rest} == {other.pid}


def test_a_worker_with_five_percent_of_a_core_loses_its_lease_cleanly_or_keeps_it(crew: Crew) -> None:
    (starved,) = crew.hire(lease=2.0, beat=0.5, stall_exit=None)
    with group("cpu", **QUOTA) as slow:
        put_into(slow, starved.pid or 0)
        crew.hire(lease=2.0, beat=0.5)
        nodes = ["step", "effect", "pay", {"id": "last", "function": "step"}]
        runs = crew.start(crew.graph(nodes, ["step>effect", "effect>pay", "pay>last"]), 150)
        crew.until(lambda: not crew.value("select count(*) from pgorch.runs where finished_at is null"), 90)
        throttled = dict(line.split() for line in (slow / "cpu.stat").read_text().splitlines())
        times = int(throttled["nr_throttled"])
        injected("5 % of one core for one of two workers", times > 10, f"throttled {times} times")
    assert {crew.run(run)["status"] for run in runs} == {"completed"}
    assert crew.value("select count(*) from payments") == 150
    enlisted = crew.logs().count("is enlisted as")
    lost = crew.value("select count(*) from pgorch.history where kind = 'attempt_lost'")
    print(f"enlisted {enlisted} times in all, {lost} attempts were lost")
    assert enlisted <= 2 + 5, "it comes and goes"
    assert starved.is_alive()
