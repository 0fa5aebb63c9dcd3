"""What must hold of every database with pgorch in it, at any moment, as queries that return no row.

The numbers are those of the invariants in TECHNICAL_DOCS.md. Each query gives `run_id` and `why`.
"""

from collections.abc import Mapping
from typing import Any

from psycopg import Connection
from psycopg.rows import DictRow

ENDS = "('step_completed', 'step_failed', 'step_expired', 'step_skipped', 'approval_decided')"
# What ends the attempts of a step, or begins to count them anew.
LAST_ATTEMPTS = (
    f"{ENDS[:-1]}, 'step_cancelled', 'item_completed', 'item_failed',"
    " 'step_undone', 'undo_failed', 'run_retried')"
)
RUN_ENDS = "('run_completed', 'run_failed', 'run_cancelled')"

INVARIANTS: dict[str, str] = {
    "I1 an unfinished run waits for something that can be named": """
        select r.id as run_id, 'status ' || r.status as why
        from pgorch.runs r
        cross join lateral (
            select count(*) filter (where s.kind in ('task', 'item', 'undo')) as tasks,
                   count(*) filter (where s.kind = 'approval') as approvals,
                   count(*) filter (where s.kind in ('wait', 'map', 'child')) as waits
            from pgorch.steps s where s.bucket = r.bucket and s.run_id = r.id) s
        where r.finished_at is null
          and case when r.status = 'paused' then s.tasks + s.approvals + s.waits = 0
                   else r.status::text is distinct from case when s.tasks > 0 then 'running'
                                                             when s.approvals > 0 then 'awaiting_approval'
                                                             when s.waits > 0 then 'waiting' end end
    """,
    "I1 a wait for a time has a timer": """
        select s.run_id, s.node as why from pgorch.steps s
        where s.kind = 'wait' and (s.input ? 'until' or s.input ? 'deadline') and not exists (
            select from pgorch.timers t where t.bucket = s.bucket and t.step_id = s.id)
    """,
    "I1 an item has its map, and a map its items": """
        select s.run_id, s.node as why from pgorch.steps s
        where s.kind = 'item' and not exists (
            select from pgorch.steps m where m.bucket = s.bucket and m.id = s.parent and m.kind = 'map')
        union all
        select m.run_id, format('%s counts %s started and %s ended', m.node, m.item, m.attempt)
        from pgorch.steps m
        where m.kind = 'map' and m.item - m.attempt <> (
            select count(*) from pgorch.steps s where s.bucket = m.bucket and s.parent = m.id)
    """,
    "I1 a child run that is live is waited for": """
        select r.id as run_id, 'nobody waits' as why from pgorch.runs r
        where r.parent_run_id is not null and r.finished_at is null and r.ending is null and not exists (
            select from pgorch.steps s
            where s.bucket = r.bucket and s.id = r.parent_step_id and s.input ->> 'run_id' = r.id::text)
    """,
    "I1 a paused run has nothing that can be claimed": """
        select s.run_id, s.node as why
        from pgorch.steps s join pgorch.runs r on r.bucket = s.bucket and r.id = s.run_id
        where r.status = 'paused' and s.lane_tool is not null
    """,
    "I1 only a paused run holds steps as paused": """
        select s.run_id, s.node as why
        from pgorch.steps s join pgorch.runs r on r.bucket = s.bucket and r.id = s.run_id
        where r.status <> 'paused' and s.held = 'paused'
    """,
    "I1 who wrote what is known of runs that there are": """
        select w.run_id, w.key as why from pgorch._writes w
        where not exists (select from pgorch.runs r where r.bucket = w.bucket and r.id = w.run_id)
    """,
    "I1 an open approval and its step exist together": """
        select coalesce(s.run_id, a.run_id) as run_id, coalesce(s.node, a.node) as why
        from (select * from pgorch.steps where kind = 'approval') s
        full join (select * from pgorch.approvals where status = 'open') a
          on a.bucket = s.bucket and a.step_id = s.id and a.run_id = s.run_id
        where s.id is null or a.id is null
    """,
    "I2 a leased step belongs to a worker that is known": """
        select s.run_id, s.node as why from pgorch.steps s
        where s.worker_id is not null and not exists (
            select from pgorch._worker_leases l where l.bucket = s.bucket and l.worker_id = s.worker_id)
    """,
    "I2 a step that can be claimed waits where its workers look": """
        select s.run_id, format('%s in %s/%s', s.node, s.lane_queue, s.lane_tool) as why
        from pgorch.steps s
        join pgorch.runs r on r.bucket = s.bucket and r.id = s.run_id
        join pgorch.nodes n on n.graph_id = s.graph_id and n.id = s.node
        where s.lane_tool is not null
          and (s.lane_queue, s.lane_tool) is distinct from (
              case when s.deaths >= 3 then '' else case when s.deaths = 2 then '!' else '' end
                   || case when n.queue <> 'default' then n.queue else coalesce(r.queue, 'default') end end,
              case when s.deaths >= 3 then '' when s.kind = 'undo' then n.compensate else n.function end)
    """,
    "I2 a step waits for a place only if there is none, or somebody is to look": """
        select s.run_id, s.limiter as why
        from pgorch.steps s
        join pgorch.nodes n on n.graph_id = s.graph_id and n.id = s.node
        where s.held = 'limit' and s.ready_at <= pgorch.clock_now()
          and not exists (
              select from pgorch._key_changes c where c.bucket = s.bucket and c.limiter = s.limiter)
          and (select count(*) from pgorch.steps t
               where t.bucket = s.bucket and t.limiter = s.limiter and t.held is null)
              < least(n.concurrency, pgorch._key_window())
    """,
    "I2 what waits for its time under a key is noted for then": """
        select s.run_id, s.limiter as why
        from pgorch.steps s
        where s.held = 'limit' and s.ready_at > pgorch.clock_now() and not exists (
            select from pgorch._key_changes c
            where c.bucket = s.bucket and c.limiter = s.limiter and c.due_at <= s.ready_at)
    """,
    "I2 no more steps have a place than their key has": """
        select min(s.run_id::text)::uuid as run_id, s.limiter as why
        from pgorch.steps s
        join pgorch.nodes n on n.graph_id = s.graph_id and n.id = s.node
        where s.limiter is not null and s.held is null
        group by s.bucket, s.limiter having count(*) > max(n.concurrency)
    """,
    "I4 an idempotency key names one run": """
        select k.run_id, k.key as why from pgorch._idempotency_keys k
        left join pgorch.runs r on r.bucket = k.bucket and r.id = k.run_id and r.idempotency_key = k.key
        where r.id is null
        union all
        select r.id, r.idempotency_key from pgorch.runs r
        where r.idempotency_key is not null and not exists (
            select from pgorch._idempotency_keys k where k.bucket = r.bucket and k.run_id = r.id)
    """,
    "I5 nothing belongs to a run that does not exist": """
        select t.run_id, t.name as why
        from (select 'steps' as name, bucket, run_id from pgorch.steps
              union all select 'history', bucket, run_id from pgorch.history
              union all select 'approvals', bucket, run_id from pgorch.approvals) t
        where not exists (select from pgorch.runs r where r.bucket = t.bucket and r.id = t.run_id)
    """,
    "I6 I16 a node ends once in each visit": f"""
        select h.run_id, format('%s %s: %s times', h.node, h.visit, count(*)) as why
        from pgorch.history h
        join pgorch.runs r on r.bucket = h.bucket and r.id = h.run_id
        join pgorch.graphs g on g.id = r.graph_id and g.has_forks
        where h.kind in {ENDS}
          and not exists (
            select from pgorch.history o
            where o.bucket = h.bucket and o.run_id = h.run_id and o.kind = 'run_retried')
        group by h.bucket, h.run_id, h.node, h.visit having count(*) > 1
    """,
    "I8 attempts of a visit only grow": f"""
        select t.run_id, format('%s: attempt %s after %s', t.node, t.attempt, t.earlier) as why
        from (select h.run_id, h.bucket, h.node, h.attempt, h.kind, h.seq, lag(h.seq) over w as earlier_seq,
                     lag(h.attempt) over w as earlier, lag(h.kind) over w as earlier_kind
              from pgorch.history h where h.attempt is not null
              window w as (partition by h.bucket, h.run_id, h.node, h.visit, h.item order by h.seq)) t
        where t.attempt < 1
           or (t.attempt <= t.earlier and t.earlier_kind not in {LAST_ATTEMPTS} and not exists (
            select from pgorch.history o
            where o.bucket = t.bucket and o.run_id = t.run_id and o.seq between t.earlier_seq and t.seq
              and o.kind = 'run_retried'))
    """,
    "I9 nothing is live in a run that is over, and live counts what is": """
        select r.id as run_id, format('live is %s, there are %s', r.live, s.n) as why
        from pgorch.runs r
        cross join lateral (
            select count(*) as n from pgorch.steps s where s.bucket = r.bucket and s.run_id = r.id) s
        where r.live <> s.n
    """,
    "I11 history is numbered without gaps": """
        select r.id as run_id, format('%s entries, last %s, the run says %s', h.n, h.last, r.seq) as why
        from pgorch.runs r
        cross join lateral (
            select count(*) as n, coalesce(max(h.seq), 0) as last, coalesce(min(h.seq), 1) as first
            from pgorch.history h where h.bucket = r.bucket and h.run_id = r.id) h
        where h.n <> h.last - coalesce(r.forked_at, 0) or h.last <> r.seq
           or h.first <> 1 + coalesce(r.forked_at, 0)
    """,
    "I12 the state is the fold of the history": """
        select r.id as run_id, format('state %s, history gives %s', pgorch.run_state(r.id), f.state) as why
        from pgorch.runs r
        join pgorch.graphs g on g.id = r.graph_id and g.reducers is null
        cross join lateral (
            select r.input || coalesce(jsonb_object_agg(w.key, w.value order by h.seq), '{}') as state
            from pgorch.history h
            join pgorch.nodes n on n.id = h.node and n.graph_id = coalesce(
                (select (m.output ->> 'from')::uuid from pgorch.history m
                 where m.bucket = h.bucket and m.run_id = h.run_id and m.kind = 'run_moved' and m.seq > h.seq
                 order by m.seq limit 1), r.graph_id)
            cross join lateral (
                select coalesce(jsonb_object_agg(f.key, f.value), '{}') as named
                from jsonb_each(case when n.form is not null then h.output -> 'data' end) f
                where f.key in (select jsonb_object_keys(n.form -> 'properties'))) d
            cross join lateral jsonb_each(
                case when n.form is not null and h.output ->> 'decision' = 'rejected' then '{}'
                     when n.form is not null and h.kind <> 'step_skipped'
                     then case when n.into_key is null then d.named
                               else jsonb_build_object(n.into_key, d.named) end
                     when n.into_key is not null then jsonb_build_object(n.into_key, h.output)
                     when (n.type <> 'approval' or h.kind = 'step_skipped')
                          and jsonb_typeof(h.output) = 'object' then h.output
                     else '{}' end) w
            where h.bucket = r.bucket and h.run_id = r.id
              and h.kind in ('step_completed', 'step_skipped', 'approval_decided')
              and h.output is not null and h.error is null) f
        where r.forked_from is null and pgorch.run_state(r.id) <> f.state
    """,
    "I12 the state is what is put together from the history, forks and reducers included": """
        select r.id as run_id,
               format('%s instead of %s', pgorch.state_at(r.id, r.seq), pgorch.run_state(r.id)) as why
        from pgorch.runs r
        where pgorch.state_at(r.id, r.seq) <> pgorch.run_state(r.id)
    """,
    "I12 the status is what the history ended with": f"""
        select r.id as run_id, format('status %s, history says %s', r.status, h.ends) as why
        from pgorch.runs r
        cross join lateral (
            select coalesce(array_agg(substr(h.kind::text, 5)), '{{}}') as ends
            from pgorch.history h
            where h.bucket = r.bucket and h.run_id = r.id and h.kind in {RUN_ENDS} and not exists (
                select from pgorch.history o
                where o.bucket = h.bucket and o.run_id = h.run_id and o.seq > h.seq
                  and o.kind = 'run_retried')) h
        where h.ends <> case when r.finished_at is null then '{{}}' else array[r.status::text] end
    """,
    "I13 nothing follows the end of a run": f"""
        select h.run_id, format('%s after the end', l.kind) as why
        from pgorch.history h
        join pgorch.history l on l.bucket = h.bucket and l.run_id = h.run_id and l.seq > h.seq
        where h.kind in {RUN_ENDS} and not exists (
            select from pgorch.history o
            where o.bucket = h.bucket and o.run_id = h.run_id and o.seq = h.seq + 1
              and o.kind = 'run_retried')
    """,
    "I14 a step begins after what leads to it has ended": f"""
        select t.run_id, format('%s began at %s', t.node, t.started_at) as why
        from (select h.run_id, h.node, h.at, h.started_at, r.created_at, g.has_forks,
                     lag(h.at) over (partition by h.bucket, h.run_id order by h.seq) as earlier_end
              from pgorch.history h
              join pgorch.runs r on r.bucket = h.bucket and r.id = h.run_id
              join pgorch.graphs g on g.id = r.graph_id
              where h.kind in {ENDS}) t
        where t.started_at > t.at or t.started_at < t.created_at
           or (t.started_at < t.earlier_end and not t.has_forks)
    """,
    "I15 every node was reached along an edge": f"""
        select t.run_id, format('%s after %s', t.node, t.earlier) as why
        from (select h.run_id, r.graph_id, r.forked_from, g.start_node, g.has_forks, h.node, h.seq, h.bucket,
                     lag(h.node) over w as earlier, lag(h.seq) over w as earlier_seq,
                     lag(case when h.error is not null then 'error'
                              when h.kind = 'approval_decided' and h.output ->> 'decision' = 'rejected'
                              then 'rejected'
                              when h.kind = 'step_expired' then 'expired'
                              else 'success' end) over w as outcome
              from pgorch.history h
              join pgorch.runs r on r.bucket = h.bucket and r.id = h.run_id
              join pgorch.graphs g on g.id = r.graph_id
              where h.kind in {ENDS}
              window w as (partition by h.bucket, h.run_id order by h.seq)) t
        where case
            when t.earlier is null then t.node <> t.start_node and t.forked_from is null
            when not t.has_forks then not exists (
                select from pgorch.edges e
                where e.graph_id = t.graph_id and e.source = t.earlier and e.target = t.node
                  and e.on_outcome in ('always', t.outcome))
                and not (t.node = t.earlier and exists (
                    select from pgorch.history o
                    where o.bucket = t.bucket and o.run_id = t.run_id and o.kind = 'run_retried'
                      and o.seq between t.earlier_seq and t.seq))
            else t.node <> t.start_node and t.forked_from is null and not exists (
                select from pgorch.edges e
                join pgorch.history h on h.bucket = t.bucket and h.run_id = t.run_id and h.node = e.source
                 and h.seq < t.seq and h.kind in {ENDS}
                where e.graph_id = t.graph_id and e.target = t.node) end
    """,
    "I15 edges without condition are taken": f"""
        select h.run_id, format('%s did not lead to %s', h.node, e.target) as why
        from pgorch.history h
        join pgorch.runs r on r.bucket = h.bucket and r.id = h.run_id and r.status = 'completed'
        join pgorch.edges e
          on e.graph_id = r.graph_id and e.source = h.node and e.on_outcome in ('success', 'always')
        where h.kind = 'step_completed'
          and not exists (
              select from pgorch.edges c where c.graph_id = e.graph_id and c.source = e.source
                and (c.condition is not null or c.contains is not null or c.max_traversals is not null))
          and not exists (
              select from pgorch.history l where l.bucket = h.bucket and l.run_id = h.run_id and l.seq > h.seq
                and l.node = e.target and l.kind in {ENDS[:-1]}, 'step_cancelled'))
          -- A join that has run does not run again for who comes late, and what has arrived at another one
          -- may be cancelled with it.
          and not exists (
              select from pgorch.nodes n
              where n.graph_id = e.graph_id
                and (n.id = e.target and n.join_least is not null or n.cancel_rest))
    """,
    "I20 an approval is decided once, as its row says": """
        select a.run_id, format('%s is %s, history has %s decisions', a.node, a.status, h.n) as why
        from pgorch.approvals a
        cross join lateral (
            select count(*) as n from pgorch.history h
            where h.bucket = a.bucket and h.run_id = a.run_id and h.kind = 'approval_decided'
              and h.output ->> 'approval_id' = a.id::text and h.output ->> 'decision' = a.status
              and h.actor = a.decided_by) h
        where a.status in ('approved', 'rejected') and h.n <> 1
           or a.status in ('open', 'cancelled') and exists (
               select from pgorch.history h where h.bucket = a.bucket and h.run_id = a.run_id
                 and h.kind = 'approval_decided' and h.output ->> 'approval_id' = a.id::text)
    """,
    "I22 a cancelled run has no open question": """
        select a.run_id, a.node as why from pgorch.approvals a
        join pgorch.runs r on r.bucket = a.bucket and r.id = a.run_id
        where a.status = 'open' and r.finished_at is not null
    """,
}


def _statement(invariants: Mapping[str, str]) -> bytes:
    return " union all ".join(
        f"(select '{name}' as name, v.run_id, v.why from ({query}) v limit 10)"
        for name, query in invariants.items()
    ).encode()


# All in one statement, since most tests end with it.
_ALL = _statement(INVARIANTS)


def violations(
    connection: Connection[DictRow], invariants: Mapping[str, str] | None = None
) -> dict[str, list[dict[str, Any]]]:
    """Those that do not hold, each with its rows (at most 10)."""
    statement = _ALL if invariants is None else _statement(invariants)
    found: dict[str, list[dict[str, Any]]] = {}
    for row in connection.execute(statement, prepare=invariants is None):
        found.setdefault(row.pop("name"), []).append(row)
    return found
