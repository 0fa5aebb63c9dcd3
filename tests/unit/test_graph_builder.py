"""The builder of graphs: sugar whose product is the JSON, byte for byte what was put in."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pgorch.errors import ConfigError, InvalidValue
from pgorch.graph import Graph
from pgorch.tool import tool

# The same examples each time, however busy the machine is.
steadily = settings(derandomize=True, deadline=None, suppress_health_check=[HealthCheck.too_slow])
keys = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=8)
values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | keys,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys, inner, max_size=3),
    max_leaves=6,
)
objects = st.dictionaries(keys, values, max_size=4)


def definitions() -> st.SearchStrategy[dict[str, Any]]:
    parts = st.tuples(objects, st.lists(objects, max_size=4), st.lists(objects, max_size=4))
    return parts.map(lambda part: part[0] | {"nodes": part[1], "edges": part[2]})


@steadily
@given(definitions())
def test_any_definition_survives_the_round_trip_unknown_keys_included(definition: dict[str, Any]) -> None:
    graph = Graph.from_json(definition)
    assert graph.to_json() == definition
    assert Graph.from_json(graph.to_json()) == graph
    assert Graph.from_json(json.dumps(definition)) == graph


@tool(name="profile_data")
def profile() -> None: ...


def built() -> Graph:
    g = Graph("data_quality", retry={"max_attempts": 2}, description="Kept.")
    g.task("profile", profile, timeout=90, position={"x": 1, "y": 2})
    g.task(
        "clean", "clean_data", input={"rows": "${$.rows}"}, into="cleaned", retry={"initial_interval": "2 s"}
    )
    g.approval("sign_off", title="Publish ${$.rows} rows?", show={"rows": "${$.rows}"})
    g.passing("meet", join="all")
    g.fail("refused", error="Refused", message="No.")
    g.edge("profile", "clean", condition="$.quality < 0.95", limit=3)
    g.edge("profile", "sign_off").edge("clean", "profile")
    g.edge("sign_off", "meet", on="approved").edge("sign_off", "refused", on="rejected", label="no")
    return g


def test_the_builder_writes_the_language() -> None:
    assert built().to_json() == {
        "name": "data_quality",
        "retry": {"max_attempts": 2},
        "description": "Kept.",
        "nodes": [
            {
                "id": "profile",
                "function": "profile_data",
                "timeout": "90 seconds",
                "position": {"x": 1, "y": 2},
            },
            {
                "id": "clean",
                "function": "clean_data",
                "input": {"rows": "${$.rows}"},
                "into": "cleaned",
                "retry": {"initial_interval": "2 s"},
            },
            {
                "id": "sign_off",
                "type": "approval",
                "title": "Publish ${$.rows} rows?",
                "show": {"rows": "${$.rows}"},
            },
            {"id": "meet", "type": "pass", "join": "all"},
            {"id": "refused", "type": "fail", "error": "Refused", "message": "No."},
        ],
        "edges": [
            {"source": "profile", "target": "clean", "condition": "$.quality < 0.95", "limit": 3},
            {"source": "profile", "target": "sign_off"},
            {"source": "clean", "target": "profile"},
            {"source": "sign_off", "target": "meet", "on": "approved"},
            {"source": "sign_off", "target": "refused", "on": "rejected", "label": "no"},
        ],
        "start_node": "profile",
    }


def test_every_type_of_node_has_a_method() -> None:
    g = Graph(
        timeout=timedelta(hours=1), input_schema={"type": "object"}, reducers={"a": "sum"}, output="${$.a}"
    )
    g.task("t", profile, compensate=profile, heartbeat=5, concurrency_key="${$.k}", concurrency=2)
    g.sql("s", "select f($1)", input=("${$.a}",))
    g.map("m", profile, "${$.files}", concurrency=5, tolerate="10%", timeout="5s", retry={"max_attempts": 2})
    g.child("c", "other@2", input={"x": "${$.x}"}, into="y")
    g.wait("w1", duration=timedelta(days=1))
    g.wait("w2", duration="${$.pause}", join="any", cancel_rest=True)
    g.wait("w3", until=datetime(2030, 1, 1, tzinfo=UTC))
    g.wait("w4", signal="go", deadline=60, join=2)
    g.wait("w5", row={"table": "shop.orders", "key": "${$.id}", "condition": {"status": "paid"}})
    g.approval(
        "a",
        form={"type": "object"},
        assignees=["role:finance"],
        quorum=2,
        exclude_initiator=True,
        deadline="48 hours",
        remind={"after": 3600, "to": ["role:cfo"]},
    )
    assert g.to_json() == {
        "timeout": "3600 seconds",
        "input_schema": {"type": "object"},
        "reducers": {"a": "sum"},
        "output": "${$.a}",
        "nodes": [
            {
                "id": "t",
                "function": "profile_data",
                "compensate": "profile_data",
                "heartbeat": "5 seconds",
                "concurrency_key": "${$.k}",
                "concurrency": 2,
            },
            {"id": "s", "sql": "select f($1)", "input": ["${$.a}"]},
            {
                "id": "m",
                "type": "map",
                "function": "profile_data",
                "items": "${$.files}",
                "concurrency": 5,
                "tolerate": "10%",
                "timeout": "5s",
                "retry": {"max_attempts": 2},
            },
            {"id": "c", "type": "graph", "graph": "other@2", "input": {"x": "${$.x}"}, "into": "y"},
            {"id": "w1", "type": "wait", "for": "86400 seconds"},
            {"id": "w2", "type": "wait", "for": "${$.pause}", "join": "any", "cancel_rest": True},
            {"id": "w3", "type": "wait", "until": "2030-01-01T00:00:00+00:00"},
            {
                "id": "w4",
                "type": "wait",
                "signal": "go",
                "deadline": "60 seconds",
                "join": {"at_least": 2},
            },
            {
                "id": "w5",
                "type": "wait",
                "row": {"table": "shop.orders", "key": "${$.id}", "condition": {"status": "paid"}},
            },
            {
                "id": "a",
                "type": "approval",
                "form": {"type": "object"},
                "assignees": ["role:finance"],
                "quorum": 2,
                "exclude_initiator": True,
                "deadline": "48 hours",
                "remind": {"after": "3600 seconds", "to": ["role:cfo"]},
            },
        ],
        "edges": [],
        "start_node": "t",
    }
    assert Graph.from_json(g.to_json()) == g


def test_what_the_builder_writes_is_a_value_of_its_own() -> None:
    graph = built()
    graph.to_json()["nodes"].clear()
    assert graph == built()
    template = {"rows": ["${$.rows}"]}
    other = Graph()
    other.task("a", "f", input=template)
    template["rows"].append("more")
    assert other.to_json()["nodes"] == [{"id": "a", "function": "f", "input": {"rows": ["${$.rows}"]}}]


def test_the_start_is_the_first_node_unless_another_is_named() -> None:
    graph = Graph("g")
    first = graph.task("a", "f")
    second = graph.task("b", "f")
    assert (first, second, graph.to_json()["start_node"]) == ("a", "b", "a")
    assert graph.start("b").to_json()["start_node"] == "b"
    assert graph != Graph("g")


def test_functions_that_are_no_tools_are_named_as_tools_would_be() -> None:
    def helper(a: int) -> None: ...

    graph = Graph()
    graph.task("a", helper)
    assert graph.to_json()["nodes"][0]["function"] == "helper"


@pytest.mark.parametrize(
    "text", ["[]", "{}", '{"nodes": []}', '{"nodes": {}, "edges": []}', '{"a":1,"a":2}', "{"]
)
def test_what_is_no_graph_is_refused(text: str) -> None:
    with pytest.raises(InvalidValue):
        Graph.from_json(text)


def test_slips_in_retry_and_timeout_are_told_where_they_are_written() -> None:
    with pytest.raises(ConfigError, match="retry of the node a has no setting 'attempts'"):
        Graph().task("a", "f", retry={"attempts": 3})
    with pytest.raises(ConfigError, match="timeout of the node a"):
        Graph().task("a", "f", timeout="later")
    with pytest.raises(ConfigError, match="deadline of the node a"):
        Graph().wait("a", signal="go", deadline=0)
    with pytest.raises(ConfigError, match="remind of the node a"):
        Graph().approval("a", remind={"after": "later"})
    with pytest.raises(ConfigError, match="duration of the node a"):
        Graph().wait("a", duration="soon")
    with pytest.raises(ConfigError, match="the node a waits has no zone"):
        Graph().wait("a", until=datetime(2030, 1, 1))
    assert "Graph({" in repr(built())
