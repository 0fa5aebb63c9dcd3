"""Fields of the types of nodes and of graphs: what they may be, and what is stored of them."""

from datetime import timedelta
from typing import Any

import pytest

from tests.graphs.graphs import Graphs, tasks
from tests.support.engine import definition

BASE: dict[str, dict[str, Any]] = {
    "task": {"function": "f"},
    "sql": {"sql": "select 1"},
    "map": {"type": "map", "function": "f", "items": "${$.files}"},
    "wait": {"type": "wait", "signal": "go"},
    "approval": {"type": "approval"},
    "pass": {"type": "pass"},
    "fail": {"type": "fail"},
}


def with_node(kind: str, keys: dict[str, Any]) -> dict[str, Any]:
    """A valid graph with a node of this kind at /nodes/1, and an edge on from it where there may be one."""
    graph = definition([{"id": "a", "function": "f"}], ["a>x"])
    graph["nodes"].append({"id": "x"} | BASE[kind] | keys)
    return graph


RIGHT: list[tuple[str, dict[str, Any], dict[str, Any]]] = [
    ("task", {"heartbeat": "30 s"}, {"heartbeat": timedelta(seconds=30)}),
    ("task", {"compensate": "profile_data"}, {"compensate": "profile_data"}),
    ("task", {"concurrency_key": "${$.customer}"}, {"concurrency_key": "${$.customer}", "concurrency": 1}),
    ("task", {"concurrency_key": "one", "concurrency": 5}, {"concurrency_key": "one", "concurrency": 5}),
    ("sql", {}, {"sql": "select 1", "function": "pgorch.sql", "type": "task", "input": None}),
    ("sql", {"sql": "select $1", "input": ["${$.a}", 2]}, {"input": ["${$.a}", 2]}),
    ("map", {}, {"items": "${$.files}", "tolerate": None, "tolerate_percent": None, "concurrency": None}),
    ("map", {"items": [1, "${$.two}"]}, {"items": [1, "${$.two}"]}),
    ("map", {"function": None, "sql": "select $1", "input": ["${$item}"]}, {"function": "pgorch.sql"}),
    ("map", {"concurrency": 5, "tolerate": 0}, {"concurrency": 5, "tolerate": 0}),
    ("map", {"tolerate": "12.5%"}, {"tolerate": None, "tolerate_percent": 12.5}),
    (
        "map",
        {"tolerate": "100%", "timeout": "5 s", "queue": "gpu"},
        {"tolerate_percent": 100, "queue": "gpu"},
    ),
    ("map", {"input": {"f": "${$item.name}", "n": "${$index}"}, "retry": {}}, {"into_key": None}),
    ("wait", {"signal": "paid-${$.id}"}, {"wait_signal": "paid-${$.id}", "wait_for": None}),
    ("wait", {"signal": None, "for": "PT24H"}, {"wait_for": "PT24H", "wait_signal": None}),
    ("wait", {"signal": None, "for": "${$.pause} hours"}, {"wait_for": "${$.pause} hours"}),
    ("wait", {"signal": None, "until": "2030-01-01T00:00:00Z"}, {"wait_until": "2030-01-01T00:00:00Z"}),
    ("wait", {"signal": None, "until": "${$.at}"}, {"wait_until": "${$.at}"}),
    ("wait", {"deadline": "7 days", "into": "paid"}, {"deadline": timedelta(days=7), "into_key": "paid"}),
    ("approval", {}, {"assignees": None, "quorum": 1, "exclude_initiator": False, "remind": None}),
    ("approval", {"form": {"type": "object"}}, {"form": {"type": "object"}}),
    ("approval", {"assignees": ["user:ann", "role:a b"]}, {"assignees": ["user:ann", "role:a b"]}),
    ("approval", {"quorum": 2, "exclude_initiator": True}, {"quorum": 2, "exclude_initiator": True}),
    ("approval", {"assignees": ["user:a"], "quorum": 2, "remind": {"after": "1 h", "to": ["user:b"]}}, {}),
    ("approval", {"assignees": ["user:a", "role:b"], "quorum": 9}, {"quorum": 9}),
    ("approval", {"remind": {"after": "90 minutes"}}, {"remind": {"seconds": 5400, "to": []}}),
    (
        "approval",
        {"deadline": "2 d", "remind": {"after": "1 d", "to": ["role:cfo"]}},
        {"deadline": timedelta(days=2), "remind": {"seconds": 86400, "to": ["role:cfo"]}},
    ),
    ("approval", {"input": {"x": "${$.x}"}}, {"input": {"x": "${$.x}"}}),
    ("pass", {"join": "any", "cancel_rest": True}, {"join_least": 1, "cancel_rest": True}),
    ("fail", {"join": "all"}, {"join_least": None, "cancel_rest": False}),
    ("task", {"join": {"at_least": 1}}, {"join_least": 1}),
]


@pytest.mark.parametrize(("kind", "keys", "columns"), RIGHT)
def test_what_a_node_may_have_and_what_is_stored(
    graphs: Graphs, kind: str, keys: dict[str, Any], columns: dict[str, Any]
) -> None:
    graph = with_node(kind, keys)
    assert graphs.errors(graph) == []
    stored = graphs.nodes(graph)["x"]
    assert {key: stored[key] for key in columns} == columns


WRONG: list[tuple[str, dict[str, Any], str, str]] = [
    ("task", {"heartbeat": "often"}, "/heartbeat", "bad_interval"),
    ("task", {"compensate": "nothing_like_it"}, "/compensate", "unknown_function"),
    ("task", {"compensate": 5}, "/compensate", "bad_name"),
    ("task", {"concurrency_key": ""}, "/concurrency_key", "bad_value"),
    ("task", {"concurrency_key": {}}, "/concurrency_key", "bad_value"),
    ("task", {"concurrency_key": "${$typo}"}, "/concurrency_key", "unknown_root"),
    ("task", {"concurrency": 5}, "/concurrency", "missing_key"),
    ("task", {"concurrency_key": "k", "concurrency": 0}, "/concurrency", "bad_value"),
    ("task", {"items": "${$.x}"}, "/items", "unknown_key"),
    ("task", {"deadline": "1 h"}, "/deadline", "unknown_key"),
    ("task", {"for": "1 h"}, "/for", "unknown_key"),
    ("task", {"graph": "g"}, "/graph", "unknown_key"),
    ("task", {"function": "pgorch.sql"}, "/function", "bad_value"),
    ("task", {"input": "${$item}"}, "/input", "unknown_root"),
    ("task", {"join": {"at_least": 2}}, "/join", "bad_value"),
    ("sql", {"sql": " ; "}, "/sql", "bad_value"),
    ("sql", {"sql": 5}, "/sql", "bad_value"),
    ("sql", {"function": "f"}, "/sql", "bad_value"),
    ("sql", {"input": {"a": 1}}, "/input", "bad_value"),
    ("map", {"items": None}, "", "missing_key"),
    ("map", {"function": None}, "", "missing_key"),
    ("map", {"function": "fff"}, "/function", "unknown_function"),
    ("map", {"items": "files"}, "/items", "bad_value"),
    ("map", {"items": "${$.a} ${$.b}"}, "/items", "bad_value"),
    ("map", {"items": 5}, "/items", "bad_value"),
    ("map", {"items": "${$item}"}, "/items", "unknown_root"),
    ("map", {"concurrency": 0}, "/concurrency", "bad_value"),
    ("map", {"tolerate": -1}, "/tolerate", "bad_value"),
    ("map", {"tolerate": 1.5}, "/tolerate", "bad_value"),
    ("map", {"tolerate": "101%"}, "/tolerate", "bad_value"),
    ("map", {"tolerate": "few"}, "/tolerate", "bad_value"),
    ("map", {"compensate": "f"}, "/compensate", "unknown_key"),
    ("map", {"concurrency_key": "k"}, "/concurrency_key", "unknown_key"),
    ("wait", {"signal": None}, "", "missing_key"),
    ("wait", {"for": "1 h"}, "", "bad_value"),
    ("wait", {"signal": None, "for": "5"}, "/for", "bad_interval"),
    ("wait", {"signal": None, "for": "2 days", "deadline": "1 day"}, "/for", "bad_interval"),
    ("wait", {"signal": ""}, "/signal", "bad_value"),
    ("wait", {"signal": "x" * 201}, "/signal", "bad_value"),
    ("wait", {"signal": "${$.x"}, "/signal", "bad_template"),
    ("wait", {"signal": None, "for": "soon"}, "/for", "bad_interval"),
    ("wait", {"signal": None, "for": 5}, "/for", "bad_interval"),
    ("wait", {"signal": None, "until": "tomorrow"}, "/until", "bad_value"),
    ("wait", {"signal": None, "until": "2030-01-01T00:00:00"}, "/until", "bad_value"),
    ("wait", {"signal": None, "until": 5}, "/until", "bad_value"),
    ("wait", {"deadline": "never"}, "/deadline", "bad_interval"),
    ("wait", {"timeout": "1 h"}, "/timeout", "unknown_key"),
    ("wait", {"retry": {}}, "/retry", "unknown_key"),
    ("approval", {"form": True}, "/form", "bad_schema"),
    ("approval", {"form": {"type": "string"}}, "/form/type", "bad_schema"),
    ("approval", {"form": {"properties": {"a": {"$ref": "#"}}}}, "/form/properties/a/$ref", "bad_schema"),
    ("approval", {"assignees": "user:ann"}, "/assignees", "bad_value"),
    ("approval", {"assignees": []}, "/assignees", "bad_value"),
    ("approval", {"assignees": ["ann"]}, "/assignees", "bad_value"),
    ("approval", {"assignees": ["user:"]}, "/assignees", "bad_value"),
    ("approval", {"assignees": ["user:${$.boss}"]}, "/assignees", "bad_value"),
    ("approval", {"assignees": [5]}, "/assignees", "bad_value"),
    ("approval", {"quorum": 0}, "/quorum", "bad_value"),
    ("approval", {"quorum": "all"}, "/quorum", "bad_value"),
    ("approval", {"assignees": ["user:a", "user:a"], "quorum": 2}, "/quorum", "bad_value"),
    ("approval", {"exclude_initiator": "yes"}, "/exclude_initiator", "bad_value"),
    ("approval", {"remind": "1 h"}, "/remind", "bad_value"),
    ("approval", {"remind": {}}, "/remind", "missing_key"),
    ("approval", {"remind": {"after": "x"}}, "/remind/after", "bad_interval"),
    ("approval", {"remind": {"after": "1 h", "too": []}}, "/remind/too", "unknown_key"),
    ("approval", {"remind": {"after": "1 h", "to": []}}, "/remind/to", "bad_value"),
    ("approval", {"deadline": "1 h", "remind": {"after": "60 min"}}, "/remind/after", "bad_interval"),
    ("approval", {"timeout": "1 h"}, "/timeout", "unknown_key"),
    ("pass", {"cancel_rest": True}, "/cancel_rest", "bad_value"),
    ("pass", {"cancel_rest": 1, "join": "any"}, "/cancel_rest", "bad_value"),
    ("pass", {"deadline": "1 h"}, "/deadline", "unknown_key"),
    ("fail", {"join": {"at_least": 0}}, "/join", "bad_value"),
    ("fail", {"join": {"at_least": "2"}}, "/join", "bad_value"),
    ("fail", {"join": {"least": 1}}, "/join", "bad_value"),
    ("fail", {"join": {}}, "/join", "bad_value"),
    ("fail", {"branch": "all"}, "/branch", "unknown_key"),
]


@pytest.mark.parametrize(("kind", "keys", "path", "code"), WRONG)
def test_what_a_node_may_not_have(
    graphs: Graphs, kind: str, keys: dict[str, Any], path: str, code: str
) -> None:
    error = graphs.error(with_node(kind, keys))
    assert (error["path"], error["code"]) == ("/nodes/1" + path, code)


@pytest.mark.parametrize(
    ("keys", "columns"),
    [
        ({"timeout": "1 hour"}, {"timeout": timedelta(hours=1)}),
        ({"input_schema": {"required": ["a"]}}, {"input_schema": {"required": ["a"]}}),
        ({"reducers": {"a": "append", "b": None}}, {"reducers": {"a": "append"}}),
        ({"reducers": {}}, {"reducers": None}),
        ({"output": {"x": "${$.x}", "a": "${$nodes.a.output}", "r": "${$run.id}"}}, {"node_refs": ["a"]}),
        ({"output": "${$input.x}"}, {"output": "${$input.x}"}),
        ({"output": 5}, {"output": 5}),
        (
            dict.fromkeys(("timeout", "input_schema", "reducers", "output")),
            {"output": None, "reducers": None},
        ),
    ],
)
def test_what_a_graph_may_have_and_what_is_stored(
    graphs: Graphs, keys: dict[str, Any], columns: dict[str, Any]
) -> None:
    graph = tasks("a b", ["a>b"]) | keys
    assert graphs.errors(graph) == []
    stored = graphs.stored(graph)
    assert {key: stored[key] for key in columns} == columns


@pytest.mark.parametrize(
    ("keys", "path", "code", "words"),
    [
        ({"timeout": "-1 hour"}, "/timeout", "bad_interval", "longer than nothing"),
        ({"input_schema": []}, "/input_schema", "bad_schema", "must be an object"),
        ({"input_schema": {"type": "array"}}, "/input_schema/type", "bad_schema", "never takes one"),
        ({"input_schema": {"typ": "object"}}, "/input_schema/typ", "bad_schema", '"typ"'),
        ({"reducers": {"a/b": "concat"}}, "/reducers/a~1b", "bad_value", '"append" or'),
        ({"reducers": {"a": 5}}, "/reducers/a", "bad_value", "a string"),
        ({"reducers": ["append"]}, "/reducers", "bad_value", "an object"),
        ({"output": "${$.x"}, "/output", "bad_template", "without the }"),
        ({"output": {"a": ["${$decision.x}"]}}, "/output/a/0", "unknown_root", "approval only"),
        ({"output": "${$item}"}, "/output", "unknown_root", "map only"),
        ({"output": "${$nodes.bb.output}"}, "/output", "unknown_node", '"bb"'),
        ({"output": "${$nodes}"}, "/output", "bad_reference", "not followed by"),
        ({"compensate": "f"}, "/compensate", "unknown_key", '"compensate"'),
    ],
)
def test_what_a_graph_may_not_have(
    graphs: Graphs, keys: dict[str, Any], path: str, code: str, words: str
) -> None:
    error = graphs.error(tasks("a b", ["a>b"]) | keys)
    assert (error["path"], error["code"]) == (path, code)
    assert words in error["message"]


def test_near_names_of_reducers_are_in_the_hint(graphs: Graphs) -> None:
    assert 'Did you mean "append"?' in graphs.error(tasks("a", reducers={"a": "apend"}))["hint"]


@pytest.mark.parametrize(
    ("node", "on", "right"),
    [
        ({"type": "approval", "deadline": "1 h"}, "expired", True),
        ({"type": "wait", "signal": "go", "deadline": "1 h"}, "expired", True),
        ({"type": "approval"}, "expired", False),
        ({"type": "wait", "for": "1 h"}, "expired", False),
        ({"function": "f", "timeout": "1 h"}, "expired", False),
        ({"type": "wait", "signal": "go"}, "error", True),
        ({"type": "wait", "signal": "go"}, "rejected", False),
        ({"type": "map", "function": "f", "items": []}, "error", True),
        ({"type": "map", "function": "f", "items": []}, "approved", False),
    ],
)
def test_which_outcomes_an_edge_may_be_for(
    graphs: Graphs, node: dict[str, Any], on: str, right: bool
) -> None:
    graph = definition([{"id": "a"} | node, {"id": "b", "function": "f"}], [("a>b", {"on": on})])
    assert graphs.faults(graph) == (set() if right else {("/edges/0/on", "bad_outcome")})


def test_the_decision_is_not_known_where_time_ran_out(graphs: Graphs) -> None:
    condition = "$decision.again == true"
    for on, right in [("rejected", True), ("expired", False)]:
        graph = definition(
            [{"id": "a", "type": "approval", "deadline": "1 h"}, {"id": "b", "function": "f"}],
            [("a>b", {"on": on, "condition": condition})],
        )
        assert graphs.faults(graph) == (set() if right else {("/edges/0/condition", "unknown_root")})


@pytest.mark.parametrize(
    ("keys", "node", "plain"),
    [
        ({}, {}, (True, True)),
        ({"timeout": "1 h", "input_schema": {}}, {"timeout": "1 h"}, (True, True)),
        ({}, {"heartbeat": "1 s"}, (False, False)),
        ({"output": "${$.x}"}, {}, (True, True)),
        ({"reducers": {"x": "sum"}}, {}, (False, True)),
        ({}, {"compensate": "f"}, (False, False)),
        ({}, {"concurrency_key": "k"}, (False, False)),
        ({}, {"function": None, "sql": "select 1"}, (False, False)),
        ({}, {"function": "wait_for_approval"}, (False, False)),
        ({}, {"type": "map", "items": []}, (True, False)),
        ({}, {"type": "wait", "function": None, "signal": "go"}, (False, False)),
        ({}, {"input": {}}, (True, False)),
    ],
)
def test_what_needs_more_than_routing_is_not_plain(
    graphs: Graphs, keys: dict[str, Any], node: dict[str, Any], plain: tuple[bool, bool]
) -> None:
    """fast_out and fast_in: whether the path that goes over many runs at once serves."""
    graph = tasks("a b c", ["a>b", "b>c"]) | keys
    graph["nodes"][1] |= node
    stored = graphs.nodes(graph)["b"]
    assert (stored["fast_out"], stored["fast_in"]) == plain


def test_where_the_path_ends_an_output_is_to_be_put_together(graphs: Graphs) -> None:
    nodes = graphs.nodes(tasks("a b", ["a>b"], output="${$.x}"))
    assert {n: nodes[n]["fast_out"] for n in nodes} == {"a": True, "b": False}


def test_edges_on_expired_are_a_group_of_their_own(graphs: Graphs) -> None:
    nodes: list[dict[str, Any]] = [{"id": "a", "type": "approval", "deadline": "1 h"}]
    nodes += [{"id": n, "function": "f"} for n in "bcd"]
    edges = [("a>b", {"on": "expired", "condition": "$.x == 1"}), ("a>c", {"on": "expired"})]
    assert graphs.errors(definition(nodes[:3], edges)) == []
    assert graphs.faults(definition(nodes, [*edges, ("a>d", {"on": "expired"})])) == {
        ("/edges/2", "several_else")
    }
    forks = definition(nodes[:3], [("a>b", {"on": "expired"}), ("a>c", {"on": "expired"})])
    assert graphs.stored(forks)["has_forks"]
