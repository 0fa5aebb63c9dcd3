"""Graphs that were written to hurt: each is refused, or checked, before it costs much."""

import time
from typing import Any

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from psycopg.types.json import Jsonb

from tests.doors.graphs import Creator
from tests.doors.strange_graphs import GRAPHS, HOSTILE_NAMES
from tests.graphs.graphs import Graphs
from tests.graphs.tables import make_tables
from tests.support.engine import Engine, definition

# The goal is one second on a machine that does nothing else.
SECONDS = 10.0


@pytest.fixture
def graphs(engine: Engine) -> Graphs:
    engine.register("f")
    return Graphs(engine.connection)


def refused_in(graphs: Graphs, graph: Any) -> float:
    """How long it took to refuse it, in seconds."""
    value = Jsonb(graph)
    began = time.monotonic()
    with pytest.raises(psycopg.Error) as caught:
        graphs.rows("select * from pgorch.create_graph(%s)", value)
    assert caught.value.sqlstate == "OR004"
    return time.monotonic() - began


@settings(
    max_examples=30,
    derandomize=True,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(definition=GRAPHS)
def test_whatever_is_drawn_is_created_or_refused(graphs: Graphs, definition: Any) -> None:
    """A few of the hundred thousand of `python -m tests.doors.graphs`."""
    if graphs.value("select to_regclass('shop.orders') is null"):
        make_tables(graphs)
    Creator(graphs).create(definition)


@pytest.mark.parametrize("kind", ["nodes", "edges", "cycle", "edges to itself"])
@pytest.mark.long
def test_a_million_of_them(graphs: Graphs, kind: str) -> None:
    """Some 40 MB, which HTTP does not even read: the body is limited to 4 MiB."""
    million = range(1_000_000)
    few = [{"id": f"n{i}", "function": "f"} for i in range(10)]
    graph: dict[str, Any] = {"nodes": few, "edges": [], "start_node": "n0"}
    if kind == "nodes":
        graph["nodes"] = [{"id": f"n{i}"} for i in million]
    elif kind == "edges":
        graph["edges"] = [{"source": f"n{i % 10}", "target": f"n{i // 10 % 10}"} for i in million]
    elif kind == "cycle":
        graph["nodes"] = [{"id": f"n{i}"} for i in million]
        graph["edges"] = [{"source": f"n{i}", "target": f"n{(i + 1) % 1_000_000}"} for i in million]
    else:
        graph["edges"] = [{"source": "n0", "target": "n0"} for _ in million]
    # It is two to three times what reading takes, on a busy machine too.
    began = time.monotonic()
    graphs.value("select jsonb_typeof(%s)", Jsonb(graph))
    read_in = time.monotonic() - began
    assert refused_in(graphs, graph) < 8 * read_in


def test_2_to_the_30_ways_are_not_walked(graphs: Graphs) -> None:
    """Thirty diamonds in a row."""
    names = [f"{name}{n}" for n in range(30) for name in "abcd"]
    edges = [f"{s}{n}>{t}{n}" for n in range(30) for s, t in ("ab", "ac", "bd", "cd")]
    edges += [f"d{n}>a{n + 1}" for n in range(29)]
    nodes = [{"id": name, "function": "f"} for name in names]
    began = time.monotonic()
    graphs.create(definition(nodes, edges))
    assert time.monotonic() - began < SECONDS


@pytest.mark.parametrize(
    "edges",
    [
        ["a>a"],
        ["a>b", "b>a"],
        ["a>b", "b>c", "c>b"],
        [("a>a", {"condition": "1 == 1"}), ("a>a", {"limit": 10**9})],
    ],
)
def test_a_loop_without_exit_is_refused_or_bounded(engine: Engine, edges: list[Any]) -> None:
    nodes = [{"id": name, "type": "pass"} for name in "abc"]
    try:
        run_id = engine.start(definition(nodes, edges))
    except psycopg.Error as error:
        if error.sqlstate != "OR004":
            raise
    else:
        assert engine.error(run_id)["type"] == "RunawayLoop"


def test_a_graph_that_runs_itself_does_not_do_so_for_ever(engine: Engine) -> None:
    def itself() -> dict[str, Any]:
        return definition([{"id": "again", "type": "graph", "graph": "itself"}], name="itself")

    try:
        engine.graph(definition("a", name="itself"))
        graph = engine.graph(itself())
        for _ in range(3):
            graph = engine.graph({**itself(), "description": str(graph)})
        run_id = engine.start(graph)
    except psycopg.Error as error:
        if error.sqlstate not in ("OR004", "OR006", "OR002"):
            raise
        return
    began = time.monotonic()
    engine.run()
    assert time.monotonic() - began < SECONDS
    # The version that there was when it was created ends the chain, or its depth does.
    assert engine.value("select count(*) from pgorch.runs") < 200
    assert engine.status(run_id) in ("completed", "failed")


@pytest.mark.long
def test_a_map_over_a_million_items_is_refused_or_bounded(engine: Engine) -> None:
    each = {"id": "each", "type": "map", "items": "${$.items}", "function": "f", "concurrency": 10}
    began = time.monotonic()
    try:
        run_id = engine.start(definition([each]), {"items": [0] * 1_000_000})
    except psycopg.Error as error:
        if error.sqlstate != "OR006":
            raise
        return
    assert time.monotonic() - began < 3 * SECONDS
    # No more are started than may be under way.
    assert engine.value("select count(*) from pgorch.steps where run_id = %s", run_id) <= 101


def test_a_hostile_name_is_a_name_or_refused(graphs: Graphs, engine: Engine) -> None:
    for name in HOSTILE_NAMES:
        created_or_refused(graphs, engine, name)
    assert graphs.value("select count(*) > 0 from pg_class where relname = 'runs'")


def created_or_refused(graphs: Graphs, engine: Engine, name: str) -> None:
    graph = {
        "name": name,
        "nodes": [{"id": name, "function": "f"}, {"id": "b", "function": "f", "queue": name, "into": name}],
        "edges": [{"source": name, "target": "b", "label": name}],
        "start_node": name,
    }
    try:
        created = graphs.create(graph)
    except psycopg.Error as error:
        if error.sqlstate != "OR004":
            raise
    else:
        run_id = engine.start(str(created["graph_id"]))
        engine.run()
        assert engine.history(run_id)[0]["node"] == name
        assert graphs.value("select pgorch.find_graph(%s)", name) == created["graph_id"]
