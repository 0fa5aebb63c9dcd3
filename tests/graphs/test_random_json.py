"""Whatever JSON comes: a list of errors, or a graph that is stored; never an error of PostgreSQL's own."""

import copy
import random
from typing import Any

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.graphs.graphs import Graphs
from tests.graphs.tables import make_tables

WORDS = [
    "a", "b", "f", "task", "pass", "fail", "approval", "wait_for_approval", "map", "success", "rejected",
    "expired", "always", "all", "first", "any", "5 minutes", "${$.x}", "${$.x", "$.x == 1", "$.x",
    "$nodes.a.x", "${$nodes.b.output}", "$error.type == 1",
    "wait", "graph", "10%", "append", "user:ann", "role:x", "2030-01-01T00:00:00Z", "shop.orders", "${$item}",
    "", "'", '"', "\\", "${}", "1e400", "🙂", "x" * 300, "a@1", "$",
]  # fmt: skip
KEYS = [
    "id", "type", "function", "input", "into", "retry", "timeout", "queue", "priority", "join", "branch",
    "title", "show", "message", "error", "source", "target", "on", "sourceHandle", "condition", "limit",
    "label", "name", "nodes", "edges", "start_node", "description", "max_attempts", "initial_interval",
    "jitter", "retry_on", "position", "sql", "wrong", "a/b", "items", "tolerate", "concurrency",
    "concurrency_key", "compensate", "heartbeat", "deadline", "for", "until", "signal", "row", "graph",
    "form", "assignees", "quorum", "exclude_initiator", "remind", "after", "to", "cancel_rest", "at_least",
    "table", "key", "key_column", "input_schema", "reducers", "output", "properties",
]  # fmt: skip

scalars = (
    st.none()
    | st.booleans()
    | st.integers(-5, 10**20)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.sampled_from(WORDS)
    | st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=8)
)
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYS), inner, max_size=4),
    max_leaves=12,
)
parts = st.dictionaries(st.sampled_from(KEYS), values, max_size=6)
near_graphs = st.fixed_dictionaries(
    {
        "nodes": st.lists(parts | values, max_size=4) | values,
        "edges": st.lists(parts | values, max_size=4) | values,
    },
    optional={"start_node": values, "name": values, "retry": values},
)

RIGHT: dict[str, Any] = {
    "name": "right",
    "nodes": [
        {
            "id": "a",
            "function": "f",
            "input": {"x": "${$.x}"},
            "retry": {"max_attempts": 2},
            "timeout": "1 hour",
        },
        {"id": "b", "type": "approval", "title": "Go on with ${$.x}?", "into": "answer"},
        {"id": "c", "type": "pass", "branch": "all", "join": {"at_least": 1}, "cancel_rest": True},
        {"id": "d", "type": "fail", "message": "${$nodes.a.output}"},
        {
            "id": "e",
            "type": "approval",
            "form": {"type": "object", "properties": {"a": {"type": "number"}}},
            "assignees": ["user:ann"],
            "quorum": 2,
            "deadline": "2 days",
            "remind": {"after": "1 day", "to": ["role:b"]},
        },
        {"id": "g", "type": "map", "items": "${$.x}", "function": "f", "input": "${$item}", "tolerate": "5%"},
        {"id": "h", "sql": "select $1", "input": ["${$.x}"], "concurrency_key": "k", "concurrency": 2},
        {"id": "i", "type": "wait", "for": "1 hour", "deadline": "2 hours"},
        {"id": "j", "type": "wait", "row": {"table": "shop.orders", "key": "${$.x}", "condition": {"a": 1}}},
    ],
    "input_schema": {"type": "object"},
    "reducers": {"x": "append"},
    "output": {"x": "${$nodes.a.output}"},
    "edges": [
        {"source": "a", "target": "b", "condition": "$.x == 1"},
        {"source": "a", "target": "c"},
        {"source": "b", "target": "a", "on": "rejected", "limit": 2},
        {"source": "b", "target": "c", "on": "approved", "condition": {"x": 1}},
        {"source": "c", "target": "d", "condition": "$nodes.a.output.y > $input.z"},
        {"source": "c", "target": "e"},
        {"source": "e", "target": "g", "on": "expired"},
        {"source": "e", "target": "h"},
        {"source": "h", "target": "i"},
        {"source": "i", "target": "j"},
    ],
    "start_node": "a",
}


@pytest.fixture(autouse=True)
def tables(graphs: Graphs) -> None:
    make_tables(graphs)


def accept(graphs: Graphs, definition: Any) -> None:
    """Valid graphs can be stored, and others are refused with the same errors."""
    errors = graphs.errors(definition)
    refused: str | None = None
    try:
        with graphs.connection.transaction():
            created = graphs.create(definition)
            assert graphs.value("select pgorch.find_graph(%s)", str(created["graph_id"]))
    except psycopg.Error as problem:
        refused = problem.sqlstate
    assert refused == ("OR004" if errors else None)


def positions(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(p for key, part in inner for p in positions(part, (*path, key)))]


any_json = settings(
    max_examples=60,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


@any_json
@given(definition=values | near_graphs)
def test_any_json_is_accepted_or_refused_cleanly(graphs: Graphs, definition: Any) -> None:
    accept(graphs, definition)


@any_json
@given(chance=st.randoms(use_true_random=False), replacements=st.lists(values, min_size=1, max_size=3))
def test_a_graph_with_something_replaced_is_accepted_or_refused_cleanly(
    graphs: Graphs, chance: random.Random, replacements: list[Any]
) -> None:
    definition = copy.deepcopy(RIGHT)
    for replacement in replacements:
        path = chance.choice(positions(definition)[1:])
        part: Any = definition
        for key in path[:-1]:
            part = part[key]
        part[path[-1]] = replacement
    accept(graphs, definition)


@any_json
@given(text=st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=30))
def test_any_text_is_a_condition_and_a_template_or_refused_cleanly(graphs: Graphs, text: str) -> None:
    definition = copy.deepcopy(RIGHT)
    definition["edges"][0]["condition"] = text
    definition["nodes"][0]["input"] = {"x": text, "y": "${" + text + "}"}
    accept(graphs, definition)


def test_the_graph_that_is_changed_is_right(graphs: Graphs) -> None:
    assert graphs.errors(RIGHT) == []
