"""The events of a run as they happen: server-sent events for browsers, NDJSON for scripts.

The id of an event is its number in the run's history: 1, 2, 3, ... without gaps, so a client that lost its
connection goes on after the last one that it saw, on any API process.
"""

import asyncio
import logging
import time
from collections.abc import AsyncIterator
from typing import Any, Final
from uuid import UUID

import orjson
import psycopg
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from pgorch.api.answers import ENDED
from pgorch.api.gate import BELIEVED_SECONDS
from pgorch.api.parameters import Parameter, identifier, integer
from pgorch.api.problems import Problem
from pgorch.api.services import Services
from pgorch.api.waiting import WATCH_SECONDS, Waiter, woken_by_disconnect
from pgorch.database.translation import is_transient
from pgorch.errors import PgorchError

logger = logging.getLogger("pgorch.api")

PING_SECONDS: Final = 15.0
# Each event may have an output of 1 MiB, and what is read waits in memory for a client that may be slow.
BATCH: Final = 100
_FIRST_BATCH: Final = 8
_BATCH_BYTES: Final = 1024 * 1024
_LARGEST: Final = 2**31 - 1
AFTER: Final = Parameter(
    "after",
    "query",
    "Only events after this number.",
    {"type": "integer", "minimum": 0, "maximum": _LARGEST, "default": 0},
)
LAST_EVENT_ID: Final = Parameter(
    "Last-Event-ID",
    "header",
    "Like ?after, and before it: what an EventSource sends when it connects again.",
    {"type": "integer", "minimum": 0, "maximum": _LARGEST},
)


async def stream(services: Services, request: Request) -> Response:
    """The events after a number, then each as it happens, until the run has ended."""
    run_id = identifier(request, "run_id", "run")
    after = _after(request)
    async with services.queries() as queries:
        status, seq = await queries.watch_run(run_id, WATCH_SECONDS)
    if after > seq:
        raise Problem("invalid-value", f"The run has no event {after} yet: its last is {seq}.")
    if status in ENDED and after == seq:
        # To an EventSource this says: do not connect again.
        return Response(status_code=204)
    ndjson = "application/x-ndjson" in request.headers.get("accept", "")
    return EventStream(services, request, run_id, after, ndjson)


class EventStream(Response):
    """Answers with events until the run ends, the client goes, its key is revoked or the process ends."""

    def __init__(self, services: Services, request: Request, run_id: UUID, after: int, ndjson: bool) -> None:
        self._services = services
        self._request = request
        self._run_id = run_id
        self._after = after
        self._ndjson = ndjson
        self._batch = min(_FIRST_BATCH, BATCH)
        self.status_code = 200
        self.background = None
        # Without a charset: both formats are UTF-8 by definition. The last header is for nginx.
        self.raw_headers = [
            (b"content-type", b"application/x-ndjson" if ndjson else b"text/event-stream"),
            (b"x-accel-buffering", b"no"),
        ]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
        if scope["method"] != "HEAD":
            with self._services.changes.waiter(self._run_id) as waiter:
                async with woken_by_disconnect(self._request, waiter) as gone:
                    async for chunk in self._chunks(waiter, gone):
                        await send({"type": "http.response.body", "body": chunk, "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _chunks(self, waiter: Waiter, gone: asyncio.Task[None]) -> AsyncIterator[bytes]:
        if not self._ndjson:
            yield b"retry: 1000\n\n"
        ping_at = time.monotonic() + PING_SECONDS
        while True:
            try:
                status, seq, events = await self._read(waiter)
            except (PgorchError, psycopg.Error) as error:
                if not is_transient(error):
                    raise
                # The stream outlives a restart of the database: everybody is woken when it is heard again.
                logger.warning("The events of run %s pause: %s", self._run_id, error)
                status, seq, events = "running", self._after, []
            if not await self._services.gate.still_lets_through(self._request):
                return
            if events:
                self._after = events[-1].seq
                chunk = b"".join(self._written(event.seq, event.event) for event in events)
                self._batch = min(
                    BATCH, max(1, len(events) * 2 * _BATCH_BYTES // (len(chunk) + _BATCH_BYTES))
                )
                yield chunk
                ping_at = time.monotonic() + PING_SECONDS
            if status in ENDED and self._after >= seq:
                return
            if waiter.stopping or gone.done():
                return
            if self._after >= seq and not await self._news(waiter, ping_at):
                ping_at = time.monotonic() + PING_SECONDS
                if not self._ndjson:
                    yield b": ping\n\n"

    async def _news(self, waiter: Waiter, ping_at: float) -> bool:
        """Waits until there may be something to say, True, or it is time to ping, False."""
        while (seconds := ping_at - time.monotonic()) > 0:
            if await waiter.wait(min(seconds, BELIEVED_SECONDS)):
                return True
            if not await self._services.gate.still_lets_through(self._request):
                return True
        return False

    async def _read(self, waiter: Waiter) -> tuple[str, int, list[Any]]:
        # A connection of the pool is held while reading, never while waiting or sending.
        async with self._services.queries() as queries:
            status, seq = waiter.last_seen = await queries.watch_run(self._run_id, WATCH_SECONDS)
            if seq <= self._after:
                return status, seq, []
            return status, seq, await queries.run_events(self._run_id, self._after, self._batch)

    def _written(self, seq: int, event: Any) -> bytes:
        if self._ndjson:
            return orjson.dumps(event) + b"\n"
        return b"id: %d\ndata: %b\n\n" % (seq, orjson.dumps(event))


def _after(request: Request) -> int:
    header = request.headers.get("last-event-id")
    after = integer(request, AFTER) or 0
    if header is None:
        return after
    if not header.isdecimal() or not header.isascii() or int(header[:11]) > _LARGEST:
        raise Problem("invalid-value", f"Last-Event-ID is an integer from 0 to {_LARGEST}.")
    return int(header)
