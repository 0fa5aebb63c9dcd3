"""The worker: claims steps, performs them, hands in what came of them, until it is told to stop."""

import asyncio
import contextlib
import logging
import random
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import psycopg

from pgorch.database.connection import answering
from pgorch.database.migrations import check_schema_async
from pgorch.database.pooling import check_direct
from pgorch.database.queries import Queries
from pgorch.database.translation import is_transient, translated
from pgorch.database.worker_queries import bucket_count, maintain
from pgorch.errors import ConfigError, PgorchError
from pgorch.tool import Tool
from pgorch.worker.connections import open_async, pause_seconds
from pgorch.worker.delivering import Delivering
from pgorch.worker.identity import Timing, default_name
from pgorch.worker.lease import Lease, Listeners, Listing
from pgorch.worker.listening import Listening
from pgorch.worker.schedules import Schedules
from pgorch.worker.sql_steps import SQL_STEP
from pgorch.worker.stall import Stall
from pgorch.worker.stopping import on_signals
from pgorch.worker.transactions import Transactions
from pgorch.worker.working import Working

log = logging.getLogger("pgorch.worker")

_START_SECONDS = 30.0
_LOOK_SECONDS = 0.25
_FIRST_MAINTENANCE_SECONDS = 300.0
_MAINTAIN_SECONDS = 3600.0
_MAINTAIN_ANSWER_SECONDS = 90.0
_FEW_RUNS = 500


class Worker:
    """Performs the steps that `registry` has the tools for, on `queues`, at most `slots` at once.

        await Worker(dsn, registry).run()

    Several may run on one database, and in one process. `name` is for people; it need not be unique. If a
    pooler stands between, `direct_dsn` leads to the same database without it: for the heartbeat and the
    notifications, which need sessions of their own. Without it work is found, and deaths are noticed, later.
    """

    def __init__(
        self,
        dsn: str,
        registry: Mapping[str, Tool],
        queues: Iterable[str] = ("default",),
        slots: int = 100,
        name: str | None = None,
        *,
        timing: Timing | None = None,
        direct_dsn: str | None = None,
    ) -> None:
        if slots < 1:
            raise ConfigError(f"A worker needs at least one slot, but {slots} were given.")
        self.name = name or default_name()
        self._dsn = dsn
        self._direct_dsn = direct_dsn or dsn
        self._registry = {**registry, SQL_STEP.name: SQL_STEP}
        self._queues = tuple(queues)
        self._slots = slots
        self._timing = timing or Timing()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._working: Working | None = None
        self._to_drain = False

    def drain(self) -> None:
        """Makes `run` end: claims nothing more, gives back what has not begun, waits for the rest. May be
        called from any thread, and before `run`."""
        self._to_drain = True
        if self._working is not None:
            self._soon(self._working.drain)

    async def run(self) -> None:
        """Works until drained, by `drain` or SIGTERM.

        Raises DatabaseUnavailable if the database cannot be reached at the start, SchemaMismatch, NotAllowed,
        InvalidValue, ConfigError if a pooler, or the direct DSN, cannot be used. Later on, a database that is
        away is waited for.
        """
        self._loop = asyncio.get_running_loop()
        buckets = await self._introduce()
        transactions = Transactions(self._dsn)
        working = self._working = Working(
            self._dsn, self._registry, slots=self._slots, buckets=buckets, transactions=transactions,
            timing=self._timing,
        )  # fmt: skip
        lease = Lease(self._direct_dsn, self._listing(buckets), self._listeners(self._working), self._timing)
        stall = Stall(self._timing)
        delivering = Delivering(self._dsn, buckets, self._timing)

        def look(bucket: int | None) -> None:
            working.hear(bucket)
            if bucket is None:
                delivering.look()

        beside = [
            asyncio.create_task(Listening(self._direct_dsn, look, self._timing).run()),
            asyncio.create_task(self._watch(lease, transactions)),
            asyncio.create_task(self._maintain()),
            asyncio.create_task(Schedules(self._dsn, self._timing).run()),
            asyncio.create_task(delivering.run()),
        ]
        for task in beside:
            task.add_done_callback(self._judge)
        try:
            stall.start()
            lease.start()
            if self._to_drain:
                self._working.drain()
            with on_signals(self.drain):
                await self._working.run(lease)
        finally:
            await delivering.finish()
            for task in beside:
                task.cancel()
            await asyncio.gather(*beside, return_exceptions=True)
            await asyncio.to_thread(lease.stop)
            await transactions.close()
            stall.stop()
            log.info("worker %s has ended", self.name)

    async def _introduce(self) -> int:
        """Checks the schema and makes the tools known. Returns the number of buckets."""
        deadline, failures = time.monotonic() + _START_SECONDS, 0
        while True:
            try:
                with translated():
                    return await self._introduce_once()
            except (psycopg.Error, PgorchError) as problem:
                # A worker is often started together with its database.
                if not is_transient(problem) or time.monotonic() > deadline or self._to_drain:
                    raise
                failures += 1
                log.warning("the database cannot be reached yet: %s", problem)
                await asyncio.sleep(pause_seconds(failures))

    async def _introduce_once(self) -> int:
        connection = await open_async(self._dsn, purpose="start", statement_seconds=self._timing.answer)
        async with connection:
            with answering(connection, self._timing.answer):
                await check_schema_async(connection)
            if self._direct_dsn != self._dsn:
                direct = await open_async(
                    self._direct_dsn, purpose="start", statement_seconds=self._timing.answer
                )
                async with direct:
                    await check_direct(connection, direct)
            definitions = [t.definition() for _, t in sorted(self._registry.items()) if t is not SQL_STEP]
            with answering(connection, self._timing.answer):
                await Queries(connection).register_tools(definitions)
                return await bucket_count(connection)

    def _listing(self, buckets: int) -> Listing:
        return Listing(self.name, self._queues, tuple(sorted(self._registry)), self._slots, buckets)

    def _listeners(self, working: Working) -> Listeners:
        """The lease speaks from a thread of its own; what it says is taken up in the event loop's."""
        return Listeners(
            held=lambda: self._soon(working.begin_anew),
            lost=lambda why: self._soon(working.drop_all, why),
            revoked=lambda step_ids: self._soon(working.stop_steps, step_ids),
            work_waiting=lambda bucket: self._soon(working.look, bucket),
            timer_due=lambda bucket, seconds: self._soon(working.tick_in, bucket, seconds),
            failed=lambda problem: self._soon(working.fail, problem),
            drain=self._drain_as_asked,
        )

    def _drain_as_asked(self) -> None:
        if not self._to_drain:
            log.info("worker %s was asked to drain", self.name)
            self.drain()

    def _soon(self, call: Callable[..., Any], *arguments: Any) -> None:
        # Without a loop there is nothing to tell yet; with a closed one, nobody any more.
        with contextlib.suppress(RuntimeError):
            if self._loop is not None:
                self._loop.call_soon_threadsafe(call, *arguments)

    async def _watch(self, lease: Lease, transactions: Transactions) -> None:
        while True:
            await asyncio.sleep(_LOOK_SECONDS)
            lease.look()
            transactions.look()

    def _judge(self, task: asyncio.Task[None]) -> None:
        # They handle what they expect. Without one of them the worker would be deaf, or worse.
        if not task.cancelled() and (problem := task.exception()) is not None and self._working is not None:
            self._working.fail(problem)

    async def _maintain(self) -> None:
        # Soon, so that it is done where no worker lives for an hour; not at once, for many start together.
        pause = random.uniform(60, _FIRST_MAINTENANCE_SECONDS)
        while True:
            await asyncio.sleep(pause)
            pause = _MAINTAIN_SECONDS * random.uniform(0.9, 1.1)
            try:
                connection = await open_async(self._dsn, purpose="maintenance", statement_seconds=60)
                async with connection:
                    done = _FEW_RUNS + 1
                    # Under a steady load a few more have always become old enough meanwhile.
                    while done > _FEW_RUNS:
                        with answering(connection, _MAINTAIN_ANSWER_SECONDS):
                            done = await maintain(connection)
            except (psycopg.Error, PgorchError) as problem:
                log.warning("maintenance failed and is tried again in an hour: %s", problem)
