-- Child runs: a node that is a graph. A child lives in its parent's bucket. Whoever locks both locks the parent first; the end
-- of a child only tries to, and leaves the news to a timer if somebody holds the parent.

create or replace function pgorch._enter_child(
    p_bucket integer, p_run pgorch.runs, p_node pgorch.nodes, p_move pgorch._move, p_input jsonb, p_now timestamptz,
    out run pgorch.runs, out outcome text, out output jsonb, out problem jsonb)
    language plpgsql
    as $$
declare
    v_input constant pg_catalog.jsonb := coalesce(p_input, pgorch._state(p_run.input, p_run.snapshot, p_run.delta));
    v_step_id bigint;
    v_step pgorch.steps;
    v_started pg_catalog.record;
    v_later pg_catalog.record;
begin
    run := p_run;
    problem := pgorch._child_problem(p_run, p_node, v_input);
    if problem is not null then
        outcome := 'error';
        return;
    end if;
    v_step_id := pgorch._enter_waiting(p_bucket, run, 'child', p_move, jsonb_build_object('input', v_input), p_now);
    run.live := run.live + 1;
    select c.* into v_started from pgorch._start_child(p_bucket, run, p_node, v_step_id, v_input, p_now) c;
    run := v_started.run;
    if (v_started.child).finished_at is not null then
        -- Over at once: told here, since the parent is being routed by this very call.
        delete from pgorch.timers t where t.bucket = p_bucket and t.run_id = run.id and t.step_id = v_step_id and t.kind = 'child';
        select s.* into v_step from pgorch.steps s where s.bucket = p_bucket and s.id = v_step_id;
        select l.* into v_later from pgorch._another_child_later(p_bucket, run, v_step, v_started.child, p_now) l;
        run := v_later.run;
        if v_later.waits then
            return;
        end if;
        run := pgorch._drop_steps(p_bucket, run, array[v_step_id], p_now);
        select e.outcome, e.output, e.problem into outcome, output, problem from pgorch._child_end(p_bucket, v_started.child) e;
    end if;
end
$$;
comment on function pgorch._enter_child is 'Starts a child run; the step waits for its end.';

create or replace function pgorch._child_problem(p_run pgorch.runs, p_node pgorch.nodes, p_input jsonb) returns jsonb
    language plpgsql stable
    as $$
declare
    v_graph pgorch.graphs;
    v_problem pg_catalog.text;
begin
    if jsonb_typeof(p_input) <> 'object' then
        return jsonb_build_object('type', 'InvalidInput', 'retryable', false,
            'message', format('the input of the child run %s is %s, and no object', p_node.id, pgorch._kind(p_input)));
    elsif coalesce(p_run.depth, 0) >= 16 then
        return jsonb_build_object('type', 'TooDeep', 'retryable', false,
            'message', format('%s would be a run 17 levels below the first', p_node.id), 'hint', 'Use a loop.');
    end if;
    select g.* into v_graph from pgorch.graphs g where g.id = p_node.child_graph_id;
    v_problem := pgorch._input_problems(v_graph, p_input);
    if v_problem is not null then
        return jsonb_build_object('type', 'InvalidInput', 'retryable', false,
            'message', format('the input of the child run %s: %s', p_node.id, v_problem));
    end if;
    return null;
end
$$;

create or replace function pgorch._start_child(
    p_bucket integer, p_run pgorch.runs, p_node pgorch.nodes, p_step_id bigint, p_input jsonb, p_now timestamptz,
    out run pgorch.runs, out child pgorch.runs)
    language plpgsql
    as $$
declare
    v_ids pg_catalog.uuid[];
begin
    v_ids := pgorch._start(p_bucket, p_node.child_graph_id, array[p_input], null, p_run.priority, p_run.queue, p_run.initiator,
        p_parent_run_id => p_run.id, p_parent_step_id => p_step_id, p_depth => coalesce(p_run.depth, 0) + 1,
        p_paused => p_run.status = 'paused');
    update pgorch.steps s set input = s.input || jsonb_build_object('run_id', v_ids[1]), attempt = s.attempt + 1
    where s.bucket = p_bucket and s.id = p_step_id;
    select r.* into child from pgorch.runs r where r.bucket = p_bucket and r.id = v_ids[1];
    run := pgorch._append(p_bucket, p_run, 'child_started', p_now, p_node => p_node.id,
        p_output => jsonb_build_object('run_id', v_ids[1]));
end
$$;

create or replace function pgorch._child_end(
    p_bucket integer, p_child pgorch.runs, out outcome text, out output jsonb, out problem jsonb)
    language plpgsql stable
    as $$
begin
    if p_child.status = 'completed' then
        outcome := 'success';
        output := coalesce(p_child.output, pgorch._state(p_child.input, p_child.snapshot, p_child.delta));
        return;
    end if;
    outcome := 'error';
    problem := jsonb_build_object('child_run_id', p_child.id) || case when p_child.status = 'failed'
        then jsonb_build_object('type', p_child.error -> 'type', 'cause', p_child.error,
            'message', format('the child run %s failed: %s', p_child.id, p_child.error ->> 'message'))
        else jsonb_build_object('type', 'ChildCancelled', 'message', format('the child run %s was cancelled', p_child.id)) end;
end
$$;
comment on function pgorch._child_end is 'What the end of a child run means to its parent.';

create or replace function pgorch._tell_parent(p_bucket integer, p_child pgorch.runs, p_now timestamptz) returns void
    language plpgsql
    as $$
declare
    v_parent pgorch.runs;
    v_step pgorch.steps;
begin
    if p_child.finished_at is null or p_child.parent_run_id is null then
        return;
    end if;
    select r.* into v_parent from pgorch.runs r where r.bucket = p_bucket and r.id = p_child.parent_run_id for update skip locked;
    if v_parent.id is null then
        return;
    end if;
    delete from pgorch.timers t
    where t.bucket = p_bucket and t.run_id = v_parent.id and t.step_id = p_child.parent_step_id and t.kind = 'child';
    select s.* into v_step from pgorch.steps s
    where s.bucket = p_bucket and s.id = p_child.parent_step_id and s.run_id = v_parent.id and s.kind = 'child';
    if v_step.id is not null then
        perform pgorch._child_ended(p_bucket, v_parent, v_step, p_child, p_now);
    end if;
end
$$;
comment on function pgorch._tell_parent is 'If a run has ended, and is a child: goes on with its parent, unless somebody holds that; then its timer does so. For whoever has just saved a run.';

create or replace function pgorch._child_ended(
    p_bucket integer, p_parent pgorch.runs, p_step pgorch.steps, p_child pgorch.runs, p_now timestamptz) returns void
    language plpgsql
    as $$
declare
    v_end pg_catalog.record;
    v_later pg_catalog.record;
    v_run pgorch.runs;
    v_move pgorch._move := pgorch._move_of(p_step);
begin
    select l.* into v_later from pgorch._another_child_later(p_bucket, p_parent, p_step, p_child, p_now) l;
    v_run := v_later.run;
    if v_later.waits then
        perform pgorch._save_run(p_bucket, v_run, p_now);
        return;
    end if;
    select e.* into v_end from pgorch._child_end(p_bucket, p_child) e;
    v_run := pgorch._drop_steps(p_bucket, v_run, array[p_step.id], p_now);
    v_move.outcome := v_end.outcome;
    v_move.output := v_end.output;
    v_move.error := v_end.problem;
    v_move.attempt := p_step.attempt;
    v_move.started_at := p_step.created_at;
    perform pgorch._proceed(p_bucket, v_run, array[v_move], p_now);
end
$$;
comment on function pgorch._child_ended is 'The child of a step has ended: the parent goes on, or starts another one later. The caller holds the parent''s lock.';

create or replace function pgorch._another_child_later(
    p_bucket integer, p_parent pgorch.runs, p_step pgorch.steps, p_child pgorch.runs, p_now timestamptz,
    out run pgorch.runs, out waits boolean)
    language plpgsql
    as $$
declare
    v_problem pg_catalog.jsonb;
    v_delay double precision;
begin
    run := p_parent;
    if p_child.status = 'failed' then
        v_problem := (pgorch._child_end(p_bucket, p_child)).problem;
        v_delay := pgorch._retry_delay(pgorch._retry_policy(p_parent.graph_id, p_step.node, p_step.kind),
            -- What its own step may not try again, another child may.
            (v_problem -> 'cause') - 'retryable', p_step.failures + 1, random());
    end if;
    waits := v_delay is not null;
    if waits then
        run := pgorch._append(p_bucket, run, 'attempt_failed', p_now, p_node => p_step.node, p_attempt => p_step.attempt,
            p_started_at => p_step.created_at, p_visit => p_step.visit, p_error => v_problem);
        update pgorch.steps s set failures = s.failures + 1 where s.bucket = p_bucket and s.id = p_step.id;
        insert into pgorch.timers (bucket, run_id, step_id, due_at, kind, data)
        values (p_bucket, run.id, p_step.id, p_now + make_interval(secs => v_delay), 'child', '{"start": true}');
    end if;
end
$$;
comment on function pgorch._another_child_later is 'Notes that a step waits to start another child, if the last one failed and the node''s policy says so. The caller saves the run.';

create or replace function pgorch._start_child_again(p_bucket integer, p_run pgorch.runs, p_step pgorch.steps, p_now timestamptz) returns void
    language plpgsql
    as $$
declare
    v_node pgorch.nodes;
    v_started pg_catalog.record;
begin
    select n.* into v_node from pgorch.nodes n where n.graph_id = p_step.graph_id and n.id = p_step.node;
    select c.* into v_started
    from pgorch._start_child(p_bucket, p_run, v_node, p_step.id, p_step.input -> 'input', p_now) c;
    perform pgorch._save_run(p_bucket, v_started.run, p_now);
    perform pgorch._tell_parent(p_bucket, v_started.child, p_now);
end
$$;

create or replace function pgorch._cancel_children(
    p_bucket integer, p_run_id uuid, p_step_ids bigint[], p_now timestamptz, p_actor text, p_compensate boolean) returns void
    language plpgsql
    as $$
declare
    v_child pgorch.runs;
    v_error constant pg_catalog.jsonb := '{"type": "Cancelled", "message": "the parent run does not wait for it any more"}';
begin
    for v_child in
        select r.* from pgorch.runs r
        where r.bucket = p_bucket and r.parent_run_id = p_run_id and r.parent_step_id = any (p_step_ids) and r.finished_at is null
        order by r.id for update
    loop
        -- What has begun to be undone is undone to its end.
        continue when v_child.ending is not null;
        v_child := case when p_compensate then pgorch._cancel_undoing(p_bucket, v_child, v_error, p_actor, p_now)
                        else pgorch._end_run(p_bucket, v_child, 'cancelled', v_error, p_actor, p_now) end;
        perform pgorch._save_run(p_bucket, v_child, p_now);
    end loop;
end
$$;
comment on function pgorch._cancel_children is 'Cancels the child runs of steps that are taken away; with p_compensate what they have done is undone first. One that is being undone already is left alone.';
