"""Follows a run until it ends: notified where that works, by polling where it does not."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from uuid import UUID

from psycopg import Connection

from pgorch.cli.failures import FAILED, OK, TIMEOUT, fail
from pgorch.cli.output import shown
from pgorch.cli.session import Session

ENDED = ("completed", "failed", "cancelled")
_WATCH_SECONDS = 120
_POLL_SECONDS = 1.0


class RunTimeout(Exception):
    """The run did not end in the time that was given."""


def follow(
    db: Session,
    run_id: UUID,
    *,
    timeout: float | None,
    on_event: Callable[[dict[str, Any]], None],
    on_change: Callable[[str], None] = lambda status: None,
) -> str:
    """Call `on_event` for each entry of the run's history until it has ended; returns its last status.

    `on_change` is called with the status after the entries that came together.

    Raises RunTimeout after `timeout` seconds, NotFound.
    """
    deadline = None if timeout is None else time.monotonic() + timeout
    after = 0
    with _listening(db) as ear:
        seen: tuple[str, int] | None = None
        for status, last in _changes(db, ear, run_id, deadline):
            while after < last:
                rows = db.rows("select * from pgorch.run_events(%s::uuid, %s::int, 1000)", [run_id, after])
                for row in rows:
                    on_event(row["event"])
                    after = row["seq"]
                if not rows:
                    break
            if seen != (status, last):
                on_change(status)
                seen = status, last
            if status in ENDED:
                return status
    raise RunTimeout


@contextmanager
def _listening(db: Session) -> Iterator[Connection[Any]]:
    """A connection on which notifications arrive; behind a pooler, without a direct DSN, none do."""
    from pgorch.database.connection import connect_sync
    from pgorch.database.pooling import is_lent, settle_sync

    if not is_lent(db.connection):
        db.connection.execute("listen pgorch_runs")
        try:
            yield db.connection
        finally:
            if not db.connection.closed:
                db.connection.execute("unlisten pgorch_runs")
    elif db.direct_dsn is None:
        yield db.connection
    else:
        with connect_sync(db.direct_dsn, application_name="pgorch cli") as direct:
            if settle_sync(direct, {}):
                direct.execute("listen pgorch_runs")
            yield direct


def _changes(
    db: Session, ear: Connection[Any], run_id: UUID, deadline: float | None
) -> Iterator[tuple[str, int]]:
    """The run's status and last event now, and again after each change, until the deadline."""
    while True:
        row = db.row("select * from pgorch.watch_run(%s::uuid, %s::int)", [run_id, _WATCH_SECONDS])
        yield row["status"], row["seq"]
        left = _POLL_SECONDS if deadline is None else min(_POLL_SECONDS, deadline - time.monotonic())
        if left <= 0:
            return
        for notification in ear.notifies(timeout=left):
            if notification.payload == str(run_id):
                break


def described(event: dict[str, Any]) -> str:
    """An entry of the history in one line."""
    parts = [f"{event['seq']:>4}", str(event["kind"])]
    if event.get("node"):
        parts.append(str(event["node"]))
    if (event.get("attempt") or 1) > 1:
        parts.append(f"(attempt {event['attempt']})")
    if event.get("actor"):
        parts.append(f"by {event['actor']}")
    if event.get("error"):
        error = event["error"]
        parts.append(f"{error.get('type')}: {error.get('message')}")
    elif event.get("output") not in (None, {}):
        text = shown(event["output"])
        parts.append(text if len(text) <= 200 else f"{text[:200]}…")
    return " ".join(parts)


def exit_code_of(status: str) -> int:
    return OK if status == "completed" else FAILED


def timed_out(run_id: UUID, timeout: float | None) -> None:
    """End the command: the run goes on, but nobody waits for it here any more."""
    fail(
        f"run {run_id} has not ended",
        f"It was waited for {timeout:g} seconds; it goes on.",
        f"pgorch runs watch {run_id}",
        code=TIMEOUT,
    )
