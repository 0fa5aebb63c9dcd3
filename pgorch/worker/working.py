"""The loop of a worker: hands in results, begins the steps that come back, and sleeps when there are none."""

import asyncio
import logging
import random
import time
from collections.abc import Mapping
from typing import Any
from uuid import UUID

import psycopg
from psycopg import AsyncConnection

from pgorch.database.connection import answering
from pgorch.database.sessions import waiting_sessions
from pgorch.database.worker_queries import (
    Advanced,
    Look,
    Result,
    held,
    held_among,
    prepare_for_advance,
    tick,
)
from pgorch.errors import PgorchError
from pgorch.tool import Tool
from pgorch.worker import outcomes
from pgorch.worker.alarms import Alarms
from pgorch.worker.bell import Bell
from pgorch.worker.connections import open_async, pause_seconds
from pgorch.worker.handing_in import Answer, HandingIn
from pgorch.worker.identity import Timing
from pgorch.worker.lease import Lease
from pgorch.worker.outcomes import RELEASE, Outcome
from pgorch.worker.perform import Performer
from pgorch.worker.running import InHand, Running
from pgorch.worker.state import State
from pgorch.worker.transactions import Transactions

log = logging.getLogger("pgorch.worker")

# With steps under way, the next result is probably near: to fall asleep before it comes would cost two calls.
_SETTLE_SECONDS = 0.02
_BELATED_SECONDS = 5.0
_UNDER_WAY_SECONDS = 0.5
# How long after a connection was lost an answer of it may still turn up missing, and how often we ask for
# all that is leased to us although none was lost: with the vacuum horizon pinned, that passes every step that
# we ever had.
_COMPARE_ALL_SECONDS = 60.0
# A call that hands in results brings their next steps back anyway. To look for others as well costs a third
# of its time, so a worker whose steps come back quickly does that only so often.
_LOOK_SECONDS = 0.005
# A start that read "nobody sleeps" just before we fell asleep may commit only after our last look, and nobody
# is notified: 1 of 10 starts came 0.6 s late. So a worker that fell asleep, or was told of something, looks
# again after these times.
_LIGHT_SLEEP_SECONDS = (0.01, 0.05, 0.2)


class Working:
    """One worker's loop, from its first step to its last. Lives in the event loop's thread."""

    def __init__(
        self,
        dsn: str,
        registry: Mapping[str, Tool],
        *,
        slots: int,
        buckets: int,
        transactions: Transactions,
        timing: Timing,
    ) -> None:
        self._dsn = dsn
        self._registry = registry
        self._buckets = buckets
        self._timing = timing
        self._bell = Bell()
        self._in_hand = InHand(slots)
        self._handing_in = HandingIn(buckets, self._bell, timing.answer)
        self._transactions = transactions
        self._performer = Performer(self._in_hand, self, transactions, slots=slots, timing=timing)
        self._connection: AsyncConnection[Any] | None = None
        self._failures = 0
        # Buckets to look in for claimable steps, and those in which the engine does not know us as asleep.
        self._to_look: set[int] = set()
        self._awake: set[int] = set()
        self._to_tick: set[int] = set()
        self._look_at = 0.0
        self._alarms = Alarms(self.look)
        # Where to look from the next time, as the engine said. Its own business: it is only handed back.
        self._cursors: dict[int, str | None] = {}
        self._light_sleep: list[float] = []
        self._compare_at, self._compared = 0.0, False
        self._connected_at = self._compare_all_at = 0.0
        self._draining = False
        self._give_up_at = float("inf")
        self._failure: BaseException | None = None

    # What others tell the loop ----------------------------------------------------------------------

    def put(self, running: Running, outcome: Outcome) -> None:
        """A step has ended."""
        self._handing_in.put(running.result(outcome))

    def recorded(self, running: Running) -> None:
        """A step has ended and been handed in, in its own transaction."""
        self.look(running.bucket)

    def look(self, bucket: int | None = None) -> None:
        """There may be something to claim, in a bucket or anywhere."""
        self._to_look |= set(range(self._buckets)) if bucket is None else {bucket} & set(range(self._buckets))
        self._bell.ring()

    def hear(self, bucket: int | None = None) -> None:
        """A notification. Of transactions at once only some send one, and others may be about to commit."""
        # Not so soon that a worker which is told all the time, of what others do, looks more often for it.
        self._light_sleep = self._light_sleep or list(_LIGHT_SLEEP_SECONDS[1:])
        self.look(bucket)

    def tick_in(self, bucket: int, seconds: float) -> None:
        """A timer of the bucket is due in so many seconds."""
        asyncio.get_running_loop().call_later(max(seconds, 0.0), self._tick, bucket)

    def begin_anew(self) -> None:
        """The worker has a lease under a new id: the engine knows nothing of it."""
        self._awake = set(range(self._buckets))
        self._cursors.clear()
        self.look()

    def drop_all(self, why: str) -> None:
        """The lease is over: nothing that was done under it counts any more."""
        log.warning("the lease is lost: %s; %d steps are stopped", why, len(self._in_hand))
        for running in self._in_hand:
            self._performer.drop(running, "the lease was lost")
        self._handing_in.forget()
        self._bell.ring()

    def stop_steps(self, step_ids: list[int]) -> None:
        """Their runs have ended."""
        for step_id in step_ids:
            if (running := self._in_hand.get(step_id)) is not None:
                log.info("the step is stopped: its run has ended", extra=running.names())
                self._performer.drop(running, "its run has ended")
        self._bell.ring()

    def drain(self) -> None:
        """Claim nothing more, give back what has not begun, and end when the rest is done."""
        if not self._draining:
            self._draining = True
            self._performer.withdraw()
            asyncio.get_running_loop().call_later(self._timing.grace, self._end_grace)
            self._bell.ring()

    def fail(self, failure: BaseException) -> None:
        self._failure = failure
        self._bell.ring()

    # The loop ---------------------------------------------------------------------------------------

    async def run(self, lease: Lease) -> None:
        """Works until drained. Raises what `fail` was told."""
        try:
            while not self._is_over():
                connection = await self._connected()
                worker_id = lease.worker_id
                if connection is None:
                    continue
                if worker_id is None or not lease.is_good:
                    await self._bell.wait(0.5)
                    continue
                try:
                    await self._go_on(connection, lease, worker_id)
                except psycopg.Error as problem:
                    log.warning("the connection was lost: %s", str(problem).strip())
                    await connection.close()
        finally:
            if self._connection is not None:
                await self._connection.close()
            self._performer.close()

    async def _go_on(self, connection: AsyncConnection[Any], lease: Lease, worker_id: UUID) -> None:
        """Does the next thing that there is to do."""
        settling = _SETTLE_SECONDS if len(self._in_hand) and self._awake else 0
        if time.monotonic() >= self._compare_at:
            await self._compare(connection, worker_id)
        elif self._to_tick:
            await self._fire_timers(connection, self._to_tick.pop())
        elif (bucket := self._next_bucket()) is not None:
            await self._advance(connection, lease, worker_id, bucket, looks=self._is_to_look(bucket))
            # The steps just begun get their turn, so that those that end at once make one batch.
            await asyncio.sleep(0)
        elif await self._bell.wait(settling):
            return
        elif self._awake and self._free() > 0:
            await self._fall_asleep(connection, lease, worker_id)
        elif not await self._bell.wait(self._poll_seconds(lease)):
            self.look()

    def _tick(self, bucket: int) -> None:
        self._to_tick.add(bucket)
        self._bell.ring()

    async def _fire_timers(self, connection: AsyncConnection[Any], bucket: int) -> None:
        with answering(connection, self._timing.answer):
            fired = await tick(connection, bucket)
        if fired:
            self.look(bucket)
            # There may be more than one call fires.
            self._to_tick.add(bucket)

    def _next_bucket(self) -> int | None:
        bucket = self._handing_in.next_bucket()
        if bucket is None and self._to_look and self._free() > 0:
            return min(self._to_look)
        return bucket

    def _free(self) -> int:
        """How many steps could be begun now. A result that waits keeps its slot, so that no more is taken on
        than can be handed in."""
        return -1 if self._draining else max(0, self._in_hand.free - len(self._handing_in))

    def _is_to_look(self, bucket: int) -> bool:
        return bucket in self._to_look or time.monotonic() >= self._look_at

    async def _advance(
        self, connection: AsyncConnection[Any], lease: Lease, worker_id: UUID, bucket: int, *, looks: bool
    ) -> int:
        free = self._free()
        share = -(-free // self._buckets) if free > 0 else free
        look = None
        if looks:
            self._to_look.discard(bucket)
            self._look_at = time.monotonic() + _LOOK_SECONDS
            look = Look(bucket not in self._awake, self._cursors.get(bucket))
        answer = await self._handing_in.advance(connection, worker_id, bucket, share, look)
        if lease.worker_id != worker_id:
            return 0
        got = self._take_up(bucket, lease, worker_id, answer)
        if answer.handed or got:
            self._awake.add(bucket)
        if looks and got >= answer.want:
            self._to_look.add(bucket)
        return got

    async def _fall_asleep(self, connection: AsyncConnection[Any], lease: Lease, worker_id: UUID) -> None:
        """Asks to be told of new steps, and looks once more for what came before that was known."""
        bucket = self._awake.pop()
        self._light_sleep = list(_LIGHT_SLEEP_SECONDS)
        if not await self._advance(connection, lease, worker_id, bucket, looks=True):
            self._to_look.add(bucket)

    def _take_up(self, bucket: int, lease: Lease, worker_id: UUID, answer: Answer) -> int:
        """Begins the steps among the rows; returns how many were given to this worker."""
        got = 0
        state = State(None)
        known: dict[int, State] = {}
        loop = asyncio.get_running_loop()
        for row in answer.rows:
            if row.kind == "step":
                if row.state is not None:
                    state = State(row.state)
                got += 1
                if lease.is_good:
                    self._begin(bucket, worker_id, row, state)
            elif row.kind == "next":
                known = known or {result.step_id: result.state for result in answer.handed}
                got += 1
                if lease.is_good:
                    self._begin(bucket, worker_id, row, known[row.step_id].after(str(row.state)))
            elif row.kind == "quarantined":
                got += 1
                self._put(bucket, row, outcomes.error("WorkerLost", str(row.message), retryable=False))
            elif row.kind == "looked":
                self._cursors[bucket] = row.message
            elif row.kind == "later":
                seconds = float(row.delay_seconds or 0)
                if row.step_id is None:
                    self._alarms.set(bucket, seconds)
                else:
                    loop.call_later(seconds, self.look, bucket)
            else:
                log.info("a result was refused: %s", row.message, extra={"step_id": row.step_id})
        return got

    def _begin(self, bucket: int, worker_id: UUID, row: Advanced, state: State) -> None:
        try:
            self._performer.begin(Running(bucket, worker_id, row, state, self._registry[row.tool]))
        except Exception as problem:
            # Whatever is wrong with this step, the others of the batch are begun.
            log.exception("a step could not be begun", extra={"run_id": row.run_id, "step_id": row.step_id})
            self._put(bucket, row, outcomes.raised(problem))

    def _put(self, bucket: int, row: Advanced, outcome: Outcome) -> None:
        self._handing_in.put(Result(bucket, row.step_id, row.lease_token, outcome.kind, outcome.output))

    async def _compare(self, connection: AsyncConnection[Any], worker_id: UUID) -> None:
        """Gives back steps that the engine has given us in an answer that never arrived, and stops those of
        which it knows nothing: after a failover that lost the claim, others may have begun them."""
        # On a connection that was lost a call may still be under way: hence once more soon after.
        now = time.monotonic()
        self._compare_at = now + (self._timing.poll if self._compared else _UNDER_WAY_SECONDS)
        self._compared = True
        of_all = now < self._connected_at + _COMPARE_ALL_SECONDS or now >= self._compare_all_at
        if of_all:
            self._compare_all_at = now + _COMPARE_ALL_SECONDS
        if pids := self._transactions.waiting():
            with answering(connection, self._timing.answer):
                said = await waiting_sessions(connection, pids)
            if said:
                self._transactions.judge(said)
        for bucket in range(self._buckets):
            in_hand = [running for running in self._in_hand if running.is_held_by(bucket, worker_id)]
            with answering(connection, self._timing.answer):
                if of_all:
                    believed = await held(connection, bucket, worker_id)
                else:
                    ids = [running.row.step_id for running in in_hand]
                    believed = await held_among(connection, bucket, worker_id, ids)
            for running in in_hand:
                if (
                    running in self._in_hand
                    and (running.row.step_id, running.row.lease_token) not in believed
                ):
                    log.warning("the step is stopped: the database knows nothing of its lease",
                                extra=running.names())  # fmt: skip
                    self._performer.drop(running, "the database knows nothing of its lease")
            for step_id, token in believed:
                if not self._in_hand.has(step_id, token) and not self._handing_in.has(step_id, token):
                    log.info("a step that came in a lost answer is given back", extra={"step_id": step_id})
                    self._handing_in.put(Result(bucket, step_id, token, RELEASE.kind, RELEASE.output))

    async def _connected(self) -> AsyncConnection[Any] | None:
        """The connection, a new one if it was lost; None if there is none to be had now."""
        if self._connection is not None and not self._connection.closed:
            return self._connection
        self._connection = None
        try:
            connection = await open_async(
                self._dsn, purpose="advance", statement_seconds=self._timing.answer * 0.8
            )
        except (psycopg.Error, PgorchError, OSError) as problem:
            self._failures += 1
            log.warning("the database cannot be reached: %s", str(problem).strip())
            await asyncio.sleep(pause_seconds(self._failures))
            return None
        prepare_for_advance(connection)
        self._failures = 0
        self._connection = connection
        self._compare_at, self._compared = 0.0, False
        self._connected_at = time.monotonic()
        self.begin_anew()
        return connection

    def _poll_seconds(self, lease: Lease) -> float:
        if self._light_sleep:
            return self._light_sleep.pop(0)
        longest = self._timing.poll_without_news if lease.pooled else self._timing.poll
        return longest * random.uniform(0.9, 1.0)

    def _end_grace(self) -> None:
        for running in self._in_hand:
            log.warning("the step is stopped: the time to drain is over", extra=running.names())
            self._performer.drop(running, "the time to drain is over")
        self._give_up_at = time.monotonic() + _BELATED_SECONDS
        asyncio.get_running_loop().call_later(_BELATED_SECONDS, self._bell.ring)
        self._bell.ring()

    def _is_over(self) -> bool:
        if self._failure is not None:
            raise self._failure
        if not self._draining or len(self._in_hand):
            return False
        return len(self._handing_in) == 0 or time.monotonic() >= self._give_up_at
