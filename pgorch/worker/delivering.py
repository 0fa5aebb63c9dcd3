"""Delivers to hooks what happened in runs, beside the worker's steps."""

import asyncio
import logging
import random
import time
from typing import Any, Final
from uuid import UUID

import psycopg
from psycopg import AsyncConnection

import pgorch
from pgorch.database.connection import answering
from pgorch.database.delivery_queries import (
    Delivery,
    claim_deliveries,
    has_hooks,
    record_delivery,
    tend_deliveries,
)
from pgorch.errors import PgorchError
from pgorch.hooks.post import post
from pgorch.hooks.signing import signed_headers
from pgorch.worker.bell import Bell
from pgorch.worker.connections import open_async, pause_seconds
from pgorch.worker.identity import Timing

log = logging.getLogger("pgorch.worker")

# At most so many at once to one hook; a hook whose messages are under way gets no further ones meanwhile.
_AT_ONCE: Final = 10
_TEND_SECONDS: Final = 3600.0
_SERVE_SECONDS: Final = 10.0
# How long a worker that ends waits for the answers to what it has sent.
_FINISH_SECONDS: Final = 5.0
# How long a delivery is ours, in times of what an attempt may take.
_LEASE: Final = 4.0


class Delivering:
    """Delivers from `run` until it is cancelled. What is sent arrives at least once: whoever dies between the
    answer and its record is followed by another who sends it again, under the same id."""

    def __init__(self, dsn: str, buckets: int, timing: Timing) -> None:
        self._dsn = dsn
        self._buckets = list(range(buckets))
        self._timing = timing
        self._bell = Bell()
        self._connection: AsyncConnection[Any] | None = None
        self._under_way: dict[UUID, asyncio.Task[None]] = {}
        self._tend_at = 0.0
        self._finishing = False

    async def finish(self) -> None:
        """Takes nothing more, and waits a moment for what is under way."""
        self._finishing = True
        if self._under_way:
            await asyncio.wait(self._under_way.values(), timeout=_FINISH_SECONDS)

    def look(self) -> None:
        """There may be a hook, or something for one."""
        self._bell.ring()

    async def run(self) -> None:
        failures = 0
        try:
            while True:
                try:
                    self._connection = await open_async(
                        self._dsn, purpose="hooks", statement_seconds=self._timing.answer
                    )
                    async with self._connection:
                        while await self._serve(self._connection):
                            failures = 0
                    # Without hooks no connection is held.
                    await self._bell.wait(self._timing.hook_look * random.uniform(0.9, 1.1))
                except (psycopg.Error, PgorchError, OSError) as problem:
                    failures += 1
                    log.warning("the connection for hooks was lost: %s", str(problem).strip())
                    await asyncio.sleep(pause_seconds(failures))
        finally:
            for task in self._under_way.values():
                task.cancel()
            await asyncio.gather(*self._under_way.values(), return_exceptions=True)

    async def _serve(self, connection: AsyncConnection[Any]) -> bool:
        """Delivers for a while. Are there hooks?"""
        await self._tend(connection)
        with answering(connection, self._timing.answer):
            hooks = bool(self._under_way) or await has_hooks(connection)
        if not hooks:
            return False
        end = time.monotonic() + _SERVE_SECONDS
        while time.monotonic() < end:
            if not await self._claim(connection):
                await self._bell.wait(self._timing.hook_poll * random.uniform(0.9, 1.1))
        return True

    async def _tend(self, connection: AsyncConnection[Any]) -> None:
        if time.monotonic() >= self._tend_at:
            for bucket in self._buckets:
                with answering(connection, self._timing.answer):
                    await tend_deliveries(connection, bucket)
            self._tend_at = time.monotonic() + _TEND_SECONDS * random.uniform(0.9, 1.1)

    async def _claim(self, connection: AsyncConnection[Any]) -> bool:
        """Takes what is due. Was there anything?"""
        if self._finishing:
            return False
        found = False
        random.shuffle(self._buckets)
        for bucket in self._buckets:
            with answering(connection, self._timing.answer):
                claimed = await claim_deliveries(
                    connection, bucket, _AT_ONCE, _LEASE * self._timing.hook_answer, list(self._under_way)
                )
            for hook_id in {delivery.hook_id for delivery in claimed}:
                batch = [delivery for delivery in claimed if delivery.hook_id == hook_id]
                self._under_way[hook_id] = asyncio.create_task(self._deliver_all(hook_id, batch))
                found = True
        return found

    async def _deliver_all(self, hook_id: UUID, batch: list[Delivery]) -> None:
        try:
            await asyncio.gather(*(self._deliver(delivery) for delivery in batch))
        except Exception:
            log.exception("a delivery failed in a way that was not foreseen; it is tried again later")
        finally:
            self._under_way.pop(hook_id, None)
            self._bell.ring()

    async def _deliver(self, delivery: Delivery) -> None:
        lease_ends = time.monotonic() + _LEASE * self._timing.hook_answer
        body = delivery.body.encode()
        headers = {
            "content-type": "application/json",
            "user-agent": f"pgorch/{pgorch.__version__}",
            **signed_headers(str(delivery.id), int(time.time()), body, delivery.secrets),
        }
        answer = await post(
            delivery.url,
            headers,
            body,
            seconds=self._timing.hook_answer,
            allow_private=delivery.allow_private,
        )
        while time.monotonic() < lease_ends:
            try:
                if self._connection is not None:
                    with answering(self._connection, self._timing.answer):
                        await record_delivery(self._connection, delivery, answer.status, answer.problem)
                    return
            except (psycopg.Error, OSError) as problem:
                # The loop connects again. If that comes too late, it is delivered again.
                log.warning("%r could not be recorded yet: %s", delivery, str(problem).strip())
            await asyncio.sleep(pause_seconds(2))
