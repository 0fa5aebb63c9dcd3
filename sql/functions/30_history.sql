-- Writing history, ending runs, and telling those who wait.

create or replace function pgorch._wake_workers(p_bucket integer) returns void
    language plpgsql
    as $$
begin
    -- NOTIFY takes a lock over the whole server at commit, so it is sent only to somebody.
    if exists (select from pgorch._worker_leases l where l.bucket = p_bucket and l.asleep) then
        perform pg_notify('pgorch_work', p_bucket::text);
    end if;
end
$$;

create or replace function pgorch._tell_watchers(p_run pgorch.runs, p_now timestamptz) returns void
    language plpgsql
    as $$
begin
    if p_run.watched_until > p_now then
        perform pg_notify('pgorch_runs', p_run.id::text);
    end if;
end
$$;

create or replace function pgorch._append(
    p_bucket integer, p_run pgorch.runs, p_kind pgorch.event_kind, p_now timestamptz,
    p_node text default null, p_attempt integer default null, p_started_at timestamptz default null,
    p_worker_id uuid default null, p_actor text default null, p_visit integer[] default null,
    p_output jsonb default null, p_error jsonb default null) returns pgorch.runs
    language plpgsql
    as $$
begin
    p_run.seq := p_run.seq + 1;
    insert into pgorch.history (bucket, run_id, seq, kind, at, node, attempt, started_at, worker_id, actor, visit, output, error)
    values (p_bucket, p_run.id, p_run.seq, p_kind, p_now, p_node, p_attempt, p_started_at, p_worker_id, p_actor, p_visit, p_output, p_error);
    return p_run;
end
$$;
comment on function pgorch._append is 'Adds an entry to a run''s history; the caller holds the run''s lock and writes the returned row back.';

create or replace function pgorch._end_run(
    p_bucket integer, p_run pgorch.runs, p_status pgorch.run_status, p_error jsonb, p_actor text, p_now timestamptz) returns pgorch.runs
    language plpgsql
    as $$
declare
    v_workers uuid[];
    v_ids bigint[];
begin
    if p_run.live > 0 then
        -- Deleted before its worker is told: a step that is claimed meanwhile is waited for, and then has a worker.
        with gone as (
            delete from pgorch.steps s where s.bucket = p_bucket and s.run_id = p_run.id returning s.worker_id, s.id)
        select array_agg(g.worker_id), array_agg(g.id) into v_workers, v_ids from gone g where g.worker_id is not null;
        insert into pgorch._revocations (bucket, worker_id, step_id)
        select p_bucket, t.worker_id, t.id from unnest(v_workers, v_ids) t(worker_id, id)
        on conflict do nothing;
        update pgorch.approvals a set status = 'cancelled', decided_at = p_now
        where a.bucket = p_bucket and a.run_id = p_run.id and a.status = 'open';
        delete from pgorch.timers t where t.bucket = p_bucket and t.run_id = p_run.id;
    end if;
    delete from pgorch._writes w where w.bucket = p_bucket and w.run_id = p_run.id;
    p_run.live := 0;
    p_run.status := p_status;
    p_run.finished_at := p_now;
    p_run.error := case when p_status = 'failed' then p_error end;
    return pgorch._append(p_bucket, p_run, ('run_' || p_status)::pgorch.event_kind, p_now, p_actor => p_actor, p_error => p_error);
end
$$;

create or replace function pgorch._save_run(p_bucket integer, p_run pgorch.runs, p_now timestamptz) returns void
    language plpgsql
    as $$
begin
    if pgorch._is_due_to_fold(p_run.input, p_run.snapshot, p_run.delta) then
        p_run.snapshot := pgorch._state(p_run.input, p_run.snapshot, p_run.delta);
        p_run.delta := '{}';
        update pgorch.runs r set snapshot = p_run.snapshot
        where r.bucket = p_bucket and r.id = p_run.id;
    end if;
    update pgorch.runs r
    set status = p_run.status, finished_at = p_run.finished_at, error = p_run.error, live = p_run.live, seq = p_run.seq, delta = p_run.delta
    where r.bucket = p_bucket and r.id = p_run.id;
    perform pgorch._tell_watchers(p_run, p_now);
end
$$;
