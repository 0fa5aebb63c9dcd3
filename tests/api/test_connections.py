"""The connections that requests share: none of them outlives the API."""

import asyncio
from typing import Any

import pytest
from psycopg import AsyncConnection, Connection
from psycopg.rows import DictRow, TupleRow

from pgorch.api import connections
from pgorch.api.connections import Connections
from pgorch.database.connection import connect
from tests.support.fixtures import connection, database

# Functions of pgorch are replaced here, so no database is shared.
__all__ = ["connection", "database"]


@pytest.mark.sessions
async def test_an_attempt_that_nobody_waits_for_any_more_ends_with_the_api(
    database: str, connection: Connection[DictRow], monkeypatch: pytest.MonkeyPatch
) -> None:
    connected = asyncio.Event()

    async def slow(dsn: str, **settings: Any) -> AsyncConnection[TupleRow]:
        """The session is there before the attempt has heard of it."""
        made = await connect(dsn, **settings)
        connected.set()
        await asyncio.sleep(1.5)
        return made

    monkeypatch.setattr(connections, "connect", slow)
    pool = Connections(database)

    async def ask() -> None:
        async with pool.borrow():
            pass

    request = asyncio.create_task(ask())
    await connected.wait()
    request.cancel()
    await asyncio.gather(request, return_exceptions=True)
    counted = (
        "select count(*) as n from pg_stat_activity"
        " where datname = current_database() and application_name = 'pgorch api'"
    )
    assert connection.execute(counted).fetchall() == [{"n": 1}]
    await pool.close()
    # The server takes a moment to see that a connection is closed.
    for _ in range(25):
        await asyncio.sleep(0.02)
        if connection.execute(counted).fetchall() == [{"n": 0}]:
            return
    pytest.fail("the session was there for more than half a second after the API had closed")
