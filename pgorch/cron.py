"""When a cron expression is due, in a time zone, also where its clocks are changed.

As Debian's cron: a time that a change skips is due when the change is over, one that comes twice is due the
first time, and what is due every hour or oftener goes by time that has really passed. Which expressions are
taken, SQL decides (`pgorch._checked_cron`), at every door alike.
"""

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from itertools import islice
from typing import Any
from zoneinfo import ZoneInfo

from cronsim import CronSim, CronSimError

from pgorch.errors import InvalidValue

FIELDS = 5


def due_times(cron: str, time_zone: str, after: datetime) -> Iterator[datetime]:
    """The times in UTC at which it is due after `after`, growing, without end.

    Raises InvalidValue if it cannot be computed or is never due. `after` has a time zone.
    """
    zone = _zone(time_zone)
    # With six fields the first would be seconds, which nobody means.
    if len(cron.split()) != FIELDS:
        raise InvalidValue(f"The cron expression {cron!r} has not five fields.")
    try:
        times = CronSim(cron, after.astimezone(zone))
    except CronSimError as error:
        raise InvalidValue(f"The cron expression {cron!r} is not understood: {error}.") from error
    last = after
    found = False
    for time in times:
        due = time.astimezone(UTC)
        # In an hour that comes twice it can begin with the first of them, which is over.
        if due > last:
            found, last = True, due
            yield due
    if not found:
        raise InvalidValue(f"The cron expression {cron!r} is never due.")


def times_to_fire(cron: str, time_zone: str, after: datetime, until: datetime, most: int) -> list[datetime]:
    """The times after `after` up to `until` and the one that follows, but not more than `most`."""
    found = []
    for due in islice(due_times(cron, time_zone, after), most):
        found.append(due)
        if due > until:
            break
    return found


def next_times(cron: str, time_zone: str, after: datetime, count: int) -> list[datetime]:
    """The next `count` times after `after`, in the time zone of the expression. Raises InvalidValue."""
    zone = _zone(time_zone)
    return [due.astimezone(zone) for due in islice(due_times(cron, time_zone, after), count)]


def coming_times(schedule: Mapping[str, Any], count: int = 5) -> list[datetime]:
    """The next times of a schedule as `pgorch.schedule_document` describes it, paused or not; none if they
    cannot be computed."""
    after = max(datetime.fromisoformat(schedule["due_after"]), datetime.fromisoformat(schedule["as_of"]))
    try:
        return next_times(schedule["cron"], schedule["time_zone"], after, count)
    except InvalidValue:
        return []


def _zone(name: str) -> ZoneInfo:
    try:
        return ZoneInfo(name)
    # A name that leads out of the directory of time zones is a ValueError, a directory there an OSError.
    except (KeyError, ValueError, OSError) as error:
        raise InvalidValue(
            f"The time zone {name} is not known here.", hint="Bring the package tzdata up to date."
        ) from error
