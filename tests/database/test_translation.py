"""Errors of the database become errors of pgorch at one border."""

import json
import threading
import time
from typing import Any

import psycopg
import pytest
from psycopg.types.json import Jsonb

from pgorch import errors
from pgorch.database.connection import connect, connect_sync
from pgorch.database.queries import Queries, SyncQueries
from pgorch.database.translation import is_transient, translate, translated

Connection = psycopg.Connection[dict[str, Any]]

KINDS = [
    ("OR001", errors.LeaseLost),
    ("OR002", errors.WrongState),
    ("OR003", errors.NotFound),
    ("OR004", errors.InvalidGraph),
    ("OR005", errors.IdempotencyConflict),
    ("OR006", errors.InvalidValue),
    ("OR007", errors.NotAllowed),
]


def raise_in_sql(connection: Connection, state: str, hint: str = "", detail: str | None = None) -> None:
    connection.execute("select pgorch._raise(%s, 'it is so', %s, %s)", (state, hint, detail))


@pytest.mark.parametrize(("state", "kind"), KINDS, ids=[state for state, _ in KINDS])
def test_each_sqlstate_of_pgorch_has_a_class(
    state: str, kind: type[errors.PgorchError], connection: Connection
) -> None:
    with pytest.raises(kind, match=r"^it is so$") as caught, translated():
        raise_in_sql(connection, state, "do that")
    assert type(caught.value) is kind
    assert caught.value.code == state
    assert caught.value.hint == "do that"
    assert isinstance(caught.value.__cause__, psycopg.Error)


def test_an_error_without_hint_has_none(connection: Connection) -> None:
    with pytest.raises(errors.NotFound) as caught, translated():
        raise_in_sql(connection, "OR003")
    assert caught.value.hint is None


def test_an_invalid_graph_comes_with_all_its_errors(connection: Connection) -> None:
    found = [{"path": "/start", "code": "unknown_node", "message": "no node x", "hint": "name one"}]
    with pytest.raises(errors.InvalidGraph) as caught, translated():
        raise_in_sql(connection, "OR004", "", json.dumps(found))
    assert caught.value.errors == found


def test_data_that_does_not_fit_a_form_comes_with_all_that_is_wrong(connection: Connection) -> None:
    found = [{"path": "/data/note", "code": "required", "message": "note is missing", "hint": ""}]
    with pytest.raises(errors.InvalidValue) as caught, translated():
        raise_in_sql(connection, "OR006", "", json.dumps(found))
    assert caught.value.errors == found
    with pytest.raises(errors.InvalidValue) as caught, translated():
        raise_in_sql(connection, "OR006")
    assert caught.value.errors == []


def test_a_graph_that_sql_refuses_arrives_as_its_errors(connection: Connection) -> None:
    with pytest.raises(errors.InvalidGraph) as caught:
        SyncQueries(connection).create_graph({"name": "g"})
    assert caught.value.errors == SyncQueries(connection).validate_graph({"name": "g"}) != []
    assert set(caught.value.errors[0]) == {"path", "code", "message", "hint"}


def test_a_database_without_schema_says_what_to_run(empty_database: str) -> None:
    with connect_sync(empty_database, application_name="test") as connection:
        with pytest.raises(errors.SchemaMismatch, match="no schema") as caught:
            SyncQueries(connection).find_graph("g")
        assert "pgorch migrate" in str(caught.value.hint)


@pytest.mark.parametrize(
    "statement",
    [
        "select pgorch.of_a_later_version()",
        "select from pgorch.of_a_later_version",
        "select r.of_a_later_version from pgorch.runs r",
    ],
    ids=["function", "table", "column"],
)
def test_what_another_version_has_is_a_schema_mismatch(connection: Connection, statement: str) -> None:
    with pytest.raises(errors.SchemaMismatch, match="of_a_later_version"), translated():
        connection.execute(statement.encode())


@pytest.mark.parametrize("statement", ["select 'x'::uuid", "select '{'::jsonb", "select 1 / 0"])
def test_values_that_sql_cannot_read_are_invalid_values(connection: Connection, statement: str) -> None:
    with pytest.raises(errors.InvalidValue), translated():
        connection.execute(statement.encode())


@pytest.mark.parametrize("value", [float("nan"), "a\0b", "\ud800", 2**60 + 1, {1: 2}, object()])
def test_values_that_are_no_strict_json_are_refused_before_they_are_sent(
    connection: Connection, value: Any
) -> None:
    with pytest.raises(errors.InvalidValue, match="The input"):
        SyncQueries(connection).start("g", {"value": value})


def test_errors_of_the_callers_own_make_pass_unchanged(connection: Connection) -> None:
    with pytest.raises(psycopg.errors.UniqueViolation), translated():
        connection.execute("insert into pgorch.settings (name, value) values ('buckets', %s)", (Jsonb(1),))
    with pytest.raises(psycopg.errors.UndefinedTable), translated():
        connection.execute("select from nowhere")


def end_session(databases_connection: Connection, pid: int) -> None:
    databases_connection.execute("select pg_terminate_backend(%s, 20000)", (pid,))


def test_a_lost_connection_means_that_the_database_is_unavailable(
    database: str, connection: Connection
) -> None:
    with connect_sync(database, application_name="test") as lost:
        end_session(connection, lost.info.backend_pid)
        with pytest.raises(errors.DatabaseUnavailable) as caught:
            SyncQueries(lost).find_graph("g")
        assert is_transient(caught.value)
        with pytest.raises(errors.DatabaseUnavailable, match="closed"):
            SyncQueries(lost).find_graph("g")


async def test_a_lost_async_connection_means_the_same(database: str, connection: Connection) -> None:
    async with await connect(database, application_name="test") as lost:
        end_session(connection, lost.info.backend_pid)
        with pytest.raises(errors.DatabaseUnavailable):
            await Queries(lost).find_graph("g")


def test_a_session_that_is_ended_in_the_middle_of_a_call_is_noticed(
    database: str, connection: Connection
) -> None:
    with connect_sync(database, application_name="test", autocommit=True) as blocked:
        connection.execute("begin")
        connection.execute("lock table pgorch.graphs")
        caught: list[BaseException] = []

        def call() -> None:
            try:
                SyncQueries(blocked).find_graph("g")
            except BaseException as error:
                caught.append(error)

        thread = threading.Thread(target=call)
        thread.start()
        wait_until_blocked(connection, blocked.info.backend_pid)
        end_session(connection, blocked.info.backend_pid)
        thread.join(30)
        connection.execute("rollback")
    assert isinstance(caught[0], errors.DatabaseUnavailable)


def wait_until_blocked(connection: Connection, pid: int) -> None:
    deadline = time.monotonic() + 30
    while (
        connection.execute("select from pg_locks l where l.pid = %s and not l.granted", (pid,)).fetchone()
        is None
    ):
        assert time.monotonic() < deadline, "it does not wait for a lock"
        time.sleep(0.01)


@pytest.mark.parametrize("state", ["40001", "40P01", "55P03", "57014", "57P01", "53300", "53100", "08006"])
def test_what_can_succeed_next_time_is_transient(connection: Connection, state: str) -> None:
    with pytest.raises(psycopg.Error) as caught:
        raise_in_sql(connection, state)
    assert is_transient(caught.value)


@pytest.mark.parametrize("state", ["OR001", "OR006", "23505", "22P02", "42501", "42883", "P0001"])
def test_what_will_fail_again_is_not_transient(connection: Connection, state: str) -> None:
    with pytest.raises(psycopg.Error) as caught:
        raise_in_sql(connection, state)
    assert not is_transient(caught.value)
    better = translate(caught.value)
    if better is not None:
        better.__cause__ = caught.value
        assert not is_transient(better)


def test_errors_from_elsewhere_are_not_transient_but_those_of_the_network_are() -> None:
    assert not is_transient(ValueError("no"))
    assert is_transient(ConnectionResetError())
    assert is_transient(errors.DatabaseUnavailable("gone"))
