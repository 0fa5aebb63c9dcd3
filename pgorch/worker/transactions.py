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
from psycopg import AsyncConnection, Connection, Rollback

from pgorch.database.translation import is_read_only, is_transient
from pgorch.database.worker_queries import record, record_async
from pgorch.errors import DatabaseUnavailable
from pgorch.worker import outcomes
from pgorch.worker.lending import Deadlines, Lender
from pgorch.worker.outcomes import RELEASE, Outcome
from pgorch.worker.running import Running

log = logging.getLogger("pgorch.worker")

_LOSSES = 5
# The server broke the transaction off for no fault of the tool's: it met another transaction, or somebody
# interrupted it. (Or a statement took too long: then it will again, and in the end that is an error.)
_BROKEN_OFF = ("40001", "40P01", "57014")
# As the other calls of a worker. The step is run again for it.
_ANSWER_SECONDS = 9.0


class Withdrawn(Exception):
    """While a step waited for a connection, it was given back or timed out: its tool is not to be called."""


class Transactions:
    """Performs transactional tools on connections of its own, which are opened when first needed.

    `look` is to be called a few times a second: it gives up connections that have not begun, recorded or
    committed a transaction for too long. What a tool itself asks may take longer: `waiting` gives those
    sessions, and `judge` is told what the server knows of them.
    """

    def __init__(self, dsn: str) -> None:
        self._deadlines = Deadlines(_ANSWER_SECONDS)
        self._lender = Lender(dsn, self._deadlines)
        self._losses: Counter[str] = Counter()
        self.look = self._deadlines.look
        self.waiting = self._lender.waiting
        self.judge = self._lender.judge

    async def close(self) -> None:
        await self._lender.close()

    def perform(self, running: Running) -> Outcome | None:
        """Runs a sync tool. None: the step is recorded, or it was refused; nothing is to be handed in.

        Raises Withdrawn.
        """
        assert running.context is not None
        attempt = _Attempt(running, self._deadlines)
        try:
            with self._lender.borrow() as connection:
                _begin(running)
                with attempt:
                    attempt.begin(connection)
                    with connection.transaction():
                        outcome = attempt.performed(running)
                        if attempt.may_record(outcome):
                            attempt.judge(record(connection, running.worker_id, running.result(outcome)))
        except DatabaseUnavailable as problem:
            return _not_begun(running, problem)
        except psycopg.OperationalError as problem:
            attempt.lost_connection(problem)
        return self._verdict(attempt)

    async def perform_async(self, running: Running) -> Outcome | None:
        """Like `perform`, for an async tool."""
        assert running.context is not None
        attempt = _Attempt(running, self._deadlines)
        try:
            async with self._lender.borrow_async() as connection:
                _begin(running)
                with attempt:
                    attempt.begin(connection)
                    async with connection.transaction():
                        outcome = await attempt.performed_async(running)
                        if attempt.may_record(outcome):
                            refused = await record_async(
                                connection, running.worker_id, running.result(outcome)
                            )
                            attempt.judge(refused)
        except DatabaseUnavailable as problem:
            return _not_begun(running, problem)
        except psycopg.OperationalError as problem:
            attempt.lost_connection(problem)
        return self._verdict(attempt)

    def _verdict(self, attempt: "_Attempt") -> Outcome | None:
        key = attempt.running.context.idempotency_key if attempt.running.context else ""
        if not attempt.lost:
            self._losses.pop(key, None)
            return attempt.outcome
        if attempt.running.dropped is not None:
            return RELEASE
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


class _Attempt:
    """One transaction: catches what happens in it and says what is to be handed in."""

    def __init__(self, running: Running, deadlines: Deadlines) -> None:
        self.running = running
        self._deadlines = deadlines
        self.connection: Connection[Any] | AsyncConnection[Any] | None = None
        self.outcome: Outcome | None = None
        self.lost: str | None = None
        self._recording = False
        self._recorded = False

    def begin(self, connection: Connection[Any] | AsyncConnection[Any]) -> None:
        self.connection = connection
        self._deadlines.ask(connection)
        if self.running.context is not None:
            self.running.context.open_connection = connection

    def performed(self, running: Running) -> Outcome:
        """What the tool returns. While it runs the connection is its own; before and after, it is ours."""
        self._rest()
        try:
            return outcomes.success(running.tool.function(**running.arguments()))
        finally:
            self._ask()

    async def performed_async(self, running: Running) -> Outcome:
        self._rest()
        try:
            return outcomes.success(await running.tool.function(**running.arguments()))
        finally:
            self._ask()

    def _ask(self) -> None:
        if self.connection is not None:
            self._deadlines.ask(self.connection)

    def _rest(self) -> None:
        if self.connection is not None:
            self._deadlines.rest(self.connection)

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
        if self.running.context is not None:
            self.running.context.open_connection = None
        if not isinstance(problem, Exception):
            return False
        broken = self.connection is not None and self.connection.broken
        if is_read_only(problem) and self.connection is not None:
            # A former primary: the transaction belongs on the new one, and so does the next.
            self.connection.pgconn.finish()
            broken = True
        broken_off = isinstance(problem, psycopg.Error) and problem.sqlstate in _BROKEN_OFF
        if broken or broken_off or (self._recording and is_transient(problem)):
            self.lost_connection(problem)
        elif self._recording and not self._recorded:
            self.outcome = outcomes.error("ResultRefused", str(problem), retryable=False)
        else:
            self.outcome = outcomes.raised(problem)
        return True


def _begin(running: Running) -> None:
    # Only now: until there is a connection the step can be taken back, as if it still waited for a thread.
    if not running.begin():
        raise Withdrawn


def _not_begun(running: Running, problem: BaseException) -> Outcome:
    _begin(running)
    log.info("there is no connection for a transaction (%s); its step is given back", problem,
             extra=running.names())  # fmt: skip
    return RELEASE
