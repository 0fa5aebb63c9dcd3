"""Every example of the language is a graph."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.graphs.graphs import Graphs
from tests.graphs.tables import make_tables

EXAMPLES: list[dict[str, Any]] = json.loads(Path(__file__).with_name("examples.json").read_text())


@pytest.mark.parametrize("graph", EXAMPLES, ids=[graph["name"] for graph in EXAMPLES])
def test_every_example_is_accepted_and_stored(graphs: Graphs, graph: dict[str, Any]) -> None:
    make_tables(graphs)
    nodes = graph["nodes"]
    graphs.register(*{node[key] for node in nodes for key in ("function", "compensate") if key in node})
    assert graphs.errors(graph) == []
    assert graphs.stored(graph)["definition"] == graph
    assert {node["id"] for node in nodes} == set(graphs.nodes(graph))
