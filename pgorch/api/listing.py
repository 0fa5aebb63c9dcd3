"""What lists show: pages of the documented views, each row as JSON."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final, LiteralString
from uuid import UUID

import orjson
from psycopg import AsyncConnection, sql
from psycopg.rows import TupleRow

from pgorch.api.access import Caller
from pgorch.api.answers import ENDED
from pgorch.database.run_filters import run_conditions

Row = tuple[str, orjson.Fragment]

# One bucket after the other by its index, newest first; the buckets' pages are merged. coalesce() instead of
# "or is null": the index serves in a generic plan too, so a late page costs no more than the first.
_RUNS: Final[LiteralString] = """
    select x.run_id::text, to_json(x) from generate_series(0, pgorch.bucket_count() - 1) b(bucket)
    cross join lateral (
        select r.run_id, r.graph_id, r.graph, r.version, r.status, r.live_steps, r.initiator, r.priority,
               r.queue, r.idempotency_key, r.labels, r.created_at, r.finished_at, r.error
        from pgorch.run_list r
        where r.bucket = b.bucket
          and r.run_id < coalesce(%(before)s::uuid, 'ffffffff-ffff-ffff-ffff-ffffffffffff')
          and (%(statuses)s::text[] is null or r.status = any (%(statuses)s::pgorch.run_status[]))
          and (%(graphs)s::uuid[] is null or r.graph_id = any (%(graphs)s::uuid[]))
          and (%(initiator)s::text is null or r.initiator = %(initiator)s::text)
          and (%(created_after)s::timestamptz is null or r.created_at >= %(created_after)s::timestamptz)
          and (%(created_before)s::timestamptz is null or r.created_at < %(created_before)s::timestamptz)
          {and_unfinished} {and_filters}
        order by r.run_id desc limit %(limit)s::int) x
    order by x.run_id desc limit %(limit)s::int
"""
# Lets the small index of unfinished runs serve.
_UNFINISHED: Final = sql.SQL("and r.finished_at is null")

_GRAPHS_NAMED: Final[LiteralString] = """
    select coalesce(array_agg(g.id), array[pgorch.find_graph(%(graph)s)])
    from pgorch.graphs g where g.name = %(graph)s
"""
_GRAPHS: Final[LiteralString] = """
    select x.graph_id::text, to_json(x) from (
        select g.graph_id, g.name, g.version, g.start_node, g.created_at, g.created_by
        from pgorch.graph_list g
        where (%(name)s::text is null or g.name = %(name)s::text)
          and g.graph_id < coalesce(%(before)s::uuid, 'ffffffff-ffff-ffff-ffff-ffffffffffff')
        order by g.graph_id desc limit %(limit)s::int) x
"""
_GRAPH: Final[LiteralString] = """
    select to_json(g) from pgorch.graph_list g where g.graph_id = pgorch.find_graph(%(graph)s)
"""
_GRAPH_OF_RUN: Final[LiteralString] = """
    select to_json(g) from pgorch.runs r join pgorch.graph_list g on g.graph_id = r.graph_id
    where r.bucket = pgorch.bucket_of(%(run_id)s) and r.id = %(run_id)s
"""
_APPROVALS: Final[LiteralString] = """
    select x.approval_id::text, to_json(x) from (
        select a.approval_id, a.run_id, a.graph, a.node, a.title, a.show, a.form, a.assignees, a.quorum,
               a.approved_by, a.requested_at, a.deadline, a.overdue, a.initiator
        from pgorch.waiting_approvals a
        cross join (select coalesce(%(actor)s::text, session_user) as name,
                           coalesce(%(roles)s::text[], pgorch._session_roles()) as roles) me
        where a.approval_id > coalesce(%(after)s::uuid, '00000000-0000-0000-0000-000000000000')
          and (%(graph)s::text is null or a.graph = %(graph)s::text)
          and (%(assignee)s::text is null or %(assignee)s::text = any (a.assignees))
          and (not %(overdue)s or a.overdue)
          and (not %(mine)s or pgorch._waits_for(
              a.assignees,
              case when a.exclude_initiator and pgorch._has_started(a.bucket, a.run_id, me.name)
                   then me.name end,
              a.approved_by, me.name, me.roles))
        order by a.approval_id limit %(limit)s::int) x
"""
_STANDING: Final[LiteralString] = """
    select a.run_id, a.status,
           case when a.status = 'open' then n.quorum - (
               select count(*) from pgorch.votes v
               where v.bucket = pgorch.bucket_of(%(approval_id)s) and v.approval_id = %(approval_id)s)::int
               else 0 end
    from pgorch.approvals a join pgorch.nodes n on n.graph_id = a.graph_id and n.id = a.node
    where a.bucket = pgorch.bucket_of(%(approval_id)s) and a.id = %(approval_id)s
"""
_TOOLS: Final[LiteralString] = """
    select t.name, to_json(x) from pgorch.tool_list t
    cross join lateral (select t.name, t.description, t.parameters, t.retry,
                               extract(epoch from t.timeout)::float8 as timeout_seconds,
                               t.transactional, t.workers) x
    where t.workers > 0 or not %(served)s
    order by t.name
"""
_WORKERS: Final[LiteralString] = """
    select x.worker_id::text, to_json(x) from (
        select w.worker_id, w.name,
               case when bool_or(w.status = 'alive') then 'alive' else min(w.status) end as status,
               w.queues, w.tools, w.slots, sum(w.running_steps)::int as running_steps,
               min(w.started_at) as started_at, max(w.expires_at) as expires_at
        from pgorch.worker_list w group by w.worker_id, w.name, w.queues, w.tools, w.slots) x
    order by x.started_at, x.worker_id
"""
_QUEUES: Final[LiteralString] = """
    select x.queue, to_json(x) from (
        select q.queue, q.tool, sum(q.ready)::int as ready, sum(q.retrying)::int as retrying,
               min(q.oldest_ready_at) as oldest_ready_at,
               extract(epoch from max(q.oldest_age))::float8 as oldest_age_seconds,
               max(q.workers)::int as workers
        from pgorch.queue_depth q group by q.queue, q.tool) x
    order by x.queue, x.tool
"""
_LIMITS: Final[LiteralString] = """
    select x.name, to_json(x) from (
        select l.kind, l.name, l.concurrency, sum(l.under_way)::int as under_way, l.rate,
               extract(epoch from l.per)::float8 as per_seconds, l.burst, sum(l.may_begin)::int as may_begin,
               l.set_at, l.set_by
        from pgorch.limit_list l
        group by l.kind, l.name, l.concurrency, l.rate, l.per, l.burst, l.set_at, l.set_by) x
    order by x.kind, x.name
"""
_CONCURRENCY_KEYS: Final[LiteralString] = """
    select x.key, to_json(x) from (
        select k.graph, k.node, k.key, k.concurrency, k.under_way, k.ready, k.waiting, k.retrying, k.oldest_at
        from pgorch.concurrency_key_list k
        order by k.waiting desc, k.graph, k.node, k.key limit %(limit)s::int) x
"""
_SCHEDULES: Final[LiteralString] = """
    select x.name, to_json(x) from (
        select s.name, s.graph, s.cron, s.time_zone, s.queue, s.priority, s.labels, s.overlap, s.catch_up,
               s.catch_up_window::text as catch_up_window, s.paused, s.next_due, s.buffered, s.last_due,
               s.last_run_id, s.last_status, s.last_error, s.created_at, s.created_by, s.updated_at,
               s.updated_by
        from pgorch.schedule_list s
        where %(after)s::text is null or s.name > %(after)s::text
        order by s.name limit %(limit)s::int) x
"""


async def runs(
    connection: AsyncConnection[TupleRow],
    *,
    statuses: Sequence[str],
    graph: str | None,
    before: UUID | None,
    limit: int,
    states: Sequence[tuple[str, str]] = (),
    labels: Sequence[tuple[str, str]] = (),
    initiator: str | None = None,
    created_after: datetime | None = None,
    created_before: datetime | None = None,
) -> list[Row]:
    """Newest first; `states` and `labels` as in run_conditions. Raises NotFound if `graph` names none."""
    graphs = None
    if graph is not None:
        row = await (await connection.execute(_GRAPHS_NAMED, {"graph": graph})).fetchone()
        graphs = row[0] if row else []
    unfinished = bool(statuses) and not ENDED.intersection(statuses)
    query = sql.SQL(_RUNS).format(
        and_unfinished=_UNFINISHED if unfinished else sql.SQL(""), and_filters=run_conditions(states, labels)
    )
    return await _rows(
        connection,
        query,
        {
            "statuses": list(statuses) or None,
            "graphs": graphs,
            "before": before,
            "limit": limit,
            "initiator": initiator,
            "created_after": created_after,
            "created_before": created_before,
        },
    )


async def graphs(
    connection: AsyncConnection[TupleRow], *, name: str | None, before: UUID | None, limit: int
) -> list[Row]:
    """Versions of graphs, newest first."""
    return await _rows(connection, _GRAPHS, {"name": name, "before": before, "limit": limit})


async def graph(connection: AsyncConnection[TupleRow], graph: str) -> orjson.Fragment:
    """One version with its definition. Raises NotFound."""
    row = await (await connection.execute(_GRAPH, {"graph": graph})).fetchone()
    assert row is not None
    fragment: orjson.Fragment = row[0]
    return fragment


async def graph_of_run(connection: AsyncConnection[TupleRow], run_id: UUID) -> orjson.Fragment:
    """The version that a run, which there is, is pinned to."""
    row = await (await connection.execute(_GRAPH_OF_RUN, {"run_id": run_id})).fetchone()
    assert row is not None
    fragment: orjson.Fragment = row[0]
    return fragment


async def approvals(
    connection: AsyncConnection[TupleRow],
    *,
    caller: Caller,
    graph: str | None,
    assignee: str | None,
    overdue: bool,
    mine: bool,
    after: UUID | None,
    limit: int,
) -> list[Row]:
    """Open ones, oldest first; `mine`: which the caller can decide."""
    filters = {"graph": graph, "assignee": assignee, "overdue": overdue, "mine": mine}
    roles = None if caller.roles is None else list(caller.roles)
    who = {"actor": caller.actor, "roles": roles}
    return await _rows(connection, _APPROVALS, {**filters, **who, "after": after, "limit": limit})


async def standing(connection: AsyncConnection[TupleRow], approval_id: UUID) -> tuple[UUID, str, int]:
    """The run of an approval that there is, its status, and how many must still approve it."""
    row = await (await connection.execute(_STANDING, {"approval_id": approval_id})).fetchone()
    assert row is not None
    run_id, status, missing = row
    return run_id, status, missing


async def tools(connection: AsyncConnection[TupleRow], *, served: bool) -> list[Row]:
    """By name; only those that a living worker serves, or all that were ever registered."""
    return await _rows(connection, _TOOLS, {"served": served})


async def workers(connection: AsyncConnection[TupleRow]) -> list[Row]:
    return await _rows(connection, _WORKERS, {})


async def queues(connection: AsyncConnection[TupleRow]) -> list[Row]:
    return await _rows(connection, _QUEUES, {})


async def limits(connection: AsyncConnection[TupleRow]) -> list[Row]:
    return await _rows(connection, _LIMITS, {})


async def concurrency_keys(connection: AsyncConnection[TupleRow], *, limit: int) -> list[Row]:
    """Those with most waiting first."""
    return await _rows(connection, _CONCURRENCY_KEYS, {"limit": limit})


async def schedules(connection: AsyncConnection[TupleRow], *, after: str | None, limit: int) -> list[Row]:
    """By name."""
    return await _rows(connection, _SCHEDULES, {"after": after, "limit": limit})


async def schedule(connection: AsyncConnection[TupleRow], name: str) -> dict[str, Any]:
    """Everything about one. Raises NotFound."""
    row = await (await connection.execute("select pgorch.schedule_document(%s)::text", (name,))).fetchone()
    assert row is not None
    document: dict[str, Any] = orjson.loads(row[0])
    return document


def page(noun: str, rows: Sequence[Row], limit: int) -> dict[str, Any]:
    """The answer for `rows`, of which there is one more than `limit` if another page follows."""
    shown = rows[:limit]
    return {noun: fragments(shown), "next_cursor": shown[-1][0] if len(rows) > limit else None}


def fragments(rows: Sequence[Row]) -> list[orjson.Fragment]:
    return [fragment for _, fragment in rows]


async def _rows(
    connection: AsyncConnection[TupleRow], query: LiteralString | sql.Composed, parameters: dict[str, Any]
) -> list[Row]:
    cursor = await connection.execute(query, parameters)
    return [(key, fragment) for key, fragment in await cursor.fetchall()]
