"""kill -9 a worker at any moment: its steps go on elsewhere, and each checkpoint counts once."""

import os
import signal
import time

import pytest

from tests.crash.conftest import Crew
from tests.crash.tools import registry

POINTS = [
    "before the effect",
    "after the effect",
    "before results are handed in",
    "after results were handed in",
    "in the completing transaction",
    "after the commit",
]


def chain(crew: Crew) -> str:
    nodes = ["step", "effect", "pay", {"id": "last", "function": "step"}]
    return crew.graph(nodes, ["step>effect", "effect>pay", "pay>last"])


@pytest.mark.parametrize("point", POINTS)
def test_a_worker_killed_at_a_marked_point(crew: Crew, point: str) -> None:
    (run_id,) = crew.start(chain(crew))
    crew.hire(2, die_at=point)
    run = crew.ended(run_id)
    killed_at = float(crew.note.read_text())
    print(f"killed {point}: the run was over {time.time() - killed_at:.2f} s later")
    assert run["status"] == "completed"
    assert run["state"]["n"] == 2
    assert crew.value("select count(*) from payments") == 1
    effects = crew.effects()
    assert len(effects) == (2 if point == "after the effect" else 1) or "handed in" in point
    assert len({effect["key"] for effect in effects}) == 1
    assert len({effect["token"] for effect in effects}) == len(effects)
    assert crew.kinds(run_id).count("step_completed") == 4
    assert crew.kinds(run_id).count("attempt_lost") <= 1


@pytest.mark.sessions
def test_a_dead_worker_s_steps_are_taken_over_within_seconds(crew: Crew) -> None:
    (first,) = crew.hire()
    runs = crew.start(crew.graph("hold"), 10)
    crew.until(lambda: len(crew.effects()) == 10)
    crew.hire()
    killed_at = time.monotonic()
    first.kill()
    crew.until(lambda: len(crew.effects()) == 20)
    took = time.monotonic() - killed_at
    print(f"10 steps of a killed worker were begun elsewhere after {took:.2f} s")
    assert took < 5
    crew.all_ended()
    assert crew.run(runs[0])["state"] == {"attempt": 2}


def test_workers_killed_under_load(crew: Crew) -> None:
    workers = crew.hire(2)
    runs = crew.start(chain(crew), 60)
    for done in (40, 120):
        crew.until_done(done)
        workers.pop().kill()
        workers += crew.hire()
    crew.all_ended()
    assert {crew.run(run)["status"] for run in runs} == {"completed"}
    assert crew.value("select count(*) from payments") == 60


def test_all_workers_killed_and_others_started(crew: Crew) -> None:
    workers = crew.hire(2)
    runs = crew.start(crew.graph("hold"), 6)
    crew.until(lambda: len(crew.effects()) == 6)
    for worker in workers:
        worker.kill()
        worker.join(20)
    assert {crew.run(run)["status"] for run in runs} == {"running"}
    crew.hire()
    crew.all_ended()
    assert {crew.run(run)["state"]["attempt"] for run in runs} == {2}


def test_a_step_that_kills_its_workers_is_given_up_and_its_neighbours_are_not(crew: Crew) -> None:
    # Who is suspected of killing is run alone among the steps of its bucket.
    (bad,) = crew.start(crew.graph("poison"), bucket=0)
    good = crew.start(chain(crew), 10, bucket=0)
    for _ in range(3):
        (worker,) = crew.hire()
        worker.join(20)
        assert worker.exitcode == 9
    (survivor,) = crew.hire()
    run = crew.ended(bad)
    assert run["status"] == "failed"
    assert run["error"]["type"] == "WorkerLost"
    assert crew.kinds(bad) == ["attempt_lost"] * 3 + ["step_failed", "run_failed"]
    crew.all_ended()
    assert {crew.run(run)["status"] for run in good} == {"completed"}
    assert survivor.is_alive()


def test_a_paused_worker_cannot_write_when_it_comes_back(crew: Crew) -> None:
    (paused,) = crew.hire(lease=1.5, beat=0.3)
    (run_id,) = crew.start(crew.graph("hold"))
    crew.until(lambda: len(crew.effects()) == 1)
    os.kill(paused.pid or 0, signal.SIGSTOP)
    crew.hire(lease=1.5, beat=0.3)
    assert crew.ended(run_id)["state"] == {"attempt": 2}
    before = crew.run(run_id)
    os.kill(paused.pid or 0, signal.SIGCONT)
    # It notices by itself, drops what it had, and comes back as another worker.
    crew.until(lambda: "the lease is lost" in crew.logs())
    crew.until(
        lambda: (
            crew.value("select count(distinct worker_id) from pgorch._worker_leases where status = 'alive'")
            == 2
        )
    )
    assert crew.run(run_id) == before
    first, second = (effect["pid"] for effect in crew.effects())
    assert first == paused.pid != second


def test_a_worker_whose_event_loop_is_blocked_ends_itself(crew: Crew) -> None:
    (blocked,) = crew.hire(stall_warning=0.5, stall_exit=1.0)
    (run_id,) = crew.start(crew.graph("block"))
    blocked.join(20)
    assert blocked.exitcode == 70
    assert "time.sleep(60)" in crew.logs()
    crew.hire()
    assert crew.ended(run_id)["state"] == {"attempt": 2}


def test_sigterm_drains_the_worker_of_the_command_line(crew: Crew) -> None:
    worker = crew.launch()
    runs = crew.start(chain(crew), 5)
    crew.all_ended()
    assert {crew.run(run)["status"] for run in runs} == {"completed"}
    worker.send_signal(signal.SIGTERM)
    assert worker.wait(20) == 0
    assert crew.value("select count(*) from pgorch.worker_list") == 0
    assert {row["name"] for row in crew.connection.execute("select name from pgorch.tools")} >= set(registry)


def test_a_second_signal_ends_the_worker_at_once(crew: Crew) -> None:
    worker = crew.launch()
    (run_id,) = crew.start(crew.graph("hold"))
    crew.until(lambda: len(crew.effects()) == 1)
    worker.send_signal(signal.SIGTERM)
    # A worker that drains is not to be had for another step.
    crew.until(lambda: not _takes_another_step(crew))
    worker.send_signal(signal.SIGINT)
    assert worker.wait(20) == 128 + signal.SIGINT
    crew.hire()
    assert crew.ended(run_id)["state"] == {"attempt": 2}


def _takes_another_step(crew: Crew) -> bool:
    (run_id,) = crew.start(crew.graph("step"))
    deadline = time.monotonic() + 1
    while time.monotonic() < deadline:
        if crew.run(run_id)["finished_at"] is not None:
            return True
        time.sleep(0.02)
    return False
