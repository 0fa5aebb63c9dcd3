-- Limits of queues and tools: set by people, kept when steps are claimed. Under a limit nothing goes straight to a worker:
-- each attempt is claimed, and whoever claims holds the limit's row in _limit_state until the transaction ends, so
-- that the limit holds however many workers there are. It holds in each bucket; on one server one bucket is in use.

create or replace function pgorch._without_limit(p_kind text, p_names text[]) returns text[]
    language plpgsql stable
    as $$
begin
    return array(
        select n.name from unnest(p_names) with ordinality n(name, ord)
        where not exists (select from pgorch.limits l where l.kind = p_kind and l.name = n.name)
        order by n.ord);
end
$$;

create or replace function pgorch._limits_in_use(
    p_bucket integer, p_queues text[], p_tools text[], p_now timestamptz, out kinds text[], out names text[])
    language plpgsql
    set jit = off set enable_sort = off
    as $$
begin
    -- Only those under which something waits: to lock the others' rows would make workers wait for nothing.
    select array_agg(l.kind order by l.kind, l.name), array_agg(l.name order by l.kind, l.name) into kinds, names
    from pgorch.limits l
    where exists (
        select from unnest(p_queues) q(queue)
        cross join unnest(p_tools) t(tool)
        cross join lateral (values (q.queue), ('!' || q.queue)) w(lane)
        cross join lateral (
            select from pgorch.steps s
            where s.bucket = p_bucket and s.lane_tool is not null and s.lane_queue = w.lane and s.lane_tool = t.tool
              and s.ready_at <= p_now order by s.priority desc, s.ready_at, s.id limit 1) s
        where case l.kind when 'queue' then q.queue else t.tool end = l.name);
end
$$;
comment on function pgorch._limits_in_use is 'The limits under which steps wait that this worker could take; null if none.';

create or replace function pgorch._lock_limits(p_bucket integer, p_kinds text[], p_names text[]) returns void
    language plpgsql
    as $$
declare
    v_there integer;
begin
    select count(*) into v_there
    from (select from unnest(p_kinds, p_names) t(kind, name)
          join pgorch._limit_state s on s.bucket = p_bucket and s.kind = t.kind and s.name = t.name
          order by s.kind, s.name for update of s) l;
    if v_there < cardinality(p_kinds) then
        insert into pgorch._limit_state (bucket, kind, name)
        select p_bucket, t.kind, t.name from unnest(p_kinds, p_names) t(kind, name) order by t.kind, t.name
        on conflict do nothing;
        perform pgorch._lock_limits(p_bucket, p_kinds, p_names);
    end if;
end
$$;
comment on function pgorch._lock_limits is 'Locks the limits in this bucket until the transaction ends, in the order of kind and name.';

create or replace function pgorch._left_of_rate(
    p_next_at timestamptz, p_seconds double precision, p_burst integer, p_now timestamptz, out tokens integer, out delay double precision)
    language plpgsql immutable
    as $$
declare
    -- How far ahead the rate is used, in attempts.
    v_ahead constant double precision := case when p_next_at > p_now then extract(epoch from p_next_at - p_now)::double precision / p_seconds else 0 end;
begin
    -- Half a step of leeway makes up for workers that look a little late, or the rate would never quite be reached.
    tokens := floor(greatest(p_burst + 0.5 - v_ahead, 0));
    if tokens < 1 then
        delay := (v_ahead - p_burst + 0.5) * p_seconds;
    end if;
end
$$;
comment on function pgorch._left_of_rate is
    'How many attempts may begin now under a rate of one each p_seconds; if none, after how many seconds the next one may.';

create or replace function pgorch._left_of_limits(
    p_bucket integer, p_kinds text[], p_names text[], p_now timestamptz, out tokens integer[], out delay double precision)
    language plpgsql
    as $$
begin
    select array_agg(greatest(x.free, 0)::integer order by x.ord), greatest(min(x.delay), case when min(x.delay) < 0.05 then 0.05 end) into tokens, delay
    from (
        select t.ord, r.delay,
               least(l.concurrency - case l.kind
                   when 'queue' then (select count(*) from pgorch.steps s where s.bucket = p_bucket and s.queue_limit = l.name)
                   else (select count(*) from pgorch.steps s where s.bucket = p_bucket and s.tool_limit = l.name) end,
                   r.tokens) as free
        from unnest(p_kinds, p_names) with ordinality t(kind, name, ord)
        -- One that was dropped meanwhile lets nothing through now, and does not stand in the way of the next look.
        left join pgorch.limits l on l.kind = t.kind and l.name = t.name
        left join lateral (
            select s.next_at from pgorch._limit_state s
            where s.bucket = p_bucket and s.kind = t.kind and s.name = t.name and l.rate is not null) s on true
        left join lateral pgorch._left_of_rate(
            s.next_at, extract(epoch from l.per)::double precision / l.rate, l.burst, p_now) r on s.next_at is not null) x;
end
$$;
comment on function pgorch._left_of_limits is
    'How many steps may begin now under each of the limits, whose rows are locked; and if a rate lets none begin, after how many seconds it does.';

create or replace function pgorch._claim_within(
    p_bucket integer, p_worker_id uuid, p_queues text[], p_tools text[], p_free_queues text[], p_free_tools text[],
    p_kinds text[], p_names text[], p_token uuid, p_want integer, p_now timestamptz,
    out ids bigint[], out more boolean, out delay double precision)
    language plpgsql
    -- Runs under advance()'s settings: no scans, joins by nested loops, no JIT.
    set jit = off set enable_sort = off
    as $$
declare
    v_tokens integer[];
    v_queue_left integer[];
    v_tool_left integer[];
    v_queue_limits pg_catalog.text[] := '{}';
    v_tool_limits pg_catalog.text[] := '{}';
    v_suspect pg_catalog.record;
    v_picked pg_catalog.record;
begin
    ids := '{}';
    perform pgorch._lock_limits(p_bucket, p_kinds, p_names);
    perform pgorch._cap_rates(p_bucket, p_kinds, p_names, p_now);
    -- The rows are locked: what others have begun under these limits is committed and counted.
    select l.tokens into v_tokens from pgorch._left_of_limits(p_bucket, p_kinds, p_names, p_now) l;
    v_queue_left := pgorch._left_by_name('queue', p_queues, p_free_queues, p_kinds, p_names, v_tokens, p_want);
    v_tool_left := pgorch._left_by_name('tool', p_tools, p_free_tools, p_kinds, p_names, v_tokens, p_want);

    -- As in _claim(): one suspect at a time.
    if not exists (
        select from pgorch.steps s where s.bucket = p_bucket and s.worker_id = p_worker_id and s.deaths >= 2
    ) then
        select c.id, q.ord as queue, t.ord as tool into v_suspect
        from unnest(p_queues, v_queue_left) with ordinality q(name, free, ord)
        cross join unnest(p_tools, v_tool_left) with ordinality t(name, free, ord)
        cross join lateral (
            select s.id from pgorch.steps s
            where s.bucket = p_bucket and s.lane_tool is not null
              and s.lane_queue = '!' || q.name and s.lane_tool = t.name and s.ready_at <= p_now
            order by s.priority desc, s.ready_at, s.id limit least(q.free, t.free, 1) for update skip locked) c
        limit 1;
        if found then
            ids := array[v_suspect.id];
            v_queue_limits := array[p_queues[v_suspect.queue]];
            v_tool_limits := array[p_tools[v_suspect.tool]];
            v_queue_left[v_suspect.queue] := v_queue_left[v_suspect.queue] - 1;
            v_tool_left[v_suspect.tool] := v_tool_left[v_suspect.tool] - 1;
        end if;
    end if;

    with seen as materialized (
        select c.id, c.priority, c.ready_at, q.name as queue, q.free as queue_left, t.name as tool, t.free as tool_left
        from unnest(p_queues, v_queue_left) q(name, free)
        cross join unnest(p_tools, v_tool_left) t(name, free)
        cross join lateral (
            select s.id, s.priority, s.ready_at from pgorch.steps s
            where s.bucket = p_bucket and s.lane_tool is not null
              and s.lane_queue = q.name and s.lane_tool = t.name and s.ready_at <= p_now
            order by s.priority desc, s.ready_at, s.id limit least(q.free, t.free) for update skip locked) c
    ), by_tool as (
        select s.*, row_number() over (partition by s.tool order by s.priority desc, s.ready_at, s.id) as nth from seen s
    ), by_queue as (
        select t.id, t.priority, t.ready_at, t.queue, t.tool, t.queue_left,
               row_number() over (partition by t.queue order by t.priority desc, t.ready_at, t.id) as nth
        from by_tool t where t.nth <= t.tool_left
    ), picked as (
        select q.* from by_queue q where q.nth <= q.queue_left
        order by q.priority desc, q.ready_at, q.id limit p_want - cardinality(ids)
    )
    select array_agg(p.id) as ids, array_agg(p.queue) as queues, array_agg(p.tool) as tools into v_picked from picked p;
    ids := ids || coalesce(v_picked.ids, '{}');
    v_queue_limits := v_queue_limits || coalesce(v_picked.queues, '{}');
    v_tool_limits := v_tool_limits || coalesce(v_picked.tools, '{}');

    v_queue_limits := array(select case when q.name <> all (p_free_queues) then q.name end from unnest(v_queue_limits) with ordinality q(name, ord) order by q.ord);
    v_tool_limits := array(select case when t.name <> all (p_free_tools) then t.name end from unnest(v_tool_limits) with ordinality t(name, ord) order by t.ord);
    perform pgorch._spend(p_bucket, v_queue_limits, v_tool_limits, p_now);

    -- What three workers have died of is only handed in as failed: no limit counts it.
    if cardinality(ids) < p_want then
        ids := ids || array(
            select s.id from pgorch.steps s
            where s.bucket = p_bucket and s.lane_tool is not null and s.lane_queue = '' and s.lane_tool = ''
            order by s.priority desc, s.ready_at, s.id limit 1 for update skip locked);
    end if;
    if cardinality(ids) > 0 then
        more := pgorch._lease_to(p_bucket, p_worker_id, p_token, ids, p_now, v_queue_limits, v_tool_limits);
    end if;
    if cardinality(ids) < p_want then
        select l.delay into delay from pgorch._left_of_limits(p_bucket, p_kinds, p_names, p_now) l;
    end if;
end
$$;
comment on function pgorch._claim_within is
    'Like _claim(), but no more than these limits allow; delay: seconds after which a rate allows more, null if nothing waits for one.';

create or replace function pgorch._cap_rates(p_bucket integer, p_kinds text[], p_names text[], p_now timestamptz) returns void
    language plpgsql
    as $$
begin
    -- Who waited for the locked row has an older time, hence the margin.
    update pgorch._limit_state s set next_at = p_now + (l.burst + 0.5) * l.per / l.rate
    from unnest(p_kinds, p_names) t(kind, name)
    join pgorch.limits l on l.kind = t.kind and l.name = t.name and l.rate is not null
    where s.bucket = p_bucket and s.kind = l.kind and s.name = l.name
      and s.next_at > p_now + (l.burst + 0.5) * l.per / l.rate + interval '10 seconds';
end
$$;
comment on function pgorch._cap_rates is
    'No more than a burst can have been spent ahead of now: what says so was written before the clock was set back, and would let nothing begin for as long.';

create or replace function pgorch._left_by_name(
    p_kind text, p_all text[], p_free text[], p_kinds text[], p_names text[], p_tokens integer[], p_want integer) returns integer[]
    language plpgsql immutable
    as $$
begin
    -- A limit whose row is not locked lets nothing through: nothing waited under it a moment ago.
    return array(
        select case when a.name = any (p_free) then p_want else least(coalesce(t.tokens, 0), p_want) end
        from unnest(p_all) with ordinality a(name, ord)
        left join unnest(p_kinds, p_names, p_tokens) t(kind, name, tokens) on t.kind = p_kind and t.name = a.name
        order by a.ord);
end
$$;

create or replace function pgorch._spend(p_bucket integer, p_queue_limits text[], p_tool_limits text[], p_now timestamptz) returns void
    language plpgsql
    as $$
begin
    update pgorch._limit_state s
    set next_at = greatest(s.next_at, p_now) + t.taken * l.per / l.rate
    from (
        select n.kind, n.name, count(*) as taken
        from (select 'queue' as kind, q.name from unnest(p_queue_limits) q(name)
              union all select 'tool', t.name from unnest(p_tool_limits) t(name)) n
        group by n.kind, n.name) t
    join pgorch.limits l on l.kind = t.kind and l.name = t.name and l.rate is not null
    where s.bucket = p_bucket and s.kind = l.kind and s.name = l.name;
end
$$;
comment on function pgorch._spend is 'Notes under rates what begins now.';

create or replace function pgorch.set_limit(
    p_kind text, p_name text, p_concurrency integer default null, p_rate integer default null, p_per interval default null,
    p_burst integer default null, p_actor text default null) returns pgorch.limits
    language plpgsql
    set jit = off set enable_seqscan = off
    as $$
declare
    v_actor constant pg_catalog.text := pgorch._actor(p_actor);
    v_now constant pg_catalog.timestamptz := pgorch.clock_now();
    v_seconds constant double precision := extract(epoch from p_per);
    v_before pgorch.limits;
    v_limit pgorch.limits;
begin
    perform pgorch._check_limit_name(p_kind, p_name);
    if p_concurrency is null and p_rate is null then
        perform pgorch._raise('OR006', format('the limit of %s %s limits nothing', p_kind, p_name),
            'Give a concurrency, a rate, or both; drop_limit() takes a limit away.');
    elsif p_concurrency not between 0 and 1000000 then
        perform pgorch._raise('OR006', format('a concurrency of %s is outside 0 to 1,000,000', p_concurrency), 'With 0 nothing is begun.');
    elsif (p_rate is null) <> (p_per is null) or (p_rate is null and p_burst is not null) then
        perform pgorch._raise('OR006', 'a rate is so many attempts in a time, with a burst or without: one of them is missing',
            'Give p_rate and p_per, for instance 100 and ''1 minute'', or leave both out.');
    elsif p_rate not between 1 and 1000000 then
        perform pgorch._raise('OR006', format('a rate of %s is outside 1 to 1,000,000', p_rate), 'To let nothing begin, set a concurrency of 0.');
    elsif v_seconds not between 0.001 and 31622400 then
        perform pgorch._raise('OR006', format('the time of a rate is between a millisecond and 366 days, not %s', p_per), 'Say for instance ''1 minute''.');
    elsif p_burst not between 1 and 1000000 then
        perform pgorch._raise('OR006', format('a burst of %s is outside 1 to 1,000,000', p_burst), 'With 1 the attempts are spread evenly.');
    end if;
    select l.* into v_before from pgorch.limits l where l.kind = p_kind and l.name = p_name for update;
    insert into pgorch.limits as l (kind, name, concurrency, rate, per, burst, set_at, set_by)
    values (p_kind, p_name, p_concurrency, p_rate, make_interval(secs => v_seconds),
            -- Workers look every few hundredths of a second: what comes in between must not be lost.
            case when p_rate is not null then coalesce(p_burst, greatest(ceil(p_rate * 0.1 / v_seconds), 1)::integer) end,
            v_now, v_actor)
    on conflict (kind, name) do update
    set concurrency = excluded.concurrency, rate = excluded.rate, per = excluded.per, burst = excluded.burst,
        set_at = excluded.set_at, set_by = excluded.set_by
    returning l.* into v_limit;
    for v_bucket in 0 .. pgorch.bucket_count() - 1 loop
        if v_before.kind is null then
            perform pgorch._count_in(v_bucket, p_kind, p_name);
        end if;
        -- A rate that was raised holds at once: what the lower one has spent counts no more than a burst of the new one.
        update pgorch._limit_state s set next_at = v_now + (v_limit.burst + 0.5) * v_limit.per / v_limit.rate
        where s.bucket = v_bucket and s.kind = p_kind and s.name = p_name
          and s.next_at > v_now + (v_limit.burst + 0.5) * v_limit.per / v_limit.rate;
        perform pgorch._wake_workers(v_bucket);
    end loop;
    perform pgorch._audit(0, v_actor, 'set_limit', null, p_before => case when v_before.kind is not null then to_jsonb(v_before) end,
        p_after => to_jsonb(v_limit));
    return v_limit;
end
$$;
comment on function pgorch.set_limit is
    'Limits a queue or tool, from the next claim on: p_concurrency steps under way at once, p_rate attempts begun in each p_per. What is left out has no limit. p_burst of them may begin at once after a pause, so that in no time of p_per more than p_rate + p_burst begin; by default as many as fall on a tenth of a second, at least 1.';

create or replace function pgorch._check_limit_name(p_kind text, p_name text) returns void
    language plpgsql stable
    as $$
begin
    if p_kind is null or p_kind not in ('queue', 'tool') then
        perform pgorch._raise('OR006', format('%s has no limits', coalesce(quote_literal(p_kind), 'null')), 'Say queue or tool.');
    elsif p_name is null or length(p_name) not between 1 and 200 or (p_kind = 'queue' and p_name like '!%') then
        perform pgorch._raise('OR006', format('%s is no name of a %s', coalesce(quote_literal(left(p_name, 220)), 'null'), p_kind),
            'Give the name that nodes and workers use.');
    elsif p_kind = 'tool' and p_name not like 'pgorch.%' and not exists (select from pgorch.tools t where t.name = p_name) then
        -- A limit of a name that nothing has would keep nobody back, in silence.
        perform pgorch._raise('OR003', format('there is no tool %s', pgorch._quoted(p_name)),
            'Tools are registered by workers when they start: see the view pgorch.tool_list.');
    end if;
end
$$;

create or replace function pgorch._count_in(p_bucket integer, p_kind text, p_name text) returns void
    language plpgsql
    as $$
declare
    v_ids bigint[];
begin
    -- What is under way counts from now on. Who is just being claimed or handed in is not waited for.
    select array_agg(t.id) into v_ids
    from (select s.id
          from pgorch.steps s
          join pgorch.runs r on r.bucket = p_bucket and r.id = s.run_id
          join pgorch.nodes n on n.graph_id = s.graph_id and n.id = s.node
          where s.bucket = p_bucket and s.worker_id is not null
            and case p_kind when 'queue' then pgorch._lane_queue(n.queue, r.queue)
                            else case s.kind when 'undo' then n.compensate else n.function end end = p_name
          order by s.id for update of s skip locked) t;
    if p_kind = 'queue' then
        update pgorch.steps s set queue_limit = p_name where s.bucket = p_bucket and s.id = any ((select v_ids)::bigint[]);
    else
        update pgorch.steps s set tool_limit = p_name where s.bucket = p_bucket and s.id = any ((select v_ids)::bigint[]);
    end if;
end
$$;
comment on function pgorch._count_in is 'Lets a new limit count the steps that are under way already.';

create or replace function pgorch.drop_limit(p_kind text, p_name text, p_actor text default null) returns void
    language plpgsql
    set jit = off set enable_seqscan = off
    as $$
declare
    v_actor constant pg_catalog.text := pgorch._actor(p_actor);
    v_limit pgorch.limits;
begin
    delete from pgorch.limits l where l.kind = p_kind and l.name = p_name returning l.* into v_limit;
    if not found then
        perform pgorch._raise('OR003', format('there is no limit of %s %s', coalesce(p_kind, 'null'), coalesce(pgorch._quoted(p_name), 'null')),
            'See the view pgorch.limit_list for those there are.');
    end if;
    for v_bucket in 0 .. pgorch.bucket_count() - 1 loop
        perform pgorch._wake_workers(v_bucket);
    end loop;
    perform pgorch._audit(0, v_actor, 'drop_limit', null, p_before => to_jsonb(v_limit));
end
$$;
comment on function pgorch.drop_limit is 'Takes a limit away, from the next claim on.';
