"""Fault 8: who fires timers is killed in the middle, or does it twice."""

import time
from datetime import timedelta
from typing import Any

import psycopg
import pytest

from tests.crash.conftest import Crew
from tests.engine.conftest import engine, fresh_database
from tests.faults.proof import injected
from tests.support.engine import Engine, definition
from tests.support.races import open_connection, wait_until

__all__ = ["engine", "fresh_database"]

TIMERS = 50


def waiting(seconds: float) -> dict[str, Any]:
    return definition([{"id": "w", "type": "wait", "for": f"{seconds} seconds"}])


@pytest.fixture
def due(engine: Engine) -> Engine:
    """Waits whose time has come, as many as one sweep takes."""
    graph = engine.graph(waiting(60))
    engine.value(
        "select pgorch.start_many(%s, array_fill('{}'::jsonb, array[%s]), p_bucket => 0)", graph, TIMERS
    )
    engine.jump(timedelta(seconds=61))
    return engine


def test_two_sweeps_at_once_fire_each_timer_once_and_do_not_wait(due: Engine, database: str) -> None:
    with open_connection(database, autocommit=False) as first:
        fired = Engine(first).value("select pgorch.tick(0)")
        assert due.value("select pgorch.tick(0)") == 0
        injected("two sweeps at once", fired == TIMERS, f"the first one has fired {fired} and is still open")
        first.commit()
    assert due.value("select pgorch.tick(0)") == 0
    assert_all_fired_once(due)


def test_a_sweep_killed_in_the_middle_is_done_by_the_next(due: Engine, database: str) -> None:
    with open_connection(database, autocommit=False) as first:
        assert Engine(first).value("select pgorch.tick(0)") == TIMERS
        pid = first.info.backend_pid
        killed = due.value("select pg_terminate_backend(%s)", pid)
        wait_until(lambda: not due.value("select count(*) from pg_stat_activity where pid = %s", pid))
        injected("the session of a sweep that has fired everything is terminated", killed)
        with pytest.raises(psycopg.OperationalError):
            first.commit()
    assert not due.value("select count(*) from pgorch.run_history where kind <> 'wait_started'")
    assert due.value("select pgorch.tick(0)") == TIMERS
    assert_all_fired_once(due)


def assert_all_fired_once(engine: Engine) -> None:
    counts = engine.rows("select kind::text, count(*) as n from pgorch.run_history group by 1 order by 1")
    ended = {row["kind"]: row["n"] for row in counts if row["kind"] in ("step_completed", "run_completed")}
    assert ended == {"step_completed": TIMERS, "run_completed": TIMERS}


@pytest.mark.long
def test_timers_of_a_killed_worker_fire_within_five_seconds(crew: Crew) -> None:
    first, _ = crew.hire(2)
    crew.start(crew.graph(waiting(1.5)["nodes"]), 100)
    time.sleep(1.0)
    first.kill()
    first.join(20)
    injected("kill -9 half a second before 100 timers are due", first.exitcode == -9)
    crew.all_ended()
    late = crew.value("select extract(epoch from max(finished_at) - min(created_at)) - 1.5 from pgorch.runs")
    print(f"the last one was {late:.2f} s late")
    assert late < 5
    assert crew.value("select count(*) from pgorch.history where kind = 'step_completed'") == 100
