"""Schemas and the values that should fit them: the subset means what JSON Schema means."""

import math
from typing import Any

import jsonschema  # type: ignore[import-untyped]
import pytest
from hypothesis import HealthCheck, assume, example, given, settings
from hypothesis import strategies as st
from psycopg import Connection
from psycopg.rows import DictRow
from psycopg.types.json import Jsonb

Sql = Connection[DictRow]


def problems(sql: Sql, schema: Any, value: Any, path: str = "") -> list[dict[str, str]]:
    query = "select p from pgorch._value_problems(%s, %s, %s) p"
    return [r["p"] for r in sql.execute(query, [Jsonb(schema), Jsonb(value), path])]


def schema_problems(sql: Sql, schema: Any, path: str = "") -> list[dict[str, str]]:
    query = "select p from pgorch._schema_problems(%s, %s) p"
    return [r["p"] for r in sql.execute(query, [Jsonb(schema), path])]


def seen(found: list[dict[str, str]]) -> list[tuple[str, str]]:
    return sorted((p["path"], p["code"]) for p in found)


# Values ---------------------------------------------------------------------------------------------

FITTING_AND_NOT: dict[str, tuple[Any, list[Any], list[Any]]] = {
    "type": ({"type": "string"}, ["", "x"], [1, None, True, [], {}]),
    "types": ({"type": ["string", "null"]}, ["x", None], [1, False]),
    "integer": ({"type": "integer"}, [1, -3, 2.0, 2**53], [1.5, "1", True]),
    "number": ({"type": "number"}, [1, 1.5], ["1", True, None]),
    "boolean": ({"type": "boolean"}, [True, False], [0, 1, "true"]),
    "enum": ({"enum": ["a", 1, None, {"x": [1]}]}, ["a", 1, 1.0, None, {"x": [1]}], ["b", True, {"x": [2]}]),
    "const": ({"const": {"x": 1}}, [{"x": 1}, {"x": 1.0}], [{}, {"x": 2}, True]),
    "properties": ({"properties": {"a": {"type": "string"}}}, [{}, {"a": "x"}, {"b": 1}, 5], [{"a": 1}]),
    "required": ({"required": ["a", "b"]}, [{"a": None, "b": 1}, "text"], [{}, {"a": 1}]),
    "additionalProperties": (
        {"properties": {"a": {}}, "additionalProperties": False},
        [{}, {"a": 1}],
        [{"b": 1}],
    ),
    "additionalProperties as a schema": (
        {"properties": {"a": {}}, "additionalProperties": {"type": "number"}},
        [{"a": "x", "b": 1}],
        [{"b": "x"}],
    ),
    "minimum and maximum": ({"minimum": 1, "maximum": 2.5}, [1, 2.5, "9"], [0.99, 2.51]),
    "exclusive limits": ({"exclusiveMinimum": 1, "exclusiveMaximum": 2}, [1.5], [1, 2, 0, 3]),
    "multipleOf": ({"multipleOf": 0.01}, [0.07, 19.99, 1, 0], [0.075, 0.001]),
    "length": ({"minLength": 2, "maxLength": 3}, ["ab", "🙂🙂", 5], ["a", "abcd", "🙂"]),
    "pattern": ({"pattern": "^[A-Z]{2}[0-9]+$"}, ["DE1", 5], ["de1", "DE", "DE1x", " DE1"]),
    "pattern anywhere": ({"pattern": "b+"}, ["abbc"], ["ac"]),
    "items": ({"items": {"type": "integer"}}, [[], [1, 2], "x"], [[1, "2"]]),
    "items with more": ({"items": {"type": "integer", "minimum": 1}}, [[1]], [[0]]),
    "number of items": ({"minItems": 1, "maxItems": 2}, [[1], [1, 2]], [[], [1, 2, 3]]),
    "uniqueItems": ({"uniqueItems": True}, [[1, "1", True], []], [[1, 1.0], [{"a": 1}, {"a": 1}]]),
    "anyOf": ({"anyOf": [{"type": "string"}, {"minimum": 5}]}, ["x", 5, None], [4]),
    "allOf": ({"allOf": [{"type": "number"}, {"minimum": 5}]}, [5], [4, "x"]),
    "oneOf": ({"oneOf": [{"multipleOf": 2}, {"multipleOf": 3}]}, [2, 3], [6, 5]),
    "not": ({"not": {"type": "string"}}, [1, None], ["x"]),
    "schemas that are true or false": ({"properties": {"a": True, "b": False}}, [{"a": 1}], [{"b": 1}]),
    "date": ({"format": "date"}, ["2024-02-29", 5], ["2023-02-29", "2024-2-9", "today", "2024-02-29T00:00"]),
    "date-time": (
        {"format": "date-time"},
        ["2024-02-29T23:59:59Z", "2024-01-01t00:00:00.123456789+05:30", "2016-12-31T23:59:60Z"],
        ["2024-02-30T00:00:00Z", "2024-01-01T00:00:00", "2024-01-01 00:00:00Z", "2024-01-01T24:00:00Z"],
    ),
    "email": ({"format": "email"}, ["ann@example.com", "a.b+c@x-y.org"], ["ann", "@x.org", "a b@x.org"]),
    "uri": (
        {"format": "uri"},
        ["https://example.com/a?b=c#d", "mailto:ann@example.com", "urn:isbn:0451450523"],
        ["example.com", "/a/b", "https://exa mple.com", "http://x/%zz", ""],
    ),
    "uuid": (
        {"format": "uuid"},
        ["01890a5d-ac96-774b-bcce-b302099a8057", "01890A5D-AC96-774B-BCCE-B302099A8057"],
        ["01890a5dac96774bbcceb302099a8057", "{01890a5d-ac96-774b-bcce-b302099a8057}", "x"],
    ),
    "words for people": ({"title": "A", "description": "b", "default": 1, "examples": [1]}, [1, None], []),
    "nothing": ({}, [1, "x", None, {}, []], []),
}  # fmt: skip


@pytest.mark.parametrize("name", FITTING_AND_NOT)
def test_values_fit_or_do_not(schemas: Sql, name: str) -> None:
    schema, fitting, others = FITTING_AND_NOT[name]
    assert schema_problems(schemas, schema) == []
    assert [v for v in fitting if problems(schemas, schema, v) != []] == []
    assert [v for v in others if problems(schemas, schema, v) == []] == []


def test_all_problems_come_at_once_with_their_places(schemas: Sql) -> None:
    schema = {
        "type": "object",
        "properties": {
            "amount": {"type": "number", "maximum": 50000},
            "note": {"type": "string", "minLength": 3, "pattern": "^x"},
            "lines": {"items": {"properties": {"a/b": {"type": "string"}}}},
        },
        "required": ["note", "payee"],
        "additionalProperties": False,
    }
    value = {"amount": 60000, "note": "n", "lines": [{}, {"a/b": 1}], "amuont": 1}
    assert seen(problems(schemas, schema, value, "/data")) == [
        ("/data/amount", "maximum"),
        ("/data/amuont", "additionalProperties"),
        ("/data/lines/1/a~1b", "type"),
        ("/data/note", "minLength"),
        ("/data/note", "pattern"),
        ("/data/payee", "required"),
    ]


def test_a_problem_says_what_is_wrong_and_what_was_probably_meant(schemas: Sql) -> None:
    schema = {"properties": {"amount": {"maximum": 5}}, "additionalProperties": False}
    [wrong] = problems(schemas, schema, {"amount": 6})
    assert wrong["message"] == '"amount" must be at most 5, and is 6'
    [misspelt] = problems(schemas, schema, {"amuont": 1})
    assert misspelt["hint"] == 'Did you mean "amount"?'


def test_of_alternatives_that_all_fail_each_says_why(schemas: Sql) -> None:
    schema = {"anyOf": [{"type": "string"}, {"type": "null"}]}
    [problem] = problems(schemas, schema, 5)
    assert problem["code"] == "anyOf"
    assert "a string" in problem["hint"]
    assert "null" in problem["hint"]


def test_a_long_list_is_checked_in_a_moment(schemas: Sql) -> None:
    query = (
        "select count(*) as n from (select jsonb_agg(i) || '[\"x\"]' as list"
        " from generate_series(1, 200000) i) l,"
        ' pgorch._value_problems(\'{"items": {"type": "integer"}}\', l.list) p'
    )
    with schemas.transaction():
        schemas.execute("set local statement_timeout = '15s'")
        row = schemas.execute(query).fetchone()
    assert row == {"n": 1}


# Schemas --------------------------------------------------------------------------------------------

REFUSED: dict[str, Any] = {
    "a reference": {"$ref": "#/$defs/x"},
    "an unknown keyword": {"minimun": 1},
    "an unknown keyword deep inside": {"properties": {"a": {"items": {"anyOf": [{"not": {"if": {}}}]}}}},
    "a list": [],
    "null": None,
    "a text": "string",
    "a schema that is a text": {"items": "string"},
    "items as a list": {"items": [{}]},
    "an unknown type": {"type": "text"},
    "no type at all": {"type": []},
    "a type twice": {"type": ["string", "string"]},
    "an unknown format": {"format": "hostname"},
    "an enum without values": {"enum": []},
    "an enum that is no list": {"enum": "a"},
    "required that is true": {"required": True},
    "required with a number": {"required": [1]},
    "required twice": {"required": ["a", "a"]},
    "properties that are a list": {"properties": ["a"]},
    "a limit that is a text": {"minimum": "1"},
    "a negative length": {"minLength": -1},
    "a broken length": {"maxItems": 1.5},
    "a multiple of nothing": {"multipleOf": 0},
    "uniqueItems with a number": {"uniqueItems": 1},
    "anyOf nothing": {"anyOf": []},
    "a title that is a number": {"title": 5},
    "examples that are a text": {"examples": "x"},
    "a schema of 64 KiB": {"enum": ["x" * 66000]},
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_not_known_is_refused(schemas: Sql, name: str) -> None:
    found = schema_problems(schemas, REFUSED[name])
    assert found
    assert {p["code"] for p in found} == {"bad_schema"}
    assert all(p.keys() == {"path", "code", "message", "hint"} and p["message"] for p in found)


def test_a_schema_too_deep_is_refused(schemas: Sql) -> None:
    schema: Any = {}
    for _ in range(50):
        schema = {"not": schema}
    [problem] = schema_problems(schemas, schema)
    assert "deeper" in problem["message"]


def test_every_problem_of_a_schema_is_told_with_its_place(schemas: Sql) -> None:
    schema = {
        "tpye": "object",
        "properties": {"a/b": {"minimum": "1"}, "c": {"anyOf": [{}, {"format": "x"}]}},
    }
    found = schema_problems(schemas, schema, "/nodes/0/form")
    assert sorted(p["path"] for p in found) == [
        "/nodes/0/form/properties/a~1b/minimum",
        "/nodes/0/form/properties/c/anyOf/1/format",
        "/nodes/0/form/tpye",
    ]
    [misspelt] = [p for p in found if p["path"].endswith("tpye")]
    assert 'Did you mean "type"?' in misspelt["hint"]


def test_properties_may_be_named_like_keywords(schemas: Sql) -> None:
    assert schema_problems(schemas, {"properties": {"$ref": {}, "if": {"type": "string"}}}) == []


# Patterns -------------------------------------------------------------------------------------------

GOOD_PATTERNS = [
    "", "^$", "a", "[a-z]+", "^[^@ ]+@[^@ ]+$", "(ab|cd)*", "(?:x)?y", r"\d{4}-\d{2}", r"\.", r"[\w.-]+",
    "a+?",
    r"^\+?[0-9 ()/-]{3,20}$", "^[A-Z]{2}[0-9]{2}[A-Z0-9]{11,30}$", r"\s\S", "a{2}", "a{2,}", "a|", "[\\]\\[]",
    "ü🙂",
]  # fmt: skip
BAD_PATTERNS = [
    "(", ")", "(a", "a)", "[", "[]", "[^]", "[z-a]", "*", "+a", "a**", "a{2", "{", "}", "]", "a{3,2}",
    "a{300}",
    "(?=a)", "(?!a)", "(?<=a)", "(?i)a", "(?P<n>a)", r"(a)\1", r"\b", r"\y", r"\u0041", r"\x41", r"\A", "\\",
    "***=a", "***:a", "[[:alpha:]]", "[[.a.]]", "(((a{10}){10}){10}){10}", "(" * 30 + "a" + ")" * 30,
    "x" * 501,
]  # fmt: skip


@pytest.mark.parametrize("pattern", GOOD_PATTERNS)
def test_a_plain_pattern_is_taken(schemas: Sql, pattern: str) -> None:
    assert schema_problems(schemas, {"pattern": pattern}) == []


@pytest.mark.parametrize("pattern", BAD_PATTERNS)
def test_a_pattern_that_means_different_things_or_nothing_is_refused(schemas: Sql, pattern: str) -> None:
    [problem] = schema_problems(schemas, {"pattern": pattern})
    assert (problem["path"], problem["code"]) == ("/pattern", "bad_schema")


HEAVY_PATTERNS = [
    "(a+)+$", "(a|a)*b", "(a*)*b", "(.*)*x", "([a-z]*)*[0-9]", "(a|b)*a(a|b){12}$", "(.{0,50}){0,19}$",
    "(((a?){9}){9}){9}$", "([ab]{0,30}){0,30}b$", "(x?){250}(x?){250}y", "(ab?|b?a){70}", "((a|b)*c*){100}",
    "(?:a?){255}(?:a?){255}(?:a?){255}b", "(a?){255}(bc?){40}", "(a?b?c?d?){70}",
    ".*.*.*.*.*.*.*.*.*.*x", "(.|a|b|[ab]){0,200}x",
]  # fmt: skip


@pytest.mark.parametrize("pattern", HEAVY_PATTERNS)
def test_no_pattern_that_is_taken_hangs(schemas: Sql, pattern: str) -> None:
    with schemas.transaction():
        schemas.execute("set local statement_timeout = '20s'")
        if schema_problems(schemas, {"pattern": pattern}) == []:
            for text in ("a" * 10000, "ab" * 5000, "x" * 9999 + "y"):
                problems(schemas, {"pattern": pattern}, text)


def test_a_very_long_text_is_not_matched(schemas: Sql) -> None:
    [problem] = problems(schemas, {"pattern": "a"}, "a" * 10001)
    assert problem["code"] == "pattern"


# Against an implementation of the standard ----------------------------------------------------------

words = st.sampled_from(["", "a", "b", "ab", "abc", "1", "aaaa", "🙂", "true"])
names = st.sampled_from(["a", "b", "c", "a/b", "~"])
numbers = st.integers(-6, 6) | st.sampled_from([0.5, 1.5, -2.5, 3.0, 1e15])
values = st.recursive(
    st.none() | st.booleans() | numbers | words,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(names, inner, max_size=3),
    max_leaves=8,
)
types = st.sampled_from(["string", "number", "integer", "boolean", "object", "array", "null"])
counts = st.integers(0, 4) | st.just(2.0)


def schema_of(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    keywords: dict[str, st.SearchStrategy[Any]] = {
        "type": types | st.lists(types, min_size=1, max_size=3, unique=True),
        "enum": st.lists(values, min_size=1, max_size=3),
        "const": values,
        "properties": st.dictionaries(names, inner, max_size=3),
        "required": st.lists(names, max_size=2, unique=True),
        "additionalProperties": inner | st.booleans(),
        "items": inner,
        "minItems": counts,
        "maxItems": counts,
        "uniqueItems": st.booleans(),
        "minimum": numbers,
        "maximum": numbers,
        "exclusiveMinimum": numbers,
        "exclusiveMaximum": numbers,
        "multipleOf": st.sampled_from([1, 2, 3, 0.5, 0.25]),
        "minLength": counts,
        "maxLength": counts,
        "pattern": st.sampled_from(["a", "^a", "b$", "^[ab]*$", "^(ab|c)+$", r"\d", "^$", "^a{2,3}"]),
        "anyOf": st.lists(inner, min_size=1, max_size=3),
        "allOf": st.lists(inner, min_size=1, max_size=3),
        "oneOf": st.lists(inner, min_size=1, max_size=3),
        "not": inner,
        "title": words,
        "default": values,
    }
    # Few keywords at a time: with many, hardly any value fits.
    chosen = st.lists(st.sampled_from(sorted(keywords)), max_size=3, unique=True)
    return chosen.flatmap(lambda keys: st.fixed_dictionaries({k: keywords[k] for k in keys}))


schemas_of_all_kinds = st.recursive(st.booleans() | schema_of(st.just({})), schema_of, max_leaves=6)


@settings(max_examples=400, deadline=None, suppress_health_check=list(HealthCheck))
@given(schema=schemas_of_all_kinds, candidates=st.lists(values, min_size=3, max_size=8))
@example(schema={"uniqueItems": True}, candidates=[[1, True], [0, False], [1, 1.0], [{"a": 1}, {"a": True}]])
@example(schema={"enum": [0, [1], {"a": 1}]}, candidates=[False, [True], {"a": True}, 0.0, [1.0]])
def test_it_agrees_with_the_jsonschema_package(schemas: Sql, schema: Any, candidates: list[Any]) -> None:
    assert schema_problems(schemas, schema) == []
    validator = jsonschema.Draft202012Validator(schema)
    query = (
        "select not exists (select from pgorch._value_problems(%s, v.value)) as fits"
        " from jsonb_array_elements(%s) with ordinality v(value, at) order by v.at"
    )
    found = [r["fits"] for r in schemas.execute(query, [Jsonb(schema), Jsonb(candidates)])]
    assert found == [validator.is_valid(value) for value in candidates]


@settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
@given(schema=st.recursive(values, schema_of, max_leaves=6) | st.dictionaries(words, values))
def test_what_is_taken_is_a_schema_by_the_standard(schemas: Sql, schema: Any) -> None:
    if schema_problems(schemas, schema) == []:
        jsonschema.Draft202012Validator.check_schema(schema)


@settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    pattern=st.text("ab.*+?()[]|^$\\d{2,}-", max_size=12),
    texts=st.lists(st.text("ab.1", max_size=6), min_size=2, max_size=5),
)
def test_a_pattern_that_is_taken_means_what_it_means_in_python(
    schemas: Sql, pattern: str, texts: list[str]
) -> None:
    assume(schema_problems(schemas, {"pattern": pattern}) == [])
    validator = jsonschema.Draft202012Validator({"pattern": pattern})
    for text in texts:
        assert (problems(schemas, {"pattern": pattern}, text) == []) is validator.is_valid(text), text


@settings(max_examples=200, deadline=None, suppress_health_check=list(HealthCheck))
@given(value=st.floats(allow_nan=False, allow_infinity=False), step=st.sampled_from([0.01, 0.1, 3, 7.5]))
def test_any_number_can_be_asked_for_its_multiples(schemas: Sql, value: float, step: float) -> None:
    found = problems(schemas, {"multipleOf": step}, value)
    assert len(found) <= 1
    if value == math.floor(value) and abs(value) < 1e6 and step == 0.01:
        assert found == []
