"""Graphs that run other graphs, and which version of them is meant."""

from typing import Any

import pytest

from tests.graphs.graphs import Graphs, tasks
from tests.support.engine import definition


def parent(child: Any, name: str = "parent", **keys: Any) -> dict[str, Any]:
    return definition([{"id": "c", "type": "graph", "graph": child, **keys}], name=name)


def child_of(graphs: Graphs, graph: dict[str, Any]) -> object:
    return graphs.nodes(graph)["c"]["child_graph_id"]


def test_a_child_is_named_by_its_id_its_name_or_its_version(graphs: Graphs) -> None:
    one = graphs.create(tasks("a", name="child"))["graph_id"]
    two = graphs.create(tasks("a b", ["a>b"], name="child"))["graph_id"]
    assert child_of(graphs, parent("child")) == two
    assert child_of(graphs, parent("child@1")) == one
    assert child_of(graphs, parent(str(one), into="x", retry={}, input={"y": "${$.y}"})) == one


def test_a_newer_version_of_a_child_makes_a_newer_version_of_its_parent(graphs: Graphs) -> None:
    """Else its old version would be run for ever, whatever is created again."""
    one = graphs.create(tasks("a", name="child"))["graph_id"]
    assert graphs.create(parent("child"))["created"]
    assert not graphs.create(parent("child"))["created"]
    two = graphs.create(tasks("a b", ["a>b"], name="child"))["graph_id"]
    assert graphs.create(parent("child"))["version"] == 2
    assert child_of(graphs, parent("child")) == two
    unnamed = {k: v for k, v in parent("child").items() if k != "name"}
    first = graphs.create(unnamed)
    graphs.create(tasks("a b c", ["a>b", "b>c"], name="child"))
    assert graphs.create(unnamed)["graph_id"] != first["graph_id"]
    pinned = parent("child@1", name="pinned")
    assert graphs.create(pinned)["created"]
    assert not graphs.create(pinned)["created"]
    assert child_of(graphs, pinned) == one


def test_a_graph_may_run_an_earlier_version_of_itself_only(graphs: Graphs) -> None:
    error = graphs.error(parent("parent"))
    assert (error["path"], error["code"]) == ("/nodes/0/graph", "unknown_graph")
    assert "names itself" in error["message"]
    assert "names itself" in graphs.error(parent("parent@1"))["message"]
    first = graphs.create(tasks("a", name="parent"))["graph_id"]
    assert child_of(graphs, parent("parent")) == first
    assert not graphs.create(parent("parent"))["created"]


@pytest.mark.parametrize(
    ("child", "hint"),
    [("chidl", 'Did you mean "child"?'), ("child@7", 'Did you mean "child"?'), ("other", "Create it first")],
)
def test_an_unknown_child_gets_near_names(graphs: Graphs, child: str, hint: str) -> None:
    graphs.create(tasks("a", name="child"))
    error = graphs.error(parent(child))
    assert (error["path"], error["code"]) == ("/nodes/0/graph", "unknown_graph")
    assert hint in error["hint"]


@pytest.mark.parametrize(
    ("keys", "path", "code"),
    [
        ({"graph": None}, "", "missing_key"),
        ({"graph": 5}, "/graph", "bad_value"),
        ({"graph": ""}, "/graph", "bad_value"),
        ({"function": "f"}, "/function", "unknown_key"),
        ({"timeout": "1 h"}, "/timeout", "unknown_key"),
        ({"input": "${$item}"}, "/input", "unknown_root"),
    ],
)
def test_a_mistake_in_a_node_that_runs_a_graph(
    graphs: Graphs, keys: dict[str, Any], path: str, code: str
) -> None:
    graphs.create(tasks("a", name="child"))
    graph = parent("child")
    graph["nodes"][0] |= keys
    error = graphs.error(graph)
    assert (error["path"], error["code"]) == ("/nodes/0" + path, code)
