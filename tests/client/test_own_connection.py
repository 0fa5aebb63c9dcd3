"""The connection that a client has of its own."""

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from pgorch.client import AsyncClient, Client
from pgorch.errors import (
    ConfigError,
    DatabaseUnavailable,
)
from tests.support.databases import direct
from tests.support.races import wait_until

Connection = psycopg.Connection[dict[str, Any]]


def end_sessions(connection: Connection, name: str) -> int:
    return connection.execute(
        "select pg_terminate_backend(a.pid, 20000) from pg_stat_activity a"
        " where a.datname = current_database() and a.application_name = %s",
        (name,),
    ).rowcount


@pytest.mark.sessions
async def test_a_connection_that_was_lost_while_idle_is_opened_anew(
    client: Client, async_client: AsyncClient, connection: Connection
) -> None:
    run_id = await async_client.start("asking")
    assert end_sessions(connection, "pgorch client") == 2
    assert client.get_run(run_id).status == "awaiting_approval"
    assert (await async_client.get_run(run_id)).status == "awaiting_approval"


def test_a_call_that_loses_its_connection_says_so_and_the_next_one_works(
    client: Client, connection: Connection
) -> None:
    run_id = client.start("asking")
    with ThreadPoolExecutor(1) as pool:
        with connection.transaction():
            connection.execute("select from pgorch.runs for update")
            call = pool.submit(client.cancel, run_id)
            wait_until(lambda: end_blocked_session(connection))
            with pytest.raises(DatabaseUnavailable, match="not available"):
                call.result(60)
        assert client.cancel(run_id) == "cancelled"


def end_blocked_session(connection: Connection) -> bool:
    return (
        connection.execute(
            "select pg_terminate_backend(l.pid, 20000) from pg_locks l"
            " join pg_stat_activity a on a.pid = l.pid where a.datname = current_database() and not l.granted"
        ).rowcount
        > 0
    )


@pytest.mark.sessions
def test_threads_can_share_a_client(client: Client, connection: Connection) -> None:
    together = threading.Barrier(8)

    def start(number: int) -> UUID:
        together.wait()
        return client.start("asking", {"number": number})

    client.close()
    with ThreadPoolExecutor(8) as pool:
        ids = list(pool.map(start, range(8)))
    assert [client.get_run(id).state["number"] for id in ids] == list(range(8))
    assert end_sessions(connection, "pgorch client") == 1


async def test_tasks_can_share_a_client(async_client: AsyncClient) -> None:
    ids = await asyncio.gather(*(async_client.start("asking", {"number": n}) for n in range(8)))
    assert [(await async_client.get_run(id)).state["number"] for id in ids] == list(range(8))


async def test_a_client_that_was_closed_opens_again(client: Client, async_client: AsyncClient) -> None:
    client.close()
    client.close()
    await async_client.close()
    assert (await async_client.get_run(client.start("asking"))).status == "awaiting_approval"


STRICT = "-c default_transaction_isolation=serializable"


@pytest.mark.parametrize("kind", ["sync", "async"])
async def test_a_decision_that_waits_is_made_whatever_isolation_the_role_has(
    database: str, client: Client, connection: Connection, kind: str
) -> None:
    run_id = client.start("asking")
    strict = make_conninfo(direct(database), options=STRICT)

    def decide() -> None:
        if kind == "sync":
            with Client(strict) as other:
                other.decide(run_id, "approved")
            return
        asyncio.run(decide_async())

    async def decide_async() -> None:
        async with AsyncClient(strict) as other:
            await other.decide(run_id, "approved")

    waiting = "select count(*) as n from pg_locks l where not l.granted"
    with ThreadPoolExecutor(1) as pool:
        with connection.transaction():
            connection.execute("update pgorch.runs set priority = priority")
            call = pool.submit(decide)
            wait_until(lambda: call.done() or bool((connection.execute(waiting).fetchone() or {})["n"]))
            assert not call.done()
        call.result(60)
    assert client.get_run(run_id).status != "awaiting_approval"


def test_the_database_of_the_environment_is_used(
    database: str, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PGORCH_DSN", database)
    with Client() as other:
        assert other.start("asking")


def test_without_any_database_a_client_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("PGORCH_DSN", "DATABASE_URL", "PGHOST", "PGHOSTADDR", "PGSERVICE", "PGDATABASE"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(ConfigError, match="There is no database"):
        Client()


def test_a_dsn_and_a_connection_exclude_each_other(database: str, connection: Connection) -> None:
    with pytest.raises(ConfigError, match="a DSN, a connection or a pool"):
        Client(database, connection=connection)


async def test_without_a_server_calls_say_so(tmp_path: Path) -> None:
    with pytest.raises(DatabaseUnavailable):
        Client(f"host={tmp_path}").start("asking")
    with pytest.raises(DatabaseUnavailable):
        await AsyncClient(f"host={tmp_path}").wait(uuid4())
