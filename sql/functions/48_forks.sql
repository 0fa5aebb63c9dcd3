-- Forks: a new run that begins as another one was after one of its history entries. What happened up to there is not copied:
-- the new run's history continues that of the old one. What was live at that point is found by taking the recorded outcomes
-- through the routing again.

create or replace function pgorch.fork(
    p_run_id uuid, p_seq integer default null, p_node text default null, p_state jsonb default '{}', p_labels jsonb default null,
    p_actor text default null) returns uuid
    language plpgsql
    set jit = off set enable_seqscan = off
    as $$
declare
    v_bucket constant integer := pgorch.bucket_of(p_run_id);
    v_actor constant pg_catalog.text := pgorch._actor(p_actor);
    v_source constant pgorch.runs := pgorch._locked_run(p_run_id);
    v_now constant pg_catalog.timestamptz := pgorch.clock_now();
    v_graph pgorch.graphs;
    v_at integer;
    v_run pgorch.runs;
begin
    if jsonb_typeof(p_state) is distinct from 'object' then
        perform pgorch._raise('OR006', 'what is to be changed in the state is an object of keys and values', 'For instance {"amount": 5}.');
    end if;
    perform pgorch._checked_json(p_state, 'the state', 1048576);
    perform pgorch._check_labels(p_labels);
    select g.* into v_graph from pgorch.graphs g where g.id = v_source.graph_id;
    v_at := pgorch._fork_point(v_bucket, v_source, p_seq, p_node);

    v_run.bucket := v_bucket;
    v_run.id := pgorch.new_run_id(v_bucket);
    insert into pgorch.runs (bucket, id, graph_id, initiator, created_at, priority, queue, input, status, live, labels, forked_from, forked_at)
    values (v_bucket, v_run.id, v_source.graph_id, v_actor, v_now, v_source.priority, v_source.queue, v_source.input, 'running', 1,
            coalesce(p_labels, v_source.labels), v_source.id, v_at);
    if v_graph.timeout is not null then
        insert into pgorch.timers (bucket, run_id, due_at, kind) values (v_bucket, v_run.id, pgorch._after(v_now, v_graph.timeout), 'run_timeout');
    end if;
    select r.* into v_run from pgorch.runs r where r.bucket = v_bucket and r.id = v_run.id;
    v_run.live := 0;
    v_run := pgorch._replayed(v_bucket, v_run, v_graph, v_now);
    v_run.seq := v_at;
    v_run := pgorch._append(v_bucket, v_run, 'run_forked', v_now, p_actor => v_actor,
        p_output => jsonb_build_object('from', v_source.id, 'at', v_at));
    if p_state <> '{}' then
        v_run := pgorch._append(v_bucket, v_run, 'state_edited', v_now, p_actor => v_actor, p_output => jsonb_build_object('state', p_state));
        v_run.delta := v_run.delta || p_state;
    end if;
    perform pgorch._audit(v_bucket, v_actor, 'fork', v_run.id, p_before => jsonb_build_object('run_id', v_source.id, 'seq', v_at),
        p_after => jsonb_build_object('state', p_state));
    perform pgorch._begin_fork(v_bucket, v_run, p_node, p_state <> '{}', v_now);
    return v_run.id;
end
$$;
comment on function pgorch.fork is
    'Starts a run that goes on as another one was after its history entry p_seq (0: from the beginning), or before the last visit of p_node ended, with the keys of p_state changed. The other run is left as it is. Steps that were live there begin anew; questions are asked again, those that were answered before it are not, whatever p_state changes. Returns the new run''s id.';

create or replace function pgorch._fork_point(p_bucket integer, p_run pgorch.runs, p_seq integer, p_node text) returns integer
    language plpgsql stable
    as $$
declare
    v_last integer := p_run.seq;
    v_at integer := p_seq;
begin
    if num_nonnulls(p_seq, p_node) <> 1 then
        perform pgorch._raise('OR006', 'a fork begins at one place', 'Give either the number of a history entry or the name of a node.');
    end if;
    if p_run.finished_at is not null then
        v_last := v_last - 1;
    end if;
    if p_node is not null then
        select max(h.seq) - 1 into v_at
        from pgorch._sources(p_bucket, p_run) o
        cross join lateral (
            select h.seq from pgorch.history h
            where h.bucket = p_bucket and h.run_id = o.run_id and h.seq <= o.upto and h.node = p_node
              and h.kind = any (pgorch._visit_ends())
            order by h.seq desc limit 1) h;
        if v_at is null and exists (
            select from pgorch.steps s where s.bucket = p_bucket and s.run_id = p_run.id and s.node = p_node) then
            v_at := v_last;
        end if;
        if v_at is null then
            perform pgorch._raise('OR003', format('run %s has not been at %s', p_run.id, p_node), 'See the view pgorch.run_history.');
        end if;
    end if;
    if v_at not between 0 and v_last then
        perform pgorch._raise('OR006', format('run %s has no entry %s to go on from', p_run.id, v_at), format('Give a number from 0 to %s.', v_last));
    end if;
    if exists (
        select from pgorch._sources(p_bucket, p_run) o
        cross join lateral (
            select from pgorch.history h
            where h.bucket = p_bucket and h.run_id = o.run_id and h.seq <= least(o.upto, v_at) and h.kind in ('run_moved', 'compensation_started')) h)
    then
        perform pgorch._raise('OR002', format('before entry %s run %s was moved to another version, or began to undo what it had done', v_at, p_run.id),
            'Fork it from an earlier entry.');
    end if;
    return v_at;
end
$$;
comment on function pgorch._fork_point is 'The history entry after which a fork goes on.';

create or replace function pgorch._replayed(p_bucket integer, p_run pgorch.runs, p_graph pgorch.graphs, p_now timestamptz) returns pgorch.runs
    language plpgsql
    as $$
declare
    v_entry pgorch.history;
    v_step pgorch.steps;
    v_move pgorch._move;
    v_until constant integer := p_run.forked_at;
    v_at pg_catalog.timestamptz;
    v_last integer := 0;
begin
    v_move.node := p_graph.start_node;
    if p_graph.has_forks then
        v_move.visit := array_fill(0, array[cardinality((select n.loops from pgorch.nodes n where n.graph_id = p_graph.id and n.id = v_move.node))]);
        v_move.lineage := '[]';
    end if;
    p_run.seq := 0;
    p_run := pgorch._follow(p_bucket, p_run, p_graph, array[v_move], p_now, true);
    -- Whose history is read depends on it.
    p_run.seq := v_until;
    for v_entry in
        select h.*
        from pgorch._sources(p_bucket, p_run) o
        cross join lateral (
            select h.* from pgorch.history h
            where h.bucket = p_bucket and h.run_id = o.run_id and h.seq <= o.upto
              and (h.kind = any (pgorch._visit_ends()) or h.kind = 'state_edited')) h
        order by h.seq
    loop
        if v_entry.kind = 'state_edited' then
            p_run.delta := p_run.delta || (v_entry.output -> 'state');
            continue;
        end if;
        -- What ended in one call ended before its joins were looked at.
        v_step := case when v_entry.at = v_at then pgorch._replayed_step(p_bucket, p_run, v_entry) end;
        if v_step.id is null then
            p_run.seq := v_last;
            p_run := pgorch._follow(p_bucket, p_run, p_graph, '{}', p_now, true);
            v_step := pgorch._replayed_step(p_bucket, p_run, v_entry);
        end if;
        -- A join that was skipped has an entry, and no step of its own.
        continue when v_step.id is null;
        v_at := v_entry.at;
        v_last := v_entry.seq;
        delete from pgorch.steps s where s.bucket = p_bucket and s.id = v_step.id;
        p_run.live := p_run.live - 1;
        p_run.seq := v_entry.seq - 1;
        p_run := pgorch._follow(p_bucket, p_run, p_graph, array[pgorch._recorded_move(v_step, v_entry)], p_now, true);
    end loop;
    p_run.seq := v_last;
    return pgorch._follow(p_bucket, p_run, p_graph, '{}', p_now, true);
end
$$;
comment on function pgorch._replayed is 'Brings a new run to where the one it was forked from was after entry forked_at. What is live then stands in steps of kind wait.';

create or replace function pgorch._replayed_step(p_bucket integer, p_run pgorch.runs, p_entry pgorch.history) returns pgorch.steps
    language plpgsql stable
    as $$
declare
    v_step pgorch.steps;
begin
    select s.* into v_step from pgorch.steps s
    where s.bucket = p_bucket and s.run_id = p_run.id and s.kind = 'wait' and s.node = p_entry.node
      and s.visit is not distinct from p_entry.visit
    order by s.id limit 1;
    return v_step;
end
$$;
comment on function pgorch._replayed_step is 'The step of a replay whose end an entry of the history tells; null if there is none yet.';

create or replace function pgorch._recorded_move(p_step pgorch.steps, p_entry pgorch.history) returns pgorch._move
    language plpgsql immutable
    as $$
declare
    v_move pgorch._move := pgorch._move_of(p_step);
begin
    v_move.kind := p_entry.kind;
    v_move.outcome := case when p_entry.error is not null then 'error' when p_entry.kind = 'step_expired' then 'expired'
                           when p_entry.output ->> 'decision' = 'rejected' and p_entry.kind = 'approval_decided' then 'rejected'
                           else 'success' end;
    v_move.output := p_entry.output;
    v_move.error := p_entry.error;
    v_move.attempt := p_entry.attempt;
    v_move.started_at := p_entry.started_at;
    if p_entry.kind = 'approval_decided' then
        v_move.decision := pgorch._decision_var(p_entry.output -> 'data', p_entry.output - '{data,approval_id,at}'::text[]);
    end if;
    return v_move;
end
$$;
comment on function pgorch._recorded_move is 'The end of a visit as the history has it.';

create or replace function pgorch._begin_fork(
    p_bucket integer, p_run pgorch.runs, p_node text, p_edited boolean, p_now timestamptz) returns void
    language plpgsql
    as $$
declare
    v_step pgorch.steps;
    v_move pgorch._move;
    v_moves pgorch._move[] := '{}';
begin
    for v_step in
        select s.* from pgorch.steps s where s.bucket = p_bucket and s.run_id = p_run.id and s.kind = 'wait' order by s.id
    loop
        v_move := pgorch._move_of(v_step);
        v_move.joined := true;
        -- A map keeps the items that were done, but not if it is the node that is named, or has other items now, maybe.
        if p_edited or v_step.node = p_node then
            v_move.born := null;
        end if;
        v_moves := v_moves || v_move;
        p_run.live := p_run.live - 1;
    end loop;
    delete from pgorch.steps s where s.bucket = p_bucket and s.run_id = p_run.id and s.kind = 'wait';
    perform pgorch._proceed(p_bucket, p_run, v_moves, p_now);
end
$$;
comment on function pgorch._begin_fork is 'What is live in a fork begins.';
