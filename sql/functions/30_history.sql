-- Writing history and the run's row, and telling those who wait.

create or replace function pgorch._notify(p_channel text, p_payload text) returns void
    language plpgsql
    as $$
begin
    -- One listener of anybody's that is stuck in a transaction, in whatever database of the server, lets the queue fill
    -- up; then each commit that notifies fails. Ours must not, and need not: who is not told finds it by looking.
    if pg_notification_queue_usage() < 0.9 then
        perform pg_notify(p_channel, p_payload);
    end if;
end
$$;
comment on function pgorch._notify is 'NOTIFY, unless the server''s queue of notifications is about to be full.';

create or replace function pgorch._wake_workers(p_bucket integer) returns void
    language plpgsql
    as $$
begin
    -- NOTIFY takes a lock over the whole server at commit, so it is sent only to somebody, and of many transactions at once
    -- only a few send it: those that are told look again soon after, and so find what the others have committed meanwhile.
    -- A few, not one, so that one that stays open for long does not keep the news of all others back.
    if exists (select from pgorch._worker_leases l where l.bucket = p_bucket and l.asleep)
       and exists (select from generate_series(0, 3) s(slot)
                   where pg_try_advisory_xact_lock(hashtext('pgorch.wake'), p_bucket * 4 + (pg_backend_pid() + s.slot) % 4)) then
        perform pgorch._notify('pgorch_work', p_bucket::text);
    end if;
end
$$;

create or replace function pgorch._tell_watchers(p_run pgorch.runs, p_now timestamptz) returns void
    language plpgsql
    as $$
begin
    if p_run.watched_until > p_now and (p_run.watches_steps or p_run.status <> 'running') then
        perform pgorch._notify('pgorch_runs', p_run.id::text);
    end if;
end
$$;

create or replace function pgorch._append(
    p_bucket integer, p_run pgorch.runs, p_kind pgorch.event_kind, p_now timestamptz,
    p_node text default null, p_attempt integer default null, p_started_at timestamptz default null,
    p_worker_id uuid default null, p_actor text default null, p_visit integer[] default null,
    p_output jsonb default null, p_error jsonb default null, p_item integer default null, p_input jsonb default null)
    returns pgorch.runs
    language plpgsql
    as $$
begin
    p_run.seq := p_run.seq + 1;
    insert into pgorch.history (bucket, run_id, seq, kind, at, node, attempt, started_at, worker_id, actor, visit, output, error, item, input)
    values (p_bucket, p_run.id, p_run.seq, p_kind, p_now, p_node, p_attempt, p_started_at, p_worker_id, p_actor, p_visit, p_output, p_error,
            p_item, p_input);
    -- Steps succeed by the thousand, which is no news: the hooks are looked at for the rest alone (_hook_kinds()).
    if p_kind >= 'approval_requested' or p_kind in ('step_failed', 'step_expired') then
        perform pgorch._queue_hook(p_bucket, p_run.id, p_run.graph_id, p_run.seq, p_kind, p_now, h.id, h.graph) from pgorch.hooks h where p_kind = any (h.kinds);
    end if;
    return p_run;
end
$$;
comment on function pgorch._append is 'Adds an entry to a run''s history; the caller holds the run''s lock and writes the returned row back.';

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
    set status = p_run.status, finished_at = p_run.finished_at, error = p_run.error, output = p_run.output, ending = p_run.ending,
        stopped = p_run.stopped, live = p_run.live, seq = p_run.seq, delta = p_run.delta
    where r.bucket = p_bucket and r.id = p_run.id;
    perform pgorch._tell_watchers(p_run, p_now);
end
$$;
