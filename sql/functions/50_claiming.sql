-- Claiming: which steps a worker gets.
--
-- Whoever looks into lanes forbids sorting: the lanes' index has the order that is asked for. With the vacuum horizon pinned
-- the table is said to be almost empty while its indexes are large, and without this PostgreSQL 18 came to read all of the
-- bucket by its primary key and sort it. Not for all of advance(): elsewhere it would make a walk by id look cheap.

create or replace function pgorch._claim(
    p_bucket integer, p_worker_id uuid, p_queues text[], p_tools text[], p_token uuid, p_want integer, p_from timestamptz,
    p_now timestamptz, out ids bigint[], out oldest timestamptz, out more boolean)
    language plpgsql
    -- Runs under advance()'s settings: no scans, joins by nested loops, no JIT.
    set jit = off set enable_sort = off
    as $$
declare
    v_suspect bigint;
begin
    -- Lanes are (queue, tool), so that steps nobody here can run are never looked at. The arrays stand in subqueries
    -- so that the planner cannot see their length: one plan serves all, and it is made once.
    with picked as materialized (
        select c.id, c.ready_at
        from unnest((select p_queues)) q(queue)
        cross join unnest((select p_tools)) t(tool)
        cross join lateral (
            select s.id, s.priority, s.ready_at from pgorch.steps s
            where s.bucket = p_bucket and s.lane_tool is not null
              and s.lane_queue = q.queue and s.lane_tool = t.tool and s.ready_at between p_from and p_now
            order by s.priority desc, s.ready_at, s.id
            limit (select p_want) for update skip locked) c
        order by c.priority desc, c.ready_at, c.id
        limit (select p_want)
    )
    select array_agg(p.id), min(p.ready_at) into ids, oldest from picked p;

    -- A step in whose hands two workers have died is run one at a time in a process, so that the next death
    -- shows who kills; in its lane it waits under '!' and its queue's name.
    if not exists (
        select from pgorch.steps s where s.bucket = p_bucket and s.worker_id = p_worker_id and s.deaths >= 2
    ) then
        select c.id into v_suspect
        from unnest((select p_queues)) q(queue)
        cross join unnest((select p_tools)) t(tool)
        cross join lateral (
            select s.id, s.ready_at from pgorch.steps s
            where s.bucket = p_bucket and s.lane_tool is not null
              and s.lane_queue = '!' || q.queue and s.lane_tool = t.tool and s.ready_at <= p_now
            order by s.priority desc, s.ready_at, s.id limit 1 for update skip locked) c
        limit 1;
        if v_suspect is not null then
            ids := ids[1:p_want - 1] || v_suspect;
        end if;
    end if;

    -- The lane '' holds what three workers have died of: any worker hands it in as failed.
    if coalesce(cardinality(ids), 0) < p_want then
        ids := ids || array(
            select s.id from pgorch.steps s
            where s.bucket = p_bucket and s.lane_tool is not null and s.lane_queue = '' and s.lane_tool = ''
            order by s.priority desc, s.ready_at, s.id limit 1 for update skip locked);
    end if;

    if cardinality(ids) > 0 then
        more := pgorch._lease_to(p_bucket, p_worker_id, p_token, ids, p_now);
    end if;
end
$$;
comment on function pgorch._claim is
    'Leases up to p_want steps to the worker, of those that became claimable at p_from or later, and tells when the oldest of them did.';

create or replace function pgorch._most_urgent(
    p_bucket integer, p_queues text[], p_tools text[], p_from timestamptz, p_now timestamptz) returns integer
    language plpgsql
    set jit = off set enable_sort = off
    as $$
begin
    return (
        select max(c.priority)
        from unnest((select p_queues)) q(queue)
        cross join unnest((select p_tools)) t(tool)
        cross join lateral (
            select s.priority from pgorch.steps s
            where s.bucket = p_bucket and s.lane_tool is not null
              and s.lane_queue = q.queue and s.lane_tool = t.tool and s.ready_at between p_from and p_now
            order by s.priority desc, s.ready_at, s.id limit 1) c);
end
$$;
comment on function pgorch._most_urgent is 'The highest priority of what waits in these lanes since p_from; null if nothing does.';

create or replace function pgorch._lease_to(
    p_bucket integer, p_worker_id uuid, p_token uuid, p_ids bigint[], p_now timestamptz,
    p_queue_limits text[] default null, p_tool_limits text[] default null) returns boolean
    language plpgsql
    as $$
declare
    v_open bigint[];
begin
    if p_queue_limits is null then
        with leased as (
            update pgorch.steps s
            set lane_queue = null, lane_tool = null, worker_id = p_worker_id, lease_token = p_token,
                attempt = s.attempt + 1, started_at = p_now
            where s.bucket = p_bucket and s.id = any ((select p_ids)::bigint[])
            returning s.id, s.limiter)
        select array_agg(l.id) into v_open from leased l where l.limiter is not null;
    else
        with leased as (
            update pgorch.steps s
            set lane_queue = null, lane_tool = null, worker_id = p_worker_id, lease_token = p_token,
                attempt = s.attempt + 1, started_at = p_now, queue_limit = t.queue_limit, tool_limit = t.tool_limit
            from unnest((select p_ids), (select p_queue_limits), (select p_tool_limits)) t(id, queue_limit, tool_limit)
            where s.bucket = p_bucket and s.id = t.id
            returning s.id, s.limiter)
        select array_agg(l.id) into v_open from leased l where l.limiter is not null;
    end if;
    return v_open is not null and pgorch._refill(p_bucket, v_open, p_now);
end
$$;
comment on function pgorch._lease_to is
    'Leases steps to a worker, with limits: which of them count each step. Are there more to come, of keys that only share their lane?';

-- With the vacuum horizon pinned, the index of claimable steps keeps an entry of each step that was ever claimed, and they
-- all lie before the live ones. So a worker looks only behind what it has seen to be empty. That place is handed from call
-- to call as a cursor, which is the worker's own: in a row it would leave a dead version at each call. It holds
-- {place, time of the last full look, when the next may be made, from where less urgent ones may have been left behind,
-- when the worker last fell asleep}. A transaction that commits late can leave a step behind the place. So there is a
-- margin, a wider one four times a second, and a full look each second and whenever the worker falls asleep; of these only
-- as many as take a two-hundredth of the time.
create or replace function pgorch._look_from(p_cursor timestamptz[], p_asleep boolean, p_now timestamptz) returns timestamptz
    language sql immutable parallel safe
    as $$
    select case when p_cursor is null or p_cursor[2] > p_now
                  or (coalesce(p_cursor[3], p_now) <= p_now and (p_asleep or p_cursor[2] < p_now - interval '1 second'))
                then '-infinity'
                when p_cursor[1] < p_now - interval '0.5 seconds' then p_cursor[1] - interval '2 seconds'
                else p_cursor[1] end
    $$;

create or replace function pgorch._next_full_look(p_now timestamptz, p_began timestamptz) returns timestamptz
    language sql volatile parallel safe
    as $$ select p_now + least(200 * (clock_timestamp() - p_began), interval '1 minute') $$;
comment on function pgorch._next_full_look is 'When lanes may be looked through from their beginning again, after a look that began at p_began.';

create or replace function pgorch._look(
    p_bucket integer, p_worker_id uuid, p_queues text[], p_tools text[], p_free_queues text[], p_free_tools text[], p_token uuid,
    p_want integer, p_cursor timestamptz[], p_from timestamptz, p_now timestamptz,
    out ids bigint[], out cursor timestamptz[], out delay double precision)
    language plpgsql
    as $$
declare
    v_margin constant interval := '0.25 seconds';
    v_admitted bigint[];
    v_limits pg_catalog.record;
    v_limited boolean := false;
    v_claimed pg_catalog.record;
    v_more boolean := false;
    v_later boolean := false;
    v_again pg_catalog.timestamptz := p_from;
    v_left pg_catalog.timestamptz := coalesce(p_cursor[4], 'infinity');
    v_began pg_catalog.timestamptz;
    v_place pg_catalog.timestamptz;
begin
    ids := '{}';
    if exists (select from pgorch._key_changes c where c.bucket = p_bucket and c.due_at between p_from and p_now) then
        v_admitted := pgorch._admit(p_bucket, p_from, p_now);
        v_later := v_admitted is null and exists (
            select from pgorch._key_changes c where c.bucket = p_bucket and c.due_at between p_now and p_now + interval '0.5 seconds');
    end if;
    if p_free_queues is distinct from p_queues or p_free_tools is distinct from p_tools then
        select l.kinds, l.names into v_limits from pgorch._limits_in_use(p_bucket, p_queues, p_tools, p_now) l;
        v_limited := v_limits.kinds is not null;
    end if;
    if v_limited then
        -- What limits leave behind lies before any cursor, so the lanes are looked at from their beginning.
        select c.* into v_claimed
        from pgorch._claim_within(p_bucket, p_worker_id, p_queues, p_tools, p_free_queues, p_free_tools,
                                  v_limits.kinds, v_limits.names, p_token, p_want, p_now) c;
        ids := v_claimed.ids;
        v_more := v_claimed.more;
        delay := v_claimed.delay;
    else
        if p_from > '-infinity' then
            select c.* into v_claimed
            from pgorch._claim(p_bucket, p_worker_id, p_free_queues, p_free_tools, p_token, p_want, p_from, p_now) c;
            ids := coalesce(v_claimed.ids, '{}');
            v_more := v_claimed.more is true;
            -- What is less urgent than what was claimed may be older; it is looked for once there is nothing newer.
            v_again := case when cardinality(ids) < p_want then v_left else 'infinity' end;
            v_left := case when cardinality(ids) < p_want then 'infinity' else least(v_left, p_from) end;
        end if;
        if v_again < 'infinity' then
            v_began := clock_timestamp();
            select c.* into v_claimed
            from pgorch._claim(p_bucket, p_worker_id, p_free_queues, p_free_tools, p_token, p_want - cardinality(ids), v_again, p_now) c;
            ids := ids || coalesce(v_claimed.ids, '{}');
            v_more := v_more or v_claimed.more is true;
            v_left := case when cardinality(ids) < p_want then 'infinity' else v_again end;
        end if;
        v_place := case when cardinality(ids) < p_want then p_now else least(v_claimed.oldest, p_now) end - v_margin;
        if v_again = '-infinity' then
            cursor := array[v_place, p_now, pgorch._next_full_look(p_now, v_began), v_left, p_cursor[5]];
        elsif p_from < p_cursor[1] or v_left <> p_cursor[4] then
            cursor := array[greatest(v_place, p_from), p_cursor[2], p_cursor[3], v_left, p_cursor[5]];
        end if;
    end if;
    if v_more and cardinality(ids) < p_want then
        delay := 0;
    elsif v_later and cardinality(ids) < p_want then
        -- Somebody else gives places, and may not have seen what changed last.
        delay := least(delay, 0.5);
    end if;
    if not v_admitted <@ ids then
        perform pgorch._wake_workers(p_bucket);
    end if;
end
$$;
comment on function pgorch._look is
    'Claims up to p_want steps, at first from p_from on; cursor: from where to look the next time, null if as before; delay: seconds after which there will be more that a limit or a key keeps back now. p_free_queues and p_free_tools are those without limit.';
