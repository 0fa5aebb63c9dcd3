-- Taking a failed run up again, and helping a step that is stuck: retry and skip. A failed run knows what was live when it
-- failed (runs.stopped). That becomes live again as it was: questions are asked anew, clocks begin anew, what had been
-- completed is not repeated.

create or replace function pgorch.retry(
    p_run_id uuid, p_node text default null, p_input jsonb default null, p_item integer default null, p_actor text default null) returns text
    language plpgsql
    set jit = off set enable_seqscan = off
    as $$
begin
    perform pgorch._checked_json(p_input, 'the input', 1048576);
    return pgorch._take_up(p_run_id, 'retry', p_node, p_input, p_item, pgorch._actor(p_actor), null);
end
$$;
comment on function pgorch.retry is
    'Tries the failed step of a run again, or one that waits for its next attempt or has killed its workers, with other arguments if p_input is given. p_item: one item of a map. A failed run goes on from where it failed, together with the parent runs that failed with it. Returns the status.';

create or replace function pgorch.skip(
    p_run_id uuid, p_node text default null, p_output jsonb default '{}', p_item integer default null, p_actor text default null,
    p_roles text[] default null) returns text
    language plpgsql
    set jit = off set enable_seqscan = off
    as $$
declare
    v_actor constant pg_catalog.text := pgorch._actor(p_actor);
    v_roles pg_catalog.text[] := pgorch._roles(v_actor, p_roles);
begin
    if p_output is null then
        perform pgorch._raise('OR006', 'a skipped step needs an output', 'Leave p_output out for {}, or give null as JSON: ''null''.');
    end if;
    perform pgorch._checked_json(p_output, 'the output', 1048576);
    if p_roles is null and v_actor = pgorch._user() and pgorch._may_speak_for_others() then
        v_roles := v_roles || 'admin'::text;
    end if;
    return pgorch._take_up(p_run_id, 'skip', p_node, p_output, p_item, v_actor, v_roles);
end
$$;
comment on function pgorch.skip is
    'Goes on as if a step had succeeded with p_output: the one at which a run failed, or one that is live. p_item: one item of a map. An approval is skipped by who could decide it alone, by administrators, and by the owner of the schema. Returns the status.';

create or replace function pgorch._take_up(
    p_run_id uuid, p_action text, p_node text, p_value jsonb, p_item integer, p_actor text, p_roles text[]) returns text
    language plpgsql
    as $$
declare
    v_bucket constant integer := pgorch.bucket_of(p_run_id);
    v_now pg_catalog.timestamptz;
    v_path pg_catalog.uuid[];
    v_run pgorch.runs;
    v_before pg_catalog.text;
begin
    -- From the top: whoever locks a parent and its child locks the parent first. Once all are locked, the line stands.
    loop
        v_path := pgorch._failed_line(v_bucket, p_run_id);
        select r.* into v_run from pgorch.runs r where r.bucket = v_bucket and r.id = v_path[1];
        perform from pgorch.runs r where r.bucket = v_bucket and r.id = v_run.parent_run_id for update;
        for v_at in 1 .. cardinality(v_path) loop
            v_run := pgorch._locked_run(v_path[v_at]);
        end loop;
        exit when v_path = pgorch._failed_line(v_bucket, p_run_id);
    end loop;
    v_now := pgorch.clock_now();
    v_before := v_run.status;
    if p_action = 'skip' and p_item is null then
        perform pgorch._check_may_skip(v_bucket, v_run, p_node, p_actor, p_roles);
    end if;
    if v_run.finished_at is null then
        perform pgorch._help_step(v_bucket, v_run, p_action, p_node, p_value, p_item, p_actor, v_now);
    else
        perform pgorch._check_can_be_taken_up(v_bucket, v_run, v_path);
        v_run := pgorch._locked_run(v_path[1]);
        v_run := pgorch._revive(v_bucket, v_run, v_path, p_action, p_node, p_value, p_item, p_actor, v_now);
        perform pgorch._tell_parent(v_bucket, v_run, v_now);
    end if;
    select r.* into v_run from pgorch.runs r where r.bucket = v_bucket and r.id = p_run_id;
    perform pgorch._audit(v_bucket, p_actor, p_action, p_run_id, p_before => jsonb_build_object('status', v_before),
        p_after => jsonb_strip_nulls(jsonb_build_object('status', v_run.status, 'node', p_node, 'item', p_item))
            || case when p_value is null then '{}' else jsonb_build_object(case p_action when 'retry' then 'input' else 'output' end, p_value) end);
    return v_run.status;
end
$$;
comment on function pgorch._take_up is 'Retries or skips a step, in a run that goes on or in one that has failed.';

create or replace function pgorch._check_may_skip(p_bucket integer, p_run pgorch.runs, p_node text, p_actor text, p_roles text[]) returns void
    language plpgsql
    as $$
declare
    v_node pgorch.nodes;
    v_approval pgorch.approvals;
    v_id constant pg_catalog.text := case when p_run.finished_at is null then (pgorch._step_to_help(p_bucket, p_run, 'skip', p_node, null)).node
                               when p_run.stopped is not null
                               then p_run.stopped -> pgorch._stopped_at(p_run, p_node) ->> 'node' end;
begin
    select n.* into v_node from pgorch.nodes n where n.graph_id = p_run.graph_id and n.id = v_id;
    if v_node.type is distinct from 'approval' or p_roles && '{admin}' then
        return;
    end if;
    -- In a run that has failed: as it was asked last.
    select a.* into v_approval from pgorch.approvals a
    where a.bucket = p_bucket and a.run_id = p_run.id and a.node = v_id order by a.requested_at desc, a.id desc limit 1;
    if v_approval.id is null or v_node.quorum > 1 then
        perform pgorch._raise('OR007', format('%s may not skip the approval %s: %s', p_actor, v_id,
            case when v_approval.id is null then 'nobody has been asked yet' else format('%s people must approve it', v_node.quorum) end),
            'An administrator may; or let those who are asked decide it.');
    end if;
    perform pgorch._check_asked(p_run, v_node, v_approval, p_actor, p_roles);
end
$$;
comment on function pgorch._check_may_skip is 'To skip an approval is to approve it: raises OR007 for who could not do that alone, but for administrators.';

create or replace function pgorch._failed_line(p_bucket integer, p_run_id uuid) returns uuid[]
    language plpgsql stable
    as $$
declare
    v_line pg_catalog.uuid[] := array[p_run_id];
    v_parent pg_catalog.record;
begin
    loop
        select p.id, p.status, p.stopped into v_parent
        from pgorch.runs r join pgorch.runs p on p.bucket = p_bucket and p.id = r.parent_run_id
        where r.bucket = p_bucket and r.id = v_line[1];
        exit when v_parent.id is null or v_parent.status is distinct from 'failed'
            or not coalesce(v_parent.stopped @> jsonb_build_array(jsonb_build_object('child', v_line[1])), false);
        v_line := v_parent.id || v_line;
    end loop;
    return v_line;
end
$$;
comment on function pgorch._failed_line is 'A run, and above it the parents that failed with it: from the top.';

create or replace function pgorch._check_can_be_taken_up(p_bucket integer, p_run pgorch.runs, p_path uuid[]) returns void
    language plpgsql
    as $$
begin
    if p_run.status <> 'failed' then
        perform pgorch._raise('OR002', format('run %s has not failed: it is %s since %s', p_run.id, p_run.status, p_run.finished_at),
            'fork() starts a new run from any of its steps.');
    elsif p_run.stopped is null then
        perform pgorch._raise('OR002', format('what run %s had done has been undone, so it cannot be taken up again', p_run.id),
            'fork() starts a new run from any of its steps.');
    elsif p_run.parent_run_id is not null and p_path[1] = p_run.id and not pgorch._is_waited_for(p_bucket, p_run) then
        perform pgorch._raise('OR002', format('run %s is the child of %s, which has gone on without it', p_run.id, p_run.parent_run_id),
            'Fork the parent from the step that started it.');
    end if;
end
$$;

create or replace function pgorch._is_waited_for(p_bucket integer, p_child pgorch.runs) returns boolean
    language plpgsql stable
    as $$
begin
    return exists (
        select from pgorch.steps s
        where s.bucket = p_bucket and s.id = p_child.parent_step_id and s.run_id = p_child.parent_run_id
          and s.input ->> 'run_id' = p_child.id::text);
end
$$;
comment on function pgorch._is_waited_for is 'Does a live parent wait for this run, though it may have failed: to hear of it, or to start another one later?';

create or replace function pgorch._revive(
    p_bucket integer, p_run pgorch.runs, p_path uuid[], p_action text, p_node text, p_value jsonb, p_item integer, p_actor text,
    p_now timestamptz) returns pgorch.runs
    language plpgsql
    as $$
declare
    v_graph pgorch.graphs;
    v_stopped constant pg_catalog.jsonb := p_run.stopped;
    v_target constant integer := case when cardinality(p_path) = 1 then pgorch._stopped_at(p_run, p_node) end;
    v_is_target boolean;
    v_entry pg_catalog.jsonb;
    v_move pgorch._move;
    v_moves pgorch._move[] := '{}';
    v_revived pg_catalog.record;
begin
    if cardinality(p_path) = 1 and v_target is null and (p_action = 'skip' or p_value is not null or p_item is not null) then
        perform pgorch._raise('OR006', format('run %s failed at no single step', p_run.id), 'Name the node that is meant.');
    end if;
    select g.* into v_graph from pgorch.graphs g where g.id = p_run.graph_id;
    p_run.finished_at := null;
    p_run.error := null;
    p_run.stopped := null;
    p_run.status := 'running';
    if p_run.parent_run_id is not null and pgorch._is_waited_for(p_bucket, p_run) then
        -- Its parent waits on, for this run, and starts no other.
        update pgorch.steps s set attempt = s.attempt + 1
        where s.bucket = p_bucket and s.id = p_run.parent_step_id and exists (
            select from pgorch.timers t
            where t.bucket = p_bucket and t.run_id = p_run.parent_run_id and t.step_id = s.id and t.kind = 'child' and t.data ? 'start');
        delete from pgorch.timers t
        where t.bucket = p_bucket and t.run_id = p_run.parent_run_id and t.step_id = p_run.parent_step_id and t.kind = 'child';
        if (select r.status from pgorch.runs r where r.bucket = p_bucket and r.id = p_run.parent_run_id) = 'paused' then
            p_run.status := 'paused';
        end if;
    end if;
    p_run := pgorch._append(p_bucket, p_run, 'run_retried', p_now, p_actor => p_actor, p_node => v_stopped -> v_target ->> 'node',
        p_item => p_item, p_input => case when cardinality(p_path) = 1 then p_value end,
        p_output => jsonb_build_object('action', case when cardinality(p_path) = 1 then p_action else 'retry' end));
    if v_graph.timeout is not null then
        insert into pgorch.timers (bucket, run_id, due_at, kind) values (p_bucket, p_run.id, pgorch._after(p_now, v_graph.timeout), 'run_timeout');
    end if;
    for v_at in 0 .. jsonb_array_length(v_stopped) - 1 loop
        v_entry := v_stopped -> v_at;
        v_move := pgorch._stopped_move(v_entry);
        v_is_target := coalesce(v_at = v_target, false);
        if v_entry ->> 'kind' = 'join' then
            perform pgorch._enter_arrival(p_bucket, p_run, v_move, (v_entry ->> 'attempt')::integer, p_now);
            p_run.live := p_run.live + 1;
            continue;
        elsif v_is_target and p_action = 'skip' and p_item is null then
            v_move.outcome := 'success';
            v_move.kind := 'step_skipped';
            v_move.output := p_value;
            v_move.actor := p_actor;
        elsif v_entry ? 'child' and not (v_is_target and p_value is not null) then
            select c.* into v_revived
            from pgorch._revive_child(p_bucket, p_run, v_move, (v_entry ->> 'child')::uuid, p_path, p_action, p_node, p_value, p_item,
                p_actor, p_now) c;
            p_run := v_revived.run;
            continue when v_revived.done;
            if (v_revived.move).node is not null then
                v_move := v_revived.move;
            end if;
        elsif v_is_target and p_action = 'retry' and p_item is null and p_value is not null then
            v_move.input := p_value;
        end if;
        v_moves := v_moves || v_move;
    end loop;
    p_run := pgorch._proceed(p_bucket, p_run, v_moves, p_now, p_nested => true);
    if p_item is not null and cardinality(p_path) = 1 and p_run.finished_at is null then
        p_run := pgorch._help_step(p_bucket, p_run, p_action, v_stopped -> v_target ->> 'node', p_value, p_item, p_actor, p_now, true);
    end if;
    return p_run;
end
$$;
comment on function pgorch._revive is
    'Makes a failed run live again. p_path leads from it down to the run that the action is for; on the way the steps that wait for a child are simply taken up.';

create or replace function pgorch._stopped_at(p_run pgorch.runs, p_node text) returns integer
    language plpgsql
    as $$
declare
    v_at integer;
begin
    select s.at - 1 into v_at
    from jsonb_array_elements(p_run.stopped) with ordinality s(entry, at)
    where s.entry ->> 'kind' is distinct from 'join'
      and case when p_node is null then s.entry ? 'failed' else s.entry ->> 'node' = p_node end
    order by s.entry ? 'failed' desc, s.at limit 1;
    if v_at is null and p_node is not null then
        perform pgorch._raise('OR003', format('run %s did not fail at %s', p_run.id, p_node), format('These steps were live: %s.',
            (select string_agg(distinct s ->> 'node', ', ') from jsonb_array_elements(p_run.stopped) s)));
    end if;
    return v_at;
end
$$;
comment on function pgorch._stopped_at is 'Place in runs.stopped of the step that failed, or of that of a node.';

create or replace function pgorch._stopped_move(p_entry jsonb) returns pgorch._move
    language plpgsql immutable
    as $$
declare
    v_move pgorch._move;
begin
    v_move.node := p_entry ->> 'node';
    v_move.visit := case when p_entry ? 'visit' then array(select v::integer from jsonb_array_elements_text(p_entry -> 'visit') v) end;
    v_move.counts := p_entry -> 'counts';
    v_move.lineage := p_entry -> 'lineage';
    v_move.born := (p_entry ->> 'born')::integer;
    v_move.input := p_entry -> 'input';
    v_move.joined := true;
    return v_move;
end
$$;

create or replace function pgorch._enter_arrival(
    p_bucket integer, p_run pgorch.runs, p_move pgorch._move, p_attempt integer, p_now timestamptz) returns void
    language plpgsql
    as $$
declare
    v_id constant bigint := pgorch._enter_waiting(p_bucket, p_run, 'join', p_move, null, p_now);
begin
    if p_attempt = 1 then
        update pgorch.steps s set attempt = 1 where s.bucket = p_bucket and s.id = v_id;
    end if;
end
$$;
comment on function pgorch._enter_arrival is 'An arrival at a join, or with p_attempt 1 the mark of one that has run.';

create or replace function pgorch._revive_child(
    p_bucket integer, p_run pgorch.runs, p_move pgorch._move, p_child_id uuid, p_path uuid[], p_action text, p_node text, p_value jsonb,
    p_item integer, p_actor text, p_now timestamptz, out run pgorch.runs, out done boolean, out move pgorch._move)
    language plpgsql
    as $$
declare
    v_child pgorch.runs;
    v_step_id bigint;
    v_end pg_catalog.record;
begin
    run := p_run;
    done := false;
    select r.* into v_child from pgorch.runs r where r.bucket = p_bucket and r.id = p_child_id for update;
    -- One that was cancelled, or has been undone, is started anew.
    if v_child.status is distinct from 'failed' or v_child.stopped is null or v_child.parent_run_id is distinct from p_run.id then
        return;
    end if;
    v_step_id := pgorch._enter_waiting(p_bucket, run, 'child', p_move,
        jsonb_build_object('input', v_child.input, 'run_id', v_child.id), p_now);
    run.live := run.live + 1;
    update pgorch.steps s set attempt = 1 where s.bucket = p_bucket and s.id = v_step_id;
    update pgorch.runs r set parent_step_id = v_step_id where r.bucket = p_bucket and r.id = v_child.id;
    v_child.parent_step_id := v_step_id;
    if p_path[2] = v_child.id then
        v_child := pgorch._revive(p_bucket, v_child, p_path[2:], p_action, p_node, p_value, p_item, p_actor, p_now);
    else
        v_child := pgorch._revive(p_bucket, v_child, array[v_child.id], 'retry', null, null, null, p_actor, p_now);
    end if;
    done := v_child.finished_at is null;
    if not done then
        run := pgorch._drop_steps(p_bucket, run, array[v_step_id], p_now);
        select e.* into v_end from pgorch._child_end(p_bucket, v_child) e;
        move := p_move;
        move.outcome := v_end.outcome;
        move.output := v_end.output;
        move.error := v_end.problem;
    end if;
end
$$;
comment on function pgorch._revive_child is
    'Takes up the child of a step. done: the step waits for it again; else move says how the child ended at once, or that another is to be started.';
