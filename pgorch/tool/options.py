"""Retry and timeout, as tools and graphs declare them."""

import difflib
import math
import re
from collections.abc import Iterable, Mapping
from datetime import timedelta
from typing import Any, Final, TypeAlias

from pgorch.errors import ConfigError

_UNITS: Final = {
    **dict.fromkeys(("us", "usec", "usecs", "microsecond", "microseconds"), 1e-6),
    **dict.fromkeys(("ms", "msec", "msecs", "millisecond", "milliseconds"), 1e-3),
    **dict.fromkeys(("", "s", "sec", "secs", "second", "seconds"), 1.0),
    **dict.fromkeys(("m", "min", "mins", "minute", "minutes"), 60.0),
    **dict.fromkeys(("h", "hr", "hrs", "hour", "hours"), 3600.0),
    **dict.fromkeys(("d", "day", "days"), 86400.0),
    **dict.fromkeys(("w", "week", "weeks"), 604800.0),
}
_PART = re.compile(r"\s*(\d+(?:\.\d+)?)\s*([A-Za-z]*)")
_CLOCK = re.compile(r"(\d+):(\d{2})(?::(\d{2}(?:\.\d+)?))?\Z")
_ISO = re.compile(
    r"P(?:(\d+(?:\.\d+)?)W)?(?:(\d+(?:\.\d+)?)D)?"
    r"(?:T(?:(\d+(?:\.\d+)?)H)?(?:(\d+(?:\.\d+)?)M)?(?:(\d+(?:\.\d+)?)S)?)?\Z",
    re.IGNORECASE,
)
_ISO_SECONDS: Final = (604800.0, 86400.0, 3600.0, 60.0, 1.0)

RETRY_KEYS: Final = (
    "max_attempts",
    "initial_interval",
    "backoff_factor",
    "max_interval",
    "jitter",
    "retry_on",
    "non_retryable",
)

Interval: TypeAlias = str | float | timedelta


def near(name: str, names: Iterable[str]) -> str | None:
    """A hint naming what `name` was probably meant to be, or None."""
    found = difflib.get_close_matches(name, sorted(names), n=1, cutoff=0.6)
    return f"Did you mean {found[0]}?" if found else None


def seconds_of(interval: Interval, what: str) -> float:
    """The seconds of an interval: "90s", "48 hours", "PT24H", "01:30:00", 90 or a timedelta; ConfigError."""
    seconds: float | None
    if isinstance(interval, timedelta):
        seconds = interval.total_seconds()
    elif isinstance(interval, int | float) and not isinstance(interval, bool):
        seconds = float(interval)
    else:
        seconds = _parse(interval.strip()) if isinstance(interval, str) else None
    if seconds is None or not math.isfinite(seconds) or seconds <= 0:
        raise ConfigError(
            f"{what} must be a time longer than zero, but {interval!r} was given.",
            hint='Write an interval such as "90s", "48 hours" or "PT24H", or seconds as a number.',
        )
    return seconds


def interval_text(seconds: float) -> str:
    """`seconds` as Postgres reads an interval."""
    return f"{seconds:.6f}".rstrip("0").rstrip(".") + " seconds"


def checked_retry(retry: Mapping[str, Any] | None, what: str) -> dict[str, Any] | None:
    """`retry` with its intervals as text; ConfigError names a key or value that is not in the language."""
    if retry is None:
        return None
    checked: dict[str, Any] = {}
    for key, value in retry.items():
        if key not in RETRY_KEYS:
            raise ConfigError(
                f"The retry of {what} has no setting {key!r}.",
                hint=near(key, RETRY_KEYS) or f"It has {', '.join(RETRY_KEYS)}.",
            )
        checked[key] = _checked_setting(key, value, what)
    return checked


def _checked_setting(key: str, value: Any, what: str) -> Any:
    if key in ("initial_interval", "max_interval"):
        seconds = seconds_of(value, f"The {key} of {what}")
        return value if isinstance(value, str) else interval_text(seconds)
    if key in ("retry_on", "non_retryable"):
        names = [item.__name__ if isinstance(item, type) else item for item in value]
        if isinstance(value, str) or not all(isinstance(name, str) for name in names):
            raise ConfigError(
                f"The {key} of {what} must be a list of names of errors, but {value!r} was given."
            )
        return names
    if key == "jitter" and isinstance(value, bool):
        return value
    lowest = 0 if key == "jitter" else 1
    whole = key == "max_attempts"
    number = isinstance(value, int if whole else int | float) and not isinstance(value, bool)
    if not number or not lowest <= value < math.inf:
        raise ConfigError(
            f"The {key} of {what} must be a {'whole ' if whole else ''}number of at least {lowest}, "
            f"but {value!r} was given."
        )
    return value


def _parse(text: str) -> float | None:
    if clock := _CLOCK.match(text):
        return float(clock[1]) * 3600 + float(clock[2]) * 60 + float(clock[3] or 0)
    if text[:1] in ("P", "p"):
        iso = _ISO.match(text)
        if iso is None or not any(iso.groups()):
            return None
        return sum(float(n) * s for n, s in zip(iso.groups(), _ISO_SECONDS, strict=True) if n)
    total, position = 0.0, 0
    while position < len(text):
        part = _PART.match(text, position)
        unit = None if part is None else _UNITS.get(part[2].lower())
        if part is None or unit is None:
            return None
        total += float(part[1]) * unit
        position = part.end()
    return total if text else None
