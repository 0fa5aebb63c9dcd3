"""Many at once: one of them fires."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.schedules.conftest import Place
from tests.support.races import Rival, open_connection

WORKERS = 10


def all_at_once(database: str) -> list[str]:
    """Ten workers look at the same instant."""
    barrier = threading.Barrier(WORKERS)

    def work(_: int) -> list[str]:
        with open_connection(database) as connection:
            worker = Place(connection)
            barrier.wait(30)
            return worker.look_once()

    with ThreadPoolExecutor(WORKERS) as threads:
        return [outcome for outcomes in threads.map(work, range(WORKERS)) for outcome in outcomes]


@pytest.mark.parametrize("catch_up", ["one", "all"])
def test_ten_workers_at_once_start_one_run(place: Place, database: str, catch_up: str) -> None:
    place.it_is("2025-01-01 01:59")
    place.create(overlap="allow", catch_up=catch_up)
    place.look()
    place.it_is("2025-01-01 02:00")
    outcomes = all_at_once(database)
    assert outcomes.count("started") == 1
    assert set(outcomes) <= {"started", "taken"}
    assert len(place.runs()) == 1
    assert place.firings() == [("01 02:00", "started")]


def test_ten_workers_at_once_start_what_was_missed_once_each(place: Place, database: str) -> None:
    place.it_is("2025-01-01 00:30")
    place.create(cron="0 * * * *", overlap="allow", catch_up="all")
    place.look()
    place.it_is("2025-01-01 06:30")
    for _ in range(4):
        all_at_once(database)
    place.look()
    assert sorted(run["idempotency_key"] for run in place.runs()) == [
        f"schedule:nightly:2025-01-01T0{hour}:00:00Z" for hour in range(1, 7)
    ]


def test_who_comes_while_another_fires_does_not_wait(place: Place, database: str) -> None:
    place.it_is("2025-01-01 01:59")
    place.create()
    place.look()
    place.it_is("2025-01-01 02:00")
    (due,) = place.rows("select * from pgorch.due_schedules()")
    with open_connection(database, autocommit=False) as first:
        other = Place(first)
        assert other.fire(due) == "started"
        assert place.fire(due) == "taken"
        first.rollback()
    # The first one died: nothing of it is left, and the next one does it.
    assert place.runs() == []
    assert place.fire(due) == "started"


def test_a_pause_waits_for_the_firing_that_is_under_way(place: Place, database: str) -> None:
    place.it_is("2025-01-01 01:59")
    place.create()
    place.look()
    place.it_is("2025-01-01 02:00")
    with open_connection(database, autocommit=False) as first:
        other = Place(first)
        assert other.look_once() == ["started"]
        pause = Rival(database, "select pgorch.pause_schedule('nightly')")
        pause.wait_until_blocked()
        first.commit()
    assert pause.rows()
    assert place.schedule()["paused"] is True
    assert place.schedule()["last_run_id"] is not None


def test_creators_of_one_name_wait_for_each_other(place: Place, database: str) -> None:
    with open_connection(database, autocommit=False) as first:
        first.execute("select pgorch.create_schedule('nightly', 'report', '0 2 * * *')")
        second = Rival(database, "select pgorch.create_schedule('nightly', 'report', '0 3 * * *') as new")
        second.wait_until_blocked()
        first.commit()
    assert second.rows() == [{"new": False}]
    assert place.schedule()["cron"] == "0 3 * * *"
