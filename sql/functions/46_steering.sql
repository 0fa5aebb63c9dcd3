-- Steering runs: cancel, pause, resume.

create or replace function pgorch.cancel(
    p_run_id uuid, p_reason text default null, p_actor text default null, p_compensate boolean default false) returns text
    language plpgsql
    set jit = off set enable_seqscan = off
    as $$
declare
    v_bucket constant integer := pgorch.bucket_of(p_run_id);
    v_actor constant pg_catalog.text := pgorch._actor(p_actor);
    v_run pgorch.runs := pgorch._locked_run(p_run_id);
    v_before constant pg_catalog.text := v_run.status;
    v_now constant pg_catalog.timestamptz := pgorch.clock_now();
    v_error constant pg_catalog.jsonb := case when p_reason is not null then jsonb_build_object('type', 'Cancelled', 'message', left(p_reason, 10000)) end;
begin
    if v_run.finished_at is not null then
        perform pgorch._raise('OR002', format('run %s cannot be cancelled: it is %s since %s', p_run_id, v_run.status, v_run.finished_at),
            'Nothing needs to be done.');
    elsif p_compensate and v_run.ending is not null then
        perform pgorch._raise('OR002', format('what run %s has done is being undone already', p_run_id),
            'Wait for it, or cancel without compensation to end it at once.');
    elsif p_compensate then
        v_run := pgorch._cancel_undoing(v_bucket, v_run, v_error, v_actor, v_now);
    else
        v_run := pgorch._end_run(v_bucket, v_run, 'cancelled', v_error, v_actor, v_now);
    end if;
    perform pgorch._save_run(v_bucket, v_run, v_now);
    perform pgorch._audit(v_bucket, v_actor, 'cancel', p_run_id, p_before => jsonb_build_object('status', v_before),
        p_after => jsonb_build_object('status', v_run.status, 'compensate', p_compensate), p_comment => p_reason);
    perform pgorch._tell_parent(v_bucket, v_run, v_now);
    return v_run.status;
end
$$;
comment on function pgorch.cancel is
    'Ends a run, and the child runs that it waits for. Steps under way are stopped at their worker''s next heartbeat; nothing they hand in counts any more. With p_compensate what it has done is undone first, newest first, also if it is paused. Returns the status.';

create or replace function pgorch._cancel_undoing(
    p_bucket integer, p_run pgorch.runs, p_error jsonb, p_actor text, p_now timestamptz) returns pgorch.runs
    language plpgsql
    as $$
begin
    if pgorch._has_compensations(p_bucket, p_run) then
        -- Who wants it undone wants it done: nobody would resume what counts as cancelled.
        if p_run.status = 'paused' then
            p_run := pgorch._append(p_bucket, p_run, 'run_resumed', p_now, p_actor => p_actor);
            p_run.status := 'running';
        end if;
        return pgorch._begin_undoing(p_bucket, p_run, 'cancelled', p_error, p_actor, p_now);
    end if;
    p_run := pgorch._drop_steps(p_bucket, p_run, null, p_now, p_actor, true);
    return pgorch._end_run(p_bucket, p_run, 'cancelled', p_error, p_actor, p_now);
end
$$;
comment on function pgorch._cancel_undoing is 'Cancels a run once what it and its live child runs have done is undone.';

create or replace function pgorch.pause(p_run_id uuid, p_actor text default null) returns text
    language plpgsql
    set jit = off set enable_seqscan = off
    as $$
declare
    v_bucket constant integer := pgorch.bucket_of(p_run_id);
    v_actor constant pg_catalog.text := pgorch._actor(p_actor);
    v_run constant pgorch.runs := pgorch._locked_run(p_run_id);
begin
    if v_run.finished_at is not null then
        perform pgorch._raise('OR002', format('run %s cannot be paused: it is %s since %s', p_run_id, v_run.status, v_run.finished_at),
            'Nothing needs to be done.');
    elsif v_run.status = 'paused' then
        return v_run.status;
    end if;
    perform pgorch._audit(v_bucket, v_actor, 'pause', p_run_id, p_before => jsonb_build_object('status', v_run.status),
        p_after => jsonb_build_object('status', 'paused'));
    perform pgorch._set_paused(v_bucket, v_run, true, v_actor, pgorch.clock_now());
    return 'paused';
end
$$;
comment on function pgorch.pause is
    'Lets no step of a run or of its child runs begin until resume(). Those under way end, people may decide, and clocks go on; what follows waits.';

create or replace function pgorch.resume(p_run_id uuid, p_actor text default null) returns text
    language plpgsql
    set jit = off set enable_seqscan = off
    as $$
declare
    v_bucket constant integer := pgorch.bucket_of(p_run_id);
    v_actor constant pg_catalog.text := pgorch._actor(p_actor);
    v_run pgorch.runs := pgorch._locked_run(p_run_id);
begin
    if v_run.status <> 'paused' then
        perform pgorch._raise('OR002', format('run %s is not paused: it is %s', p_run_id, v_run.status),
            'An approval is decided by decide(); a failed run is taken up again by retry().');
    end if;
    v_run := pgorch._set_paused(v_bucket, v_run, false, v_actor, pgorch.clock_now());
    perform pgorch._audit(v_bucket, v_actor, 'resume', p_run_id, p_before => '{"status": "paused"}',
        p_after => jsonb_build_object('status', v_run.status));
    return v_run.status;
end
$$;
comment on function pgorch.resume is 'Lets a paused run and its child runs go on. Returns the status.';

create or replace function pgorch._set_paused(
    p_bucket integer, p_run pgorch.runs, p_paused boolean, p_actor text, p_now timestamptz) returns pgorch.runs
    language plpgsql
    as $$
declare
    v_graph pgorch.graphs;
    v_ids bigint[];
    v_child pgorch.runs;
begin
    p_run := pgorch._append(p_bucket, p_run, case when p_paused then 'run_paused' else 'run_resumed' end::pgorch.event_kind, p_now, p_actor => p_actor);
    p_run.status := case when p_paused then 'paused' else 'running' end;
    if not p_paused then
        select g.* into v_graph from pgorch.graphs g where g.id = p_run.graph_id;
        p_run := pgorch._settled(p_bucket, p_run, v_graph, p_now);
    end if;
    perform pgorch._save_run(p_bucket, p_run, p_now);
    -- Of what is being claimed just now, one of us is first: then it has a worker, and is under way.
    v_ids := array(
        select s.id from pgorch.steps s
        where s.bucket = p_bucket and s.run_id = p_run.id and s.kind < 'approval' and s.worker_id is null order by s.id for update);
    perform pgorch._give_back(p_bucket, v_ids, null, 0, 0);
    for v_child in
        select r.* from pgorch.runs r
        where r.bucket = p_bucket and r.parent_run_id = p_run.id and r.finished_at is null and (r.status = 'paused') <> p_paused
        order by r.id for update
    loop
        perform pgorch._set_paused(p_bucket, v_child, p_paused, p_actor, p_now);
    end loop;
    return p_run;
end
$$;
comment on function pgorch._set_paused is 'Pauses or resumes a run that is locked, and the child runs that it waits for.';
