"""Clients on a pool of the caller's."""

import asyncio
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import psycopg
import pytest
from psycopg_pool import AsyncConnectionPool, ConnectionPool

from pgorch.client import AsyncClient, Client
from pgorch.errors import ConfigError, DatabaseUnavailable, NotFound
from tests.support.races import open_connection, wait_until

Connection = psycopg.Connection[dict[str, Any]]
NOWHERE = "01a20a30-7fc9-7a00-a57c-bbf704f52800"
WAITING = (
    "select from pg_stat_activity a"
    " where a.datname = current_database() and a.wait_event_type = 'Lock' and a.query like '%%cancel%%'"
)


def test_each_call_is_a_transaction_and_a_refused_one_leaves_the_pool_whole(
    database: str, client: Client
) -> None:
    with ConnectionPool(database, min_size=1, max_size=1, open=True) as pool:
        pooled = Client(pool=pool)
        run_id = pooled.start("asking")
        assert client.get_run(run_id).status == "awaiting_approval"
        with pytest.raises(NotFound):
            pooled.get_run(NOWHERE)
        assert pooled.cancel(run_id) == "cancelled"
        pooled.close()
        assert pooled.get_run(run_id).status == "cancelled", "the pool is the caller's"


def test_calls_of_several_threads_run_side_by_side(
    database: str, client: Client, connection: Connection
) -> None:
    run_ids = [client.start("asking") for _ in range(2)]
    with (
        ConnectionPool(database, min_size=2, max_size=2, open=True) as pool,
        ThreadPoolExecutor(2) as threads,
        open_connection(database, autocommit=False) as holder,
    ):
        holder.execute("select from pgorch.runs for update")
        calls = [threads.submit(Client(pool=pool).cancel, run_id) for run_id in run_ids]
        wait_until(lambda: len(connection.execute(WAITING).fetchall()) == 2)
        holder.rollback()
        assert [call.result(30) for call in calls] == ["cancelled", "cancelled"]


async def test_an_async_client_on_an_async_pool(database: str, client: Client) -> None:
    async with AsyncConnectionPool(database, min_size=1, max_size=2, open=False) as pool:
        pooled = AsyncClient(pool=pool)
        run_ids = await asyncio.gather(*(pooled.start("asking") for _ in range(5)))
        await pooled.close()
    assert {client.get_run(run_id).status for run_id in run_ids} == {"awaiting_approval"}


def test_a_pool_that_has_nothing_to_give_says_so(database: str, client: Client) -> None:
    with ConnectionPool(database, min_size=1, max_size=1, timeout=0.1, open=True) as pool:
        with pool.connection(), pytest.raises(DatabaseUnavailable, match="no connection to give"):
            Client(pool=pool).get_run(NOWHERE)
        with pytest.raises(ConfigError, match="cannot wait"):
            Client(pool=pool).wait(NOWHERE)
    with pytest.raises(ConfigError, match="not open"):
        Client(pool=pool).get_run(NOWHERE)
    with pytest.raises(ConfigError, match="a connection or a pool"):
        Client(database, pool=pool)
