-- Compensation: what a run has done is undone, newest first, one step at a time, before the run ends. While that goes on the
-- run is live and its `ending` says how it will end.

create or replace function pgorch._has_compensations(p_bucket integer, p_run pgorch.runs) returns boolean
    language plpgsql stable
    as $$
begin
    return p_run.ending is null
        and exists (select from pgorch.nodes n where n.graph_id = p_run.graph_id and n.compensate is not null)
        and pgorch._next_to_undo(p_bucket, p_run) is not null;
end
$$;

create or replace function pgorch._next_to_undo(p_bucket integer, p_run pgorch.runs) returns integer
    language plpgsql stable
    as $$
begin
    -- Only what this run has done itself: the steps that it shares with the run it was forked from are that one's.
    return (
        select h.seq
        from pgorch.history h
        where h.bucket = p_bucket and h.run_id = p_run.id
          -- One whose tool succeeded can fail all the same, by its edges or its write: its input was kept.
          and (h.kind = 'step_completed' or (h.kind = 'step_failed' and h.input is not null))
          and h.node in (select n.id from pgorch.nodes n where n.graph_id = p_run.graph_id and n.compensate is not null)
          and not exists (
            select from pgorch.history u
            where u.bucket = p_bucket and u.run_id = p_run.id and u.kind in ('step_undone', 'undo_failed') and u.item = h.seq)
        order by h.seq desc limit 1);
end
$$;
comment on function pgorch._next_to_undo is 'The newest step that can be undone and has not been: its history entry.';

create or replace function pgorch._begin_undoing(
    p_bucket integer, p_run pgorch.runs, p_status pgorch.run_status, p_error jsonb, p_actor text, p_now timestamptz) returns pgorch.runs
    language plpgsql
    as $$
begin
    p_run := pgorch._drop_steps(p_bucket, p_run, null, p_now, p_actor, true);
    delete from pgorch.timers t where t.bucket = p_bucket and t.run_id = p_run.id;
    p_run.error := null;
    p_run.stopped := null;
    p_run.ending := jsonb_build_object('status', p_status, 'error', p_error, 'actor', p_actor);
    p_run := pgorch._append(p_bucket, p_run, 'compensation_started', p_now, p_actor => p_actor, p_error => p_error);
    return pgorch._undo_next(p_bucket, p_run, p_now);
end
$$;
comment on function pgorch._begin_undoing is 'Stops everything that is live in a run and begins to undo what it has done.';

create or replace function pgorch._undo_next(p_bucket integer, p_run pgorch.runs, p_now timestamptz) returns pgorch.runs
    language plpgsql
    as $$
declare
    v_seq constant integer := pgorch._next_to_undo(p_bucket, p_run);
    v_entry pgorch.history;
    v_node pgorch.nodes;
    v_move pgorch._move;
    v_failed pg_catalog.jsonb;
begin
    if v_seq is null then
        select jsonb_agg(jsonb_build_object('node', u.node, 'error', u.error) order by u.seq) into v_failed
        from pgorch.history u where u.bucket = p_bucket and u.run_id = p_run.id and u.kind = 'undo_failed';
        return pgorch._end_run(p_bucket, p_run, (p_run.ending ->> 'status')::pgorch.run_status,
            case when v_failed is null then nullif(p_run.ending -> 'error', 'null')
                 else coalesce(nullif(p_run.ending -> 'error', 'null'), '{"type": "Cancelled", "message": "the run was cancelled"}')
                      || jsonb_build_object('not_undone', v_failed) end,
            p_run.ending ->> 'actor', p_now);
    end if;
    select h.* into v_entry from pgorch.history h where h.bucket = p_bucket and h.run_id = p_run.id and h.seq = v_seq;
    select n.* into v_node from pgorch.nodes n where n.graph_id = p_run.graph_id and n.id = v_entry.node;
    v_move.visit := v_entry.visit;
    perform pgorch._enter_task(p_bucket, p_run, v_node, v_move, pgorch._undo_input(v_entry.input, v_entry.output), null, p_now, v_seq);
    p_run.live := p_run.live + 1;
    if p_run.status <> 'paused' then
        p_run.status := 'running';
    end if;
    perform pgorch._wake_workers(p_bucket);
    return p_run;
end
$$;
comment on function pgorch._undo_next is 'The next step to undo becomes live; without one the run ends.';

create or replace function pgorch._undo_input(p_input jsonb, p_output jsonb) returns jsonb
    language sql immutable
    as $$
    select case when jsonb_typeof(p_input) = 'object' then p_input else '{}' end
        || case when jsonb_typeof(p_output) = 'object' then p_output else '{}' end
        || jsonb_build_object('input', p_input, 'output', p_output)
    $$;
comment on function pgorch._undo_input is 'What a compensating tool can ask for by name: keys of the step''s input and of its output, and both as a whole.';

create or replace function pgorch._undone(
    p_bucket integer, p_run pgorch.runs, p_step pgorch.steps, p_move pgorch._move, p_now timestamptz) returns pgorch.runs
    language plpgsql
    as $$
begin
    p_run := pgorch._append(p_bucket, p_run, case p_move.outcome when 'success' then 'step_undone' else 'undo_failed' end::pgorch.event_kind,
        p_now, p_node => p_step.node, p_attempt => p_step.attempt, p_started_at => p_step.started_at, p_worker_id => p_step.worker_id,
        p_visit => p_step.visit, p_output => p_move.output, p_error => p_move.error, p_item => p_step.item);
    return pgorch._undo_next(p_bucket, p_run, p_now);
end
$$;
comment on function pgorch._undone is 'A compensation has ended, well or not: the next follows.';
