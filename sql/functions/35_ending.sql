-- How live steps are taken away and runs end.

create or replace function pgorch._drop_steps(
    p_bucket integer, p_run pgorch.runs, p_ids bigint[], p_now timestamptz, p_actor text default null,
    p_compensate boolean default false) returns pgorch.runs
    language plpgsql
    as $$
declare
    v_ids bigint[];
    v_kinds pgorch.step_kind[];
    v_workers pg_catalog.uuid[];
    v_keys pg_catalog.text[];
begin
    -- Deleted before its worker is told: a step that is claimed meanwhile is waited for, and then has a worker.
    with gone as (
        delete from pgorch.steps s
        where s.bucket = p_bucket and s.run_id = p_run.id and (p_ids is null or s.id = any (p_ids) or s.parent = any (p_ids))
        returning s.id, s.kind, s.worker_id, s.limiter)
    select array_agg(g.id), array_agg(g.kind), array_agg(g.worker_id), array_agg(distinct g.limiter) filter (where g.limiter is not null)
    into v_ids, v_kinds, v_workers, v_keys from gone g;
    if v_ids is null then
        return p_run;
    end if;
    p_run.live := p_run.live - cardinality(v_ids);
    perform pgorch._key_changed(p_bucket, v_keys, p_now);
    insert into pgorch._revocations (bucket, worker_id, step_id)
    select p_bucket, t.worker_id, t.id from unnest(v_workers, v_ids) t(worker_id, id) where t.worker_id is not null
    on conflict do nothing;
    if 'approval' = any (v_kinds) then
        update pgorch.approvals a set status = 'cancelled', decided_at = p_now
        where a.bucket = p_bucket and a.run_id = p_run.id and a.status = 'open' and a.step_id = any (v_ids);
    end if;
    if 'wait' = any (v_kinds) then
        delete from pgorch._row_waits w where w.bucket = p_bucket and w.step_id = any (v_ids);
    end if;
    if 'child' = any (v_kinds) then
        perform pgorch._cancel_children(p_bucket, p_run.id, v_ids, p_now, p_actor, p_compensate);
    end if;
    if array['approval', 'wait', 'child']::pgorch.step_kind[] && v_kinds then
        delete from pgorch.timers t where t.bucket = p_bucket and t.run_id = p_run.id and t.step_id = any (v_ids);
    end if;
    return p_run;
end
$$;
comment on function pgorch._drop_steps is
    'Takes live steps of a run away (null: all), with the items of maps, open approvals, timers and child runs that belong to them; their workers learn it at the next heartbeat.';

create or replace function pgorch._cancel_steps(
    p_bucket integer, p_run pgorch.runs, p_ids bigint[], p_now timestamptz, p_replay boolean) returns pgorch.runs
    language plpgsql
    as $$
declare
    v_step pg_catalog.record;
begin
    for v_step in
        select s.node, s.visit, case when s.kind <> 'map' then s.attempt else 0 end as attempt, s.started_at, s.worker_id from pgorch.steps s
        -- Of a map it is said once, and not of each item.
        where s.bucket = p_bucket and s.id = any (p_ids) and s.kind not in ('join', 'item') and not p_replay order by s.id
    loop
        p_run := pgorch._append(p_bucket, p_run, 'step_cancelled', p_now, p_node => v_step.node, p_attempt => nullif(v_step.attempt, 0),
            p_started_at => v_step.started_at, p_worker_id => v_step.worker_id, p_visit => v_step.visit);
    end loop;
    -- A child run is not the parent's to undo later, so what it has done is undone now.
    return pgorch._drop_steps(p_bucket, p_run, p_ids, p_now, p_compensate => not p_replay);
end
$$;
comment on function pgorch._cancel_steps is 'Takes steps away that a join no longer waits for, and says so in the history.';

create or replace function pgorch._end_run(
    p_bucket integer, p_run pgorch.runs, p_status pgorch.run_status, p_error jsonb, p_actor text, p_now timestamptz) returns pgorch.runs
    language plpgsql
    as $$
begin
    if p_run.live > 0 then
        -- What child runs have done is undone if the run fails; if it is cancelled, by whoever asks for that.
        p_run := pgorch._drop_steps(p_bucket, p_run, null, p_now, p_actor, p_status = 'failed');
    end if;
    -- A run that can be taken up again keeps what tells parallel writers of one key from each other.
    if p_run.stopped is null then
        delete from pgorch._writes w where w.bucket = p_bucket and w.run_id = p_run.id;
    end if;
    delete from pgorch.timers t where t.bucket = p_bucket and t.run_id = p_run.id;
    p_run.status := p_status;
    p_run.finished_at := p_now;
    p_run.ending := null;
    p_run.error := case when p_status = 'failed' then p_error end;
    p_run := pgorch._append(p_bucket, p_run, ('run_' || p_status)::pgorch.event_kind, p_now, p_actor => p_actor, p_error => p_error);
    if p_run.parent_run_id is not null then
        -- Whoever ends this run tells the parent at once if nobody holds it; else this does, soon.
        insert into pgorch.timers (bucket, run_id, step_id, due_at, kind)
        values (p_bucket, p_run.parent_run_id, p_run.parent_step_id, p_now, 'child');
    end if;
    return p_run;
end
$$;
comment on function pgorch._end_run is 'Ends a run now, whatever is live in it. The caller holds its lock and saves it.';

create or replace function pgorch._complete_run(
    p_bucket integer, p_run pgorch.runs, p_graph pgorch.graphs, p_now timestamptz) returns pgorch.runs
    language plpgsql
    as $$
declare
    v_output pg_catalog.record;
begin
    if p_graph.output is not null then
        select r.value, r.problem into v_output from pgorch._rendered(p_bucket, p_run, p_graph, p_graph.output) r;
        if v_output.problem is not null then
            return pgorch._fail_run(p_bucket, p_run, v_output.problem
                || jsonb_build_object('message', 'the output of the graph: ' || (v_output.problem ->> 'message')), p_now);
        end if;
        p_run.output := v_output.value;
    end if;
    return pgorch._end_run(p_bucket, p_run, 'completed', null, null, p_now);
end
$$;

create or replace function pgorch._kept_for_retry(p_run pgorch.runs, p_move pgorch._move, p_failed boolean default null) returns pgorch.runs
    language plpgsql immutable
    as $$
begin
    p_run.stopped := coalesce(p_run.stopped, '[]') || jsonb_build_array(jsonb_strip_nulls(jsonb_build_object(
            'node', p_move.node, 'visit', p_move.visit, 'counts', p_move.counts, 'lineage', p_move.lineage,
            'born', coalesce(p_move.born, p_run.seq), 'child', p_move.error -> 'child_run_id', 'failed', p_failed))
        || pgorch._named_input(p_move.input));
    return p_run;
end
$$;
comment on function pgorch._kept_for_retry is 'Notes in stopped a step of a run that is about to fail: one that it failed at, or that has not begun.';

create or replace function pgorch._failed_at(p_run pgorch.runs, p_error jsonb, p_move pgorch._move) returns pgorch.runs
    language plpgsql immutable
    as $$
begin
    -- Of several failures the first is the run's.
    p_run.error := coalesce(p_run.error, p_error);
    return pgorch._kept_for_retry(p_run, p_move, true);
end
$$;
comment on function pgorch._failed_at is
    'Notes a step that the run fails at: in error why, in stopped where it is taken up again. The run fails when all that came with it has been taken (_follow).';

create or replace function pgorch._fail_run(p_bucket integer, p_run pgorch.runs, p_error jsonb, p_now timestamptz) returns pgorch.runs
    language plpgsql
    as $$
begin
    if pgorch._has_compensations(p_bucket, p_run) then
        return pgorch._begin_undoing(p_bucket, p_run, 'failed', p_error, null, p_now);
    end if;
    p_run.stopped := pgorch._live_now(p_bucket, p_run) || coalesce(p_run.stopped, '[]');
    return pgorch._end_run(p_bucket, p_run, 'failed', p_error, null, p_now);
end
$$;
comment on function pgorch._fail_run is
    'A run fails: what it has done is undone first, where its graph says how. Else what was live is kept, beside what is noted in stopped already, so that the run can be taken up again.';

create or replace function pgorch._named_input(p_input jsonb) returns jsonb
    language sql immutable
    as $$ select case when p_input is null then '{}' else jsonb_build_object('input', p_input) end $$;
comment on function pgorch._named_input is 'Arguments under their name, with every null that is in them.';

create or replace function pgorch._live_now(p_bucket integer, p_run pgorch.runs) returns jsonb
    language plpgsql stable
    as $$
begin
    return (
        select coalesce(jsonb_agg(jsonb_strip_nulls(jsonb_build_object(
                   'node', s.node, 'kind', s.kind, 'visit', s.visit, 'counts', s.counts, 'lineage', s.lineage, 'born', s.born,
                   'attempt', case when s.kind = 'join' then s.attempt end,
                   'child', case when s.kind = 'child' then s.input -> 'run_id' end))
                   || pgorch._named_input(case s.kind when 'task' then s.input when 'map' then s.input -> 'items' end) order by s.id), '[]')
        from pgorch.steps s
        where s.bucket = p_bucket and s.run_id = p_run.id and s.kind not in ('item', 'undo'));
end
$$;
comment on function pgorch._live_now is 'What is live in a run that fails.';
