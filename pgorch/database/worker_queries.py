"""The calls of a worker: taking and handing in steps, its lease, and what it holds.

`advance` is the hot path, so it is written for speed: arrays travel as text, and the JSON of a step stays
text until the step is begun.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, LiteralString, NamedTuple
from uuid import UUID

import psycopg
from psycopg import AsyncConnection, Connection
from psycopg.rows import args_row
from psycopg.types.string import TextLoader

_ADVANCE: LiteralString = (
    "pgorch.advance(p_bucket => %s::int, p_worker_id => %s::uuid, p_step_ids => %s::bigint[], "
    "p_lease_tokens => %s::uuid[], p_outcomes => %s::text[], p_outputs => %s::jsonb[], p_want => %s::int, "
    "p_look => %s::boolean, p_asleep => %s::boolean, p_cursor => %s::timestamptz[]) a"
)
_ADVANCE_ALL: LiteralString = (
    "select a.kind, a.step_id, a.lease_token, a.run_id, a.node, a.tool, a.attempt, a.born, "
    "a.timeout_seconds, a.input, a.state, a.message, a.delay_seconds, a.role, a.item, "
    "a.heartbeat_seconds from " + _ADVANCE
)
_ADVANCE_VERDICT: LiteralString = "select a.message from " + _ADVANCE + " where a.kind = 'refused'"
_ENLIST: LiteralString = (
    "select pgorch.enlist_worker(p_bucket => %s::int, p_worker_id => %s::uuid, p_name => %s::text, "
    "p_queues => %s::text[], p_tools => %s::text[], p_slots => %s::int, p_lease_seconds => %s::float8, "
    "p_marker => %s::bigint)"
)
_BEAT: LiteralString = (
    "select b.alive, b.work_waiting, b.revoked, b.due_seconds, b.to_drain from pgorch.beat("
    "p_bucket => %s::int, p_worker_id => %s::uuid, p_lease_seconds => %s::float8) b"
)
_HELD: LiteralString = (
    "select s.id, s.lease_token from pgorch.steps s where s.bucket = %s::int and s.worker_id = %s::uuid"
)
_HELD_AMONG: LiteralString = (
    "select s.id, s.lease_token from unnest(%s::bigint[]) i(id) cross join lateral ("
    "select s.id, s.lease_token, s.worker_id from pgorch.steps s "
    "where s.bucket = %s::int and s.id = i.id limit 1) s where s.worker_id = %s::uuid"
)
_DUE_SCHEDULES: LiteralString = (
    "select d.name, d.turn, d.cron, d.time_zone, d.after, d.until, d.due_in "
    "from pgorch.due_schedules(p_seconds => %s::float8) d"
)
_FIRE_SCHEDULE: LiteralString = (
    "select pgorch.fire_schedule(p_name => %s::text, p_turn => %s::bigint, p_times => %s::timestamptz[])"
)
_FAIL_SCHEDULE: LiteralString = (
    "select pgorch.fail_schedule(p_name => %s::text, p_turn => %s::bigint, p_error => %s::text)"
)
# Once the checkpoint is made, the transaction holds the run, and must not do so for long if we are gone.
# And what the role says of its own statements is not meant for the checkpoint, which may have to wait.
_CHECKPOINT_TIMES: LiteralString = (
    "select set_config('idle_in_transaction_session_timeout', '10s', true), "
    "set_config('statement_timeout', '10s', true), set_config('lock_timeout', '10s', true)"
)


class Advanced(NamedTuple):
    """A row that advance() answered. `input` and `state` are JSON text, not yet decoded. A step whose
    `state` is None has that of the row above. The state of a row "next" is what this worker knows of it, with
    `state` laid over. `role`: item (of a map), loose item and undo (whose `input` is
    laid over the state, for the tool to take by name)."""

    kind: str
    step_id: int
    lease_token: str
    run_id: str | None
    node: str
    tool: str
    attempt: int
    born: int
    timeout_seconds: float | None
    input: str | None
    state: str | None
    message: str | None
    delay_seconds: float | None
    role: str | None
    item: int | None
    heartbeat_seconds: float | None


class Result(NamedTuple):
    """What is handed in for a step: outcome "success", "error" or "release"; `output` is JSON text. `state`
    is the caller's: what it knows of the run's state, should the answer build on that."""

    bucket: int
    step_id: int
    lease_token: str
    outcome: str
    output: str | None
    state: Any = None


class Look(NamedTuple):
    """How to look for steps beyond those that follow from the results: will the worker be asleep if there are
    none, and the message of the last row "looked" that the bucket answered."""

    asleep: bool = False
    cursor: str | None = None


class Beat(NamedTuple):
    """`due_seconds`: until the next timer of the bucket is due, None without one. `to_drain`: the worker was
    asked to end what it has begun, and to go."""

    alive: bool
    work_waiting: bool
    revoked: list[int]
    due_seconds: float | None
    to_drain: bool


class DueSchedule(NamedTuple):
    """A schedule that is due in so many seconds, 0 or less: now. Its times are sought after `after`, up to
    `until` and one more."""

    name: str
    turn: int
    cron: str
    time_zone: str
    after: datetime
    until: datetime
    due_in: float


def prepare_for_advance(connection: AsyncConnection[Any]) -> None:
    """Sets how a connection reads rows of advance(): JSON and ids as text."""
    for name in ("jsonb", "uuid"):
        connection.adapters.register_loader(name, TextLoader)


async def advance(
    connection: AsyncConnection[Any],
    bucket: int,
    worker_id: UUID,
    results: Sequence[Result],
    want: int,
    look: Look | None = None,
) -> list[Advanced]:
    """Hands in results and takes up to `want` steps, in one transaction: those that follow from the results,
    and with a look others. Raises psycopg.Error."""
    async with connection.cursor(row_factory=args_row(Advanced)) as found:
        await found.execute(_ADVANCE_ALL, _arguments(bucket, worker_id, results, want, look))
        return await found.fetchall()


def advance_sync(
    connection: Connection[Any], bucket: int, worker_id: UUID, results: Sequence[Result], want: int
) -> list[Advanced]:
    """Like `advance`, with a look, for who performs steps one by one. Raises psycopg.Error."""
    with connection.cursor(row_factory=args_row(Advanced)) as found:
        for name in ("jsonb", "uuid"):
            found.adapters.register_loader(name, TextLoader)
        return found.execute(_ADVANCE_ALL, _arguments(bucket, worker_id, results, want, Look())).fetchall()


def record(connection: Connection[Any], worker_id: UUID, result: Result) -> str | None:
    """Hands in one result in the transaction that is open on `connection`. Why it was refused, or None."""
    connection.execute(_CHECKPOINT_TIMES)
    arguments = _arguments(result.bucket, worker_id, [result], 0)
    with connection.cursor(row_factory=args_row(_message)) as cursor:
        return cursor.execute(_ADVANCE_VERDICT, arguments).fetchone()


async def record_async(connection: AsyncConnection[Any], worker_id: UUID, result: Result) -> str | None:
    """Like `record`."""
    await connection.execute(_CHECKPOINT_TIMES)
    arguments = _arguments(result.bucket, worker_id, [result], 0)
    async with connection.cursor(row_factory=args_row(_message)) as cursor:
        await cursor.execute(_ADVANCE_VERDICT, arguments)
        return await cursor.fetchone()


async def held(connection: AsyncConnection[Any], bucket: int, worker_id: UUID) -> list[tuple[int, str]]:
    """The steps that are leased to the worker: id and lease token. With the vacuum horizon pinned this passes
    every step that the worker ever had."""
    return [(row[0], str(row[1])) for row in await _all(connection, _HELD, (bucket, worker_id))]


async def held_among(
    connection: AsyncConnection[Any], bucket: int, worker_id: UUID, step_ids: Sequence[int]
) -> list[tuple[int, str]]:
    """Those of the steps that are leased to the worker: id and lease token."""
    rows = await _all(connection, _HELD_AMONG, (list(step_ids), bucket, worker_id))
    return [(row[0], str(row[1])) for row in rows]


async def bucket_count(connection: AsyncConnection[Any]) -> int:
    return int((await _all(connection, "select pgorch.bucket_count()", ()))[0][0])


async def due_schedules(connection: AsyncConnection[Any], seconds: float) -> list[DueSchedule]:
    """Schedules that are due, or will be within so many seconds."""
    async with connection.cursor(row_factory=args_row(DueSchedule)) as cursor:
        await cursor.execute(_DUE_SCHEDULES, (seconds,))
        return await cursor.fetchall()


async def fire_schedule(connection: AsyncConnection[Any], name: str, turn: int, times: list[datetime]) -> str:
    """What became of it: started, skipped, buffered, missed, failed, planned or taken."""
    return str((await _all(connection, _FIRE_SCHEDULE, (name, turn, times)))[0][0])


async def fail_schedule(connection: AsyncConnection[Any], name: str, turn: int, error: str) -> None:
    await connection.execute(_FAIL_SCHEDULE, (name, turn, error))


async def tick(connection: AsyncConnection[Any], bucket: int) -> int:
    """Fires timers of the bucket that are due; how many."""
    return int((await _all(connection, "select pgorch.tick(p_bucket => %s::int)", (bucket,)))[0][0])


async def maintain(connection: AsyncConnection[Any]) -> int:
    """How many finished runs were let go of: one batch. 0 if there is no more to do."""
    return int((await _all(connection, "select pgorch.maintain()", ()))[0][0])


def enlist_worker(
    connection: Connection[Any],
    bucket: int,
    worker_id: UUID,
    *,
    name: str,
    queues: Sequence[str],
    tools: Sequence[str],
    slots: int,
    lease_seconds: float,
    marker: int | None,
) -> None:
    connection.execute(
        _ENLIST, (bucket, worker_id, name, list(queues), list(tools), slots, lease_seconds, marker)
    )


def beat(connection: Connection[Any], bucket: int, worker_id: UUID, lease_seconds: float) -> Beat:
    with connection.cursor(row_factory=args_row(Beat)) as cursor:
        row = cursor.execute(_BEAT, (bucket, worker_id, lease_seconds)).fetchone()
    if row is None:
        raise psycopg.InterfaceError("beat() answered nothing")
    return row


def leave(connection: Connection[Any], bucket: int, worker_id: UUID) -> None:
    connection.execute(
        "select pgorch.leave(p_bucket => %s::int, p_worker_id => %s::uuid)", (bucket, worker_id)
    )


def hold_marker(connection: Connection[Any], marker: int) -> bool:
    """Takes the advisory lock `marker` for as long as the session lives. False if the session is not ours
    alone: a pooler stands between, which shows in another process id than the one we were told."""
    connection.execute("select pg_advisory_lock(%s)", (marker,))
    row = connection.execute(
        "select pg_backend_pid(), exists (select from pg_locks l where l.locktype = 'advisory' "
        "and l.pid = pg_backend_pid() and l.classid::bigint = (%s::bigint >> 32) & 4294967295 "
        "and l.objid::bigint = %s::bigint & 4294967295)",
        (marker, marker),
    ).fetchone()
    return row is not None and row[0] == connection.info.backend_pid and bool(row[1])


def _arguments(
    bucket: int,
    worker_id: UUID,
    results: Sequence[Result],
    want: int,
    look: Look | None = None,
) -> tuple[Any, ...]:
    return (
        bucket,
        worker_id,
        "{" + ",".join([str(result.step_id) for result in results]) + "}",
        "{" + ",".join([result.lease_token for result in results]) + "}",
        "{" + ",".join([result.outcome for result in results]) + "}",
        "{" + ",".join([_element(result.output) for result in results]) + "}",
        want,
        look is not None,
        look is not None and look.asleep,
        None if look is None else look.cursor,
    )


def _element(text: str | None) -> str:
    if text is None:
        return "null"
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _message(message: str) -> str:
    return message


async def _all(
    connection: AsyncConnection[Any], query: LiteralString, parameters: tuple[Any, ...]
) -> list[tuple[Any, ...]]:
    return await (await connection.execute(query, parameters)).fetchall()
