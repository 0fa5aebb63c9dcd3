"""Which cron expressions and time zones are taken, and with which sentence the others are refused."""

from datetime import UTC, datetime
from zoneinfo import ZoneInfo, available_timezones

import psycopg
import pytest
from cronsim import CronSim, CronSimError
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.schedules.conftest import Place

NUMBERS = st.integers(0, 70).map(str)
NAMES = st.sampled_from(
    ["MON", "sun", "FRI", "JAN", "dec", "FEB", "L", "LW", "5L", "MON#2", "1#5", "7#6", ""]
)
SPANS = st.one_of(
    NUMBERS, NUMBERS, NAMES, st.just("*"), st.tuples(NUMBERS, NUMBERS).map("-".join), st.just("MON-FRI")
)
TERMS = st.one_of(SPANS, st.tuples(SPANS, st.integers(0, 40).map(str)).map("/".join))
FIELD = st.one_of(st.just("*"), TERMS, st.lists(TERMS, min_size=1, max_size=3).map(",".join))
EXPRESSIONS = st.lists(FIELD, min_size=5, max_size=5).map(" ".join)


def understood(cron: str) -> bool:
    """Can it be computed, and is it ever due?"""
    try:
        return next(CronSim(cron, datetime(2025, 1, 1, tzinfo=UTC)), None) is not None
    except CronSimError:
        return False


def refusal(place: Place, cron: str) -> psycopg.Error | None:
    try:
        place.value("select pgorch._checked_cron(%s)", cron)
    except psycopg.Error as problem:
        return problem
    return None


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(cron=EXPRESSIONS)
def test_sql_takes_what_can_be_computed_and_nothing_else(place: Place, cron: str) -> None:
    problem = refusal(place, cron)
    if problem is None:
        assert understood(cron)
    else:
        assert problem.sqlstate == "OR006"
        # A step after L means nothing, so it is refused.
        assert not understood(cron) or "L/" in cron or "LW/" in cron


@pytest.mark.parametrize(
    "cron",
    ["* * * * *", "*/15 9-17 * * MON-FRI", "0 0 L * *", "0 0 29 2 *", "0 0 * * 5L", "0 9 * * 1#2,3#2",
     "5/20 0 1,15 JAN,jul *", "0 0 30 2 MON", "0 0 * * 7", " 0\t2  * * * "],
)  # fmt: skip
def test_expressions_that_are_taken(place: Place, cron: str) -> None:
    assert refusal(place, cron) is None
    assert understood(cron)


@pytest.mark.parametrize(
    ("cron", "message", "hint"),
    [
        ("60 * * * *", '"60" is no minute', "Minutes are 0 to 59."),
        ("0 24 * * *", '"24" is no hour', "Hours are 0 to 23."),
        ("0 0 32 * *", '"32" is no day of the month', "L is the last one"),
        ("0 0 0 * *", '"0" is no day of the month', "1 to 31"),
        ("0 0 * 13 *", '"13" is no month', "JAN to DEC"),
        ("0 0 * * 8", '"8" is no day of the week', "Sunday is 0 and 7"),
        ("0 0 * * MO", '"MO" is no day of the week', "SUN to SAT"),
        ("0 0 * * FRI-MON", '"FRI-MON" of a cron expression runs backwards', "two ranges"),
        ("*/0 * * * *", "step that is a number from 1 up", "*/10"),
        ("*/x * * * *", "step that is a number from 1 up", "*/10"),
        ("1,,2 * * * *", '"" is no minute', "0 to 59"),
        ("0 0 30 2 *", "is never due", "third to the fifth field"),
        ("0 0 */29 2 MON#2", "is never due", "third to the fifth field"),
        ("0 2 * *", "has 4", "Every day at 2 is 0 2 * * *."),
        ("", "has 0", "Every day at 2"),
        ("0 0 2 * * *", "has 6", "no field for seconds"),
        ("@daily", "has 1", "Write it out: 0 0 * * *"),
        ("@reboot", "has 1", "Every day at 2"),
        ("* " * 200, "up to 200 characters", "Every day at 2"),
    ],
)
def test_a_bad_expression_is_refused_with_a_sentence(
    place: Place, cron: str, message: str, hint: str
) -> None:
    problem = refusal(place, cron)
    assert problem is not None
    assert problem.sqlstate == "OR006"
    assert message in str(problem.diag.message_primary)
    assert hint in str(problem.diag.message_hint)


def test_every_time_zone_that_is_taken_can_be_computed(place: Place) -> None:
    taken = {
        row["name"]
        for row in place.rows("select z.name from pg_timezone_names z")
        if not row["name"].startswith(("posix", "right/")) and row["name"] not in ("localtime", "Factory")
    }
    assert len(taken) > 400
    for name in taken:
        ZoneInfo(name)
    assert {"Europe/Berlin", "America/New_York", "UTC"} <= taken & available_timezones()


@pytest.mark.parametrize(
    ("zone", "hint"),
    [("Europe/Berln", 'Did you mean "Europe/Berlin"?'), ("+01:00", "for instance Europe/Berlin or UTC"),
     ("posixrules", "for instance"), ("", "for instance"), ("CEST", 'Did you mean "CET"')],
)  # fmt: skip
def test_what_is_no_time_zone_is_refused(place: Place, zone: str, hint: str) -> None:
    with pytest.raises(psycopg.Error, match="there is no time zone") as caught:
        place.create(time_zone=zone)
    assert caught.value.sqlstate == "OR006"
    assert hint in str(caught.value.diag.message_hint)
    assert place.rows("select from pgorch.schedules") == []
