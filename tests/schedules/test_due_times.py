"""When expressions are due, above all where clocks are changed."""

from datetime import UTC, datetime, timedelta
from itertools import islice, pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pgorch.cron import due_times, next_times, times_to_fire
from pgorch.errors import InvalidValue
from tests.schedules.conftest import at, brief

BERLIN, NEW_YORK = "Europe/Berlin", "America/New_York"


@pytest.mark.parametrize(
    ("cron", "zone", "after", "expected"),
    [
        # Berlin, 30 March 2025: after 01:59 comes 03:00.
        ("30 2 * * *", BERLIN, "2025-03-29 00:00", "29 01:30, 30 01:00, 31 00:30"),
        ("15,45 2 * * *", BERLIN, "2025-03-29 12:00", "30 01:00, 31 00:15, 31 00:45"),
        ("0 3 * * *", BERLIN, "2025-03-29 12:00", "30 01:00, 31 01:00"),
        ("*/30 * * * *", BERLIN, "2025-03-30 01:00", "30 00:30, 30 01:00, 30 01:30"),
        ("0 */2 * * *", BERLIN, "2025-03-30 00:00", "30 02:00, 30 04:00"),
        # Berlin, 26 October 2025: after 02:59 comes 02:00 again.
        ("30 2 * * *", BERLIN, "2025-10-25 12:00", "26 00:30, 27 01:30"),
        ("0 2,3 * * *", BERLIN, "2025-10-25 12:00", "26 00:00, 26 02:00, 27 01:00"),
        ("*/30 * * * *", BERLIN, "2025-10-26 01:45", "26 00:00, 26 00:30, 26 01:00, 26 01:30, 26 02:00"),
        ("0 0 * * *", BERLIN, "2025-10-25 12:00", "25 22:00, 26 23:00"),
        # New York, 9 March 2025: after 01:59 comes 03:00.
        ("30 2 * * *", NEW_YORK, "2025-03-08 00:00", "08 07:30, 09 07:00, 10 06:30"),
        ("*/30 * * * *", NEW_YORK, "2025-03-09 01:15", "09 06:30, 09 07:00"),
        # New York, 2 November 2025: after 01:59 comes 01:00 again.
        ("30 1 * * *", NEW_YORK, "2025-11-01 12:00", "02 05:30, 03 06:30"),
        ("0 * * * *", NEW_YORK, "2025-11-02 00:30", "02 05:00, 02 06:00, 02 07:00"),
        # Where midnight itself is skipped.
        ("0 0 * * *", "Africa/Cairo", "2025-04-24 12:00", "24 22:00, 25 21:00"),
        ("0 9 L * *", "UTC", "2025-02-01 00:00", "28 09:00, 31 09:00, 30 09:00"),
    ],
)
def test_due_times(cron: str, zone: str, after: str, expected: str) -> None:
    count = expected.count(",") + 1
    assert brief(list(islice(due_times(cron, zone, at(after, zone)), count))) == expected


@pytest.mark.parametrize(
    ("zone", "inside", "cron", "next_day"),
    [
        (BERLIN, datetime(2025, 10, 26, 1, 15, tzinfo=UTC), "30 2 * * *", "27 01:30"),
        (NEW_YORK, datetime(2025, 11, 2, 6, 15, tzinfo=UTC), "30 1 * * *", "03 06:30"),
    ],
)
def test_what_was_due_in_the_first_of_two_hours_is_not_due_again_in_the_second(
    zone: str, inside: datetime, cron: str, next_day: str
) -> None:
    assert brief(next_times(cron, zone, inside, 1)) == next_day


@settings(max_examples=150, deadline=None)
@given(
    cron=st.sampled_from(["30 2 * * *", "*/7 * * * *", "0 */5 * * *", "15,45 1,2 * * *", "0 0 * * MON"]),
    zone=st.sampled_from([BERLIN, NEW_YORK, "UTC", "Australia/Lord_Howe", "Africa/Cairo", "Asia/Kolkata"]),
    after=st.datetimes(datetime(2025, 1, 1), datetime(2026, 1, 1), timezones=st.just(UTC)),
)
def test_due_times_grow_and_going_on_from_any_of_them_gives_the_same(
    cron: str, zone: str, after: datetime
) -> None:
    times = list(islice(due_times(cron, zone, after), 30))
    assert all(earlier < later for earlier, later in pairwise([after, *times]))
    for number in (0, 3, 11, 20):
        assert list(islice(due_times(cron, zone, times[number]), 5)) == times[number + 1 : number + 6]


def test_the_times_to_fire_end_with_the_one_to_come() -> None:
    after, until = at("2025-01-01 00:00"), at("2025-01-01 00:03")
    times = times_to_fire("* * * * *", "UTC", after, until, 100)
    assert brief(times) == "01 00:01, 01 00:02, 01 00:03, 01 00:04"
    assert times_to_fire("* * * * *", "UTC", after, until, 2) == times[:2]
    assert brief(times_to_fire("* * * * *", "UTC", until, until, 100)) == "01 00:04"


def test_the_time_within_a_second_does_not_matter() -> None:
    after = at("2025-01-01 02:00") + timedelta(microseconds=1)
    assert brief(next_times("0 2 * * *", "UTC", after, 1)) == "02 02:00"
    assert brief(next_times("0 2 * * *", "UTC", after - timedelta(microseconds=2), 1)) == "01 02:00"


@pytest.mark.parametrize(
    ("cron", "zone", "why"),
    [
        ("0 0 */29 2 MON#2", "UTC", "never due"),
        ("0 0 0 * * *", "UTC", "not five fields"),
        ("0 0 0 * *", "UTC", "Bad day-of-month"),
        ("0 0 * * *", "Nowhere/City", "not known here"),
        ("0 0 * * *", "../etc/passwd", "not known here"),
    ],
)
def test_what_cannot_be_computed_says_why(cron: str, zone: str, why: str) -> None:
    with pytest.raises(InvalidValue, match=why):
        next_times(cron, zone, at("2025-01-01 00:00"), 1)
