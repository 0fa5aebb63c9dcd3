"""Connections for transactional tools: opened when needed, kept, and never waited for in vain.

No pool of psycopg's: that one connects in the background, ever more seldom while the database is away, and a
check of a connection that died without a word never returns.
"""

import asyncio
import logging
import threading
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any, LiteralString

import psycopg
from psycopg import AsyncConnection, Connection, IsolationLevel
from psycopg.pq import TransactionStatus

from pgorch.database.connection import LET_GO, connect, connect_sync, cut, is_usable
from pgorch.database.pooling import is_lent, settle, settle_sync

log = logging.getLogger("pgorch.worker")

_MOST = 8
_NAME = "pgorch worker transaction"
# Whatever the role's default is: under a stricter level the checkpoints of one run's branches would break
# each other off. A tool that wants one says so first: SET TRANSACTION.
_LEVEL = IsolationLevel.READ_COMMITTED
# What is left of a session when a tool, or the statement of an SQL step, has been in it: the next one may be
# somebody else's. One request to the server; DISCARD ALL would take one for itself, and forget the role that
# the DSN may give.
_FORGET: LiteralString = (
    "set session authorization default; reset role; reset all; close all; unlisten *;"
    " select pg_catalog.pg_advisory_unlock_all(); discard sequences; discard temp"
)
_FORGET_ALL: LiteralString = f"{_FORGET}; deallocate all; " + "; ".join(
    f"set {name} = '{value}'" for name, value in LET_GO
)


def leave(connection: Connection[Any]) -> None:
    """To be called last in a transaction. The sessions of a pooler are not to be had afterwards."""
    if is_lent(connection):
        # What is prepared there is the pooler's own.
        connection.execute(_FORGET, prepare=False)


async def leave_async(connection: AsyncConnection[Any]) -> None:
    """Like `leave`."""
    if is_lent(connection):
        await connection.execute(_FORGET, prepare=False)


class Deadlines:
    """Questions that pgorch itself asks on a connection, and when: `look` gives up those that have waited
    for too long. What a tool asks takes as long as it takes."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._asked: dict[Connection[Any] | AsyncConnection[Any], float] = {}

    def ask(self, connection: Connection[Any] | AsyncConnection[Any]) -> None:
        self._asked[connection] = time.monotonic()

    def rest(self, connection: Connection[Any] | AsyncConnection[Any]) -> None:
        self._asked.pop(connection, None)

    def look(self) -> None:
        """To be called a few times a second, from any thread."""
        for connection, asked_at in list(self._asked.items()):
            if time.monotonic() - asked_at > self._seconds:
                log.warning(
                    "a transaction was not answered for %g s; its connection is given up", self._seconds
                )
                self._asked.pop(connection, None)
                cut(connection)


class Lender:
    """Lends connections, at most eight to threads and eight to coroutines."""

    def __init__(self, dsn: str, deadlines: Deadlines) -> None:
        self._dsn = dsn
        self._deadlines = deadlines
        self._slots = threading.Semaphore(_MOST)
        self._async_slots = asyncio.Semaphore(_MOST)
        self._idle: list[Connection[Any]] = []
        self._async_idle: list[AsyncConnection[Any]] = []
        self._lent: dict[Connection[Any] | AsyncConnection[Any], str] = {}
        self._closed = False

    def waiting(self) -> list[int]:
        """The sessions from which tools wait for an answer."""
        return [connection.info.backend_pid for connection in list(self._lent) if _is_asking(connection)]

    def judge(self, said: dict[int, str]) -> None:
        """Gives up connections that lead nowhere: the server has said the same of them twice."""
        for connection, seen in list(self._lent.items()):
            state = said.get(connection.info.backend_pid, "") if _is_asking(connection) else ""
            if connection in self._lent:
                self._lent[connection] = state
            if state and state == seen:
                log.warning("a tool waits for an answer on a dead connection; it is given up")
                cut(connection)

    @contextmanager
    def borrow(self) -> Iterator[Connection[Any]]:
        """Raises DatabaseUnavailable if none is to be had."""
        with self._slots:
            connection = self._ready() or self._open()
            self._lent[connection] = ""
            try:
                yield connection
            finally:
                if self._can_keep(connection) and self._forgets(connection):
                    self._idle.append(connection)
                else:
                    connection.close()

    @asynccontextmanager
    async def borrow_async(self) -> AsyncIterator[AsyncConnection[Any]]:
        """Raises DatabaseUnavailable if none is to be had."""
        async with self._async_slots:
            connection = await self._async_ready() or await self._async_open()
            self._lent[connection] = ""
            try:
                yield connection
            finally:
                if self._can_keep(connection) and await self._forgets_async(connection):
                    self._async_idle.append(connection)
                else:
                    await connection.close()

    def _can_keep(self, connection: Connection[Any] | AsyncConnection[Any]) -> bool:
        """It has come back: can it be lent again?"""
        self._lent.pop(connection, None)
        self._deadlines.rest(connection)
        return not self._closed and connection.info.transaction_status == TransactionStatus.IDLE

    def _forgets(self, connection: Connection[Any]) -> bool:
        """Is its session now as if nobody had used it?"""
        if is_lent(connection):
            return True
        self._deadlines.ask(connection)
        try:
            connection.autocommit = True
            connection.execute(_FORGET_ALL, prepare=False)
            connection.autocommit = False
        except psycopg.Error as problem:
            log.info("a connection is given up, its session could not be reset: %s", problem)
            return False
        finally:
            self._deadlines.rest(connection)
        return True

    async def _forgets_async(self, connection: AsyncConnection[Any]) -> bool:
        """Like `_forgets`."""
        if is_lent(connection):
            return True
        self._deadlines.ask(connection)
        try:
            await connection.set_autocommit(True)
            await connection.execute(_FORGET_ALL, prepare=False)
            await connection.set_autocommit(False)
        except psycopg.Error as problem:
            log.info("a connection is given up, its session could not be reset: %s", problem)
            return False
        except BaseException:
            await connection.close()
            raise
        finally:
            self._deadlines.rest(connection)
        return True

    async def close(self) -> None:
        """What is lent meanwhile is closed when it comes back."""
        self._closed = True
        while self._idle:
            self._idle.pop().close()
        while self._async_idle:
            await self._async_idle.pop().close()

    def _ready(self) -> Connection[Any] | None:
        while self._idle:
            try:
                connection = self._idle.pop()
            except IndexError:  # another thread was quicker
                break
            if is_usable(connection):
                return connection
            connection.close()
        return None

    async def _async_ready(self) -> AsyncConnection[Any] | None:
        while self._async_idle:
            connection = self._async_idle.pop()
            if is_usable(connection):
                return connection
            await connection.close()
        return None

    def _open(self) -> Connection[Any]:
        connection = connect_sync(self._dsn, application_name=_NAME, writes=True)
        self._deadlines.ask(connection)
        try:
            settle_sync(connection, {}, own=dict(LET_GO))
            # What is prepared is forgotten after each transaction, and an SQL step could prepare another
            # statement under the same name.
            connection.prepare_threshold = None
            connection.autocommit = False
            connection.isolation_level = _LEVEL
        except BaseException:
            connection.close()
            raise
        finally:
            self._deadlines.rest(connection)
        return connection

    async def _async_open(self) -> AsyncConnection[Any]:
        connection = await connect(self._dsn, application_name=_NAME, writes=True)
        self._deadlines.ask(connection)
        try:
            await settle(connection, {}, own=dict(LET_GO))
            connection.prepare_threshold = None
            await connection.set_autocommit(False)
            await connection.set_isolation_level(_LEVEL)
        except BaseException:
            await connection.close()
            raise
        finally:
            self._deadlines.rest(connection)
        return connection


def _is_asking(connection: Connection[Any] | AsyncConnection[Any]) -> bool:
    return connection.pgconn.transaction_status == TransactionStatus.ACTIVE
