"""Real workers fire schedules, by themselves, and once however many they are."""

import asyncio
import logging
from collections.abc import AsyncIterator
from datetime import datetime, timedelta

import psycopg
import pytest
from psycopg import Connection
from psycopg.rows import DictRow

from pgorch.worker.identity import Timing
from tests.crash.conftest import crew
from tests.schedules.conftest import ASK, Place, at
from tests.support.engine import Engine
from tests.worker.conftest import Place as Workers

__all__ = ["crew"]

QUICK = Timing(beat=0.1, schedules=0.05, stall_exit=None)


@pytest.fixture
async def workers(database: str, connection: Connection[DictRow]) -> AsyncIterator[Workers]:
    workers = Workers(database, connection)
    Engine(connection).graph(ASK)
    yield workers
    await workers.stop()


@pytest.fixture
def place(connection: Connection[DictRow]) -> Place:
    return Place(connection)


def minute_before(place: Place, seconds: float) -> datetime:
    """Sets the clock to so many seconds before a full minute, and returns that minute."""
    minute = at("2025-01-01 10:00")
    place.it_is(minute - timedelta(seconds=seconds))
    return minute


async def test_five_workers_start_one_run_when_it_is_due(workers: Workers, place: Place) -> None:
    for _ in range(5):
        await workers.work(timing=QUICK)
    minute = minute_before(place, 30)
    place.create(cron="0 * * * *")
    await workers.until(lambda: place.schedule()["next_due"] == minute)
    assert place.runs() == []
    place.it_is(minute)
    await workers.until(place.runs)
    # Every one of them has looked once more.
    await asyncio.sleep(0.3)
    assert len(place.runs()) == 1
    assert [outcome for _, outcome in place.firings()] == ["started"]


async def test_a_worker_wakes_when_something_is_due_and_not_at_its_next_look(
    workers: Workers, place: Place
) -> None:
    minute = minute_before(place, 2)
    place.create(cron="0 * * * *")
    await workers.work(timing=Timing(beat=0.1, schedules=20, stall_exit=None))
    await workers.until(place.runs, seconds=15)
    (firing,) = place.rows("select f.at from pgorch.schedule_firings f")
    assert minute <= firing["at"] < minute + timedelta(seconds=2)


@pytest.mark.sessions
async def test_a_worker_without_schedules_asks_seldom(workers: Workers, place: Place) -> None:
    await workers.work(timing=Timing(stall_exit=None))
    await workers.until_asleep()
    silent = (
        "select exists (select from pg_stat_activity a where a.application_name = 'pgorch worker schedules'"
        " and a.state = 'idle' and a.state_change < clock_timestamp() - interval '3 s')"
    )
    await workers.until(lambda: workers.value(silent), seconds=12)


async def test_one_schedule_that_cannot_be_computed_stops_no_other(
    workers: Workers, place: Place, caplog: pytest.LogCaptureFixture
) -> None:
    minute = minute_before(place, 30)
    place.create("bad", cron="0 * * * *")
    place.create("good", cron="0 * * * *")
    place.connection.execute("update pgorch.schedules set time_zone = 'Mars/Base' where name = 'bad'")
    with caplog.at_level(logging.WARNING):
        await workers.work(timing=QUICK)
        await workers.until(lambda: place.schedule("good")["next_due"])
        place.it_is(minute)
        await workers.until(place.runs)
    assert "Mars/Base is not known here" in place.schedule("bad")["last_error"]["message"]
    assert "the schedule bad" in caplog.text
    assert place.runs()[0]["idempotency_key"].startswith("schedule:good:")


async def test_a_worker_whose_connection_is_cut_goes_on_with_another(workers: Workers, place: Place) -> None:
    await workers.work(timing=QUICK)
    minute = minute_before(place, 30)
    place.create(cron="0 * * * *")
    await workers.until(lambda: place.schedule()["next_due"])
    cut = (
        "select pg_terminate_backend(a.pid) from pg_stat_activity a"
        " where a.application_name = 'pgorch worker schedules'"
    )
    assert workers.value(cut) is True
    place.it_is(minute)
    await workers.until(place.runs)


async def test_a_run_that_somebody_holds_delays_its_schedule_alone(
    workers: Workers, place: Place, database: str
) -> None:
    minute = minute_before(place, 30)
    place.create("held", cron="0 * * * *", overlap="cancel_other")
    first = place.value("select pgorch.trigger_schedule('held')")
    place.create("other", cron="0 * * * *")
    await workers.work(timing=QUICK)
    await workers.until(lambda: place.schedule("other")["next_due"] and place.schedule("held")["next_due"])
    with psycopg.connect(database) as holder:
        holder.execute("select from pgorch.runs r where r.id = %s for update", [first])
        place.it_is(minute)
        await workers.until(lambda: place.firings("other"))
        assert place.schedule("held")["last_run_id"] == first
        assert place.schedule("held")["last_error"] is None
    await workers.until(lambda: place.schedule("held")["last_run_id"] != first)
    assert place.engine.status(first) == "cancelled"


def test_workers_that_are_killed_leave_it_to_those_that_live(crew, place: Place) -> None:  # type: ignore[no-untyped-def]
    Engine(place.connection).graph(ASK)
    processes = crew.hire(3, schedules=0.02)
    minute = minute_before(place, 30)
    for number in range(20):
        place.create(f"s{number}", cron="0 * * * *")
    crew.until(lambda: not place.rows("select from pgorch.schedules s where s.next_due is null"))
    place.it_is(minute)
    processes[0].kill()
    processes[1].kill()
    crew.until(lambda: len(place.runs()) == 20)
    keys = {run["idempotency_key"] for run in place.runs()}
    assert keys == {f"schedule:s{number}:2025-01-01T10:00:00Z" for number in range(20)}
    assert {place.firings(f"s{number}")[0] for number in range(20)} == {("01 10:00", "started")}
