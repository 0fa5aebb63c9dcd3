"""Loops: where they are, and which are refused."""

from typing import Any

import pytest

from tests.graphs.graphs import Graphs, tasks
from tests.support.engine import definition

ELSE_OUT: dict[str, Any] = {"condition": "$.done == true"}
LIMIT: dict[str, Any] = {"limit": 3}


def test_loops_around_nodes_are_listed_outermost_first(graphs: Graphs) -> None:
    graph = tasks("s a b c e", ["s>a", "a>b", "b>c", ("c>b", LIMIT), ("c>a", LIMIT), "c>e"])
    graph["edges"][3]["condition"] = graph["edges"][4]["condition"] = "$.x == 1"
    nodes = graphs.nodes(graph)
    assert {n: row["loops"] for n, row in nodes.items()} == {
        "s": [],
        "a": ["a"],
        "b": ["a", "b"],
        "c": ["a", "b"],
        "e": [],
    }


def test_edges_that_lead_back_are_marked(graphs: Graphs) -> None:
    edges = graphs.edges(tasks("a b c", ["a>b", ("b>a", LIMIT), ("b>b", LIMIT), "b>c"]))
    assert [e["back"] for e in edges] == [False, True, True, False]


def test_a_limit_counts_in_the_innermost_loop_around_the_edge(graphs: Graphs) -> None:
    graph = tasks(
        "s a b e",
        [
            ("s>a", LIMIT),
            ("a>b", LIMIT | {"condition": "$.x == 1"}),
            ("b>b", LIMIT | {"condition": "$.x == 2"}),
            ("b>a", LIMIT),
            ("a>e", LIMIT),
        ],
    )
    assert [e["counted_loop"] for e in graphs.edges(graph)] == [None, "a", "b", "a", None]
    assert [e["max_traversals"] for e in graphs.edges(graph)] == [3] * 5


@pytest.mark.parametrize(
    ("nodes", "edges", "faults"),
    [
        ("a", ["a>a"], {"/edges/0"}),
        ("a b", ["a>b", "b>a"], {"/edges/1"}),
        ("a b", ["a>b", ("b>a", {"on": "error"})], {"/edges/1"}),
        ("a b", ["a>b", ("b>a", LIMIT)], set()),
        ("a b", [("a>b", LIMIT), "b>a"], set()),
        ("a b c", ["a>b", ("b>a", ELSE_OUT), "b>c"], set()),
        ("a b c", ["a>b", "b>a", ("b>c", ELSE_OUT)], set()),
        ("a b c", ["a>b", "b>a", ("b>c", LIMIT)], {"/edges/1"}),
        ("a b c", ["a>b", "b>a", ("b>c", {"on": "error"})], {"/edges/1"}),
        # A condition without a way out can only end in NoMatchingEdge.
        ("a b", ["a>b", ("b>a", ELSE_OUT)], {"/edges/1"}),
        # The limit of an inner loop starts anew whenever it is entered.
        ("a b c", ["a>b", ("b>b", LIMIT | ELSE_OUT), "b>a"], {"/edges/2"}),
        ("a b c", ["a>b", ("b>b", LIMIT), ("b>a", LIMIT), ("b>c", ELSE_OUT)], None),
        ("a b c d", ["a>b", "b>a", ("b>c", ELSE_OUT), "c>d", "d>c"], {"/edges/4"}),
        ("a b c d", ["a>b", "b>a", "c>d", "d>c", ("b>c", {"on": "error"})], {"/edges/1", "/edges/3"}),
    ],
)
def test_a_loop_needs_a_limit_or_a_condition_and_a_way_out(
    graphs: Graphs, nodes: str, edges: list[Any], faults: set[str] | None
) -> None:
    found = graphs.faults(tasks(nodes, edges))
    if faults is None:
        assert {code for _, code in found} == {"several_else"}
    else:
        assert {path for path, code in found if code == "unbounded_loop"} == faults


def test_the_message_shows_the_loop(graphs: Graphs) -> None:
    error = graphs.error(tasks("s a b", ["s>a", "a>b", "b>a"]))
    assert '"a" → "b" → "a"' in error["message"]
    assert '"limit"' in error["hint"]


def test_a_long_loop_is_shown_in_short(graphs: Graphs) -> None:
    names = [f"n{i}" for i in range(100)]
    error = graphs.error(tasks(" ".join(names), [f"n{i}>n{(i + 1) % 100}" for i in range(100)]))
    assert "…" in error["message"]
    assert len(error["message"]) < 300


@pytest.mark.parametrize(
    "edges",
    [
        [("s>a", ELSE_OUT), "s>b", "a>b", ("b>a", LIMIT), ("b>e", {"on": "error"})],
        [("s>b", ELSE_OUT), "s>a", "a>b", ("b>a", LIMIT), ("b>e", {"on": "error"})],
        [("s>a", ELSE_OUT), "s>b", ("a>b", LIMIT), ("b>a", LIMIT), ("a>e", {"on": "error"})],
    ],
)
def test_a_loop_with_two_entries_is_refused(graphs: Graphs, edges: list[Any]) -> None:
    errors = graphs.errors(tasks("s a b e", edges))
    assert [e["code"] for e in errors] == ["loop_with_two_entries"]
    assert '"a"' in errors[0]["message"]
    assert '"b"' in errors[0]["message"]


def test_a_jump_into_the_middle_of_a_loop_is_refused(graphs: Graphs) -> None:
    edges = [("s>a", ELSE_OUT), "s>c", "a>b", "b>c", ("c>a", LIMIT | ELSE_OUT), "c>e"]
    codes = {code for _, code in graphs.faults(tasks("s a b c e", edges))}
    assert codes == {"loop_with_two_entries"}


def passes(nodes: str, edges: list[Any]) -> dict[str, Any]:
    """Nodes in capitals are pass nodes."""
    return definition(
        [{"id": n, "type": "pass"} if n.isupper() else {"id": n, "function": "f"} for n in nodes.split()],
        edges,
    )


@pytest.mark.parametrize(
    ("edges", "refused"),
    [
        (["a>P", ("P>Q", ELSE_OUT), "Q>P", "P>e"], True),
        (["a>P", ("P>P", ELSE_OUT), "P>Q", "Q>e"], True),
        (["a>P", ("P>Q", ELSE_OUT), ("Q>P", LIMIT), "P>e"], False),
        (["a>P", ("P>Q", ELSE_OUT), "Q>a", "P>e"], False),
        (["a>P", ("P>Q", ELSE_OUT), "P>e", "Q>e"], False),
        # Around a task, with a loop of pass nodes inside.
        (["a>P", ("P>Q", ELSE_OUT), ("Q>P", ELSE_OUT), ("Q>a", LIMIT), "P>e"], True),
    ],
)
def test_a_loop_of_pass_nodes_alone_needs_a_limit(graphs: Graphs, edges: list[Any], refused: bool) -> None:
    codes = [code for _, code in graphs.faults(passes("a P Q e", edges))]
    assert codes == (["unbounded_loop"] if refused else [])


def test_nodes_that_cannot_be_reached_are_all_named(graphs: Graphs) -> None:
    graph = tasks("a b c d", ["a>b", "c>d", ("d>c", LIMIT), "d>b"])
    assert graphs.faults(graph) == {("/nodes/2", "unreachable_node"), ("/nodes/3", "unreachable_node")}


@pytest.mark.parametrize(
    ("edges", "faults"),
    [
        (["a>b", "a>c", "a>d"], set()),
        ([("a>b", ELSE_OUT), "a>c", "a>d"], {"/edges/2"}),
        (["a>b", "a>c", ("a>d", ELSE_OUT)], {"/edges/1"}),
        (["a>b", ("a>c", {"on": "always"}), ("a>d", ELSE_OUT)], {"/edges/1"}),
        ([("a>b", ELSE_OUT), "a>c", ("a>d", {"on": "error"})], set()),
        ([("a>b", ELSE_OUT | {"on": "always"}), "a>c", ("a>d", {"on": "error"})], set()),
        ([("a>b", ELSE_OUT), ("a>c", {"condition": {"x": 1}}), "a>d"], set()),
    ],
)
def test_a_group_of_edges_has_one_else(graphs: Graphs, edges: list[Any], faults: set[str]) -> None:
    found = graphs.faults(tasks("a b c d", edges))
    assert {path for path, code in found if code == "several_else"} == faults == {p for p, _ in found}


def test_with_branch_all_there_may_be_several_edges_without_condition(graphs: Graphs) -> None:
    graph = tasks("a b c d", [("a>b", ELSE_OUT), "a>c", "a>d"])
    graph["nodes"][0]["branch"] = "all"
    assert graphs.errors(graph) == []


@pytest.mark.parametrize(
    ("edges", "branch", "forks"),
    [
        (["a>b", "b>c", "c>d"], "first", False),
        (["a>b", "a>c", "b>d"], "first", True),
        ([("a>b", ELSE_OUT), "a>c", "b>d"], "first", False),
        ([("a>b", ELSE_OUT), "a>c", "b>d"], "all", True),
        (["a>b", ("a>c", {"on": "error"}), "b>d"], "first", False),
        (["a>b", ("a>c", {"on": "always"}), "b>d"], "first", True),
        ([("a>b", {"on": "error"}), ("a>c", {"on": "error"}), "b>d"], "first", True),
    ],
)
def test_a_fork_is_where_several_edges_can_be_taken_at_once(
    graphs: Graphs, edges: list[Any], branch: str, forks: bool
) -> None:
    graph = tasks("a b c d", edges)
    graph["nodes"] = [
        n for n in graph["nodes"] if any(n["id"] in (e["source"], e["target"]) for e in graph["edges"])
    ]
    graph["nodes"][0]["branch"] = branch
    assert graphs.stored(graph)["has_forks"] is forks


def test_with_forks_nodes_with_several_ways_in_join_and_those_behind_loops(graphs: Graphs) -> None:
    edges = ["a>b", "a>c", "b>d", "c>d", ("d>a", LIMIT | ELSE_OUT), "d>e"]
    assert {n for n, row in graphs.nodes(tasks("a b c d e", edges)).items() if row["joins"]} == set("ade")
    edges[0] = ("a>b", ELSE_OUT)
    assert not any(row["joins"] for row in graphs.nodes(tasks("a b c d e", edges)).values())


def test_what_is_fast(graphs: Graphs) -> None:
    def fast(edges: list[Any], **first: Any) -> tuple[bool, bool, bool]:
        graph = tasks("a b c", edges)
        graph["nodes"][0] |= first
        row = graphs.nodes(graph)["a"]
        return row["ends"], row["fast_out"], row["fast_in"]

    chain = ["a>b", "b>c"]
    assert fast(chain) == (False, True, True)
    assert fast(chain, input={"x": 1}) == (False, True, False)
    assert fast(chain, type="approval", function="wait_for_approval") == (False, False, False)
    assert fast([("a>b", ELSE_OUT), "a>c"]) == (False, True, True)
    assert fast([("a>b", {"condition": {"x": 1}}), "a>c"]) == (False, True, True)
    assert fast([("a>b", {"condition": "$input.x == 1"}), "a>c"]) == (False, False, True)
    assert fast([("a>b", LIMIT | ELSE_OUT), "a>c"]) == (False, False, True)
    assert fast([("a>b", {"on": "error"}), ("b>c", {"on": "always"})]) == (True, True, True)
    assert fast([("a>b", {"on": "error", "condition": "$error.x == 1"}), "a>c"]) == (False, True, True)
    assert fast(["a>b", "a>c"]) == (False, False, True)


def test_leaving_a_loop_with_counts_is_not_fast(graphs: Graphs) -> None:
    edges = ["a>b", ("b>a", LIMIT), ("a>c", {"condition": "$.x == 1"})]
    edges[0], edges[2] = ("a>b", {"condition": "$.x == 2"}), "a>c"
    rows = graphs.nodes(tasks("a b c d", [*edges, "c>d"]))
    assert {n: rows[n]["fast_out"] for n in "abcd"} == {"a": False, "b": False, "c": True, "d": True}
    del edges[1]
    rows = graphs.nodes(tasks("a b c d", [*edges, ("b>a", {"condition": "$.y == 1"}), "b>c", "c>d"]))
    assert {n: rows[n]["fast_out"] for n in "abcd"} == dict.fromkeys("abcd", True)
