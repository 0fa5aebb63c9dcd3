-- advance(): the one call of a worker's loop. It takes the results of many steps, writes history and state, routes,
-- and gives the worker its next steps, in one transaction.
--
-- Most steps are plain: the only live step of their run, ended well, leading along one edge to a task. They are
-- routed together by _advance_plain(), in a handful of statements whatever their number, and the next step goes
-- straight to this worker in the row of the last one. So are the items of a map, by _settle_items(), and branches that
-- arrive at a join, by _settle_arrivals(), if all results of the run are such. All others go one by one through _settle().
--
-- Wherever a kind of plan is forbidden, jit is off: up to PostgreSQL 17 forbidding adds ten billion to the cost of what is
-- forbidden, and a plan of that cost is compiled, which takes longer than thousands of such calls.

create or replace function pgorch.advance(
    p_bucket integer, p_worker_id uuid, p_step_ids bigint[], p_lease_tokens uuid[], p_outcomes text[], p_outputs jsonb[],
    p_want integer, p_look boolean default true, p_asleep boolean default false, p_cursor timestamptz[] default null)
    returns table (kind text, step_id bigint, lease_token uuid, run_id uuid, node text, tool text, attempt integer, born integer,
                   timeout_seconds double precision, input jsonb, state jsonb, message text, delay_seconds double precision,
                   role text, item integer, heartbeat_seconds double precision)
    language plpgsql
    set jit = off set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off set enable_bitmapscan = off
    as $$
declare
    v_now pg_catalog.timestamptz;
    v_token constant pg_catalog.uuid := pgorch._new_lease_token();
    v_count constant integer := coalesce(cardinality(p_step_ids), 0);
    v_lease pg_catalog.record;
    v_plain pgorch._plain_step[];
    v_done bigint[];
    v_group pg_catalog.record;
    v_from pg_catalog.timestamptz;
    v_rival integer;
    v_found pg_catalog.record;
    v_items pg_catalog.record;
    v_ids bigint[] := '{}';
    v_known boolean[] := '{}';
    v_free_queues pg_catalog.text[];
    v_free_tools pg_catalog.text[];
    v_counted boolean := false;
    v_sleeps boolean := false;
    v_got integer := 0;
begin
    -- clock_now() written out: a statement of its own would cost as much as this one.
    select l.queues, l.tools, l.asleep, exists (select from pgorch.limits) as limited,
           clock_timestamp() + (select c.offset_by from pgorch._clock c) as now into v_lease
    from pgorch._worker_leases l
    where l.bucket = p_bucket and l.worker_id = p_worker_id and l.status = 'alive';
    if not found then
        return query
            select 'refused', t.id, t.token, null::uuid, null::text, null::text, null::integer, null::integer, null::double precision,
                   null::jsonb, null::jsonb, 'this worker''s lease is over', null::double precision, null::text, null::integer,
                   null::double precision
            from unnest(p_step_ids, p_lease_tokens) t(id, token);
        return;
    end if;

    v_now := v_lease.now;
    v_from := pgorch._look_from(p_cursor, p_asleep, v_now);
    v_free_queues := v_lease.queues;
    v_free_tools := v_lease.tools;
    if v_lease.limited then
        v_free_queues := pgorch._without_limit('queue', v_lease.queues);
        v_free_tools := pgorch._without_limit('tool', v_lease.tools);
    end if;

    if v_count > 0 then
        -- A run stays with its worker, unless something more urgent waits in the worker's lanes.
        if p_look then
            v_rival := pgorch._most_urgent(p_bucket, v_free_queues, v_free_tools, coalesce(p_cursor[1], '-infinity'), v_now);
        end if;
        v_plain := pgorch._advance_plain(p_bucket, p_worker_id, p_step_ids, p_lease_tokens, p_outcomes, p_outputs,
                                         v_free_queues, v_free_tools, v_token, p_want, v_rival, v_now);
        if v_plain is not null then
            return query
                select case when t.state is null then 'next' else 'step' end, t.id, v_token, t.run_id, t.target, t.tool, 1, t.seq + 1,
                       t.timeout, null::jsonb, coalesce(t.state, t.delta), null::text,
                       null::double precision, null::text, null::integer, null::double precision
                from unnest(v_plain) t where t.stays;
            get diagnostics v_got = row_count;
        end if;
        if coalesce(cardinality(v_plain), 0) < v_count then
            v_done := array(select t.id from unnest(v_plain) t);
            for v_group in
                -- In the order of the runs, as everybody locks them; results of one run are settled together.
                select s.run_id, array_agg(t.id order by t.id) as ids, array_agg(t.token order by t.id) as tokens,
                       array_agg(t.outcome order by t.id) as outcomes, array_agg(t.output order by t.id) as outputs,
                       array_agg(row(t.id, t.token, s.place, s.parent, s.node, s.visit, s.item, s.attempt, s.started_at, t.output)::pgorch._ended_step
                                 order by t.id)
                           filter (where t.outcome = 'success' and s.kind in ('task', 'item') and s.worker_id = p_worker_id
                                     and num_nonnulls(s.limiter, s.queue_limit, s.tool_limit) = 0 and pgorch._is_plainly_strict(t.output)) as ended,
                       bool_and(s.kind = 'item') as of_maps, bool_and(s.kind = 'task') as tasks,
                       bool_or(num_nonnulls(s.limiter, s.queue_limit, s.tool_limit) > 0) as counted
                from unnest(p_step_ids, p_lease_tokens, p_outcomes, p_outputs) t(id, token, outcome, output)
                left join lateral (
                    select s.run_id, s.limiter, s.queue_limit, s.tool_limit, s.kind, s.worker_id, s.ctid as place, s.parent, s.node, s.visit,
                           s.item, s.attempt, s.started_at
                    from pgorch.steps s
                    where s.bucket = p_bucket and s.id = t.id and s.lease_token = t.token limit 1) s on true
                where t.id <> all (v_done)
                group by s.run_id order by s.run_id
            loop
                v_counted := v_counted or v_group.counted;
                if cardinality(v_group.ended) = cardinality(v_group.ids) then
                    if v_group.of_maps then
                        select i.* into v_items
                        from pgorch._settle_items(p_bucket, p_worker_id, v_group.run_id, v_group.ended, v_free_queues, v_free_tools, v_token,
                                                  p_want - v_got, v_rival, v_now) i;
                        if v_items.taken then
                            v_ids := v_ids || v_items.kept;
                            v_known := v_known || array_fill(v_items.known, array[cardinality(v_items.kept)]);
                            v_got := v_got + cardinality(v_items.kept);
                            continue;
                        end if;
                    elsif v_group.tasks and cardinality(v_group.ids) > 1 then
                        continue when pgorch._settle_arrivals(p_bucket, p_worker_id, v_group.run_id, v_group.ended, v_now);
                    end if;
                end if;
                return query
                    select case when s.message is not null then 'refused' else 'later' end, s.step_id, s.lease_token, v_group.run_id,
                           null::text, null::text, null::integer, null::integer, null::double precision, null::jsonb, null::jsonb,
                           s.message, s.delay_seconds, null::text, null::integer, null::double precision
                    from pgorch._settle(p_bucket, p_worker_id, v_group.run_id, v_group.ids, v_group.tokens,
                                        v_group.outcomes, v_group.outputs, v_now) s;
            end loop;
        end if;
    end if;

    if p_look and p_want > v_got and v_lease.queues <> '{}' then
        select l.* into v_found
        from pgorch._look(p_bucket, p_worker_id, v_lease.queues, v_lease.tools, v_free_queues, v_free_tools, v_token,
                          p_want - v_got, p_cursor, v_from, v_now) l;
        v_sleeps := p_asleep and v_count = 0 and v_got = 0 and v_found.ids = '{}';
        if v_sleeps and (v_found.cursor is not null or p_cursor is not null) then
            v_found.cursor := (coalesce(v_found.cursor, p_cursor))[1:4] || v_now;
        end if;
        if v_found.cursor is not null then
            return query
                select 'looked', null::bigint, null::uuid, null::uuid, null::text, null::text, null::integer, null::integer,
                       null::double precision, null::jsonb, null::jsonb, v_found.cursor::text, null::double precision,
                       null::text, null::integer, null::double precision;
        end if;
        if v_found.delay is not null then
            return query
                select 'later', null::bigint, null::uuid, null::uuid, null::text, null::text, null::integer, null::integer,
                       null::double precision, null::jsonb, null::jsonb, null::text, v_found.delay,
                       null::text, null::integer, null::double precision;
        end if;
        v_ids := v_ids || v_found.ids;
        v_got := v_got + coalesce(cardinality(v_found.ids), 0);
    elsif v_counted and p_want > v_got then
        -- What ended made room for others that wait for it: this worker is to look soon.
        return query
            select 'later', null::bigint, null::uuid, null::uuid, null::text, null::text, null::integer, null::integer,
                   null::double precision, null::jsonb, null::jsonb, null::text, 0::double precision,
                   null::text, null::integer, null::double precision;
    end if;

    if v_ids <> '{}' then
        return query
            select case when s.deaths >= 3 then 'quarantined' when t.known then 'next' else 'step' end, s.id, v_token, s.run_id, s.node,
                   case when s.kind = 'undo' then n.compensate else n.function end, s.attempt, s.born, extract(epoch from n.timeout)::double precision, s.input,
                   -- Branches of a run come one after the other: its state, which may be large, is given once.
                   case when t.known then '{}'
                        when s.run_id is distinct from lag(case when t.known is not true then s.run_id end) over ()
                        then pgorch._state(r.input, r.snapshot, r.delta) end,
                   case when s.deaths >= 3 then
                       format('%s workers died while they ran this step; it is not tried again', s.deaths) end,
                   null::double precision,
                   -- What is by name alone: of an item without a template, and of what undoes a step, input goes over the state.
                   case when s.kind = 'undo' then 'undo' when s.kind = 'item' and n.template is null then 'loose item'
                        when s.kind = 'item' then 'item' end,
                   s.item, extract(epoch from n.heartbeat)::double precision
            from unnest((select v_ids), (select v_known)) t(id, known)
            cross join lateral (
                select s.* from pgorch.steps s where s.bucket = p_bucket and s.id = t.id limit 1) s
            left join lateral (
                select r.input, r.snapshot, r.delta from pgorch.runs r
                where r.bucket = p_bucket and r.id = s.run_id and t.known is not true limit 1) r on true
            cross join lateral (
                select n.function, n.timeout, n.compensate, n.heartbeat, n.input as template from pgorch.nodes n where n.graph_id = s.graph_id and n.id = s.node limit 1) n;
    end if;

    -- One that is busy for a moment stays listed as asleep: with a version for each nap, everybody who looks for this row
    -- would walk them all while the vacuum horizon is pinned.
    if v_sleeps <> v_lease.asleep
       and (v_sleeps or (p_look and coalesce(p_cursor[5], '-infinity') not between v_now - interval '1 second' and v_now)) then
        update pgorch._worker_leases l set asleep = v_sleeps
        where l.bucket = p_bucket and l.worker_id = p_worker_id;
    end if;
end
$$;
comment on function pgorch.advance is
    'A worker hands in results and gets up to p_want steps, in one transaction: those that follow from the results, and with p_look others from its lanes. Rows: step (run it), next (run it: it follows from a result, and its state, which is large, is what the worker knows of it with `state` laid over), quarantined (hand it in as failed), refused (a result that does not count), later (something is due again after delay_seconds), looked (message: the cursor for the next call). A step without state has that of the row above.';

create or replace function pgorch._advance_plain(
    p_bucket integer, p_worker_id uuid, p_step_ids bigint[], p_lease_tokens uuid[], p_outcomes text[], p_outputs jsonb[],
    p_queues text[], p_tools text[], p_token uuid, p_want integer, p_rival integer, p_now timestamptz) returns pgorch._plain_step[]
    language plpgsql
    -- Runs under advance()'s settings: no scans, joins by nested loops, no JIT. Setting them again costs 5 us.
    as $$
declare
    v_steps pgorch._plain_step[];
    v_folds boolean;
    v_leaves boolean;
    v_ends boolean;
    v_watched boolean;
begin
    -- Look-ups are lateral with a limit, which fixes their order and index whatever the statistics say. Runs are
    -- locked in the order of their ids. Nothing is written before every edge is chosen, so that a result
    -- whose condition is unknown, or that nothing matches, is left to _settle() as if it had not been looked at.
    select array_agg(x.step), bool_or((x.step).folds), bool_or(not (x.step).stays and (x.step).target is not null),
           bool_or((x.step).target is null), bool_or((x.step).watched)
    into v_steps, v_folds, v_leaves, v_ends, v_watched
    from (
        select row(s.step_id, s.token, r.id, r.seq, s.node, s.attempt, s.started_at, s.output,
                   d.delta, c.state, pgorch._is_due_to_fold(r.input, r.snapshot, d.delta),
                   e.target, t.function, pgorch._lane_queue(t.queue, r.queue), coalesce(t.priority, r.priority),
                   extract(epoch from t.timeout)::double precision,
                   (e.target is not null and p_want > 0 and coalesce(t.priority, r.priority) >= coalesce(p_rival, -1000)
                    and t.function = any (p_tools) and pgorch._lane_queue(t.queue, r.queue) = any (p_queues)),
                   coalesce(r.watched_until > p_now and (r.watches_steps or e.target is null), false), s.step_at, r.ctid)::pgorch._plain_step as step
        from (
            select i.step_id, i.token, i.output, s.run_id, s.graph_id, s.node, s.attempt, s.started_at, s.step_at, n.into_key, n.ends
            from unnest((select p_step_ids), (select p_lease_tokens), (select p_outcomes), (select p_outputs)) i(step_id, token, outcome, output)
            -- The worker is compared outside: inside, steps_leased could serve, and all that it ever leased would be read.
            cross join lateral (
                select s.run_id, s.graph_id, s.node, s.attempt, s.started_at, s.worker_id, s.ctid as step_at,
                       num_nonnulls(s.limiter, s.queue_limit, s.tool_limit) as counts from pgorch.steps s
                where s.bucket = p_bucket and s.id = i.step_id and s.lease_token = i.token and s.kind = 'task' limit 1) s
            cross join lateral (
                select n.into_key, n.ends from pgorch.nodes n
                where n.graph_id = s.graph_id and n.id = s.node and n.fast_out limit 1) n
            where i.outcome = 'success' and s.worker_id = p_worker_id and s.counts = 0 and pgorch._is_plainly_strict(i.output)
            order by s.run_id
        ) s
        cross join lateral (
            select r.id, r.ctid, r.seq, r.input, r.snapshot, r.delta, r.priority, r.queue, r.watched_until, r.watches_steps, r.parent_run_id from pgorch.runs r
            where r.bucket = p_bucket and r.id = s.run_id and r.live = 1 and r.status = 'running' limit 1 for update) r
        -- `offset 0` has each value computed once; pulled up, these would stand in every place that uses them.
        cross join lateral (select pgorch._written(s.into_key, s.output) as written offset 0) w
        cross join lateral (select r.delta || w.written as delta offset 0) d
        -- What is stored out of its row stays there, unless a condition asks for it: of a batch, all states would be put
        -- together in memory, and the worker has them already.
        cross join lateral (
            select case when not pgorch._is_large(r.input, r.snapshot) then pgorch._state(r.input, r.snapshot, d.delta) end
                   as state offset 0) c
        left join lateral (
            select e.target, m.holds from pgorch.edges e
            cross join lateral (
                select case when e.condition is not null
                            then jsonb_path_match(coalesce(c.state, pgorch._state(r.input, r.snapshot, d.delta)), e.condition, '{}', true)
                            when e.contains is not null
                            then coalesce(c.state, pgorch._state(r.input, r.snapshot, d.delta)) @> e.contains
                            else true end as holds offset 0) m
            where e.graph_id = s.graph_id and e.source = s.node and e.on_outcome in ('success', 'always')
              and m.holds is distinct from false
            order by e.rank limit 1) e on true
        left join lateral (
            select t.function, t.queue, t.priority, t.timeout from pgorch.nodes t
            where t.graph_id = s.graph_id and t.id = e.target and t.fast_in limit 1) t on true
        where case when e.target is null then s.ends and r.parent_run_id is null else e.holds and t.function is not null end
    ) x;
    if v_steps is not null then
        perform pgorch._write_plain(p_bucket, p_worker_id, v_steps, v_folds, v_leaves, v_ends, v_watched, p_token, p_now);
    end if;
    return v_steps;
end
$$;
comment on function pgorch._advance_plain is
    'Routes, as a set, the results that need no bookkeeping, and returns those; what `stays` goes straight back to this worker.';
