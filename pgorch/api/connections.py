"""The connections to the database that requests share.

A pool of its own, because of what requests need while the database is away: an answer at once, and success
with the first request after it is back. (psycopg_pool connects in the background; requests wait for that.)
"""

import asyncio
import select
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Final

import orjson
from psycopg import AsyncConnection
from psycopg.pq import TransactionStatus
from psycopg.rows import TupleRow
from psycopg.types.json import set_json_loads

from pgorch.database.connection import connect
from pgorch.errors import DatabaseUnavailable, PgorchError

SIZE: Final = 10
WAIT_SECONDS: Final = 5.0
# A statement that takes longer is broken off, and the request answered with 503.
STATEMENT_SECONDS: Final = 30


async def open_connection(dsn: str, application_name: str = "pgorch api") -> AsyncConnection[TupleRow]:
    """An autocommit connection in UTC. JSON is not parsed: orjson copies it into answers as it is."""
    connecting = asyncio.create_task(connect(dsn, application_name=application_name))
    try:
        connection = await asyncio.shield(connecting)
    except asyncio.CancelledError:
        # An attempt that is broken off would leave its session open until the garbage is collected.
        with suppress(PgorchError):
            await (await connecting).close()
        raise
    try:
        await connection.execute(
            "select set_config('timezone', 'UTC', false), set_config('statement_timeout', %s, false), "
            "set_config('default_transaction_isolation', 'read committed', false)",
            [f"{STATEMENT_SECONDS}s"],
        )
    except BaseException:
        await connection.close()
        raise
    set_json_loads(orjson.Fragment, connection)
    return connection


class Connections:
    """At most `size` connections, opened when needed and kept. DatabaseUnavailable if none is to be had."""

    def __init__(self, dsn: str, size: int = SIZE, wait_seconds: float = WAIT_SECONDS) -> None:
        self._dsn = dsn
        self._wait_seconds = wait_seconds
        self._slots = asyncio.Semaphore(size)
        self._idle: list[AsyncConnection[TupleRow]] = []
        self._closed = False

    @asynccontextmanager
    async def borrow(self) -> AsyncIterator[AsyncConnection[TupleRow]]:
        """A connection for one request. What is broken off in it costs the connection, never its slot."""
        await self._take_slot()
        try:
            connection = await self._ready()
            try:
                yield connection
            finally:
                await self._give_back(connection)
        finally:
            self._slots.release()

    async def close(self) -> None:
        self._closed = True
        while self._idle:
            await self._idle.pop().close()

    async def _take_slot(self) -> None:
        if not self._slots.locked():
            await self._slots.acquire()
            return
        try:
            async with asyncio.timeout(self._wait_seconds):
                await self._slots.acquire()
        except TimeoutError:
            raise DatabaseUnavailable(
                f"No connection to the database became free within {self._wait_seconds:g} seconds.",
                hint="Too much is asked for at once: start more API processes, or give more connections.",
            ) from None

    async def _ready(self) -> AsyncConnection[TupleRow]:
        while self._idle:
            connection = self._idle.pop()
            if _is_quiet(connection):
                return connection
            await connection.close()
        return await open_connection(self._dsn)

    async def _give_back(self, connection: AsyncConnection[TupleRow]) -> None:
        if connection.info.transaction_status == TransactionStatus.IDLE and not self._closed:
            self._idle.append(connection)
        else:
            await connection.close()


def _is_quiet(connection: AsyncConnection[TupleRow]) -> bool:
    """Is it usable? An idle server says nothing; what can be read is its farewell, or the end of file."""
    if connection.closed:
        return False
    poller = select.poll()
    poller.register(connection.fileno(), select.POLLIN)
    return not poller.poll(0)
