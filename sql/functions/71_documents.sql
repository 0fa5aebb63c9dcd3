-- Whole answers for those who look at one run.

create or replace function pgorch.run_state(p_run_id uuid) returns jsonb
    language plpgsql stable
    set jit = off set enable_seqscan = off
    as $$
declare
    v_run constant pgorch.runs := pgorch._seen_run(p_run_id);
begin
    return pgorch._state(v_run.input, v_run.snapshot, v_run.delta);
end
$$;
comment on function pgorch.run_state is 'The state of a run.';

create or replace function pgorch._event(p_entry pgorch.history) returns jsonb
    language sql immutable
    as $$
    select jsonb_strip_nulls(jsonb_build_object(
               'seq', p_entry.seq, 'kind', p_entry.kind, 'node', p_entry.node, 'attempt', p_entry.attempt, 'at', p_entry.at,
               'started_at', p_entry.started_at, 'item', p_entry.item, 'actor', p_entry.actor, 'worker_id', p_entry.worker_id))
           || case when p_entry.output is null then '{}' else jsonb_build_object('output', p_entry.output) end
           || case when p_entry.error is null then '{}' else jsonb_build_object('error', p_entry.error) end
    $$;

create or replace function pgorch.run_document(p_run_id uuid) returns jsonb
    language plpgsql stable
    set jit = off set enable_seqscan = off
    as $$
declare
    v_bucket constant integer := pgorch.bucket_of(p_run_id);
    v_run constant pgorch.runs := pgorch._seen_run(p_run_id);
    v_document pg_catalog.jsonb;
begin
    select jsonb_build_object(
        'run_id', r.id, 'graph_id', r.graph_id, 'graph', g.name, 'version', g.version, 'status', r.status,
        'state', pgorch._state(r.input, r.snapshot, r.delta), 'input', r.input, 'output', r.output, 'error', r.error,
        'created_at', r.created_at, 'finished_at', r.finished_at, 'initiator', r.initiator,
        'idempotency_key', r.idempotency_key, 'priority', r.priority, 'queue', r.queue,
        'labels', r.labels, 'parent_run_id', r.parent_run_id, 'forked_from', r.forked_from, 'forked_at', r.forked_at, 'ending', r.ending,
        'current_nodes', coalesce((
            select jsonb_agg(jsonb_build_object('node', s.node, 'kind', s.kind, 'item', s.item, 'status', s.status, 'attempt', s.attempt,
                       'ready_at', s.ready_at, 'started_at', s.started_at, 'worker_id', s.worker_id, 'problem', s.problem) order by s.step_id)
            from pgorch.live_steps s where s.bucket = v_bucket and s.run_id = p_run_id), '[]'),
        'history', coalesce((
            select jsonb_agg(pgorch._event(h) order by h.seq)
            from pgorch._sources(v_bucket, v_run) o
            cross join lateral (
                select h.* from pgorch.history h
                where h.bucket = v_bucket and h.run_id = o.run_id and h.seq <= o.upto) h), '[]'),
        'approvals', pgorch._open_approvals(v_bucket, p_run_id))
    into v_document
    from pgorch.runs r join pgorch.graphs g on g.id = r.graph_id
    where r.bucket = v_bucket and r.id = p_run_id;
    return v_document;
end
$$;
comment on function pgorch.run_document is 'Everything about a run as one JSON object: status, state, live steps, history (of a fork, also what it shares), open approvals.';

create or replace function pgorch.run_events(p_run_id uuid, p_after integer default 0, p_limit integer default 1000)
    returns table (seq integer, event jsonb)
    language plpgsql stable
    set jit = off set enable_seqscan = off
    as $$
declare
    v_bucket constant integer := pgorch.bucket_of(p_run_id);
    v_run pgorch.runs;
begin
    select r.* into v_run from pgorch.runs r where r.bucket = v_bucket and r.id = p_run_id;
    return query
        select h.seq, pgorch._event(h)
        from pgorch._sources(v_bucket, v_run) o
        cross join lateral (
            select h.* from pgorch.history h
            where h.bucket = v_bucket and h.run_id = o.run_id and h.seq > p_after and h.seq <= o.upto
            order by h.seq limit p_limit) h
        order by h.seq limit p_limit;
end
$$;
comment on function pgorch.run_events is 'Entries of a run''s history after a number, in order; of a fork, also those that it shares.';

create or replace function pgorch.watch_run(p_run_id uuid, p_seconds integer default 60, p_steps boolean default true)
    returns table (status pgorch.run_status, seq integer)
    language plpgsql
    set jit = off set enable_seqscan = off
    as $$
declare
    v_bucket constant integer := pgorch.bucket_of(p_run_id);
    v_now constant pg_catalog.timestamptz := pgorch.clock_now();
begin
    -- Written only when less than half of the time is left, so that many who watch one run do not all write. Whoever waits
    -- for the end takes nothing from somebody else who follows the steps.
    update pgorch.runs r
    set watched_until = v_now + make_interval(secs => p_seconds),
        watches_steps = p_steps or (r.watches_steps and coalesce(r.watched_until > v_now, false))
    where r.bucket = v_bucket and r.id = p_run_id and r.finished_at is null
      and (coalesce(r.watched_until, '-infinity') < v_now + make_interval(secs => p_seconds / 2.0) or (p_steps and not r.watches_steps));
    return query select r.status, r.seq from pgorch.runs r where r.bucket = v_bucket and r.id = p_run_id;
    if not found then
        perform pgorch._no_run(p_run_id);
    end if;
end
$$;
comment on function pgorch.watch_run is 'Asks for a notification on the channel pgorch_runs (payload: the run''s id) for so many seconds: at each change of a run, or without p_steps once it does not run any more (it has ended, is paused or awaits an approval). Tells its status and last event.';
