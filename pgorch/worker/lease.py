"""The worker's lease: renewed from a thread with a connection of its own, so that neither a busy event loop
nor a busy database connection can lose it.
"""

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import psycopg
from psycopg import Connection

from pgorch.database.connection import cut
from pgorch.database.pooling import is_lent
from pgorch.database.translation import is_transient, translate
from pgorch.database.worker_queries import beat, enlist_worker, hold_marker, leave
from pgorch.errors import PgorchError
from pgorch.worker.connections import open_sync, pause_seconds
from pgorch.worker.identity import Timing, new_marker, new_worker_id

log = logging.getLogger("pgorch.worker")


@dataclass(frozen=True)
class Listing:
    """What the database is told of this worker."""

    name: str
    queues: tuple[str, ...]
    tools: tuple[str, ...]
    slots: int
    buckets: int


@dataclass(frozen=True)
class Listeners:
    """Called from the lease's thread."""

    held: Callable[[], None]
    lost: Callable[[str], None]
    revoked: Callable[[list[int]], None]
    work_waiting: Callable[[int], None]
    timer_due: Callable[[int, float], None]
    failed: Callable[[BaseException], None]
    drain: Callable[[], None]


class Lease:
    """Holds a lease from `start` to `stop`: under one worker id as long as it can be kept, then another.

    Only while `worker_id` is not None and `good_until` (monotonic) has not passed may tools be started.
    """

    def __init__(self, dsn: str, listing: Listing, listeners: Listeners, timing: Timing) -> None:
        self._dsn = dsn
        self._listing = listing
        self._tell = listeners
        self._timing = timing
        self._thread = threading.Thread(target=self._run, name="pgorch-lease", daemon=True)
        self._stopping = threading.Event()
        self._lock = threading.Lock()
        self._connection: Connection[Any] | None = None
        # The question that is under way: to which connection, and when it was asked.
        self._asked: tuple[Connection[Any], float] | None = None
        # Ids whose lease we gave up but which the database may still believe alive.
        self._burnt: list[UUID] = []
        self.worker_id: UUID | None = None
        self.good_until = 0.0
        self.pooled = False

    @property
    def is_good(self) -> bool:
        return self.worker_id is not None and time.monotonic() < self.good_until

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Gives back what is still leased and ends the thread. Blocks for as long as the database takes."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join(self._timing.beat_answer)
            cut(self._connection)

    def look(self) -> None:
        """To be called a few times a second from another thread: gives up the lease when it may be over, and
        a connection that does not answer."""
        if self.worker_id is not None and time.monotonic() >= self.good_until:
            self.burn(f"it could not be renewed for {self._timing.lease:g} s")
        asked = self._asked
        if asked is not None and time.monotonic() - asked[1] > self._timing.beat_answer:
            log.warning("the heartbeat was not answered for %g s; its connection is given up",
                        self._timing.beat_answer)  # fmt: skip
            self._asked = None
            cut(asked[0])

    def burn(self, why: str) -> None:
        """Gives up the lease on our own account: whatever was leased under it goes back."""
        with self._lock:
            if self.worker_id is None:
                return
            self._burnt.append(self.worker_id)
            self.worker_id = None
        self._tell.lost(why)

    def _run(self) -> None:
        failures = 0
        while not self._stopping.is_set():
            try:
                self._connect()
                self._enlist(self.worker_id or new_worker_id())
                failures = 0
                while not self._stopping.wait(self._timing.beat):
                    self._beat_patiently()
            except (psycopg.Error, PgorchError, OSError) as problem:
                failures += 1
                if self._is_hopeless(problem):
                    self._tell.failed((isinstance(problem, psycopg.Error) and translate(problem)) or problem)
                    break
                log.warning("the heartbeat failed and is tried again: %s", str(problem).strip())
                self._stopping.wait(pause_seconds(failures))
        self._say_goodbye()

    def _connect(self) -> None:
        if self._connection is not None:
            self._connection.close()
        self._asked = None
        self._connection = open_sync(
            self._dsn, purpose="heartbeat", statement_seconds=self._timing.beat_answer * 0.8
        )

    def _ask(self, other: Connection[Any] | None = None) -> Connection[Any]:
        """The connection, for one question: notes when it was asked."""
        connection = other or self._connection
        if connection is None:
            raise psycopg.OperationalError("there is no connection")
        self._asked = (connection, time.monotonic())
        return connection

    def _enlist(self, worker_id: UUID) -> None:
        burnt = list(self._burnt)
        self._leave(burnt)
        self._burnt = [worker_id for worker_id in self._burnt if worker_id not in burnt]
        marker = new_marker()
        sent_at = time.monotonic()
        connection = self._ask()
        # In a session that is lent, the lock would stay behind with the next who borrows it.
        if not is_lent(connection) and hold_marker(connection, marker):
            # The engine believes a marker only if another session than the one that asks holds it.
            with open_sync(self._dsn, purpose="enlisting", statement_seconds=5) as other:
                self._write(self._ask(other), worker_id, marker)
        else:
            if not self.pooled:
                log.info("behind a pooler dead workers are noticed by their leases alone")
            self.pooled = True
            self._write(connection, worker_id, None)
        self._asked = None
        with self._lock:
            self.good_until = sent_at + self._timing.lease
            changed, self.worker_id = self.worker_id != worker_id, worker_id
        if changed:
            log.info("worker %s is enlisted as %s", self._listing.name, worker_id)
            self._tell.held()

    def _write(self, connection: Connection[Any], worker_id: UUID, marker: int | None) -> None:
        listing = self._listing
        for bucket in range(listing.buckets):
            enlist_worker(
                connection, bucket, worker_id, name=listing.name, queues=listing.queues, tools=listing.tools,
                slots=listing.slots, lease_seconds=self._timing.lease, marker=marker,
            )  # fmt: skip

    def _beat_patiently(self) -> None:
        try:
            self._beat()
        except psycopg.errors.LockNotAvailable as problem:
            # A long call of advance() holds the lease's row. With another session the marker would be free
            # for a moment, and we would be declared dead. The lease itself has some seconds left.
            log.info("the heartbeat is tried again: %s", str(problem).strip())
            self._asked = None

    def _beat(self) -> None:
        worker_id = self.worker_id
        if worker_id is None:
            self._enlist(new_worker_id())
            return
        sent_at = time.monotonic()
        for bucket in range(self._listing.buckets):
            answer = beat(self._ask(), bucket, worker_id, self._timing.lease)
            if not answer.alive:
                self.burn("the database has declared this worker dead")
                self._enlist(new_worker_id())
                return
            if answer.to_drain:
                self._tell.drain()
            if answer.revoked:
                self._tell.revoked(answer.revoked)
            if answer.work_waiting:
                self._tell.work_waiting(bucket)
            # One that is due later is told of again by the next heartbeat.
            if answer.due_seconds is not None and answer.due_seconds < 2 * self._timing.beat:
                self._tell.timer_due(bucket, answer.due_seconds)
        self._asked = None
        with self._lock:
            if self.worker_id == worker_id:
                self.good_until = sent_at + self._timing.lease

    def _is_hopeless(self, problem: BaseException) -> bool:
        """Will it fail the next time too? Asked only before the first lease."""
        if self.good_until or is_transient(problem):
            return False
        return isinstance(problem, PgorchError) or (
            isinstance(problem, psycopg.Error) and translate(problem) is not None
        )

    def _say_goodbye(self) -> None:
        with self._lock:
            leaving = [*self._burnt, *([self.worker_id] if self.worker_id else [])]
            self.worker_id = None
        try:
            try:
                self._leave(leaving)
            except psycopg.Error:
                # The connection may have been lost since the last heartbeat.
                self._connect()
                self._leave(leaving)
        except (psycopg.Error, PgorchError, OSError) as problem:
            log.warning("what is still leased comes free when the lease ends: %s", str(problem).strip())
        finally:
            if self._connection is not None:
                self._connection.close()

    def _leave(self, worker_ids: list[UUID]) -> None:
        for worker_id in worker_ids:
            for bucket in range(self._listing.buckets):
                leave(self._ask(), bucket, worker_id)
