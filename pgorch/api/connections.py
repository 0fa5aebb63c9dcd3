"""The connections to the database that requests share.

A pool of its own, because of what requests need while the database is away: an answer at once, and success
with the first request after it is back. (A pool that connects in the background makes requests wait.)
"""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Final

import orjson
import psycopg
from psycopg import AsyncConnection
from psycopg.pq import TransactionStatus
from psycopg.rows import TupleRow
from psycopg.types.json import set_json_loads

from pgorch.api.silence import Silence
from pgorch.database.connection import OWN, answering, connect, cut, is_usable
from pgorch.database.pooling import settle
from pgorch.database.translation import is_read_only
from pgorch.errors import DatabaseUnavailable, PgorchError

logger = logging.getLogger("pgorch.api")

SIZE: Final = 10
WAIT_SECONDS: Final = 5.0
# A statement that takes longer is broken off, and the request answered with 503.
STATEMENT_SECONDS: Final = 30
# A request waits no longer for a new connection; the attempt goes on, for those that come after it.
CONNECT_SECONDS: Final = 1.5
# After which an attempt is given up: the first packet of the next one finds a database that is back.
_ATTEMPT_SECONDS: Final = 3
_SETTINGS: Final = {
    "timezone": "UTC",
    "statement_timeout": f"{STATEMENT_SECONDS}s",
}


async def open_connection(dsn: str, application_name: str = "pgorch api") -> AsyncConnection[TupleRow]:
    """An autocommit connection in UTC, to a server that can be written to. JSON is not parsed: orjson copies
    it into answers as it is."""
    connecting = asyncio.create_task(
        connect(dsn, application_name=application_name, writes=True, timeout_seconds=_ATTEMPT_SECONDS)
    )
    try:
        connection = await asyncio.shield(connecting)
    except asyncio.CancelledError:
        # An attempt that is broken off would leave its session open until the garbage is collected.
        with suppress(PgorchError):
            await (await connecting).close()
        raise
    try:
        with answering(connection, _ATTEMPT_SECONDS):
            await settle(connection, _SETTINGS, own=OWN)
    except psycopg.OperationalError as error:
        await connection.close()
        raise DatabaseUnavailable(f"The database did not take up a connection: {error}") from error
    except BaseException:
        await connection.close()
        raise
    set_json_loads(orjson.Fragment, connection)
    return connection


class Connections:
    """At most `size` connections, opened when needed and kept. DatabaseUnavailable if none is to be had.

    While the database is away one attempt to connect at a time serves all requests that want to know, and
    each of them is told soon.
    """

    def __init__(self, dsn: str, size: int = SIZE, wait_seconds: float = WAIT_SECONDS) -> None:
        self._dsn = dsn
        self._size = size
        self._wait_seconds = wait_seconds
        self._slots = asyncio.Semaphore(size)
        self._idle: list[AsyncConnection[TupleRow]] = []
        self._silence = Silence(lambda: open_connection(dsn, "pgorch api watch"), self._is_silent)
        self._returned = asyncio.Event()
        self._attempt: asyncio.Task[AsyncConnection[TupleRow]] | None = None
        # All that are under way: an attempt may outlive the request that began it.
        self._attempts: set[asyncio.Task[AsyncConnection[TupleRow]]] = set()
        # Set while none is to be had: whoever waits for one of ours need not wait on.
        self._away = asyncio.Event()
        self._closed = False

    @asynccontextmanager
    async def borrow(self) -> AsyncIterator[AsyncConnection[TupleRow]]:
        """A connection for one request. What is broken off in it costs the connection, never its slot."""
        if self._away.is_set() and not self._idle:
            await self._come_back()
        await self._take_slot()
        try:
            connection = await self._ready()
            self._silence.watch(connection)
            try:
                yield connection
            except Exception as error:
                if is_read_only(error):
                    # The primary is elsewhere now: none of these leads there.
                    await connection.close()
                    await self._close_idle()
                raise
            finally:
                self._silence.forget(connection)
                await self._give_back(connection)
        finally:
            self._slots.release()

    async def close(self) -> None:
        self._closed = True
        await self._silence.stop()
        for attempt in self._attempts:
            attempt.cancel()
        if self._attempts:
            await asyncio.wait(self._attempts)
        await self._close_idle()

    async def _take_slot(self) -> None:
        if not self._slots.locked():
            await self._slots.acquire()
            return
        slot = asyncio.create_task(self._slots.acquire())
        away = asyncio.create_task(self._away.wait())
        try:
            await asyncio.wait([slot, away], timeout=self._wait_seconds, return_when=asyncio.FIRST_COMPLETED)
        except asyncio.CancelledError:
            if not slot.cancel():
                self._slots.release()
            raise
        finally:
            away.cancel()
        if slot.done():
            return
        slot.cancel()
        if self._away.is_set():
            raise _slow()
        raise DatabaseUnavailable(
            f"No connection to the database became free within {self._wait_seconds:g} seconds.",
            hint="Too much is asked for at once: start more API processes, or give more connections.",
        )

    async def _ready(self) -> AsyncConnection[TupleRow]:
        while True:
            while self._idle:
                connection = self._idle.pop()
                if is_usable(connection):
                    return connection
                await connection.close()
            try:
                return await self._open()
            except DatabaseUnavailable:
                # A server that takes no more connections leaves us those that we have.
                if self._away.is_set() or not self._silence.watched:
                    self._away.set()
                    raise
                self._returned.clear()
                with suppress(TimeoutError):
                    async with asyncio.timeout(CONNECT_SECONDS / 2):
                        await self._returned.wait()
                if not self._idle:
                    raise

    async def _open(self) -> AsyncConnection[TupleRow]:
        attempt = self._begin_attempt()
        try:
            await asyncio.wait([attempt], timeout=CONNECT_SECONDS)
        except asyncio.CancelledError:
            attempt.add_done_callback(self._arrived)
            raise
        if not attempt.done():
            self._away.set()
            attempt.add_done_callback(self._arrived)
            if self._attempt is None or self._attempt.done():
                self._attempt = attempt
            raise _slow()
        connection = attempt.result()
        self._away.clear()
        return connection

    async def _come_back(self) -> None:
        """Returns if a connection was to be had."""
        attempt = self._attempt
        if attempt is None or attempt.done():
            attempt = self._attempt = self._begin_attempt()
            attempt.add_done_callback(self._arrived)
        await asyncio.wait([attempt], timeout=CONNECT_SECONDS)
        if not attempt.done():
            raise _slow()
        problem = attempt.exception()
        if problem is not None:
            raise DatabaseUnavailable(str(problem)) from problem

    def _begin_attempt(self) -> asyncio.Task[AsyncConnection[TupleRow]]:
        attempt = asyncio.create_task(open_connection(self._dsn))
        self._attempts.add(attempt)
        attempt.add_done_callback(self._attempts.discard)
        return attempt

    def _arrived(self, attempt: asyncio.Task[AsyncConnection[TupleRow]]) -> None:
        """An attempt for which nobody waits in particular has ended."""
        if attempt.cancelled() or attempt.exception() is not None:
            return
        connection = attempt.result()
        if self._closed or len(self._idle) + self._silence.watched >= self._size:
            connection.pgconn.finish()
        else:
            self._keep(connection)
        self._away.clear()

    def _is_silent(self) -> None:
        """The database does not answer: the connections that nobody uses are no better than the others."""
        logger.warning("The database does not answer; its connections are given up.")
        self._away.set()
        for connection in self._idle:
            cut(connection)

    async def _give_back(self, connection: AsyncConnection[TupleRow]) -> None:
        if connection.info.transaction_status == TransactionStatus.IDLE and not self._closed:
            self._keep(connection)
        else:
            await connection.close()

    def _keep(self, connection: AsyncConnection[TupleRow]) -> None:
        self._idle.append(connection)
        self._returned.set()

    async def _close_idle(self) -> None:
        while self._idle:
            await self._idle.pop().close()


def _slow() -> DatabaseUnavailable:
    return DatabaseUnavailable(f"The database did not answer within {CONNECT_SECONDS:g} seconds.")
