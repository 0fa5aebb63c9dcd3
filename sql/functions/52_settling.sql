-- Settling the results of one run: everything that the plain path does not take.

create or replace function pgorch._settle(
    p_bucket integer, p_worker_id uuid, p_run_id uuid, p_step_ids bigint[], p_lease_tokens uuid[], p_outcomes text[], p_outputs jsonb[],
    p_now timestamptz)
    returns table (step_id bigint, lease_token uuid, message text, delay_seconds double precision)
    language plpgsql
    as $$
declare
    v_run pgorch.runs;
    v_step pgorch.steps;
    v_moves pgorch._move[] := '{}';
    v_settled pg_catalog.record;
    v_ended pg_catalog.record;
    v_maps pg_catalog.jsonb := '{}';
    v_counted boolean := false;
begin
    -- The run first, then its steps; and after the wait for it every lease is looked at.
    select r.* into v_run from pgorch.runs r where r.bucket = p_bucket and r.id = p_run_id for update;
    for i in 1 .. cardinality(p_step_ids) loop
        step_id := p_step_ids[i];
        lease_token := p_lease_tokens[i];
        message := null;
        delay_seconds := null;
        select s.* into v_step from pgorch.steps s
        where s.bucket = p_bucket and s.id = p_step_ids[i] and s.lease_token = p_lease_tokens[i]
        for update;
        -- The worker is compared here, for with it in the query the index of all that it leases could serve.
        if not found or v_step.worker_id <> p_worker_id then
            message := 'the lease on this step is lost: its run has ended, another worker has it, or the result was taken before';
            return next;
            continue;
        end if;
        if p_outcomes[i] = 'release' then
            perform pgorch._give_back(p_bucket, array[v_step.id], p_now, 0, 1);
            continue;
        end if;
        select o.* into v_settled from pgorch._outcome(p_bucket, v_run, v_step, p_outcomes[i], p_outputs[i], p_now) o;
        if v_settled.delay is null then
            delete from pgorch.steps s where s.bucket = p_bucket and s.id = v_step.id;
            perform pgorch._key_changed(p_bucket, array[v_step.limiter], p_now);
            v_counted := v_counted or num_nonnulls(v_step.queue_limit, v_step.tool_limit) > 0;
            v_run.live := v_run.live - 1;
            if v_step.kind = 'task' then
                v_moves := v_moves || v_settled.move;
            elsif v_step.kind = 'item' then
                select t.* into v_ended from pgorch._item_ended(p_bucket, v_run, v_step, v_settled.move, v_maps, p_now) t;
                v_run := v_ended.run;
                v_maps := v_ended.maps;
            else
                v_run := pgorch._undone(p_bucket, v_run, v_step, v_settled.move, p_now);
            end if;
        else
            v_run := pgorch._append(p_bucket, v_run, 'attempt_failed', p_now, p_node => v_step.node, p_attempt => v_step.attempt,
                p_started_at => v_step.started_at, p_worker_id => p_worker_id, p_visit => v_step.visit, p_error => p_outputs[i],
                p_item => v_step.item);
            perform pgorch._give_back(p_bucket, array[v_step.id], p_now + make_interval(secs => v_settled.delay), 0, 0, 1);
            delay_seconds := v_settled.delay;
            return next;
        end if;
    end loop;
    if v_maps <> '{}' then
        select m.* into v_ended from pgorch._go_on_with_maps(p_bucket, v_run, v_maps, v_moves, p_now) m;
        v_run := v_ended.run;
        v_moves := v_ended.moves;
    end if;
    if v_moves <> '{}' then
        perform pgorch._proceed(p_bucket, v_run, v_moves, p_now);
    elsif v_run.id is not null then
        perform pgorch._save_run(p_bucket, v_run, p_now);
        perform pgorch._tell_parent(p_bucket, v_run, p_now);
    end if;
    -- What a limit kept back can go to another worker now.
    if v_counted then
        perform pgorch._wake_workers(p_bucket);
    end if;
end
$$;
comment on function pgorch._settle is 'Takes results of steps of one run. Rows: results that were refused (message) and attempts that will be made again (delay_seconds).';

create or replace function pgorch._item_ended(
    p_bucket integer, p_run pgorch.runs, p_step pgorch.steps, p_move pgorch._move, p_maps jsonb, p_now timestamptz,
    out run pgorch.runs, out maps jsonb)
    language plpgsql
    as $$
declare
    v_failed constant boolean := p_move.outcome = 'error';
    v_key constant pg_catalog.text := p_step.parent::text;
begin
    run := pgorch._append(p_bucket, p_run, case when v_failed then 'item_failed' else 'item_completed' end::pgorch.event_kind, p_now,
        p_node => p_step.node, p_attempt => p_step.attempt, p_started_at => p_step.started_at, p_worker_id => p_step.worker_id,
        p_visit => p_step.visit, p_output => p_move.output, p_error => p_move.error, p_item => p_step.item);
    maps := p_maps || jsonb_build_object(v_key, jsonb_build_array(
        coalesce((p_maps #>> array[v_key, '0'])::integer, 0) + 1,
        coalesce((p_maps #>> array[v_key, '1'])::integer, 0) + v_failed::integer));
end
$$;
comment on function pgorch._item_ended is 'Writes the end of an item into the history, and counts it for its map in maps: {step: [ended, failed]}.';

create or replace function pgorch._go_on_with_maps(
    p_bucket integer, p_run pgorch.runs, p_maps jsonb, p_moves pgorch._move[], p_now timestamptz,
    out run pgorch.runs, out moves pgorch._move[])
    language plpgsql
    as $$
declare
    v_map pg_catalog.record;
    v_gone_on pg_catalog.record;
begin
    run := p_run;
    moves := p_moves;
    for v_map in select m.key::bigint as id, (m.value ->> 0)::integer as ended, (m.value ->> 1)::integer as failed
                 from jsonb_each(p_maps) m order by m.key::bigint loop
        select g.* into v_gone_on from pgorch._go_on_with_map(p_bucket, run, v_map.id, v_map.ended, v_map.failed, p_now) g;
        run := v_gone_on.run;
        if (v_gone_on.move).node is not null then
            moves := moves || v_gone_on.move;
        end if;
    end loop;
end
$$;

create or replace function pgorch._settle_items(
    p_bucket integer, p_worker_id uuid, p_run_id uuid, p_items pgorch._ended_step[], p_queues text[], p_tools text[], p_token uuid,
    p_want integer, p_rival integer, p_now timestamptz, out taken boolean, out kept bigint[], out known boolean)
    language plpgsql
    as $$
declare
    v_run pgorch.runs;
    v_moves pgorch._move[] := '{}';
    v_map pg_catalog.record;
    v_gone_on pg_catalog.record;
    v_keep integer;
begin
    kept := '{}';
    select r.* into v_run from pgorch.runs r where r.bucket = p_bucket and r.id = p_run_id for update;
    taken := v_run.status = 'running' and v_run.ending is null
        and exists (select from pgorch.nodes n where n.graph_id = v_run.graph_id and n.id = p_items[1].node and n.fast_out)
        and pgorch._write_ended(p_bucket, p_worker_id, p_run_id, v_run.seq, p_items, p_now);
    if taken is not true then
        return;
    end if;
    v_run.seq := v_run.seq + cardinality(p_items);
    v_run.live := v_run.live - cardinality(p_items);
    for v_map in select t.map as id, array_agg(t order by t.id) as rows, min(t.node) as node
                 from unnest((select p_items)) t group by t.map order by t.map loop
        -- As many stay with their worker as it would find in its lanes right after: none if others wait there.
        select p_want - cardinality(kept) into v_keep from pgorch.nodes n
        where n.graph_id = v_run.graph_id and n.id = v_map.node and n.function = any (p_tools)
          and pgorch._lane_queue(n.queue, v_run.queue) = any (p_queues)
          and (p_rival is null or coalesce(n.priority, v_run.priority) > p_rival);
        v_keep := greatest(coalesce(v_keep, 0), 0);
        select g.* into v_gone_on
        from pgorch._go_on_with_map(p_bucket, v_run, v_map.id, cardinality(v_map.rows), 0, p_now, v_map.rows, v_keep, p_token) g;
        v_run := v_gone_on.run;
        kept := kept || array(select r.id from unnest(v_map.rows[1:least(v_gone_on.used, v_keep)]) r);
        if (v_gone_on.move).node is not null then
            v_moves := v_moves || v_gone_on.move;
        end if;
    end loop;
    if v_moves <> '{}' then
        perform pgorch._proceed(p_bucket, v_run, v_moves, p_now);
    else
        perform pgorch._save_run(p_bucket, v_run, p_now);
    end if;
    if kept <> '{}' then
        -- Where nothing runs beside the map, nothing has been written since it began.
        select not g.has_forks into known from pgorch.graphs g where g.id = v_run.graph_id;
    end if;
end
$$;
comment on function pgorch._settle_items is
    'Takes items of one run that ended well as a set; not taken: they are to be settled one by one. kept: steps that stay with the worker; known: it knows their state.';

create or replace function pgorch._settle_arrivals(
    p_bucket integer, p_worker_id uuid, p_run_id uuid, p_steps pgorch._ended_step[], p_now timestamptz) returns boolean
    language plpgsql
    as $$
declare
    v_run pgorch.runs;
    v_targets pg_catalog.text[];
    v_visits pg_catalog.text[];
    v_counts pg_catalog.jsonb[];
    v_lineages pg_catalog.jsonb[];
    v_outputs pg_catalog.jsonb[];
    v_keys pg_catalog.text[];
    v_written pg_catalog.jsonb;
    v_key_lineages pg_catalog.jsonb[];
begin
    select r.* into v_run from pgorch.runs r where r.bucket = p_bucket and r.id = p_run_id for update;
    if v_run.status is distinct from 'running' or v_run.ending is not null
       or exists (select from pgorch.graphs g where g.id = v_run.graph_id and g.reducers is not null) then
        return false;
    end if;
    -- Those whose only way on leads, whatever the state is, to a join of the same round.
    select array_agg(j.id order by t.at), array_agg(coalesce(s.visit, '{}')::text order by t.at), array_agg(s.counts order by t.at),
           array_agg(coalesce(s.lineage, '[]') order by t.at), array_agg(pgorch._written(n.into_key, t.output) order by t.at)
    into v_targets, v_visits, v_counts, v_lineages, v_outputs
    from unnest((select p_steps)) with ordinality t(id, token, place, map, node, visit, item, attempt, started_at, output, at)
    cross join lateral (
        select s.visit, s.counts, s.lineage from pgorch.steps s
        where s.bucket = p_bucket and s.id = t.id and s.lease_token = t.token limit 1) s
    cross join lateral (
        select n.into_key, n.loops from pgorch.nodes n
        where n.graph_id = v_run.graph_id and n.id = t.node and n.compensate is null limit 1) n
    cross join lateral (
        select min(e.target) as target from pgorch.edges e
        where e.graph_id = v_run.graph_id and e.source = t.node and e.on_outcome in ('success', 'always')
        having count(*) = 1 and bool_and(num_nonnulls(e.condition, e.contains, e.max_traversals) = 0 and not e.back)) e
    cross join lateral (
        select j.id from pgorch.nodes j
        where j.graph_id = v_run.graph_id and j.id = e.target and j.joins and j.fast_in and j.loops = n.loops limit 1) j;
    if cardinality(v_targets) is distinct from cardinality(p_steps) then
        return false;
    end if;
    select array_agg(k.key order by o.at), jsonb_object_agg(k.key, k.value), array_agg(o.lineage order by o.at)
    into v_keys, v_written, v_key_lineages
    from unnest((select v_outputs), (select v_lineages)) with ordinality o(output, lineage, at)
    cross join lateral jsonb_each(o.output) k;
    -- Whoever writes what a parallel branch has written fails, and the others do not.
    if cardinality(v_keys) <> (select count(*) from jsonb_object_keys(v_written))
       or exists (select from unnest((select v_keys), (select v_key_lineages)) k(key, lineage)
                  cross join lateral (
                      select from pgorch._writes w
                      where w.bucket = p_bucket and w.run_id = p_run_id and w.key = k.key and pgorch._are_concurrent(w.lineage, k.lineage)
                      limit 1) w)
       or not pgorch._write_ended(p_bucket, p_worker_id, p_run_id, v_run.seq, p_steps, p_now) then
        return false;
    end if;
    perform pgorch._delete_rows(p_bucket, p_steps);
    v_run.seq := v_run.seq + cardinality(p_steps);
    if v_keys is not null then
        v_run.delta := v_run.delta || v_written;
        insert into pgorch._writes (bucket, run_id, key, lineage)
        select p_bucket, p_run_id, k.key, k.lineage from unnest(v_keys, v_key_lineages) k(key, lineage)
        on conflict (bucket, run_id, key) do update set lineage = excluded.lineage;
    end if;
    insert into pgorch.steps (bucket, run_id, graph_id, kind, created_at, ready_at, visit, counts, lineage, born, node)
    select p_bucket, p_run_id, v_run.graph_id, 'join', p_now, p_now, a.visit::integer[], a.counts, a.lineage, v_run.seq, a.target
    from unnest(v_targets, v_visits, v_counts, v_lineages) with ordinality a(target, visit, counts, lineage, at) order by a.at;
    perform pgorch._proceed(p_bucket, v_run, '{}', p_now);
    return true;
end
$$;
comment on function pgorch._settle_arrivals is
    'Takes as a set tasks of one run that ended well and each arrive at a join; false if they are to be settled one by one.';

create or replace function pgorch._outcome(
    p_bucket integer, p_run pgorch.runs, p_step pgorch.steps, p_outcome text, p_output jsonb, p_now timestamptz,
    out move pgorch._move, out delay double precision)
    language plpgsql
    as $$
begin
    move := pgorch._move_of(p_step);
    if p_outcome = 'success' and p_output is not null then
        move.output := pgorch._checked_json(p_output, format('the result of %s', p_step.node), 1048576);
    elsif p_outcome = 'error' and jsonb_typeof(p_output) = 'object' and jsonb_typeof(p_output -> 'type') = 'string' then
        move.error := pgorch._checked_json(p_output, format('the error of %s', p_step.node), 1048576);
        delay := pgorch._retry_delay(pgorch._retry_policy(p_step.graph_id, p_step.node, p_step.kind), p_output,
            p_step.failures + 1, random());
    else
        perform pgorch._raise('OR006', format('step %s was handed in as %s, which is no outcome with its value', p_step.id, coalesce(p_outcome, 'null')),
            'Outcomes are success with a JSON value, error with an object that has a type, and release.');
    end if;
    move.outcome := p_outcome;
    move.input := p_step.input;
    move.attempt := p_step.attempt;
    move.started_at := p_step.started_at;
    move.worker_id := p_step.worker_id;
end
$$;
comment on function pgorch._outcome is 'What a result means: the end of its step (move), or another attempt after delay seconds.';

create or replace function pgorch._give_back(
    p_bucket integer, p_step_ids bigint[], p_ready_at timestamptz, p_deaths integer, p_uncounted integer,
    p_failures integer default 0) returns void
    language plpgsql
    as $$
declare
    v_keys pg_catalog.text[];
    v_times pg_catalog.timestamptz[];
begin
    -- From two deaths on a step waits where only one at a time is taken ('!'), from three on it is not run any more ('').
    -- A step with a concurrency key gives up its place, and waits for another until it may run again.
    with back as (
        update pgorch.steps s
        set worker_id = null, lease_token = null, started_at = null, ready_at = coalesce(p_ready_at, s.ready_at), queue_limit = null, tool_limit = null,
            deaths = s.deaths + p_deaths, failures = s.failures + p_failures, attempt = s.attempt - p_uncounted,
            held = case when r.status = 'paused' then 'paused' when s.limiter is not null and s.deaths + p_deaths < 3 then 'limit' end,
            lane_queue = case when r.status = 'paused' then null
                              when s.deaths + p_deaths >= 3 then ''
                              when s.limiter is not null then null
                              when s.deaths + p_deaths = 2 then '!' || pgorch._lane_queue(n.queue, r.queue)
                              else pgorch._lane_queue(n.queue, r.queue) end,
            lane_tool = case when r.status = 'paused' then null
                             when s.deaths + p_deaths >= 3 then ''
                             when s.limiter is not null then null
                             when s.kind = 'undo' then n.compensate else n.function end
        from pgorch.runs r, pgorch.nodes n
        where s.bucket = p_bucket and s.id = any (p_step_ids)
          and r.bucket = p_bucket and r.id = s.run_id
          and n.graph_id = s.graph_id and n.id = s.node
        returning s.limiter, s.ready_at)
    select array_agg(b.limiter), array_agg(b.ready_at) into v_keys, v_times from back b where b.limiter is not null;
    if v_keys is not null then
        perform pgorch._keys_given_back(p_bucket, v_keys, v_times, pgorch.clock_now());
    end if;
    perform pgorch._wake_workers(p_bucket);
end
$$;
comment on function pgorch._give_back is 'Puts steps back into their lanes, due at p_ready_at (null: as before), with so many deaths and failures more, and so many attempts less. Those of a paused run are held.';
