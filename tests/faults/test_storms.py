"""Faults 11 to 13: sessions that are terminated, interrupted, or lost with all others as one backend dies."""

import os
import signal
import time

import psycopg
import pytest

from tests.crash.conftest import Crew
from tests.faults.proof import injected
from tests.faults.storms import sessions_opened, storm

pytestmark = pytest.mark.long

NODES = ["step", "effect", "pay", {"id": "last", "function": "step"}]
EDGES = ["step>effect", "effect>pay", "pay>last"]
STORM_SECONDS = 5.0


def work_through(crew: Crew, runs: int, seconds: float) -> None:
    """Starts runs for so long that the storm finds some under way."""
    graph = crew.graph(NODES, EDGES)
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        crew.start(graph, runs)
        crew.until(
            lambda: (
                crew.value("select count(*) from pgorch.runs where finished_at is null") < runs
                or time.monotonic() > end
            )
        )


def assert_all_paid_once(crew: Crew) -> None:
    statuses = "select array_agg(distinct status::text) from pgorch.runs"
    errors = "select array_agg(distinct error ->> 'message') from pgorch.runs where error is not null"
    assert crew.value(statuses) == ["completed"], crew.value(errors)
    assert crew.value("select count(*) from payments") == crew.value("select count(*) from pgorch.runs")
    assert crew.value("select count(distinct run_id) = count(*) from payments")


def test_terminated_sessions_are_opened_again_and_cost_no_step(crew: Crew) -> None:
    workers = crew.hire(2)
    before = sessions_opened(crew.connection)
    with storm(crew.dsn, "pg_terminate_backend") as seen:
        work_through(crew, 20, STORM_SECONDS)
    crew.all_ended()
    injected("pg_terminate_backend of 30 % of the workers' sessions each 200 ms", seen.hits)
    assert seen.total > 20
    assert_all_paid_once(crew)
    assert all(worker.is_alive() for worker in workers)
    # Each tool leaves its effect over a session of its own, and the storm has one.
    opened = sessions_opened(crew.connection) - before - len(crew.effects()) - 1
    print(f"{opened} sessions were opened for {seen.total} that were lost")
    # A lost heartbeat opens two (the second to enlist), and each is checked by a look from another.
    assert opened <= 3 * seen.total + 50


def test_interrupted_statements_are_no_failures_of_steps(crew: Crew) -> None:
    workers = crew.hire(2)
    with storm(crew.dsn, "pg_cancel_backend", every=0.1) as seen:
        work_through(crew, 20, STORM_SECONDS)
    crew.all_ended()
    injected("pg_cancel_backend of 30 % of the workers' sessions each 100 ms", seen.hits)
    assert "canceling statement due to user request" in crew.logs()
    assert_all_paid_once(crew)
    kinds = crew.value("select array_agg(distinct kind::text order by kind::text) from pgorch.history")
    assert set(kinds) <= {"attempt_lost", "step_completed", "run_completed"}
    assert all(worker.is_alive() for worker in workers)


def test_a_backend_that_crashes_takes_all_sessions_and_nothing_else(own_crew: Crew) -> None:
    crew = own_crew
    workers = crew.hire(2)
    crew.start(crew.graph(NODES, EDGES), 100)
    crashes = 0
    for done in (60, 160, 260):
        crew.until_done(done)
        pid = crew.value(
            "select pid from pg_stat_activity where application_name = 'pgorch worker advance' limit 1"
        )
        os.kill(pid, signal.SIGKILL)
        crashes += 1
        deadline = time.monotonic() + 30
        lost = False
        while not (lost and connected(crew)):
            assert time.monotonic() < deadline
            lost = lost or not answers(crew)
            time.sleep(0.01)
    injected(
        "kill -9 of a backend under load",
        crashes == 3,
        f"the test's own session was lost {crashes} times, too",
    )
    crew.all_ended()
    assert_all_paid_once(crew)
    assert all(worker.is_alive() for worker in workers)


def answers(crew: Crew) -> bool:
    try:
        crew.value("select 1")
    except psycopg.OperationalError:
        return False
    return True


def connected(crew: Crew) -> bool:
    try:
        crew.reconnect()
    except psycopg.OperationalError:
        return False
    return True
