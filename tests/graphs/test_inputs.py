"""Why a graph does not take an input."""

from typing import Any

import pytest
from psycopg.types.json import Jsonb

from tests.graphs.graphs import Graphs, tasks

SCHEMA = {
    "properties": {"amount": {"type": "number", "maximum": 100}, "to": {"type": "string"}},
    "required": ["amount"],
}


def problems(graphs: Graphs, schema: Any, input: Any) -> Any:
    graph_id = graphs.create(tasks("a", name="pay", input_schema=schema))["graph_id"]
    return graphs.value(
        "select pgorch._input_problems(g, %s) from pgorch.graphs g where g.id = %s", Jsonb(input), graph_id
    )


@pytest.mark.parametrize(
    ("schema", "input"),
    [(None, {"a": 1}), (SCHEMA, {"amount": 5, "more": 1}), ({}, {})],
)
def test_an_input_that_fits_has_no_problem(graphs: Graphs, schema: Any, input: Any) -> None:
    assert problems(graphs, schema, input) is None


def test_problems_are_told_with_their_places(graphs: Graphs) -> None:
    told = problems(graphs, SCHEMA, {"amount": 101, "to": 5})
    assert told.startswith('the input does not fit the input_schema of "pay": ')
    assert '"amount" must be at most 100, and is 101 (at /amount)' in told
    assert '"to" must be a string, and is 5 (at /to); ' in told


def test_many_problems_are_counted(graphs: Graphs) -> None:
    schema = {"properties": {"list": {"items": {"type": "string"}}}}
    assert problems(graphs, schema, {"list": [5] * 8}).endswith("; and 3 others")
    assert problems(graphs, schema, {"list": [5] * 500}).endswith("; and more than 95 others")
