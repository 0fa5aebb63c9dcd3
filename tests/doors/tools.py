"""The tools of the workers behind the doors: one gives back what it got, one gives what no result may be."""

import math
from typing import Any

from pgorch.tool import Registry

registry = Registry()


@registry.tool
def echo(value: Any = None) -> dict[str, Any]:
    """Gives back what it got."""
    return {"value": value}


@registry.tool
async def begin() -> dict[str, Any]:
    """Does nothing."""
    return {}


@registry.tool(retry={"max_attempts": 1})
async def breaks(why: str = "it broke") -> dict[str, Any]:
    """Fails."""
    raise ValueError(why)


def nested(levels: int) -> list[Any]:
    value: list[Any] = []
    for _ in range(levels - 1):
        value = [value]
    return value


def holds_itself() -> dict[str, Any]:
    value: dict[str, Any] = {}
    value["again"] = value
    return value


# What a tool may give by mistake, with the words in which the step is to fail.
ODD: dict[str, tuple[Any, str]] = {
    "nul": ({"text": "a\0b"}, "NUL character at $.text"),
    "nul in a key": ({"a\0": 1}, 'NUL character at $."a\\u0000"'),
    "surrogate": ({"text": "\ud800"}, "surrogate pair at $.text"),
    "not a number": ({"n": math.nan}, "holds nan at $.n"),
    "infinity": ({"n": [-math.inf]}, "holds -inf at $.n[0]"),
    "2^53+1": ({"n": 2**53 + 1}, "integer 9007199254740993 at $.n"),
    "huge": ({"n": 10**400}, "integer 1000"),
    "deep": ({"deep": nested(100)}, "deeper than 64"),
    "very deep": ({"deep": nested(100_000)}, "deeper than 64"),
    "circle": (holds_itself(), "deeper than 64"),
    "large": ({"text": "x" * (1024 * 1024)}, "more than the limit of 1048576"),
    "bytes": ({"data": b"\xff"}, "holds a bytes at $.data"),
    "object": ({"thing": object()}, "holds an object at $.thing"),
    "key that is no text": ({1: 2}, "has the key 1"),
}


@registry.tool(retry={"max_attempts": 1})
def odd(kind: str) -> Any:
    """Gives what no result may be."""
    return ODD[kind][0]
