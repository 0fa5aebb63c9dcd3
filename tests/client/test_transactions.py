"""What commits together with the caller's own rows, and what is undone with them."""

from collections.abc import Iterator
from typing import Any

import psycopg
import pytest

from pgorch.client import AsyncClient, Client
from pgorch.errors import (
    NotAllowed,
    NotFound,
    WrongState,
)

Connection = psycopg.Connection[dict[str, Any]]


def count(connection: psycopg.Connection[Any], table: str) -> int:
    row = connection.execute(f"select count(*) as n from {table}".encode()).fetchone()
    assert row is not None
    return int(row["n"] if isinstance(row, dict) else row[0])


@pytest.fixture
def caller(database: str, client: Client) -> Iterator[psycopg.Connection[Any]]:
    """A connection of the application, with a table of its own."""
    with psycopg.connect(database) as connection:
        connection.execute("create table refunds (run_id uuid primary key)")
        connection.commit()
        yield connection


def test_a_run_commits_together_with_the_callers_row(
    caller: psycopg.Connection[Any], client: Client, connection: Connection
) -> None:
    run_id = Client(connection=caller).start("asking")
    caller.execute("insert into refunds values (%s)", (run_id,))
    with pytest.raises(NotFound):
        client.get_run(run_id)
    caller.commit()
    assert client.get_run(run_id).status == "awaiting_approval"
    assert count(connection, "refunds") == 1


def test_a_run_started_in_a_transaction_that_rolls_back_never_existed(
    caller: psycopg.Connection[Any], connection: Connection
) -> None:
    Client(connection=caller).start("asking", idempotency_key="k")
    caller.execute("insert into refunds values (gen_random_uuid())")
    caller.rollback()
    assert [
        count(connection, table)
        for table in ("refunds", "pgorch.runs", "pgorch.steps", "pgorch.history", "pgorch.approvals")
    ] == [0] * 5
    # Its idempotency key is free again.
    assert Client(connection=caller).start("asking", {"other": 1}, idempotency_key="k")


def test_a_decision_commits_together_with_the_callers_row(
    caller: psycopg.Connection[Any], client: Client, connection: Connection
) -> None:
    run_id = client.start("asking")
    Client(connection=caller).approve(run_id)
    caller.execute("insert into refunds values (%s)", (run_id,))
    assert client.get_run(run_id).status == "awaiting_approval"
    caller.rollback()
    assert client.get_run(run_id).status == "awaiting_approval"
    assert count(connection, "refunds") == 0

    with caller.transaction():
        Client(connection=caller).approve(run_id)
        caller.execute("insert into refunds values (%s)", (run_id,))
    assert client.get_run(run_id).status == "completed"
    assert count(connection, "refunds") == 1


def test_a_decision_that_is_refused_takes_the_callers_row_with_it(
    caller: psycopg.Connection[Any], client: Client, connection: Connection
) -> None:
    run_id = client.start("asking")
    client.reject(run_id)
    caller.execute("insert into refunds values (%s)", (run_id,))
    with pytest.raises(WrongState):
        Client(connection=caller).approve(run_id)
    caller.commit()
    assert count(connection, "refunds") == 0


def test_a_savepoint_of_the_caller_contains_a_refusal(
    caller: psycopg.Connection[Any], connection: Connection
) -> None:
    joined = Client(connection=caller)
    with caller.transaction():
        caller.execute("insert into refunds values (gen_random_uuid())")
        with pytest.raises(NotFound), caller.transaction():
            joined.start("nothing")
        joined.start("asking")
    assert (count(connection, "refunds"), count(connection, "pgorch.runs")) == (1, 1)


def test_closing_a_client_leaves_the_callers_connection_open(caller: psycopg.Connection[Any]) -> None:
    with Client(connection=caller) as joined:
        joined.start("asking")
    assert not caller.closed
    assert caller.info.transaction_status == psycopg.pq.TransactionStatus.INTRANS


async def test_the_async_client_joins_a_transaction_too(database: str, client: Client) -> None:
    async with await psycopg.AsyncConnection.connect(database) as caller:
        joined = AsyncClient(connection=caller)
        lost = await joined.start("asking")
        await caller.rollback()
        async with caller.transaction():
            kept = await joined.start("asking")
    assert client.get_run(kept).status == "awaiting_approval"
    with pytest.raises(NotFound):
        client.get_run(lost)


def test_what_else_is_done_with_an_approval_commits_with_the_callers_row_too(
    caller: psycopg.Connection[Any], client: Client
) -> None:
    run_id = client.start("asking")
    approval_id = client.get_run(run_id).approvals[0]["approval_id"]
    joined = Client(connection=caller)
    for keep in (False, True):
        joined.reassign(approval_id, ["user:ann"], comment="away")
        joined.comment(approval_id, "Which one?")
        with pytest.raises(NotAllowed), caller.transaction():
            joined.reject(approval_id=approval_id, actor="bob")
        joined.reject(approval_id=approval_id, data={"n": 1}, comment="no", actor="ann")
        caller.execute("insert into refunds values (%s)", (run_id,))
        assert client.get_approval(approval_id)["status"] == "open"
        caller.commit() if keep else caller.rollback()
    shown = client.get_approval(approval_id)
    assert (shown["status"], shown["data"], shown["comment"]) == ("rejected", {"n": 1}, "no")
    assert len(shown["events"]) == 4
