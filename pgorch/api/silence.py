"""Notices that the database says nothing any more, or that a single connection leads nowhere.

While a request has waited for some seconds, the server itself is asked, on another connection, what it knows
of the session.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final

import psycopg
from psycopg import AsyncConnection
from psycopg.pq import TransactionStatus

from pgorch.database.connection import cut, is_usable
from pgorch.database.sessions import waiting_sessions
from pgorch.errors import DatabaseUnavailable

logger = logging.getLogger("pgorch.api")

LOOK_SECONDS: Final = 0.5
SUSPECT_SECONDS: Final = 2.0
# Longer than any statement may take: what is left is a commit that waits for a standby that is gone.
LONGEST_SECONDS: Final = 60.0
_ANSWER_SECONDS: Final = 2.0


@dataclass(eq=False)
class _Watched:
    connection: AsyncConnection[Any]
    since: float
    seen: str = ""
    """What the server said of the session the last time, if that was not that it works for us."""

    @property
    def is_asking(self) -> bool:
        return self.connection.pgconn.transaction_status == TransactionStatus.ACTIVE


class Silence:
    """Watches connections that are in use. `open_another` connects anew, `is_silent` is called when the
    database does not answer at all."""

    def __init__(
        self, open_another: Callable[[], Awaitable[AsyncConnection[Any]]], is_silent: Callable[[], None]
    ) -> None:
        self._open_another = open_another
        self._is_silent = is_silent
        self._watched: dict[AsyncConnection[Any], _Watched] = {}
        self._own: AsyncConnection[Any] | None = None
        self._task: asyncio.Task[None] | None = None

    @property
    def watched(self) -> int:
        """How many are in use."""
        return len(self._watched)

    def watch(self, connection: AsyncConnection[Any]) -> None:
        loop = asyncio.get_running_loop()
        self._watched[connection] = _Watched(connection, loop.time())
        if self._task is None:
            self._task = loop.create_task(self._watch())

    def forget(self, connection: AsyncConnection[Any]) -> None:
        self._watched.pop(connection, None)

    async def stop(self) -> None:
        if self._task is not None:
            cut(self._own)
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        if self._own is not None:
            await self._own.close()

    async def _watch(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            suspects = [
                watched
                for watched in self._watched.values()
                if loop.time() - watched.since >= SUSPECT_SECONDS and watched.is_asking
            ]
            if suspects:
                try:
                    await self._judge(suspects, loop.time())
                except Exception:
                    logger.exception("Connections could not be watched.")

    async def _judge(self, suspects: list[_Watched], now: float) -> None:
        try:
            said = await self._ask([watched.connection.info.backend_pid for watched in suspects])
        except TimeoutError:
            self._is_silent()
            for watched in self._still(suspects):
                cut(watched.connection)
            return
        for watched in self._still(suspects):
            pid = watched.connection.info.backend_pid
            state = said.get(pid, "")
            if (state and state == watched.seen) or now - watched.since > LONGEST_SECONDS:
                logger.warning("A connection leads nowhere any more (session %s); it is given up.", pid)
                cut(watched.connection)
            watched.seen = state

    def _still(self, suspects: list[_Watched]) -> list[_Watched]:
        """Those that have not been given back meanwhile, and still wait."""
        return [w for w in suspects if self._watched.get(w.connection) is w and w.is_asking]

    async def _ask(self, pids: list[int]) -> dict[int, str]:
        """As `waiting_sessions`; nothing if the server says nothing of sessions. Raises TimeoutError
        if it does not answer at all."""
        if self._own is not None and is_usable(self._own):
            with suppress(TimeoutError, psycopg.Error):
                return await self._asked(self._own, pids)
        if self._own is not None:
            await self._own.close()
            self._own = None
        try:
            self._own = await self._open_another()
            return await self._asked(self._own, pids)
        except DatabaseUnavailable as problem:
            if isinstance(problem.__cause__, psycopg.errors.ConnectionTimeout):
                raise TimeoutError from problem
            # It answers, if only that it takes no more connections, or the machine says that it is down.
            return {}
        except psycopg.Error:
            return {}

    async def _asked(self, connection: AsyncConnection[Any], pids: list[int]) -> dict[int, str]:
        timed_out = False

        def give_up() -> None:
            nonlocal timed_out
            timed_out = True
            cut(connection)

        timer = asyncio.get_running_loop().call_later(_ANSWER_SECONDS, give_up)
        try:
            return await waiting_sessions(connection, pids) or {}
        except psycopg.Error:
            if timed_out:
                raise TimeoutError from None
            raise
        finally:
            timer.cancel()
