"""Notifications of a connection that listens, as they come."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any, Final

from psycopg import AsyncConnection

from pgorch.database.connection import answering

_CHECK_SECONDS: Final = 5.0
_ANSWER_SECONDS: Final = 4.0


async def payloads(connection: AsyncConnection[Any]) -> AsyncIterator[str]:
    """The payload of each notification, for ever. Raises psycopg.Error when the connection is lost, even if
    that happens without a word."""
    while True:
        async for notification in connection.notifies(timeout=0):
            yield notification.payload
        if not await _something_comes(connection, _CHECK_SECONDS):
            # A connection that broke without a word looks like one on which nothing happens: ask.
            with answering(connection, _ANSWER_SECONDS):
                await connection.execute("select 1", prepare=False)


async def _something_comes(connection: AsyncConnection[Any], seconds: float) -> bool:
    # psycopg's own wait looks ten times a second whether it was interrupted, which is most of what a process
    # with nothing to do would do.
    loop, descriptor = asyncio.get_running_loop(), connection.fileno()
    came: asyncio.Future[bool] = loop.create_future()

    def end(readable: bool) -> None:
        if not came.done():
            came.set_result(readable)

    loop.add_reader(descriptor, end, True)
    timer = loop.call_later(seconds, end, False)
    try:
        return await came
    finally:
        timer.cancel()
        loop.remove_reader(descriptor)
