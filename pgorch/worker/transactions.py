"""Transactional tools: what they write and the checkpoint of their step commit together, or not at all.

If the connection is lost, nobody knows whether the commit happened. The step is then given back with its
lease token: the engine refuses that if the step was recorded, and else the step is simply claimed again.
(Handing in the result again would be wrong: it could record the step without what the tool wrote.)
"""

import logging
from collections import Counter
from types import TracebackType
from typing import Any

import psycopg
from psycopg import AsyncConnection, Connection, IsolationLevel, Rollback
from psycopg_pool import AsyncConnectionPool, ConnectionPool, PoolTimeout

from pgorch.database.connection import connection_parameters
from pgorch.database.translation import is_transient
from pgorch.database.worker_queries import record, record_async
from pgorch.worker import outcomes
from pgorch.worker.outcomes import RELEASE, Outcome
from pgorch.worker.running import Running

log = logging.getLogger("pgorch.worker")

_CONNECTIONS = 8
_LOSSES = 5
# The server broke the transaction off for no fault of the tool's: it met another transaction, or somebody
# interrupted it. (Or a statement took too long: then it will again, and in the end that is an error.)
_BROKEN_OFF = ("40001", "40P01", "57014")


class Transactions:
    """Performs transactional tools on connections of its own, which are opened when first needed."""

    def __init__(self, dsn: str) -> None:
        self._parameters = connection_parameters(dsn, application_name="pgorch worker transaction")
        self._pool: ConnectionPool[Connection[Any]] | None = None
        self._async_pool: AsyncConnectionPool[AsyncConnection[Any]] | None = None
        self._losses: Counter[str] = Counter()

    async def open(self, *, sync_tools: bool, async_tools: bool) -> None:
        if sync_tools:
            self._pool = ConnectionPool(
                kwargs=self._parameters, min_size=0, max_size=_CONNECTIONS, open=True,
                check=ConnectionPool.check_connection, configure=_configure,
            )  # fmt: skip
        if async_tools:
            self._async_pool = AsyncConnectionPool(
                kwargs=self._parameters, min_size=0, max_size=_CONNECTIONS, open=False,
                check=AsyncConnectionPool.check_connection, configure=_configure_async,
            )  # fmt: skip
            await self._async_pool.open()

    async def close(self) -> None:
        if self._pool is not None:
            self._pool.close(timeout=1)
        if self._async_pool is not None:
            await self._async_pool.close(timeout=1)

    def perform(self, running: Running) -> Outcome | None:
        """Runs a sync tool. None: the step is recorded, or it was refused; nothing is to be handed in."""
        if self._pool is None or running.context is None:
            raise RuntimeError("no pool for sync tools was opened")
        attempt = _Attempt(running)
        try:
            with self._pool.connection() as connection, attempt:
                running.context.open_connection = attempt.connection = connection
                with connection.transaction():
                    outcome = outcomes.success(running.tool.function(**running.arguments()))
                    if attempt.may_record(outcome):
                        attempt.judge(record(connection, running.worker_id, running.result(outcome)))
        except PoolTimeout:
            return RELEASE
        except psycopg.OperationalError as problem:
            attempt.lost_connection(problem)
        return self._verdict(attempt)

    async def perform_async(self, running: Running) -> Outcome | None:
        """Like `perform`, for an async tool."""
        if self._async_pool is None or running.context is None:
            raise RuntimeError("no pool for async tools was opened")
        attempt = _Attempt(running)
        try:
            async with self._async_pool.connection() as connection:
                with attempt:
                    running.context.open_connection = attempt.connection = connection
                    async with connection.transaction():
                        outcome = outcomes.success(await running.tool.function(**running.arguments()))
                        if attempt.may_record(outcome):
                            refused = await record_async(
                                connection, running.worker_id, running.result(outcome)
                            )
                            attempt.judge(refused)
        except PoolTimeout:
            return RELEASE
        except psycopg.OperationalError as problem:
            attempt.lost_connection(problem)
        return self._verdict(attempt)

    def _verdict(self, attempt: "_Attempt") -> Outcome | None:
        key = attempt.running.context.idempotency_key if attempt.running.context else ""
        if not attempt.lost:
            self._losses.pop(key, None)
            return attempt.outcome
        self._losses[key] += 1
        if self._losses[key] < _LOSSES:
            log.info("a transaction was lost (%s); its step is given back", attempt.lost,
                     extra=attempt.running.names())  # fmt: skip
            return RELEASE
        # A tool whose statement brings its session down would otherwise run for ever.
        self._losses.pop(key, None)
        return outcomes.error(
            "TransactionLost",
            f"The transaction was lost {_LOSSES} times, the last time because: {attempt.lost}",
        )


# Whatever the role's default is: under a stricter level the checkpoints of one run's branches would break
# each other off. A tool that wants one says so first: SET TRANSACTION.
def _configure(connection: Connection[Any]) -> None:
    connection.isolation_level = IsolationLevel.READ_COMMITTED


async def _configure_async(connection: AsyncConnection[Any]) -> None:
    await connection.set_isolation_level(IsolationLevel.READ_COMMITTED)


class _Attempt:
    """One transaction: catches what happens in it and says what is to be handed in."""

    def __init__(self, running: Running) -> None:
        self.running = running
        self.connection: Connection[Any] | AsyncConnection[Any] | None = None
        self.outcome: Outcome | None = None
        self.lost: str | None = None
        self._recording = False
        self._recorded = False

    def may_record(self, outcome: Outcome) -> bool:
        """False: the tool returned what is no result, which undoes what it wrote."""
        if outcome.kind != "success":
            self.outcome = outcome
            raise Rollback
        if self.running.dropped is not None:
            raise Rollback
        self._recording = True
        return True

    def judge(self, refused: str | None) -> None:
        if refused is not None:
            log.info("a result was refused: %s", refused, extra=self.running.names())
            raise Rollback
        self._recorded = True

    def lost_connection(self, problem: BaseException) -> None:
        self.outcome = None
        self.lost = str(problem).strip() or type(problem).__name__

    def __enter__(self) -> None: ...

    def __exit__(
        self, kind: type[BaseException] | None, problem: BaseException | None, trace: TracebackType | None
    ) -> bool:
        if not isinstance(problem, Exception):
            return False
        broken = self.connection is not None and self.connection.broken
        broken_off = isinstance(problem, psycopg.Error) and problem.sqlstate in _BROKEN_OFF
        if broken or broken_off or (self._recording and is_transient(problem)):
            self.lost_connection(problem)
        elif self._recording and not self._recorded:
            self.outcome = outcomes.error("ResultRefused", str(problem), retryable=False)
        else:
            self.outcome = outcomes.raised(problem)
        return True
