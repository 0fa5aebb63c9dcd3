"""One method for each function, in both kinds, and each reaches its function."""

import inspect
import re
from collections.abc import Callable
from datetime import timedelta
from typing import Any, get_type_hints
from uuid import UUID

import orjson
import psycopg
import pytest
from psycopg.types.json import set_json_loads

from pgorch.database import looking_statements, statements, steering_statements
from pgorch.database.connection import connect
from pgorch.database.queries import Queries, SyncQueries
from pgorch.database.rows import CreatedGraph, DeletedGraph, Event, WatchedRun
from pgorch.errors import IdempotencyConflict, InvalidValue, NotFound, WrongState
from tests.support.engine import definition

TOOLS = [{"name": "end", "description": "Ends.", "parameters": {"type": "object"}}]
Connection = psycopg.Connection[dict[str, Any]]
ASK = definition([{"id": "ask", "type": "approval", "title": "Go on?"}, "end"], ["ask>end"], name="asking")
STATEMENTS = {
    name: text
    for module in (statements, looking_statements, steering_statements)
    for name, text in vars(module).items()
    if re.fullmatch(r"[A-Z][A-Z_]*", name)
}


def public_methods(kind: type) -> dict[str, Callable[..., Any]]:
    return {n: f for n, f in inspect.getmembers(kind, inspect.isfunction) if not n.startswith("_")}


def test_the_async_and_the_sync_queries_have_the_same_methods() -> None:
    there, here = public_methods(Queries), public_methods(SyncQueries)
    assert there.keys() == here.keys()
    for name in there:
        assert inspect.signature(there[name]) == inspect.signature(here[name]), name
        assert get_type_hints(there[name]) == get_type_hints(here[name]), name
        assert inspect.iscoroutinefunction(there[name]), name


@pytest.mark.parametrize("name", sorted(STATEMENTS))
def test_a_statement_names_the_function_and_its_parameters_as_sql_does(
    name: str, connection: Connection
) -> None:
    called = re.findall(r"pgorch\.(\w+)\(", STATEMENTS[name])
    assert called == [name.lower()]
    pairs = re.findall(r"p_(\w+) => %\((\w+)\)s", STATEMENTS[name])
    assert all(parameter == value for parameter, value in pairs)
    row = connection.execute(
        "select p.proargnames, p.pronargs from pg_proc p"
        " where p.pronamespace = 'pgorch'::regnamespace and p.proname = %s",
        (called[0],),
    ).fetchone()
    assert row is not None
    parameters = {n.removeprefix("p_") for n in (row["proargnames"] or [])[: row["pronargs"]]} - {"bucket"}
    assert {parameter for parameter, _ in pairs} == parameters
    offered = {name.rstrip("_") for name in inspect.signature(getattr(SyncQueries, called[0])).parameters}
    offered -= {"self"}
    assert offered == parameters


def test_a_graph_is_created_once_and_found(connection: Connection) -> None:
    queries = SyncQueries(connection)
    queries.register_tools(TOOLS)
    created = queries.create_graph(ASK, actor=None)
    assert created == CreatedGraph(created.graph_id, "asking", 1, True)
    assert queries.create_graph(ASK) == created._replace(created=False)
    assert queries.find_graph("asking@1") == created.graph_id
    with pytest.raises(NotFound, match="askin"):
        queries.find_graph("askin")


def test_a_graph_is_deleted_once_and_only_unused(connection: Connection) -> None:
    queries = SyncQueries(connection)
    queries.register_tools(TOOLS)
    created = queries.create_graph(ASK)
    assert queries.delete_graph("asking", actor=None) == DeletedGraph(created.graph_id, "asking", 1, [])
    with pytest.raises(NotFound):
        queries.delete_graph("asking")
    queries.create_graph(ASK)
    queries.start("asking")
    with pytest.raises(WrongState, match="has runs"):
        queries.delete_graph("asking")


def test_a_run_goes_through_all_calls(connection: Connection) -> None:
    queries = SyncQueries(connection)
    queries.register_tools(TOOLS)
    queries.create_graph(ASK)
    run_id = queries.start("asking", {"a": 1}, idempotency_key="k", priority=3, queue="q")
    assert isinstance(run_id, UUID)
    assert queries.start("asking", {"a": 1}, idempotency_key="k", priority=3, queue="q") == run_id
    with pytest.raises(IdempotencyConflict):
        queries.start("asking", {"a": 2}, idempotency_key="k")
    assert queries.run_state(run_id) == {"a": 1}
    assert queries.watch_run(run_id) == WatchedRun("awaiting_approval", 1)
    assert isinstance(queries.decide(run_id, "approved", data={"b": None}, comment="yes"), UUID)
    events = queries.run_events(run_id, after=1)
    assert [event.seq for event in events] == [2]
    assert isinstance(events[0], Event)
    assert queries.run_document(run_id)["status"] == "running"
    assert queries.cancel(run_id, reason="enough") == "cancelled"
    with pytest.raises(WrongState):
        queries.cancel(run_id)


def test_a_run_is_looked_at_through_all_calls(connection: Connection) -> None:
    queries = SyncQueries(connection)
    queries.register_tools(TOOLS)
    queries.create_graph(ASK)
    run_id = queries.start("asking", {"a": 1}, labels={"team": "billing"})
    assert queries.export_run(run_id)["run"]["labels"] == {"team": "billing"}
    (other,) = queries.start_many("asking", [{}], labels={"team": "sales"})
    assert queries.export_run(other)["run"]["labels"] == {"team": "sales"}
    assert queries.state_at(run_id, 0) == {"a": 1}
    assert queries.diff_states(run_id, 0, 1) == []
    assert [(edge.target, edge.taken, edge.found) for edge in queries.explain(run_id, "ask")] == [
        ("end", True, None)
    ]
    assert queries.explain_graph("asking", "ask", {}, "rejected")[0].taken is False
    assert [line.what for line in queries.timeline(run_id)] == [
        "the run of asking@1 was started",
        "ask asks for a decision",
        "ask waits for a decision",
    ]
    assert queries.run_progress(run_id) == [("ask", "waiting", 0)]
    assert [(run.run_id, run.depth, run.status) for run in queries.run_tree(run_id)] == [
        (run_id, 0, "awaiting_approval")
    ]
    assert queries.set_labels(run_id, {"customer": "42"}) == {"customer": "42"}
    assert queries.export_run(run_id)["run"]["labels"] == {"customer": "42"}
    assert queries.retention() == timedelta(days=30)
    queries.set_retention("1 year")
    queries.set_retention(None)
    assert queries.retention() is None
    with pytest.raises(InvalidValue):
        queries.set_retention(timedelta(0))


async def test_the_async_queries_look_the_same_way(database: str) -> None:
    async with await connect(database, application_name="test") as connection:
        queries = Queries(connection)
        await queries.register_tools(TOOLS)
        await queries.create_graph(ASK)
        run_id = await queries.start("asking", {"a": 1})
        assert await queries.state_at(run_id, 1) == {"a": 1}
        assert await queries.diff_states(run_id, 1, 0) == []
        assert (await queries.explain(run_id, "ask", 1))[0].target == "end"
        assert (await queries.explain_graph("asking", "ask", {}))[0].why
        assert len(await queries.timeline(run_id)) == 3
        assert (await queries.run_progress(run_id))[0].node == "ask"
        assert (await queries.run_tree(run_id))[0].graph == "asking"
        assert await queries.set_labels(run_id, {}) == {}
        assert (await queries.export_run(run_id))["state"] == {"a": 1}
        await queries.set_retention(timedelta(days=1))
        assert await queries.retention() == timedelta(days=1)


async def test_the_async_queries_go_the_same_way(database: str) -> None:
    async with await connect(database, application_name="test") as connection:
        queries = Queries(connection)
        await queries.register_tools(TOOLS)
        assert await queries.validate_graph(ASK) == []
        created = await queries.create_graph(ASK)
        assert await queries.find_graph(str(created.graph_id)) == created.graph_id
        run_id, other = await queries.start_many("asking", [{"a": 1}, {"a": 2}])
        assert await queries.run_state(other) == {"a": 2}
        assert (await queries.run_document(run_id))["state"] == {"a": 1}
        assert (await queries.watch_run(run_id)).status == "awaiting_approval"
        await queries.decide(run_id, "rejected")
        assert (await queries.run_events(run_id))[-1].event["kind"] == "run_failed"
        assert await queries.cancel(other) == "cancelled"
        assert isinstance(await queries.start("asking"), UUID)


def test_many_runs_start_in_the_order_of_their_inputs_or_not_at_all(connection: Connection) -> None:
    queries = SyncQueries(connection)
    queries.register_tools(TOOLS)
    queries.create_graph(ASK)
    ids = queries.start_many("asking", [{"n": n, 'odd "{}\\,': None} for n in range(5)])
    assert [queries.run_state(id)["n"] for id in ids] == list(range(5))
    before = connection.execute("select count(*) as n from pgorch.runs").fetchone()
    with pytest.raises(InvalidValue):
        queries.start_many("asking", [{}, []])  # type: ignore[list-item]
    assert connection.execute("select count(*) as n from pgorch.runs").fetchone() == before


def test_errors_of_a_graph_are_read_however_the_connection_reads_json(connection: Connection) -> None:
    set_json_loads(orjson.Fragment, connection)
    assert SyncQueries(connection).validate_graph({})[0]["code"]
