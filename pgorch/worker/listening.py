"""Listens for the notifications that tell a sleeping worker to look. They carry no truth: polling finds what
they miss."""

import asyncio
import logging
import re
from collections.abc import Callable
from typing import Any

import psycopg
from psycopg import AsyncConnection

from pgorch.database.hearing import payloads
from pgorch.database.pooling import is_lent
from pgorch.errors import PgorchError
from pgorch.worker.connections import open_async, pause_seconds
from pgorch.worker.identity import Timing

log = logging.getLogger("pgorch.worker")

# Whoever can connect can send notifications, with any payload.
_BUCKET = re.compile("[0-9]{1,4}")


class Listening:
    """Keeps a connection that listens, and calls `look(bucket)` for each notification; `look(None)` when some
    may have been missed."""

    def __init__(self, dsn: str, look: Callable[[int | None], None], timing: Timing) -> None:
        self._dsn = dsn
        self._look = look
        self._timing = timing

    async def run(self) -> None:
        failures = 0
        while True:
            connection: AsyncConnection[Any] | None = None
            try:
                connection = await open_async(
                    self._dsn, purpose="listener", statement_seconds=self._timing.answer
                )
                if is_lent(connection):
                    log.info("behind a pooler nothing is heard: work is found by looking for it")
                    return
                await connection.execute("listen pgorch_work", prepare=False)
                failures = 0
                # First listen, then look: what came in between is found by the look.
                self._look(None)
                async for payload in payloads(connection):
                    self._look(int(payload) if _BUCKET.fullmatch(payload) else None)
            except (psycopg.Error, PgorchError, OSError) as problem:
                failures += 1
                log.warning("the listening connection was lost: %s", str(problem).strip())
                await asyncio.sleep(pause_seconds(failures))
            finally:
                if connection is not None:
                    await connection.close()
