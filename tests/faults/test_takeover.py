"""Faults 1, 2 and 5: workers that are killed, paused or told to end, over and over; figures G2 to G4."""

import os
import signal
import time

import pytest

from tests.crash.conftest import Crew
from tests.faults.proof import injected
from tests.faults.takeover import cut_off_one, pause_one, seconds_after_kills, seconds_after_sigterm

pytestmark = pytest.mark.long


def test_steps_of_killed_workers_are_claimed_again_within_a_second(crew: Crew) -> None:
    took = sorted(seconds_after_kills(crew, 10))
    injected("kill -9 of a worker that holds a step", len(took) == 10, f"exit code -9, {len(took)} times")
    print(f"claimed again after {took[0]:.2f} .. {took[len(took) // 2]:.2f} .. {took[-1]:.2f} s")
    assert took[len(took) // 2] <= 1.0
    assert took[-1] <= 2.5


def test_a_worker_paused_for_longer_than_its_lease_begins_and_writes_nothing_more(crew: Crew) -> None:
    pause = pause_one(crew, lease=2.0, beat=0.5)
    lost = "a tool returned in vain: the lease was lost" in crew.logs()
    injected("kill -STOP for twice the lease, then kill -CONT", lost, "state T in /proc, the lease was lost")
    print(pause)
    assert pause.claimed_after <= 2.0 + 2.0
    assert pause.late_writes == 0
    # While it is stopped it cannot know; woken up, its watchdog looks within a quarter of a second.
    assert pause.effects_after_end <= 1.0


def test_a_worker_cut_off_from_the_database_begins_no_effect_after_its_lease(crew: Crew) -> None:
    pause = cut_off_one(crew, lease=2.0, beat=0.5)
    injected(
        "the worker's wires held, open and dead, for twice the lease", "the lease is lost" in crew.logs()
    )
    print(pause)
    assert pause.claimed_after <= 2.0 + 2.0
    assert pause.late_writes == 0
    assert pause.effects_after_lease <= 1.0


def test_the_runs_of_a_worker_that_is_told_to_end_go_on_elsewhere_at_once(crew: Crew) -> None:
    took = seconds_after_sigterm(crew, 4)
    injected("SIGTERM of a worker with 5 runs under way", len(took) == 20, "exit code 0, 4 times")
    print(f"claimed elsewhere after {min(took):.3f} .. {max(took):.3f} s")
    assert max(took) <= 0.3


def test_a_rolling_restart_under_load_burns_no_attempt(crew: Crew) -> None:
    nodes = ["step", "effect", "pay", {"id": "last", "function": "step"}]
    graph = crew.graph(nodes, ["step>effect", "effect>pay", "pay>last"])
    workers = crew.hire(3)
    crew.start(graph, 300)
    took = []
    for sign in (signal.SIGTERM, signal.SIGINT, signal.SIGTERM):
        victim = workers.pop(0)
        told_at = time.monotonic()
        os.kill(victim.pid or 0, sign)
        workers += crew.hire()
        victim.join(30)
        took.append(time.monotonic() - told_at)
        assert victim.exitcode == 0
    crew.all_ended()
    injected("SIGTERM and SIGINT round robin", len(took) == 3, f"3 exit codes 0, within {max(took):.1f} s")
    assert max(took) < 10
    kinds = crew.value("select array_agg(distinct kind::text order by kind::text) from pgorch.history")
    assert kinds == ["run_completed", "step_completed"]
    assert crew.value("select array_agg(distinct attempt) from pgorch.history where attempt is not null") == [
        1
    ]
