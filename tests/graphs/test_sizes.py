"""Large graphs: what is allowed is stored in seconds, and what is not is refused at once."""

import itertools
import json
import time
from typing import Any

import pytest

from tests.graphs.graphs import Graphs, tasks

# Five times what a loaded machine of two cores needs.
SECONDS = 20.0


def named(count: int) -> str:
    return " ".join(f"n{i}" for i in range(count))


def test_a_thousand_branches_into_one_join(graphs: Graphs) -> None:
    branches = range(1, 1001)
    graph = tasks(named(1002), [*(f"n0>n{i}" for i in branches), *(f"n{i}>n1001" for i in branches)])
    began = time.monotonic()
    assert len(graphs.reach(graph)["n1001"]) == 1001
    assert time.monotonic() - began < SECONDS


def test_a_chain_of_the_largest_size(graphs: Graphs) -> None:
    graph = tasks(named(5000), [f"n{i}>n{i + 1}" for i in range(4999)])
    began = time.monotonic()
    assert graphs.create(graph)["created"]
    assert time.monotonic() - began < SECONDS


def test_twenty_thousand_edges_that_all_lead_far_ahead(graphs: Graphs) -> None:
    edges = [
        (f"n{i}>n{j}", {"condition": "$.x == 1"})
        for i in range(4999)
        for j in (i + 1, 4999, (i + 5000) // 2, min(i + 2, 4999))
    ]
    began = time.monotonic()
    assert graphs.errors(tasks(named(5000), edges)) == []
    assert time.monotonic() - began < SECONDS


@pytest.mark.parametrize(
    ("nodes", "edges", "paths"),
    [
        (5001, 0, ["/nodes"]),
        (2, 20001, ["/edges"]),
        (100_000, 99_999, ["/nodes", "/edges"]),
    ],
)
def test_a_graph_that_is_too_large_is_refused_before_it_is_looked_at(
    graphs: Graphs, nodes: int, edges: int, paths: list[str]
) -> None:
    graph: dict[str, Any] = {
        "nodes": [{"id": f"n{i}", "function": "unknown"} for i in range(nodes)],
        "edges": [{"source": f"n{i}", "target": f"n{i + 1}"} for i in range(edges)],
        "start_node": "n0",
    }
    began = time.monotonic()
    errors = graphs.errors(graph)
    assert time.monotonic() - began < SECONDS
    assert [(e["path"], e["code"]) for e in errors] == [(path, "too_large") for path in paths]


def test_a_definition_of_more_than_four_megabytes_is_refused(graphs: Graphs) -> None:
    error = graphs.error(tasks("a", description="x" * (4 * 1024 * 1024)))
    assert (error["path"], error["code"]) == ("", "too_large")


@pytest.mark.parametrize(("levels", "codes"), [(55, []), (80, ["too_large"]), (3000, ["too_large"])])
def test_a_definition_is_at_most_64_levels_deep(graphs: Graphs, levels: int, codes: list[str]) -> None:
    graph = tasks("a")
    graph["nodes"][0]["data"] = "DEEP"
    deep = "[" * levels + "]" * levels
    errors = graphs.value(
        "select pgorch.validate_graph(replace(%s::text, '\"DEEP\"', %s)::jsonb)",
        json.dumps(graph),
        deep,
    )
    assert [e["code"] for e in errors] == codes


def test_more_loops_in_each_other_than_32_are_refused(graphs: Graphs) -> None:
    def nested(depth: int) -> set[str]:
        edges: list[Any] = [f"n{i}>n{i + 1}" for i in range(depth)]
        edges += [(f"n{depth}>n{i}", {"limit": 2, "condition": "$.x == 1"}) for i in range(depth)]
        return {code for _, code in graphs.faults(tasks(named(depth + 1), edges))}

    assert nested(32) == set()
    assert nested(33) == {"too_large"}


def test_too_many_ways_to_joins_are_refused(graphs: Graphs) -> None:
    layers = [[f"n{layer}_{i}" for i in range(40)] for layer in range(60)]
    edges = [f"s>{node}" for node in layers[0]]
    edges += [
        f"{node}>{below[(i + k) % 40]}"
        for above, below in itertools.pairwise(layers)
        for i, node in enumerate(above)
        for k in range(3)
    ]
    began = time.monotonic()
    error = graphs.error(tasks(" ".join(["s", *(n for layer in layers for n in layer)]), edges))
    assert time.monotonic() - began < SECONDS
    assert (error["path"], error["code"]) == ("/nodes", "too_large")


def test_thousands_of_errors_are_cut_short(graphs: Graphs) -> None:
    graph = tasks(named(3000), [(f"x{i}>y{i}", {"condition": "$.x = 1"}) for i in range(3000)])
    began = time.monotonic()
    errors = graphs.errors(graph)
    assert time.monotonic() - began < SECONDS
    assert len(errors) == 501
    assert errors[-1]["code"] == "more_errors"


@pytest.mark.parametrize(
    ("template", "faults"),
    [
        ("${$.x} " * 200, set()),
        ("${$.x} " * 201, {("/nodes/0/input/t", "too_large")}),
        ("${$.x}" + "x" * 100_000, {("/nodes/0/input/t", "too_large")}),
        ("x" * 200_000, set()),
        (["${$.x}"] * 20_001, {("", "too_large")}),
    ],
)
def test_templates_have_limits(graphs: Graphs, template: Any, faults: set[tuple[str, str]]) -> None:
    graph = tasks("a")
    graph["nodes"][0]["input"] = {"t": template}
    began = time.monotonic()
    assert graphs.faults(graph) == faults
    assert time.monotonic() - began < SECONDS


@pytest.mark.parametrize("backwards", [False, True])
def test_a_chain_in_which_every_node_reads_the_one_before(graphs: Graphs, backwards: bool) -> None:
    """Also where the definition lists it from the end, so that its order is no help."""
    graph = tasks(named(5000), [f"n{i}>n{i + 1}" for i in range(4999)])
    for i, node in enumerate(graph["nodes"][1:]):
        node["input"] = {"before": f"${{$nodes.n{i}.output}}"}
    if backwards:
        graph["nodes"].reverse()
        graph["edges"].reverse()
    began = time.monotonic()
    assert graphs.errors(graph) == []
    assert time.monotonic() - began < SECONDS
