"""Hands in results in batches, and takes the next steps with the same call.

While one call is under way results pile up and form the next batch. A result is kept until the engine has
answered: one that it has already, or that comes too late, it refuses.
"""

import asyncio
import itertools
import logging
import random
import time
from collections import Counter, deque
from typing import Any, NamedTuple
from uuid import UUID

import psycopg
from psycopg import AsyncConnection

from pgorch.database.connection import cut
from pgorch.database.pooling import set_locally
from pgorch.database.translation import is_read_only, is_transient
from pgorch.database.worker_queries import Advanced, Look, Result, advance
from pgorch.worker import outcomes
from pgorch.worker.bell import Bell

log = logging.getLogger("pgorch.worker")

_MOST = 200
_LONG_SECONDS = 1.0
_TRIES = 4
_SLOW_TRIES = 3
# A result that goes alone waits for its run's lock no longer than this, so that many runs that somebody holds
# in an open transaction cost the others little.
_BRIEF_WAIT = "set local lock_timeout = '50ms'"


class Answer(NamedTuple):
    """What one call came to: the results that it handed in, how many steps it asked for, and the rows."""

    handed: list[Result]
    want: int
    rows: list[Advanced]


def _is_useless(connection: AsyncConnection[Any], problem: psycopg.Error) -> bool:
    """Is another connection needed? One to a former primary works, but takes nothing."""
    return connection.closed or is_read_only(problem)


class HandingIn:
    """The results of this worker that the engine has not taken yet."""

    def __init__(self, buckets: int, bell: Bell, answer_seconds: float) -> None:
        self._bell = bell
        self._answer_seconds = answer_seconds
        self._waiting: list[deque[Result]] = [deque() for _ in range(buckets)]
        # Results with which a whole batch was refused: each goes alone, so that it holds up no other.
        self._alone: deque[Result] = deque()
        self._later: dict[Result, asyncio.TimerHandle] = {}
        self._put_offs: Counter[Result] = Counter()
        self._turn = 0
        # How many steps a look asks for. The states of many can be more than the database delivers in time.
        self._most = _MOST

    def __len__(self) -> int:
        """How many results wait, those that are put off included."""
        return sum(map(len, self._waiting)) + len(self._alone) + len(self._later)

    def put(self, result: Result) -> None:
        self._waiting[result.bucket].append(result)
        self._bell.ring()

    def forget(self) -> None:
        """Drops everything: the lease under which it was done is over."""
        for waiting in self._waiting:
            waiting.clear()
        self._alone.clear()
        for timer in self._later.values():
            timer.cancel()
        self._later.clear()
        self._put_offs.clear()

    def has(self, step_id: int, lease_token: str) -> bool:
        """Does a result of this step wait?"""
        everywhere = itertools.chain(self._alone, self._later, *self._waiting)
        return any(result.step_id == step_id and result.lease_token == lease_token for result in everywhere)

    def next_bucket(self) -> int | None:
        """A bucket with results that can be handed in now, each in turn."""
        for _ in range(len(self._waiting)):
            self._turn = (self._turn + 1) % len(self._waiting)
            if self._waiting[self._turn]:
                return self._turn
        return self._alone[0].bucket if self._alone else None

    async def advance(
        self,
        connection: AsyncConnection[Any],
        worker_id: UUID,
        bucket: int,
        free: int,
        look: Look | None,
    ) -> Answer:
        """Hands in what waits in a bucket and takes the steps that follow, and with a look others for `free`
        slots; none if `free` is negative.

        Raises psycopg.Error if the connection was lost: then the results wait again.
        """
        batch = self._take(bucket)
        want = 0 if free < 0 else min(_MOST, (min(free, self._most) if look else 0) + len(batch))
        if not batch and self._alone and self._alone[0].bucket == bucket:
            batch.append(self._alone.popleft())
            return Answer(batch, 0, await self._one_by_one(connection, worker_id, batch))
        try:
            began = time.monotonic()
            rows = await self._call(connection, worker_id, bucket, batch, want, look)
            took_long = time.monotonic() - began > _LONG_SECONDS
            self._most = max(1, want // 2) if took_long else min(_MOST, 2 * self._most)
            return Answer(batch, want, rows)
        except asyncio.CancelledError:
            self._put_back(batch)
            raise
        except psycopg.Error as problem:
            self._most = max(1, want // 2)
            if _is_useless(connection, problem):
                self._put_back(batch)
                raise
            log.warning("a batch of %d results was not taken: %s", len(batch), problem)
            if not batch:
                # Asking again at once would fail again.
                await asyncio.sleep(random.uniform(0.2, 1.0))
        return Answer(batch, 0, await self._one_by_one(connection, worker_id, batch))

    async def _one_by_one(
        self, connection: AsyncConnection[Any], worker_id: UUID, batch: list[Result]
    ) -> list[Advanced]:
        rows = []
        for index, result in enumerate(batch):
            try:
                rows += await self._hand_in_alone(connection, worker_id, result)
            except BaseException:
                self._put_back(batch[index:])
                raise
        return rows

    def _take(self, bucket: int) -> list[Result]:
        waiting = self._waiting[bucket]
        return [waiting.popleft() for _ in range(min(_MOST, len(waiting)))]

    def _put_back(self, batch: list[Result]) -> None:
        for result in reversed(batch):
            self._waiting[result.bucket].appendleft(result)

    async def _call(
        self,
        connection: AsyncConnection[Any],
        worker_id: UUID,
        bucket: int,
        batch: list[Result],
        want: int,
        look: Look | None = None,
        *,
        alone: bool = False,
    ) -> list[Advanced]:
        """One call, made again while the engine says that it may succeed the next time."""
        timer = asyncio.get_running_loop().call_later(self._answer_seconds, self._give_up, connection)
        try:
            for tried in range(1, _TRIES + 1):
                try:
                    if alone:
                        async with connection.transaction():
                            await set_locally(connection)
                            await connection.execute(_BRIEF_WAIT)
                            rows = await advance(connection, bucket, worker_id, batch, want)
                    else:
                        rows = await advance(connection, bucket, worker_id, batch, want, look)
                    for result in batch if self._put_offs else ():
                        self._put_offs.pop(result, None)
                    return rows
                except psycopg.Error as problem:
                    again = problem.sqlstate in ("40001", "40P01") and tried < _TRIES
                    if connection.closed or not again:
                        raise
                await asyncio.sleep(random.uniform(0, 0.01 * 2**tried))
            raise AssertionError("the last try returns or raises")
        finally:
            timer.cancel()

    async def _hand_in_alone(
        self, connection: AsyncConnection[Any], worker_id: UUID, result: Result
    ) -> list[Advanced]:
        """Finds out which result of a batch it was, and hands that one in as an error."""
        began = time.monotonic()
        try:
            return await self._call(connection, worker_id, result.bucket, [result], 0, alone=True)
        except psycopg.Error as problem:
            if _is_useless(connection, problem):
                raise
            said = ": ".join(filter(None, (problem.diag.message_primary, problem.diag.message_detail)))
            took = time.monotonic() - began
            if is_transient(problem) and not self._takes_too_long(result, problem, took):
                self._put_off(result, said)
                return []
        outcome = outcomes.error("ResultRefused", said, retryable=False)
        refused = result._replace(outcome=outcome.kind, output=outcome.output)
        try:
            return await self._call(connection, worker_id, result.bucket, [refused], 0, alone=True)
        except psycopg.Error as problem:
            if _is_useless(connection, problem):
                raise
            self._put_off(result, str(problem))
            return []

    def _takes_too_long(self, result: Result, problem: psycopg.Error, took: float) -> bool:
        """Did routing this result alone run into the time limit again and again? Then it is one of
        the graph's conditions that takes so long, and the next time it would again. (A statement that
        somebody cancelled ends with the same code, but sooner.)"""
        slow = problem.sqlstate == "57014" and took >= self._answer_seconds / 2
        return slow and self._put_offs[result] >= _SLOW_TRIES - 1

    def _put_off(self, result: Result, why: str) -> None:
        # Longer and longer, since whoever waits for a lock here keeps the other results waiting.
        self._put_offs[result] += 1
        seconds = min(0.25 * 2.0 ** min(self._put_offs[result], 10), 10.0) * random.uniform(0.5, 1.0)
        log.warning(
            "the result of step %s was not taken (%s); it is handed in again in %.1f s",
            result.step_id, why, seconds, extra={"step_id": result.step_id},
        )  # fmt: skip
        loop = asyncio.get_running_loop()
        self._later[result] = loop.call_later(seconds, self._hand_in_again, result)

    def _hand_in_again(self, result: Result) -> None:
        del self._later[result]
        self._alone.append(result)
        self._bell.ring()

    def _give_up(self, connection: AsyncConnection[Any]) -> None:
        log.warning("the database has not answered for %g s; it is given up", self._answer_seconds)
        cut(connection)
