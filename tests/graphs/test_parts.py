"""Errors of single keys, nodes and edges (rule R8)."""

from typing import Any

import pytest

from tests.graphs.graphs import Graphs, tasks
from tests.support.engine import definition


def with_node(**keys: Any) -> dict[str, Any]:
    """A valid graph with one node more, of these keys, at /nodes/1."""
    graph = tasks("a", ["a>x"])
    graph["nodes"].append({"id": "x", "function": "f"} | keys)
    return graph


def with_edge(type: str = "task", **keys: Any) -> dict[str, Any]:
    """A valid graph with these keys on its edge, which leaves a node of this type."""
    node = {"id": "a", "type": type} | ({"function": "f"} if type == "task" else {})
    return definition([node, {"id": "b", "function": "f"}], [("a>b", keys)])


@pytest.mark.parametrize("not_a_graph", [None, 5, "graph", True, [], [{}]])
def test_what_is_no_object_is_no_graph(graphs: Graphs, not_a_graph: Any) -> None:
    assert graphs.faults(not_a_graph) == {("", "bad_value")}


def test_missing_keys_of_a_graph_are_all_told(graphs: Graphs) -> None:
    errors = graphs.errors({})
    assert {e["message"] for e in errors} == {
        '"nodes" is missing',
        '"edges" is missing',
        '"start_node" is missing',
    }
    assert {e["code"] for e in errors} == {"missing_key"}


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ({"nodes": {}}, ("/nodes", "bad_value")),
        ({"nodes": []}, ("/nodes", "bad_value")),
        ({"nodes": ["a"]}, ("/nodes/0", "bad_value")),
        ({"edges": "none"}, ("/edges", "bad_value")),
        ({"edges": [[]]}, ("/edges/0", "bad_value")),
        ({"edges": [{}]}, ("/edges/0", "missing_key")),
        ({"start_node": 5}, ("/start_node", "bad_name")),
        ({"start_node": "A"}, ("/start_node", "unknown_node")),
        ({"name": ""}, ("/name", "bad_name")),
        ({"name": "x" * 201}, ("/name", "bad_name")),
        ({"name": "a@2"}, ("/name", "bad_name")),
        ({"name": "a\u0007"}, ("/name", "bad_name")),
        ({"name": ["a"]}, ("/name", "bad_name")),
        ({"description": 5}, ("/description", "bad_value")),
        ({"retry": 5}, ("/retry", "bad_retry")),
        ({"retry": {"max_attempts": 0}}, ("/retry/max_attempts", "bad_retry")),
        ({"startnode": "a"}, ("/startnode", "unknown_key")),
        ({"a/b~c": 1}, ("/a~1b~0c", "unknown_key")),
    ],
)
def test_a_wrong_key_of_a_graph(graphs: Graphs, change: dict[str, Any], fault: tuple[str, str]) -> None:
    assert fault in graphs.faults(tasks("a") | change)


@pytest.mark.parametrize(
    ("keys", "fault"),
    [
        ({"id": 5}, ("/nodes/1/id", "bad_name")),
        ({"id": ""}, ("/nodes/1/id", "bad_name")),
        ({"id": "x" * 201}, ("/nodes/1/id", "bad_name")),
        ({"id": "a\tb"}, ("/nodes/1/id", "bad_name")),
        ({"id": None}, ("/nodes/1", "missing_key")),
        ({"id": "a"}, ("/nodes/1/id", "duplicate_id")),
        ({"function": None}, ("/nodes/1", "missing_key")),
        ({"function": 5}, ("/nodes/1/function", "bad_name")),
        ({"function": "nothing_like_it"}, ("/nodes/1/function", "unknown_function")),
        ({"type": "map"}, ("/nodes/1", "missing_key")),
        ({"type": "graph"}, ("/nodes/1/function", "unknown_key")),
        ({"type": "wait"}, ("/nodes/1/function", "unknown_key")),
        ({"type": "taks"}, ("/nodes/1/type", "unknown_type")),
        ({"type": 5}, ("/nodes/1/type", "unknown_type")),
        ({"type": ["task"]}, ("/nodes/1/type", "unknown_type")),
        ({"type": "pass"}, ("/nodes/1/function", "unknown_key")),
        ({"type": "fail"}, ("/nodes/1/function", "unknown_key")),
        ({"type": "approval"}, ("/nodes/1/function", "bad_value")),
        ({"timeout": "soon"}, ("/nodes/1/timeout", "bad_interval")),
        ({"timeout": 90}, ("/nodes/1/timeout", "bad_interval")),
        ({"timeout": "0 seconds"}, ("/nodes/1/timeout", "bad_interval")),
        ({"timeout": "-5 minutes"}, ("/nodes/1/timeout", "bad_interval")),
        ({"timeout": "101 years"}, ("/nodes/1/timeout", "bad_interval")),
        ({"timeout": "infinity"}, ("/nodes/1/timeout", "bad_interval")),
        ({"timeout": "9" * 90 + " years"}, ("/nodes/1/timeout", "bad_interval")),
        ({"timeout": "9" * 1000}, ("/nodes/1/timeout", "bad_interval")),
        ({"timeout": "90"}, ("/nodes/1/timeout", "bad_interval")),
        ({"timeout": " 1.5 "}, ("/nodes/1/timeout", "bad_interval")),
        ({"queue": ""}, ("/nodes/1/queue", "bad_value")),
        ({"queue": "x" * 101}, ("/nodes/1/queue", "bad_value")),
        ({"queue": "!gpu"}, ("/nodes/1/queue", "bad_value")),
        ({"priority": 1001}, ("/nodes/1/priority", "bad_value")),
        ({"priority": 0.5}, ("/nodes/1/priority", "bad_value")),
        ({"priority": "high"}, ("/nodes/1/priority", "bad_value")),
        ({"into": ""}, ("/nodes/1/into", "bad_name")),
        ({"into": "x" * 201}, ("/nodes/1/into", "bad_name")),
        ({"into": {}}, ("/nodes/1/into", "bad_name")),
        ({"branch": "most"}, ("/nodes/1/branch", "bad_value")),
        ({"join": "some"}, ("/nodes/1/join", "bad_value")),
        ({"title": "Ok?"}, ("/nodes/1/title", "unknown_key")),
        ({"conditon": 1}, ("/nodes/1/conditon", "unknown_key")),
        ({"retry": "often"}, ("/nodes/1/retry", "bad_retry")),
        ({"retry": {"max_attempts": 1001}}, ("/nodes/1/retry/max_attempts", "bad_retry")),
        ({"retry": {"max_attempts": 2.5}}, ("/nodes/1/retry/max_attempts", "bad_retry")),
        ({"retry": {"initial_interval": 5}}, ("/nodes/1/retry/initial_interval", "bad_interval")),
        ({"retry": {"max_interval": "never"}}, ("/nodes/1/retry/max_interval", "bad_interval")),
        ({"retry": {"backoff_factor": 0.5}}, ("/nodes/1/retry/backoff_factor", "bad_retry")),
        ({"retry": {"jitter": 2}}, ("/nodes/1/retry/jitter", "bad_retry")),
        ({"retry": {"jitter": "yes"}}, ("/nodes/1/retry/jitter", "bad_retry")),
        ({"retry": {"retry_on": "Timeout"}}, ("/nodes/1/retry/retry_on", "bad_retry")),
        ({"retry": {"non_retryable": [5]}}, ("/nodes/1/retry/non_retryable", "bad_retry")),
        ({"retry": {"attempts": 3}}, ("/nodes/1/retry/attempts", "unknown_key")),
    ],
)
def test_a_wrong_key_of_a_node(graphs: Graphs, keys: dict[str, Any], fault: tuple[str, str]) -> None:
    assert fault in graphs.faults(with_node(**keys))


@pytest.mark.parametrize(
    "keys",
    [
        {"retry": {}},
        {"retry": {"max_attempts": 1000, "jitter": True, "backoff_factor": 1, "max_interval": "PT24H"}},
        {"retry": {"retry_on": ["Timeout"], "non_retryable": [], "jitter": 0.5}},
        {"timeout": "100 years"},
        {"timeout": "90s"},
        {"priority": -1000},
        {"join": "all", "branch": "first"},
        {"id": "ä b/c~d'\"$.@"},
        {"into": "a-b c"},
        {"label": "Two words", "description": "What it does."},
    ],
)
def test_what_a_node_may_have(graphs: Graphs, keys: dict[str, Any]) -> None:
    graph = with_node(**keys)
    graph["edges"][0]["target"] = graph["nodes"][1]["id"]
    assert graphs.errors(graph) == []
    assert graphs.create(graph)["created"]


@pytest.mark.parametrize(
    ("type", "keys"),
    [
        ("approval", {"timeout": "1 hour"}),
        ("approval", {"retry": {}}),
        ("approval", {"items": []}),
        ("approval", {"title": 5}),
        ("pass", {"queue": "gpu"}),
        ("pass", {"show": {}}),
        ("fail", {"into": "x"}),
        ("fail", {"message": 5}),
        ("fail", {"error": ""}),
        ("fail", {"input": {}}),
    ],
)
def test_a_key_that_a_type_of_node_does_not_have(graphs: Graphs, type: str, keys: dict[str, Any]) -> None:
    error = graphs.error(with_node(type=type, function=None, **keys))
    assert error["path"] == f"/nodes/1/{next(iter(keys))}"


@pytest.mark.parametrize(
    ("type", "keys", "fault"),
    [
        ("task", {"source": "q"}, ("/edges/0/source", "unknown_node")),
        ("task", {"target": "q"}, ("/edges/0/target", "unknown_node")),
        ("task", {"target": 5}, ("/edges/0/target", "bad_name")),
        ("task", {"target": None}, ("/edges/0", "missing_key")),
        ("task", {"on": "done"}, ("/edges/0/on", "bad_outcome")),
        ("task", {"on": 5}, ("/edges/0/on", "bad_outcome")),
        ("task", {"sourceHandle": "right"}, ("/edges/0/sourceHandle", "bad_outcome")),
        ("task", {"on": "approved"}, ("/edges/0/on", "bad_outcome")),
        ("task", {"on": "rejected"}, ("/edges/0/on", "bad_outcome")),
        ("task", {"sourceHandle": "rejected"}, ("/edges/0/sourceHandle", "bad_outcome")),
        ("pass", {"on": "rejected"}, ("/edges/0/on", "bad_outcome")),
        ("approval", {"on": "expired"}, ("/edges/0/on", "bad_outcome")),
        ("fail", {}, ("/edges/0/source", "bad_outcome")),
        ("task", {"limit": 0}, ("/edges/0/limit", "bad_limit")),
        ("task", {"limit": 1.5}, ("/edges/0/limit", "bad_limit")),
        ("task", {"limit": "3"}, ("/edges/0/limit", "bad_limit")),
        ("task", {"limit": 10**30}, ("/edges/0/limit", "bad_limit")),
        ("task", {"condition": 5}, ("/edges/0/condition", "bad_condition")),
        ("task", {"condition": True}, ("/edges/0/condition", "bad_condition")),
        ("task", {"condition": ["$.x == 1"]}, ("/edges/0/condition", "bad_condition")),
        ("task", {"condition": {}}, ("/edges/0/condition", "bad_condition")),
        ("task", {"condition": {"x": "${$input.x}"}}, ("/edges/0/condition", "bad_condition")),
        ("task", {"id": 5}, ("/edges/0/id", "bad_name")),
        ("task", {"label": {}}, ("/edges/0/label", "bad_value")),
        ("task", {"weight": 5}, ("/edges/0/weight", "unknown_key")),
    ],
)
def test_a_wrong_key_of_an_edge(
    graphs: Graphs, type: str, keys: dict[str, Any], fault: tuple[str, str]
) -> None:
    assert fault in graphs.faults(with_edge(type, **keys))


@pytest.mark.parametrize(
    ("type", "on"),
    [
        *[("task", on) for on in ("success", "error", "always")],
        *[("pass", on) for on in ("success", "error", "always")],
        *[("approval", on) for on in ("success", "approved", "rejected", "error", "always")],
    ],
)
def test_outcomes_that_nodes_have(graphs: Graphs, type: str, on: str) -> None:
    assert graphs.errors(with_edge(type, on=on)) == []


def test_near_names_are_in_the_hints(graphs: Graphs) -> None:
    graph = definition(
        [{"id": "profile", "function": "profle_data"}, {"id": "publish", "function": "f", "tmeout": "5s"}],
        ["profile>publsh"],
    )
    hints = {e["code"]: e["hint"] for e in graphs.errors(graph)}
    assert hints["unknown_function"].startswith('Did you mean "profile_data"?')
    assert hints["unknown_node"].startswith('Did you mean "publish"?')
    assert hints["unknown_key"].startswith('Did you mean "timeout"?')


def test_a_name_like_no_other_gets_no_near_names(graphs: Graphs) -> None:
    error = graphs.error(tasks("a b", ["a>b"]) | {"start_node": "completely_different"})
    assert "Did you mean" not in error["hint"]


def test_without_any_tool_the_hint_is_to_start_a_worker(graphs: Graphs) -> None:
    graphs.rows("delete from pgorch.tools returning name")
    assert "start a worker first" in graphs.error(tasks("a"))["hint"]


def test_all_errors_come_at_once(graphs: Graphs) -> None:
    graph = {
        "name": "",
        "nodes": [
            {"id": "a", "function": "profle_data", "timeout": "2 parsecs"},
            {"id": "b", "function": "f"},
            {"id": "b", "function": "f"},
            {"id": "lost", "function": "f"},
            {"id": "c", "function": "f"},
        ],
        "edges": [
            {"source": "a", "target": "b", "condition": "$.x = 5"},
            {"source": "b", "target": "c"},
            {"source": "c", "target": "b"},
            {"source": "c", "target": "nowhere", "limit": 0},
        ],
        "start_node": "a",
    }
    assert graphs.faults(graph) == {
        ("/name", "bad_name"),
        ("/nodes/0/function", "unknown_function"),
        ("/nodes/0/timeout", "bad_interval"),
        ("/nodes/2/id", "duplicate_id"),
        ("/nodes/3", "unreachable_node"),
        ("/edges/0/condition", "bad_condition"),
        ("/edges/2", "unbounded_loop"),
        ("/edges/3/target", "unknown_node"),
        ("/edges/3/limit", "bad_limit"),
    }


@pytest.mark.parametrize(
    ("one", "other", "most", "distance"),
    [
        ("kitten", "sitting", 3, 3),
        ("kitten", "sitting", 2, 3),
        ("", "", 3, 0),
        ("abc", "abc", 3, 0),
        ("abc", "", 3, 3),
        ("abcd", "", 3, 4),
        ("profile", "profle", 3, 1),
        ("ab", "ba", 3, 2),
        ("aaa", "aa", 3, 1),
    ],
)
def test_distances_between_names(graphs: Graphs, one: str, other: str, most: int, distance: int) -> None:
    assert graphs.value("select pgorch._distance(%s, %s, %s)", one, other, most) == distance
    assert graphs.value("select pgorch._distance(%s, %s, %s)", other, one, most) == distance
