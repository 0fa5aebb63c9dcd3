"""Connections of a worker, with deadlines, so that a database that is gone without a word is noticed."""

import asyncio
import random
import threading
from typing import Any

from psycopg import AsyncConnection, Connection

from pgorch.database.connection import OWN, answering, connect, connect_sync, cut
from pgorch.database.pooling import settle, settle_sync

_LOCK_MILLISECONDS = 300
_OPEN_SECONDS = 5.0


async def open_async(dsn: str, *, purpose: str, statement_seconds: float) -> AsyncConnection[Any]:
    """A connection whose statements end after `statement_seconds`, and wait for a lock only for a moment, so
    that a run that somebody holds does not hold up all others."""
    connecting = asyncio.ensure_future(connect(dsn, application_name=f"pgorch worker {purpose}", writes=True))
    try:
        connection: AsyncConnection[Any] = await asyncio.shield(connecting)
    except asyncio.CancelledError:
        # A connect that is broken off half-way would leave its session open until it is garbage.
        connecting.add_done_callback(_close)
        raise
    try:
        with answering(connection, _OPEN_SECONDS):
            if await settle(connection, _timeouts(statement_seconds), own=OWN):
                connection.prepare_threshold = 0
    except BaseException:
        await connection.close()
        raise
    return connection


def open_sync(dsn: str, *, purpose: str, statement_seconds: float) -> Connection[Any]:
    """Like `open_async`."""
    connection: Connection[Any] = connect_sync(dsn, application_name=f"pgorch worker {purpose}", writes=True)
    timer = threading.Timer(_OPEN_SECONDS, cut, (connection,))
    timer.start()
    try:
        if settle_sync(connection, _timeouts(statement_seconds), own=OWN):
            connection.prepare_threshold = 0
    except BaseException:
        connection.close()
        raise
    finally:
        timer.cancel()
    return connection


def _close(connecting: "asyncio.Future[AsyncConnection[Any]]") -> None:
    if not connecting.cancelled() and connecting.exception() is None:
        connecting.result().pgconn.finish()


def pause_seconds(failures: int) -> float:
    """How long to wait before connecting again: at once the first time, then longer and longer, jittered so
    that not all workers come at once. A database that comes back is found within a second."""
    if failures <= 1:
        return 0.05 * random.random()
    return float(min(0.1 * 2.0 ** min(failures - 1, 10), 1.0) * random.uniform(0.5, 1.0))


def _timeouts(statement_seconds: float) -> dict[str, str]:
    milliseconds = str(int(statement_seconds * 1000))
    return {
        "statement_timeout": milliseconds,
        "lock_timeout": str(_LOCK_MILLISECONDS),
        "idle_in_transaction_session_timeout": milliseconds,
    }
