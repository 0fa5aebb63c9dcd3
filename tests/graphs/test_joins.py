"""Joins that wait for some of what can come."""

from typing import Any

import pytest

from tests.graphs.graphs import Graphs, tasks


def fan(join: Any, **more: Any) -> dict[str, Any]:
    graph = tasks("s a b c j", ["s>a", "s>b", "s>c", "a>j", "b>j", "c>j"])
    graph["nodes"][4] |= {"join": join, **more}
    return graph


@pytest.mark.parametrize(
    ("join", "least"), [("all", None), (None, None), ("any", 1), *[({"at_least": n}, n) for n in (1, 2, 3)]]
)
def test_how_many_arrivals_a_join_needs(graphs: Graphs, join: Any, least: int | None) -> None:
    node = graphs.nodes(fan(join))["j"]
    assert (node["join_least"], node["joins"]) == (least, True)


def test_more_than_there_are_edges_can_never_arrive(graphs: Graphs) -> None:
    error = graphs.error(fan({"at_least": 4}))
    assert (error["path"], error["code"]) == ("/nodes/4/join", "bad_value")
    assert "at most 3 can come" in error["message"]


def test_an_edge_that_goes_back_is_no_arrival(graphs: Graphs) -> None:
    graph = fan("all")
    graph["nodes"][0]["join"] = {"at_least": 2}
    graph["edges"].append({"source": "j", "target": "s", "limit": 2})
    assert graphs.faults(graph) == {("/nodes/0/join", "bad_value")}
    graph["nodes"][0]["join"] = {"at_least": 1}
    assert graphs.errors(graph) == []


def test_without_parallel_branches_two_never_arrive(graphs: Graphs) -> None:
    graph = tasks("s a b j", [("s>a", {"condition": "$.x == 1"}), "s>b", "a>j", "b>j"])
    graph["nodes"][3]["join"] = {"at_least": 2}
    assert "run in parallel" in graphs.error(graph)["message"]
    graph["nodes"][3]["join"] = "any"
    node = graphs.nodes(graph)["j"]
    assert (node["join_least"], node["joins"]) == (1, False)


def test_the_rest_is_cancelled_only_if_there_is_one(graphs: Graphs) -> None:
    assert graphs.nodes(fan("any", cancel_rest=True))["j"]["cancel_rest"]
    assert graphs.faults(fan("all", cancel_rest=True)) == {("/nodes/4/cancel_rest", "bad_value")}
    assert graphs.errors(fan("all", cancel_rest=False)) == []
