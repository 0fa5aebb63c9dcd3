"""Strict JSON: the same rules in both directions, and sentences that say where a value breaks them."""

import dataclasses
import enum
import json
import math
from collections import namedtuple
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import BaseModel

from pgorch import strict_json
from pgorch.errors import InvalidValue

# The same examples each time, however busy the machine is.
steadily = settings(derandomize=True, deadline=None, suppress_health_check=[HealthCheck.too_slow])
json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"])),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"])), inner, max_size=4
        )
    ),
    max_leaves=20,
)


@steadily
@given(json_values)
def test_what_is_allowed_comes_back_unchanged(value: Any) -> None:
    assert strict_json.loads(strict_json.dumps(value)) == value


@steadily
@given(json_values)
def test_texts_of_other_writers_are_read(value: Any) -> None:
    assert strict_json.loads(json.dumps(value, indent=1)) == value


@steadily
@given(st.integers())
def test_an_integer_passes_if_a_reader_of_doubles_writes_it_back(number: int) -> None:
    assert strict_json.is_exact(number) == (
        json.loads(json.dumps(float(number))) == number and _plain(number)
    )


def _plain(number: int) -> bool:
    return abs(number) <= 2**53 or Decimal(repr(float(number))) == number


@pytest.mark.parametrize("number", [2**53, -(2**53), 10**17, 10**22, 2**53 + 2])
def test_integers_that_doubles_hold_pass_in_both_directions(number: int) -> None:
    assert strict_json.loads(str(number)) == number
    if number < 2**63:
        assert strict_json.dumps([number]) == f"[{number}]"


@dataclasses.dataclass
class Point:
    x: float
    label: str = "here"


class Colour(enum.Enum):
    RED = "red"


def test_what_orjson_knows_is_written() -> None:
    value = {
        "at": datetime(2026, 11, 23, 20, 15, tzinfo=UTC),
        "day": date(2026, 11, 23),
        "id": UUID(int=1),
        "point": Point(1.5),
        "pair": (1, 2),
        "colour": Colour.RED,
        "none": None,
    }
    assert strict_json.loads(strict_json.dumps(value)) == {
        "at": "2026-11-23T20:15:00+00:00",
        "day": "2026-11-23",
        "id": "00000000-0000-0000-0000-000000000001",
        "point": {"x": 1.5, "label": "here"},
        "pair": [1, 2],
        "colour": "red",
        "none": None,
    }


class Model(BaseModel):
    x: int = 1


Pair = namedtuple("Pair", "left right")


@pytest.mark.parametrize(
    ("value", "sentence", "hint"),
    [
        (math.nan, "holds nan at its top", "null"),
        ({"a": [1, math.inf]}, "holds inf at $.a[1]", "null"),
        ({"a": None, "b": Point(math.nan)}, "holds nan at $.b.x", "null"),
        (2**53 + 1, "holds the integer 9007199254740993 at its top", "string"),
        ({"n": [2**64]}, "holds the integer 18446744073709551616 at $.n[0]", "string"),
        ([10**5000], "holds the integer (an int that cannot be shown) at $[0]", "string"),
        ({"some text": "a\0b"}, 'holds a NUL character at $."some text"', "base64"),
        ({"a\0": 1}, 'holds a NUL character at $."a\\u0000"', "base64"),
        ("\ud800", "holds half of a surrogate pair at its top", "Unicode"),
        ({"\udfff": 1}, 'holds half of a surrogate pair at $."\\udfff"', "Unicode"),
        ({"a": {1: 2}}, "has the key 1 at $.a: an int, not a string", "strings"),
        ({"a": {1, 2}}, "holds a set at $.a", "list"),
        ({"a": b"x"}, "holds a bytes at $.a", "base64"),
        ([Decimal("1.1")], "holds a Decimal at $[0]", "str(value)"),
        ([timedelta(1)], "holds a timedelta at $[0]", "total_seconds"),
        ([Model()], "holds a Model at $[0]", "model_dump"),
        ([Pair(1, 2)], "holds a Pair at $[0]", "Return"),
        ({"a": object()}, "holds an object at $.a", "Return"),
    ],
)
def test_what_json_cannot_hold_is_refused_by_path(value: Any, sentence: str, hint: str) -> None:
    with pytest.raises(InvalidValue) as caught:
        strict_json.dumps(value, what="The result of clean")
    assert str(caught.value).startswith(f"The result of clean {sentence}")
    assert hint in (caught.value.hint or "")
    str(caught.value).encode()  # can be stored and sent


def nested(depth: int) -> list[Any]:
    value: list[Any] = []
    for _ in range(depth - 1):
        value = [value]
    return value


def test_the_deepest_nesting_that_passes_is_64() -> None:
    assert strict_json.loads(strict_json.dumps(nested(64))) == nested(64)
    for depth in (65, 300, 5000):
        with pytest.raises(InvalidValue, match="deeper than 64"):
            strict_json.dumps(nested(depth))
    with pytest.raises(InvalidValue, match="deeper than 64"):
        strict_json.loads("[" * 65 + "]" * 65)
    with pytest.raises(InvalidValue, match="depth limit"):
        strict_json.loads("[" * 100_000)


def test_a_value_that_holds_itself_is_refused() -> None:
    value: dict[str, Any] = {}
    value["again"] = value
    with pytest.raises(InvalidValue, match="deeper than 64"):
        strict_json.dumps(value)


def test_sizes_are_limited_in_bytes() -> None:
    assert strict_json.dumps("é", limit=4) == '"é"'
    with pytest.raises(InvalidValue, match="has 4 bytes as JSON, more than the limit of 3"):
        strict_json.dumps("é", limit=3)
    with pytest.raises(InvalidValue, match="has 5 bytes, more than the limit of 4"):
        strict_json.loads(b"[1,2]", limit=4)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "not valid JSON"),
        ("nul", r"line 1, column 4"),
        ('{\n "a": 1,\n}', r"line 2, column 8"),
        ("NaN", "not valid JSON"),
        ("[Infinity]", "not valid JSON"),
        ("1e400", "infinity"),
        (b"\xff", "UTF-8"),
        ("\ufeff{}", "BOM"),
        ('"\\ud800"', "surrogate"),
        ('"\ud800"', "surrogates"),
        ('"a\\u0000b"', "NUL character at its top"),
        ('{"a":{"x y":"\\u0000"}}', r'NUL character at \$\.a\."x y"'),
        ("[9007199254740993]", r"integer 9007199254740993 \(line 1, column 2\)"),
        ('{"é": 1,\n "b":-9007199254740993}', r"integer -9007199254740993 \(line 2, column 6\)"),
        ("[1" + "0" * 300 + "1]", r"integer 10{36}\.\.\. "),
        ('{"a":1,"a":1}', r'key "a" twice in one object \(line 1, column 8\)'),
        ('{"b":[{"x":1},{"x":2}],\n "é":1,"\\u00e9":2}', r'key "é" twice in one object \(line 2, column 8\)'),
        ('{"a":{"b":1,"c":[],"b":2}}', 'key "b" twice'),
    ],
)
def test_a_text_that_readers_would_disagree_on_is_refused_with_its_place(
    text: str | bytes, sentence: str
) -> None:
    with pytest.raises(InvalidValue, match=sentence) as caught:
        strict_json.loads(text)
    str(caught.value).encode()


@pytest.mark.parametrize(
    "text",
    [
        '{"a":"b\\"c:{[","d":"9007199254740993"}',
        '[{"x":1},{"x":2},{"x":{"x":3}}]',
        '{"a b\\\\":1,"a b":2}',
        "[100000000000000000000, 1e300, 9007199254740993.5, 0.12345678901234567]",
        '"\\\\u0000"',
        "[" + ",".join("[]" for _ in range(100)) + "]",
    ],
)
def test_what_only_looks_like_trouble_is_read(text: str) -> None:
    assert strict_json.loads(text) == json.loads(text)
    assert strict_json.loads(text.encode()) == json.loads(text)
