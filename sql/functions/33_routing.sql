-- Routing: what follows when nodes end, until everything that follows is a step that somebody must perform.
-- The caller holds the run's lock, has taken the ended steps out of `steps` and lowered `live`.

create or replace function pgorch._proceed(
    p_bucket integer, p_run pgorch.runs, p_moves pgorch._move[], p_now timestamptz,
    p_nested boolean default false) returns pgorch.runs
    language plpgsql
    as $$
declare
    v_run pgorch.runs := p_run;
    v_graph pgorch.graphs;
begin
    select g.* into v_graph from pgorch.graphs g where g.id = p_run.graph_id;
    v_run := pgorch._follow(p_bucket, v_run, v_graph, p_moves, p_now);
    if v_run.finished_at is null then
        v_run := pgorch._settled(p_bucket, v_run, v_graph, p_now);
    end if;
    perform pgorch._save_run(p_bucket, v_run, p_now);
    if not p_nested then
        perform pgorch._tell_parent(p_bucket, v_run, p_now);
    end if;
    return v_run;
end
$$;
comment on function pgorch._proceed is
    'Goes on with a run from nodes that have ended or are to be entered, until every step that follows waits for somebody. Nested: the run is a child whose parent is being routed now.';

create or replace function pgorch._follow(
    p_bucket integer, p_run pgorch.runs, p_graph pgorch.graphs, p_moves pgorch._move[], p_now timestamptz,
    p_replay boolean default false) returns pgorch.runs
    language plpgsql
    as $$
declare
    v_run pgorch.runs := p_run;
    v_moves pgorch._move[] := p_moves;
    v_move pgorch._move;
    v_next pg_catalog.record;
    v_at integer := 1;
    v_passed integer := 0;
begin
    loop
        if v_at > cardinality(v_moves) then
            exit when v_run.error is not null or not p_graph.has_forks or v_run.live = 0 or (p_replay and cardinality(p_moves) > 0);
            select j.* into v_next from pgorch._next_join(p_bucket, v_run, p_now, p_replay) j;
            v_run := v_next.run;
            v_move := v_next.move;
            exit when v_move.node is null;
            v_moves := array[v_move];
            v_at := 1;
        end if;
        v_move := v_moves[v_at];
        v_at := v_at + 1;
        v_passed := v_passed + 1;
        -- Pass nodes alone can go round in a loop whose condition nothing changes.
        if v_passed > 20000 and v_run.error is null then
            v_run.error := jsonb_build_object('type', 'RunawayLoop',
                'message', format('20,000 nodes were passed up to %s without any step to perform', v_move.node),
                'hint', 'Give an edge of the loop a limit.');
        end if;
        if v_move.outcome is null then
            select e.* into v_next from pgorch._enter(p_bucket, v_run, p_graph, v_move, p_now, p_replay) e;
        else
            select e.* into v_next from pgorch._leave_node(p_bucket, v_run, p_graph, v_move, p_now, p_replay) e;
        end if;
        v_run := v_next.run;
        if v_at > cardinality(v_moves) then
            v_moves := v_next.follows;
            v_at := 1;
        else
            v_moves := v_moves || v_next.follows;
        end if;
    end loop;
    -- Last, so that what ended beside is in the history and can be undone, and what was to begin is kept for a retry.
    if v_run.error is not null then
        v_run := pgorch._fail_run(p_bucket, v_run, v_run.error, p_now);
    end if;
    return v_run;
end
$$;
comment on function pgorch._follow is
    'Works through moves and what follows from them. From a failure on (error is set) what has ended is still taken, and nothing begins any more. In a replay, outcomes that the history has are taken again without their effects: nothing is appended, and whatever is entered only waits; joins are looked at by a call without moves.';

create or replace function pgorch._settled(
    p_bucket integer, p_run pgorch.runs, p_graph pgorch.graphs, p_now timestamptz) returns pgorch.runs
    language plpgsql
    as $$
begin
    if p_run.live = 0 then
        return pgorch._complete_run(p_bucket, p_run, p_graph, p_now);
    elsif p_run.status = 'paused' then
        return p_run;
    elsif exists (select from pgorch.steps s where s.bucket = p_bucket and s.run_id = p_run.id and s.kind < 'approval') then
        p_run.status := 'running';
    elsif exists (select from pgorch.steps s where s.bucket = p_bucket and s.run_id = p_run.id and s.kind = 'approval') then
        p_run.status := 'awaiting_approval';
    elsif exists (select from pgorch.steps s where s.bucket = p_bucket and s.run_id = p_run.id and s.kind > 'join') then
        p_run.status := 'waiting';
    else
        -- Only joins are left, each waiting for another: the graph's checks exclude it. Better loud than stuck.
        return pgorch._fail_run(p_bucket, p_run, jsonb_build_object('type', 'JoinStuck',
            'message', 'only joins are left in this run, and none can go on',
            'hint', 'Please report the graph: this is a fault of pgorch.'), p_now);
    end if;
    return p_run;
end
$$;
comment on function pgorch._settled is 'The status of a run by what is live in it; it completes when nothing is.';

create or replace function pgorch._enter(
    p_bucket integer, p_run pgorch.runs, p_graph pgorch.graphs, p_move pgorch._move, p_now timestamptz,
    p_replay boolean default false, out run pgorch.runs, out follows pgorch._move[])
    language plpgsql
    as $$
declare
    v_node pgorch.nodes;
    v_value pg_catalog.jsonb;
    v_show pg_catalog.jsonb;
    v_limiter pg_catalog.text;
    v_problem pg_catalog.jsonb;
    v_entered pg_catalog.record;
begin
    run := p_run;
    follows := '{}';
    select n.* into strict v_node from pgorch.nodes n where n.graph_id = p_graph.id and n.id = p_move.node;
    if v_node.joins and p_move.joined is not true then
        perform pgorch._enter_waiting(p_bucket, run, 'join', p_move, null, p_now);
        run.live := run.live + 1;
        return;
    elsif p_replay then
        perform pgorch._enter_waiting(p_bucket, run, 'wait', p_move, null, p_now);
        run.live := run.live + 1;
        return;
    elsif run.error is not null then
        run := pgorch._kept_for_retry(run, p_move);
        return;
    end if;

    -- What an operator gave (retry with another input) goes before the template. Of an approval it is what is shown.
    if p_move.input is not null and v_node.type <> 'approval' then
        v_value := p_move.input;
    else
        select r.value, r.problem into v_value, v_problem
        from pgorch._rendered(p_bucket, run, p_graph, case v_node.type when 'approval' then v_node.title when 'map' then v_node.items
            when 'wait' then coalesce(v_node.wait_for, v_node.wait_until, v_node.wait_signal, v_node.wait_row -> 'key')
            else v_node.input end) r;
    end if;
    if v_problem is null and v_node.type = 'approval' then
        v_show := p_move.input;
        if v_show is null then
            select r.value, r.problem into v_show, v_problem
            from pgorch._rendered(p_bucket, run, p_graph, coalesce(v_node.show, v_node.input)) r;
        end if;
    end if;
    if v_problem is null and v_node.concurrency_key is not null then
        select l.limiter, l.problem into v_limiter, v_problem from pgorch._limiter(p_bucket, run, p_graph, v_node) l;
    end if;
    p_move.attempt := null;
    p_move.started_at := p_now;
    if v_problem is not null then
        p_move.outcome := 'error';
        p_move.error := v_problem;
    elsif v_node.type = 'task' then
        perform pgorch._enter_task(p_bucket, run, v_node, p_move, v_value, v_limiter, p_now);
        run.live := run.live + 1;
        perform pgorch._wake_workers(p_bucket);
    elsif v_node.type = 'approval' then
        run := pgorch._enter_approval(p_bucket, run, v_node, p_move, v_value, v_show, p_now);
        run.live := run.live + 1;
    elsif v_node.type = 'pass' then
        p_move.outcome := 'success';
        p_move.output := coalesce(v_value, '{}');
    elsif v_node.type = 'fail' then
        v_problem := jsonb_build_object('type', coalesce(v_value ->> 'error', 'Failed'),
            'message', coalesce(v_value ->> 'message', format('the run reached the node %s', v_node.id)), 'node', v_node.id);
        run := pgorch._append(p_bucket, run, 'step_failed', p_now, p_node => v_node.id, p_started_at => p_now,
            p_visit => p_move.visit, p_error => v_problem);
        run := pgorch._failed_at(run, v_problem, p_move);
        return;
    else
        select e.run, e.outcome, e.output, e.problem into v_entered
        from pgorch._enter_other(p_bucket, run, p_graph, v_node, p_move, v_value, p_now) e;
        run := v_entered.run;
        p_move.outcome := v_entered.outcome;
        p_move.output := v_entered.output;
        p_move.error := v_entered.problem;
    end if;
    if p_move.outcome is not null then
        follows := follows || p_move;
    end if;
end
$$;
comment on function pgorch._enter is 'Enters a node: a step comes to be, or, where there is nothing to wait for, its outcome follows at once. In a run that is about to fail it is only noted.';

create or replace function pgorch._enter_other(
    p_bucket integer, p_run pgorch.runs, p_graph pgorch.graphs, p_node pgorch.nodes, p_move pgorch._move, p_value jsonb, p_now timestamptz,
    out run pgorch.runs, out outcome text, out output jsonb, out problem jsonb)
    language plpgsql
    as $$
declare
    v_entered pg_catalog.record;
begin
    if p_node.type = 'wait' then
        select e.* into v_entered from pgorch._enter_wait(p_bucket, p_run, p_graph, p_node, p_move, p_value, p_now) e;
    elsif p_node.type = 'map' then
        select e.* into v_entered from pgorch._enter_map(p_bucket, p_run, p_graph, p_node, p_move, p_value, p_now) e;
    else
        select e.* into v_entered from pgorch._enter_child(p_bucket, p_run, p_node, p_move, p_value, p_now) e;
    end if;
    run := v_entered.run;
    outcome := v_entered.outcome;
    output := v_entered.output;
    problem := v_entered.problem;
end
$$;
comment on function pgorch._enter_other is 'Enters a wait, a map or a child run. Without an outcome a step waits; with one it was over at once.';

create or replace function pgorch._leave_node(
    p_bucket integer, p_run pgorch.runs, p_graph pgorch.graphs, p_move pgorch._move, p_now timestamptz,
    p_replay boolean default false, out run pgorch.runs, out follows pgorch._move[])
    language plpgsql
    as $$
declare
    v_node pgorch.nodes;
    v_written pg_catalog.jsonb := '{}';
    v_state pg_catalog.jsonb;
    v_conditional boolean;
    v_key pg_catalog.text;
    v_ranks integer[];
    v_candidates integer;
    v_problem pg_catalog.jsonb;
    v_roots pg_catalog.text[];
    v_vars pg_catalog.jsonb := '{}';
    -- By a worker, and well, even if it fails now: because of its edges, or of what it would write.
    v_performed constant boolean := p_move.attempt is not null and p_move.output is not null;
begin
    run := p_run;
    follows := '{}';
    select n.* into strict v_node from pgorch.nodes n where n.graph_id = p_graph.id and n.id = p_move.node;
    p_move.kind := coalesce(p_move.kind, case p_move.outcome when 'error' then 'step_failed' when 'expired' then 'step_expired'
                                                             else 'step_completed' end::pgorch.event_kind);

    if v_node.type = 'approval' and p_move.kind <> 'step_skipped' then
        v_written := pgorch._written_by_decision(v_node, p_move.outcome, p_move.output);
    elsif p_move.outcome = 'success' then
        v_written := pgorch._written(v_node.into_key, p_move.output);
    end if;
    if p_graph.has_forks and v_written <> '{}' then
        v_key := pgorch._conflicting_key(p_bucket, run.id, pgorch._unreduced(v_written, p_graph.reducers), coalesce(p_move.lineage, '[]'));
    end if;
    if v_key is not null then
        v_problem := jsonb_build_object('type', 'StateConflict',
            'message', format('the key %s of the state was written by a parallel branch as well', v_key),
            'hint', 'Let each branch write under a key of its own (into), or give the key a reducer.');
    elsif p_graph.reducers is not null and v_written <> '{}' then
        select r.written, r.problem into v_written, v_problem
        from pgorch._reduced(p_graph.reducers, pgorch._state(run.input, run.snapshot, run.delta), v_written) r;
    end if;
    if v_problem is null then
        select array_agg(distinct t.root) filter (where t.root is not null), bool_or(e.condition is not null or e.contains is not null)
        into v_roots, v_conditional
        from pgorch.edges e left join lateral unnest(e.roots) t(root) on true
        where e.graph_id = p_graph.id and e.source = v_node.id and e.on_outcome in (p_move.outcome, 'always');
        -- A large state is put together only for a condition that may read it.
        if v_conditional then
            v_state := pgorch._state(run.input, run.snapshot, run.delta) || v_written;
        end if;
        if v_roots is not null then
            v_vars := pgorch._vars(p_bucket, run, p_graph, v_roots)
                || jsonb_build_object('error', p_move.error, 'decision', p_move.decision);
            -- The visit that ends here is not in the history yet, but conditions may ask for it.
            if 'nodes' = any (v_roots) and v_node.id = any (p_graph.node_refs) then
                v_vars := jsonb_set(v_vars, array['nodes', v_node.id], pgorch._node_var(
                    p_move.kind, p_move.output, p_move.error, p_move.attempt,
                    coalesce((v_vars #>> array['nodes', v_node.id, 'visits'])::bigint, 0) + 1));
            end if;
        end if;
        select c.ranks, c.candidates, c.problem into v_ranks, v_candidates, v_problem
        from pgorch._choose_edges(p_graph.id, v_node.id, v_node.branch_all, p_move.outcome, v_state, v_vars, p_move.counts) c;
    end if;

    -- A condition that cannot be decided, or a lost write, makes the step itself fail (R3, R7).
    if v_problem is not null and v_problem ->> 'type' <> 'NoMatchingEdge' and p_move.outcome <> 'error' then
        p_move.outcome := 'error';
        p_move.error := v_problem;
        p_move.decision := null;
        p_move.kind := case when p_move.kind <> 'approval_decided' then 'step_failed' else p_move.kind end;
        follows := follows || p_move;
        return;
    end if;

    if not p_replay then
        run := pgorch._append(p_bucket, run, p_move.kind, p_now, p_node => v_node.id, p_attempt => p_move.attempt,
            p_started_at => p_move.started_at, p_worker_id => p_move.worker_id, p_actor => p_move.actor, p_visit => p_move.visit,
            p_output => p_move.output, p_error => p_move.error,
            -- What a compensation will be given: the arguments, or the state that stood for them.
            p_input => case when v_node.compensate is not null
                                 and (p_move.kind = 'step_completed' or (p_move.kind = 'step_failed' and v_performed))
                            then coalesce(p_move.input, pgorch._state(run.input, run.snapshot, run.delta)) end);
    else
        run.seq := run.seq + 1;
    end if;
    run.delta := run.delta || v_written;
    if p_graph.has_forks and v_written <> '{}' then
        perform pgorch._note_writes(p_bucket, run.id, v_written, coalesce(p_move.lineage, '[]'));
    end if;
    if p_replay and (v_problem is not null or (v_candidates = 0 and p_move.outcome <> 'success')) then
        -- What the run failed at, and was taken up from by an operator afterwards.
        perform pgorch._enter_waiting(p_bucket, run, 'wait', p_move, null, p_now);
        run.live := run.live + 1;
    elsif v_problem is not null then
        if p_move.error is not null then
            v_problem := v_problem || jsonb_build_object('cause', p_move.error);
        end if;
        run := pgorch._failed_at(run, v_problem || jsonb_build_object('node', v_node.id), p_move);
    elsif v_candidates = 0 and p_move.outcome <> 'success' then
        run := pgorch._failed_at(run,
            coalesce(p_move.error, pgorch._undecided_error(v_node, p_move)) || jsonb_build_object('node', v_node.id), p_move);
    elsif v_candidates > 0 then
        follows := follows || pgorch._moves_along(p_graph, run.seq, v_node, v_ranks, p_move);
    end if;
end
$$;
comment on function pgorch._leave_node is 'The end of a node: its output is written, its edges are chosen, and the run fails if it goes nowhere from an error.';

create or replace function pgorch._undecided_error(p_node pgorch.nodes, p_move pgorch._move) returns jsonb
    language sql immutable
    as $$
    select case when p_move.outcome = 'expired'
        then jsonb_build_object('type', 'Expired', 'message', format(
            case p_node.type when 'wait' then 'what %s waits for did not come before its deadline, and no edge leads on from there'
                             else 'nobody decided %s before its deadline, and no edge leads on from there' end, p_node.id))
        else jsonb_build_object('type', 'Rejected', 'message',
            format('%s was rejected by %s, and no edge leads on from there', p_node.id, p_move.actor))
            || jsonb_strip_nulls(jsonb_build_object('reason', p_move.output -> 'comment')) end
    $$;
comment on function pgorch._undecided_error is 'Why a run fails that goes nowhere from an approval or a wait.';

create or replace function pgorch._moves_along(
    p_graph pgorch.graphs, p_seq integer, p_node pgorch.nodes, p_ranks integer[], p_move pgorch._move) returns pgorch._move[]
    language plpgsql stable
    as $$
declare
    v_moves pgorch._move[] := '{}';
    v_move pgorch._move;
    v_edge pgorch.edges;
    v_loops pg_catalog.text[];
    v_branches constant integer := cardinality(p_ranks);
    v_counts pg_catalog.jsonb;
begin
    -- All edges taken are counted before any is followed, so that a branch that goes back knows what its siblings used.
    select coalesce(p_move.counts, '{}') || jsonb_object_agg(e.ord::text, coalesce((p_move.counts ->> e.ord::text)::integer, 0) + 1)
    into v_counts
    from pgorch.edges e
    where e.graph_id = p_graph.id and e.source = p_node.id and e.rank = any (p_ranks) and e.max_traversals is not null;
    v_counts := coalesce(v_counts, p_move.counts);
    for v_edge in
        select e.* from pgorch.edges e
        where e.graph_id = p_graph.id and e.source = p_node.id and e.rank = any (p_ranks) order by e.ord
    loop
        v_move := null;
        v_move.node := v_edge.target;
        select n.loops into v_loops from pgorch.nodes n where n.graph_id = p_graph.id and n.id = v_edge.target;
        v_move.counts := pgorch._counts_after(p_graph.id, v_counts, p_node.loops, v_loops);
        if p_graph.has_forks then
            v_move.visit := pgorch._visit_after(coalesce(p_move.visit, '{}'), p_node.loops, v_loops, v_edge.back);
            v_move.lineage := coalesce(p_move.lineage, '[]');
            if v_branches > 1 then
                v_move.lineage := v_move.lineage
                    || jsonb_build_array(jsonb_build_array(p_seq, v_branches, jsonb_build_array(cardinality(v_moves))));
            end if;
        end if;
        v_moves := v_moves || v_move;
    end loop;
    return v_moves;
end
$$;
