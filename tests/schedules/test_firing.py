"""What becomes of due times: played by one worker, on a clock that the test sets."""

import psycopg
import pytest

from tests.schedules.conftest import Place, at


def test_a_schedule_starts_a_run_when_it_is_due_and_not_before(place: Place) -> None:
    place.it_is("2025-01-01 00:00")
    assert place.create(
        cron="0 2 * * *", time_zone="Europe/Berlin", input={"a": 1}, queue="night", priority=7
    )
    assert place.look() == ["planned"]
    assert place.schedule()["next_due"] == at("2025-01-01 01:00")
    place.it_is("2025-01-01 00:59:50")
    assert place.look() == []
    place.it_is("2025-01-01 01:00")
    assert place.look() == ["started"]
    assert place.look() == []
    (run,) = place.runs()
    assert (run["graph"], run["queue"], run["priority"]) == ("report", "night", 7)
    assert run["idempotency_key"] == "schedule:nightly:2025-01-01T01:00:00Z"
    assert run["state"] == {"a": 1}
    schedule = place.schedule()
    assert (schedule["last_due"], schedule["last_run_id"]) == (at("2025-01-01 01:00"), run["run_id"])
    assert schedule["next_due"] == at("2025-01-02 01:00")
    assert place.firings() == [("01 01:00", "started")]


def test_a_time_between_creation_and_the_first_look_is_not_lost(place: Place) -> None:
    place.it_is("2025-01-01 01:59:58")
    place.create()
    place.it_is("2025-01-01 02:00:03")
    assert place.look() == ["started"]


@pytest.mark.parametrize(
    ("zone", "days", "expected"),
    [
        ("Europe/Berlin", ["2025-03-29", "2025-03-30", "2025-03-31"], ["29 01:30", "30 01:00", "31 00:30"]),
        ("Europe/Berlin", ["2025-10-25", "2025-10-26", "2025-10-27"], ["25 00:30", "26 00:30", "27 01:30"]),
        (
            "America/New_York",
            ["2025-03-08", "2025-03-09", "2025-03-10"],
            ["08 07:30", "09 07:00", "10 06:30"],
        ),
        (
            "America/New_York",
            ["2025-11-01", "2025-11-02", "2025-11-03"],
            ["01 06:30", "02 07:30", "03 07:30"],
        ),
    ],
)
def test_once_a_day_also_when_clocks_are_changed(
    place: Place, zone: str, days: list[str], expected: list[str]
) -> None:
    place.it_is(f"{days[0]} 00:00", zone)
    place.create(cron="30 2 * * *", time_zone=zone, overlap="allow")
    for day in days:
        for hour in range(24):
            place.day(f"{day} {hour:02}:00", f"{day} {hour:02}:30", zone=zone)
    assert place.firings() == [(due, "started") for due in expected]


def test_half_hours_in_the_hour_that_comes_twice_are_all_due(place: Place) -> None:
    place.it_is("2025-10-25 23:45")
    place.create(cron="*/30 * * * *", time_zone="Europe/Berlin", overlap="allow")
    place.day(*(at("2025-10-26 00:00").replace(hour=h, minute=m) for h in range(3) for m in (0, 30)))
    assert [due for due, _ in place.firings()] == [
        "26 00:00", "26 00:30", "26 01:00", "26 01:30", "26 02:00", "26 02:30",
    ]  # fmt: skip


# Catching up --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("catch_up", "expected"),
    [
        ("one", [("01 01:00", "missed"), ("01 04:00", "started")]),
        ("all", [(f"01 0{h}:00", "started") for h in (1, 2, 3, 4)]),
        ("none", [("01 01:00", "missed")]),
    ],
)
def test_catching_up_after_hours_without_a_worker(
    place: Place, catch_up: str, expected: list[tuple[str, str]]
) -> None:
    place.it_is("2025-01-01 00:30")
    place.create(cron="0 * * * *", catch_up=catch_up, overlap="allow")
    place.look()
    place.it_is("2025-01-01 04:20")
    place.look()
    assert place.firings() == expected
    place.it_is("2025-01-01 05:00")
    assert place.look() == ["started"]
    assert place.firings()[-1] == ("01 05:00", "started")


@pytest.mark.parametrize("catch_up", ["one", "all", "none"])
def test_half_a_minute_late_is_in_time_under_each_policy(place: Place, catch_up: str) -> None:
    place.it_is("2025-01-01 00:30")
    place.create(cron="0 * * * *", catch_up=catch_up)
    place.look()
    place.it_is("2025-01-01 01:00:30")
    place.look()
    assert place.firings() == [("01 01:00", "started")]


@pytest.mark.parametrize(
    ("catch_up", "expected"),
    [
        ("one", [("01 01:00", "missed"), ("01 09:00", "started")]),
        ("all", [("01 01:00", "missed"), ("01 08:00", "started"), ("01 09:00", "started")]),
    ],
)
def test_what_is_older_than_the_window_is_not_caught_up(
    place: Place, catch_up: str, expected: list[tuple[str, str]]
) -> None:
    place.it_is("2025-01-01 00:30")
    place.create(cron="0 * * * *", catch_up=catch_up, catch_up_window="2 hours", overlap="allow")
    place.look()
    place.it_is("2025-01-01 09:30")
    place.look()
    assert place.firings() == expected


def test_a_last_time_that_is_older_than_the_window_is_missed(place: Place) -> None:
    place.it_is("2025-01-01 00:00")
    place.create(cron="0 2 1 * *", catch_up_window="2 hours")
    place.look()
    place.it_is("2025-01-05 00:00")
    assert place.look() == ["missed"]
    assert place.runs() == []
    assert place.schedule()["next_due"] == at("2025-02-01 02:00")


def test_many_missed_times_are_told_in_parts_and_only_the_last_fires(place: Place) -> None:
    place.it_is("2025-01-01 00:00:30")
    place.create(cron="* * * * *")
    place.look()
    place.it_is("2025-01-01 00:25:30")
    outcomes = place.look(most=10)
    assert outcomes == ["missed", "missed", "started"]
    assert place.firings()[-1] == ("01 00:25", "started")
    assert len(place.runs()) == 1


def test_a_clock_that_goes_back_fires_nothing_twice(place: Place) -> None:
    place.it_is("2025-01-01 01:59")
    place.create()
    place.day("2025-01-01 02:00", "2025-01-01 01:00", "2025-01-01 02:00", "2025-01-01 03:00")
    assert place.firings() == [("01 02:00", "started")]


# Overlapping --------------------------------------------------------------------------------------


def hourly(place: Place, overlap: str) -> None:
    place.it_is("2025-01-01 00:30")
    place.create(cron="0 * * * *", overlap=overlap)
    place.day("2025-01-01 00:31", "2025-01-01 01:00")
    assert [run["status"] for run in place.runs()] == ["awaiting_approval"]


def test_skip_starts_nothing_beside_a_run_that_has_not_ended(place: Place) -> None:
    hourly(place, "skip")
    place.day("2025-01-01 02:00")
    assert place.firings() == [("01 01:00", "started"), ("01 02:00", "skipped")]
    first = place.runs()[0]["run_id"]
    skipped = place.rows("select * from pgorch.schedule_firings where outcome = 'skipped'")[0]
    assert skipped["run_id"] == first
    place.end(first)
    place.day("2025-01-01 03:00")
    assert place.firings()[-1] == ("01 03:00", "started")


def test_skip_looks_at_all_runs_and_not_at_the_last_alone(place: Place) -> None:
    hourly(place, "skip")
    second = place.value("select pgorch.trigger_schedule('nightly', p_overlap => 'allow')")
    place.end(second)
    place.day("2025-01-01 02:00")
    assert place.firings()[-1] == ("01 02:00", "skipped")


def test_allow_starts_runs_side_by_side(place: Place) -> None:
    hourly(place, "allow")
    place.day("2025-01-01 02:00", "2025-01-01 03:00")
    assert [run["status"] for run in place.runs()] == ["awaiting_approval"] * 3


def test_cancel_other_cancels_what_has_not_ended(place: Place) -> None:
    hourly(place, "cancel_other")
    place.day("2025-01-01 02:00")
    assert [run["status"] for run in place.runs()] == ["cancelled", "awaiting_approval"]
    assert place.runs()[0]["error"] is None
    cancelled = place.rows("select * from pgorch.run_history where kind = 'run_cancelled'")
    assert "nightly" in str(cancelled[0]["error"])


def test_buffer_one_starts_one_run_when_the_one_before_has_ended(place: Place) -> None:
    hourly(place, "buffer_one")
    place.day("2025-01-01 02:00", "2025-01-01 03:00", "2025-01-01 03:10")
    assert place.firings()[1:] == [("01 02:00", "buffered"), ("01 03:00", "skipped")]
    assert place.schedule()["buffered"] == at("2025-01-01 02:00")
    place.end(place.runs()[0]["run_id"])
    assert place.look() == ["started"]
    assert place.firings()[-1] == ("01 02:00", "started")
    assert [run["status"] for run in place.runs()] == ["completed", "awaiting_approval"]
    assert place.schedule()["buffered"] is None
    assert place.schedule()["next_due"] == at("2025-01-01 04:00")


def test_pausing_drops_what_is_buffered(place: Place) -> None:
    hourly(place, "buffer_one")
    place.day("2025-01-01 02:00")
    place.value("select pgorch.pause_schedule('nightly')")
    place.end(place.runs()[0]["run_id"])
    place.value("select pgorch.resume_schedule('nightly')")
    assert place.look() == ["planned"]


# What fails ---------------------------------------------------------------------------------------


def test_a_schedule_whose_graph_is_gone_says_so_and_stops_no_other(place: Place) -> None:
    place.it_is("2025-01-01 00:00")
    place.create("a")
    place.create("b")
    place.look()
    place.connection.execute("update pgorch.schedules set graph = 'repart' where name = 'a'")
    place.it_is("2025-01-01 02:00")
    assert sorted(place.look()) == ["failed", "started"]
    assert place.schedule("a")["last_error"] == {"code": "OR003", "message": 'there is no graph "repart"'}
    assert place.firings("a") == [("01 02:00", "failed")]
    assert place.schedule("a")["next_due"] == at("2025-01-02 02:00")
    assert place.firings("b") == [("01 02:00", "started")]

    place.connection.execute("update pgorch.schedules set graph = 'report' where name = 'a'")
    place.it_is("2025-01-02 02:00")
    place.look()
    assert place.schedule("a")["last_error"] is None
    assert place.firings("a")[-1] == ("02 02:00", "started")


def test_a_lock_that_somebody_holds_is_no_failure_of_the_schedule(place: Place, database: str) -> None:
    hourly(place, "cancel_other")
    place.it_is("2025-01-01 02:00")
    place.connection.execute("set lock_timeout = '100ms'")
    with psycopg.connect(database) as holder:
        holder.execute("select from pgorch.runs for update")
        with pytest.raises(psycopg.errors.LockNotAvailable):
            place.look()
        assert place.schedule()["last_error"] is None
    assert place.look() == ["started"]


def test_times_that_do_not_grow_are_refused(place: Place) -> None:
    place.it_is("2025-01-01 00:00")
    place.create()
    good, later = at("2025-01-01 02:00"), at("2025-01-02 02:00")
    for times in ([], [later, good], [good, good], [at("2024-12-31 02:00"), good], [good, None]):
        with pytest.raises(psycopg.Error, match="not a growing list") as caught:
            place.value("select pgorch.fire_schedule('nightly', 0, %s::timestamptz[])", times)
        assert caught.value.sqlstate == "OR006"
    assert place.value("select pgorch.fire_schedule('nightly', 0, %s)", [good, later]) == "planned"
    assert place.value("select pgorch.fire_schedule('nightly', 0, %s)", [good, later]) == "taken"


def test_what_cannot_be_computed_is_told_once_and_gone_when_the_schedule_fires(place: Place) -> None:
    place.it_is("2025-01-01 00:00")
    place.create()
    place.value("select pgorch.fail_schedule('nightly', 0, 'no such zone')")
    assert place.schedule()["last_error"] == {"code": "OR006", "message": "no such zone"}
    place.value("select pgorch.fail_schedule('nightly', 5, 'too late')")
    assert place.schedule()["last_error"]["message"] == "no such zone"


def test_the_last_100_firings_are_kept(place: Place) -> None:
    place.it_is("2025-01-01 00:00:30")
    place.create(cron="* * * * *", catch_up="all", overlap="skip")
    place.it_is("2025-01-01 02:00:30")
    place.look()
    firings = place.firings()
    # And the one before them whose run goes on.
    assert [outcome for _, outcome in firings].count("skipped") == 100
    assert firings[0][1] == "started"
    assert firings[-1][0] == "01 02:00"


# The input ----------------------------------------------------------------------------------------


def test_a_run_knows_the_time_that_was_due_and_its_schedule(place: Place) -> None:
    place.it_is("2025-01-01 00:00")
    place.create(input={"day": "${$.due}", "by": ["of ${$.name}"], "price": "$${"}, labels={"team": "x"})
    place.day("2025-01-01 00:01", "2025-01-01 03:00")
    expected = {"day": "2025-01-01T02:00:00Z", "by": ["of nightly"], "price": "${"}
    assert place.runs()[0]["state"] == expected
    labels = place.value("select r.labels from pgorch.runs r")
    assert labels == {"team": "x", "schedule": "nightly"}


def test_the_initiator_is_who_described_the_schedule_last(place: Place) -> None:
    place.it_is("2025-01-01 00:00")
    place.create(actor="ada", overlap="allow")
    place.day("2025-01-01 02:00")
    place.create(actor="bob", overlap="allow", input={"n": 1})
    place.day("2025-01-02 02:00")
    assert [run["initiator"] for run in place.runs()] == ["ada", "bob"]


def test_a_run_that_goes_on_for_long_is_not_forgotten(place: Place) -> None:
    place.it_is("2025-01-01 00:00")
    place.create(cron="* * * * *")
    place.day("2025-01-01 00:01")
    assert place.firings() == [("01 00:01", "started")]
    place.rows(
        "select pgorch._log_firing('nightly', pgorch.clock_now(), pgorch.clock_now(), 'skipped')"
        " from generate_series(1, 120)"
    )
    place.day("2025-01-01 01:22")
    assert [outcome for _, outcome in place.firings()] == ["started"] + ["skipped"] * 98 + [
        "missed",
        "skipped",
    ]
    assert len(place.runs()) == 1
    place.end(place.runs()[0]["run_id"])
    place.day("2025-01-01 01:23")
    assert len(place.runs()) == 2
    assert len(place.firings()) == 100
