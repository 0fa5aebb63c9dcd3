"""Conditions and templates that would cost too much are not begun: nothing could stop them.

PostgreSQL compares two lists pair by pair without looking for a cancel; 60,000 values with 60,000 took six
minutes here, whatever statement_timeout said.
"""

import time
from typing import Any

import psycopg
import pytest
from psycopg.types.json import Jsonb

from tests.support.engine import Engine, definition

# Under load these are a tenth of a second; begun, they would be minutes.
SECONDS = 15.0
ONE, OTHER = list(range(9_000)), [-n - 1 for n in range(9_000)]


COMPARE = {
    "$.a == 1": False,
    "1 < $.a && $.b > -1.5": False,
    '$.a == "x == $" || "y" == $.a': False,
    "$.a == null || true == $.b": False,
    "exists($.a[*] ? (@ > 1))": False,
    '$.a starts with "x"': False,
    "$.a == $.b": True,
    '$."true" == $.a': True,
    "-$.a[*] == $.a[*]": True,
    "!($.a == 1 && $.b <= $.c)": True,
    "exists($.a[*] ? (@.x == $.y))": True,
    "$input.a == $.a": True,
    "$.a.size() > $.b.size()": True,
}


def test_it_is_seen_which_conditions_compare_what_they_find(engine: Engine) -> None:
    query = "select pgorch._compares_paths(%s::text::jsonpath)"
    assert {path: engine.value(query, path) for path in COMPARE} == COMPARE


@pytest.mark.parametrize(
    "condition",
    [
        "$.a[*] == $.b[*]",
        "$.a == $.b",
        "!(-$.a[*] == $.a[*])",
        "exists($ ? (@.a == @.b))",
        "exists($.** ? (@ == $.a))",
        "$.a[*].abs() == $.b[*]",
        "$.* == $.*",
    ],
)
def test_lists_that_are_long_on_both_sides_are_not_compared(engine: Engine, condition: str) -> None:
    graph = definition("a b c", [("a>b", {"condition": condition}), "a>c"])
    engine.connection.execute("set statement_timeout = '60s'")
    long = {"a": ONE, "b": OTHER, **{f"k{n}": n for n in range(5000)}}
    run_id = engine.start(graph, long)
    began = time.monotonic()
    engine.run()
    assert time.monotonic() - began < SECONDS
    error = engine.error(run_id)
    assert error["type"] == "ConditionUnknown"
    assert "compared" in error["message"]


@pytest.mark.parametrize(
    "condition",
    ["$.x == $.y", "exists($.rows[*] ? (@.got < @.wanted))", "$.x[*] == $.a[*]", "$.n + 1 == $.a[2]"],
)
def test_what_is_short_on_one_side_is_compared_beside_long_lists(engine: Engine, condition: str) -> None:
    rows = [{"got": n, "wanted": n} for n in range(5000)] + [{"got": 1, "wanted": 2}]
    state = {"a": ONE, "x": 7, "y": 7, "n": 1, "rows": rows}
    run_id = engine.start(definition("a b c", [("a>b", {"condition": condition}), "a>c"]), state)
    engine.run()
    assert engine.order(run_id) == "a b"


def test_a_template_does_not_compare_them_either(engine: Engine) -> None:
    b = {"id": "b", "function": "b", "input": {"x": "${$ ? (@.a[*] == @.b[*])}"}}
    run_id = engine.start(definition(["a", b], ["a>b"]), {"a": ONE, "b": OTHER})
    engine.run()
    assert engine.error(run_id)["type"] == "TemplateError"
    assert "would be compared" in engine.error(run_id)["message"]


@pytest.mark.parametrize("of_map", [False, True])
def test_a_small_template_does_not_become_gigabytes(engine: Engine, of_map: bool) -> None:
    b: dict[str, Any] = {"id": "b", "function": "b", "input": {"x": ["${$}", "${$.large} and ${$}"] * 500}}
    if of_map:
        b |= {"type": "map", "items": "${$.items}"}
    run_id = engine.start(definition(["a", b], ["a>b"]), {"large": "x" * 200_000, "items": [1, 2]})
    engine.run()
    assert engine.error(run_id)["type"] == "TemplateError"
    assert "more than 16 MiB" in engine.error(run_id)["message"]


def test_a_state_of_megabytes_may_be_passed_whole(engine: Engine) -> None:
    b = {"id": "b", "function": "b", "input": {"x": "${$}"}}
    run_id = engine.start(definition(["a", b], ["a>b"]), {"large": "x" * 3_000_000})
    engine.run()
    assert engine.status(run_id) == "completed"


def test_numbers_that_are_short_to_write_and_long_to_read_are_refused(engine: Engine) -> None:
    graph = engine.graph(definition("a"))
    with pytest.raises(psycopg.Error, match="bytes as JSON text") as caught:
        engine.start(graph, {"n": [1e308] * 100_000})
    assert caught.value.sqlstate == "OR006"
    engine.start(graph, {"n": [1e308] * 1_000})


def test_many_large_numbers_are_checked_in_time_that_grows_with_their_number(engine: Engine) -> None:
    def seconds(count: int) -> float:
        began = time.monotonic()
        engine.value("select pgorch._checked_json(%s, 'it', 4194304) is null", Jsonb([10**17] * count))
        return time.monotonic() - began

    seconds(1000)
    # Ten times as many take ten times as long; they took a hundred times as long.
    assert seconds(100_000) < 40 * min(seconds(10_000) for _ in range(3))
