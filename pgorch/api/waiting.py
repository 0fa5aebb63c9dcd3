"""Waiting for news of runs: one LISTEN connection per process wakes all; polling covers what it misses."""

import asyncio
import logging
import random
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Final
from uuid import UUID

import psycopg
from starlette.requests import Request

from pgorch.api.connections import Connections, open_connection
from pgorch.database.hearing import payloads
from pgorch.database.pooling import is_lent
from pgorch.errors import PgorchError

logger = logging.getLogger("pgorch.api")

WATCH_SECONDS: Final = 60
POLL_SECONDS: Final = 1.5
_LONGEST_PAUSE_SECONDS: Final = 5.0
_POLL: Final = """
    select r.id, r.status, r.seq
    from unnest(%s::uuid[]) w(id)
    join pgorch.runs r on r.bucket = pgorch.bucket_of(w.id) and r.id = w.id
"""


class Waiter:
    """Somebody who waits for news of one run (or of the end of the process)."""

    def __init__(self, changes: "RunChanges") -> None:
        self._changes = changes
        self._news = asyncio.Event()
        self.last_seen: tuple[str, int] | None = None

    @property
    def stopping(self) -> bool:
        """Is this process about to end? Then nothing is worth waiting for."""
        return self._changes.stopping

    def wake(self) -> None:
        self._news.set()

    async def wait(self, seconds: float) -> bool:
        """Returns at the first news since the last call, True, or after `seconds`, False."""
        try:
            async with asyncio.timeout(seconds):
                await self._news.wait()
        except TimeoutError:
            return False
        self._news.clear()
        return True


class RunChanges:
    """Wakes waiters when their run changes. It carries no truth: they read the run themselves.

    A notification is sent only for runs that are watched (`watch_run`), so a waiter says so before it waits,
    and again within WATCH_SECONDS.
    """

    def __init__(self, dsn: str, connections: Connections) -> None:
        self._dsn = dsn
        self._connections = connections
        self._waiters: dict[UUID, set[Waiter]] = {}
        self._tasks: list[asyncio.Task[None]] = []
        self.stopping = False
        self.listening = asyncio.Event()

    @property
    def waiting(self) -> int:
        """How many wait."""
        return sum(len(waiters) for waiters in self._waiters.values())

    def start(self) -> None:
        self._tasks = [asyncio.create_task(self._listen_forever()), asyncio.create_task(self._poll_forever())]

    def release_all(self) -> None:
        """Tells every waiter that the process ends."""
        self.stopping = True
        self._wake_all()

    async def stop(self) -> None:
        self.release_all()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    @contextmanager
    def waiter(self, run_id: UUID) -> Iterator[Waiter]:
        waiter = Waiter(self)
        self._waiters.setdefault(run_id, set()).add(waiter)
        try:
            yield waiter
        finally:
            others = self._waiters[run_id]
            others.discard(waiter)
            if not others:
                del self._waiters[run_id]

    def _wake_all(self) -> None:
        for waiters in self._waiters.values():
            for waiter in waiters:
                waiter.wake()

    async def _listen_forever(self) -> None:
        pause = 0.1
        told = False
        while True:
            try:
                connection = await open_connection(self._dsn, "pgorch api listener")
                async with connection:
                    if is_lent(connection):
                        logger.info("Behind a pooler nothing is heard of changes of runs: polling instead.")
                        return
                    await connection.execute("listen pgorch_runs")
                    if told:
                        logger.info("Listening for changes of runs again.")
                    pause, told = 0.1, False
                    self.listening.set()
                    # Whatever happened while nobody listened.
                    self._wake_all()
                    async for payload in payloads(connection):
                        self._wake(payload)
            except (psycopg.Error, PgorchError, OSError) as error:
                if not told:
                    logger.warning("Not listening for changes of runs, polling instead: %s", error)
                told = True
            finally:
                self.listening.clear()
            await asyncio.sleep(pause * random.uniform(0.5, 1.0))
            pause = min(pause * 2, _LONGEST_PAUSE_SECONDS)

    def _wake(self, payload: str) -> None:
        try:
            waiters = self._waiters.get(UUID(payload), ())
        except ValueError:
            return
        for waiter in waiters:
            waiter.wake()

    async def _poll_forever(self) -> None:
        while True:
            await asyncio.sleep(POLL_SECONDS * random.uniform(0.8, 1.2))
            if self._waiters:
                try:
                    await self._poll()
                except (psycopg.Error, PgorchError, OSError) as error:
                    logger.warning("Cannot poll for changes of runs: %s", error)

    async def _poll(self) -> None:
        async with self._connections.borrow() as connection:
            rows = await (await connection.execute(_POLL, [list(self._waiters)])).fetchall()
        for run_id, status, seq in rows:
            for waiter in self._waiters.get(run_id, ()):
                if waiter.last_seen is not None and waiter.last_seen != (status, seq):
                    waiter.wake()


@asynccontextmanager
async def woken_by_disconnect(request: Request, waiter: Waiter) -> AsyncIterator[asyncio.Task[None]]:
    """A task that ends, and wakes the waiter, when the client has gone away."""

    async def disconnected() -> None:
        while (await request.receive())["type"] != "http.disconnect":
            pass
        waiter.wake()

    task = asyncio.create_task(disconnected())
    try:
        yield task
    finally:
        task.cancel()
