-- Claiming: which steps a worker gets.

create or replace function pgorch._claim(
    p_bucket integer, p_worker_id uuid, p_queues text[], p_tools text[], p_token uuid, p_want integer, p_from timestamptz,
    p_now timestamptz, out ids bigint[], out oldest timestamptz)
    language plpgsql
    -- Runs under advance()'s settings: no scans, joins by nested loops, no JIT.
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
        update pgorch.steps s
        set lane_queue = null, lane_tool = null, worker_id = p_worker_id, lease_token = p_token,
            attempt = s.attempt + 1, started_at = p_now
        where s.bucket = p_bucket and s.id = any ((select ids)::bigint[]);
    end if;
end
$$;
comment on function pgorch._claim is
    'Leases up to p_want steps to the worker, of those that became claimable at p_from or later, and tells when the oldest of them did.';

-- With the vacuum horizon pinned, the index of claimable steps keeps an entry of each step that was ever claimed, and they
-- all lie before the live ones. So a worker looks only behind what it has seen to be empty. That place is handed from call
-- to call as a cursor {place, time of the last full look}, which is the worker's own: in a row it would leave a dead
-- version at each call. A transaction that commits late can leave a step behind the place: hence a margin, a full look each
-- second, and one whenever the worker falls asleep.
create or replace function pgorch._look_from(p_cursor timestamptz[], p_asleep boolean, p_now timestamptz) returns timestamptz
    language sql immutable parallel safe
    as $$
    select case when p_asleep or p_cursor is null or p_cursor[2] not between p_now - interval '1 second' and p_now
                then '-infinity' else p_cursor[1] end
    $$;

create or replace function pgorch._look(
    p_bucket integer, p_worker_id uuid, p_queues text[], p_tools text[], p_token uuid, p_want integer, p_cursor timestamptz[],
    p_from timestamptz, p_now timestamptz, out ids bigint[], out cursor timestamptz[])
    language plpgsql
    as $$
declare
    v_margin constant interval := '2 seconds';
    v_claimed record;
begin
    ids := '{}';
    if p_from > '-infinity' then
        select c.* into v_claimed
        from pgorch._claim(p_bucket, p_worker_id, p_queues, p_tools, p_token, p_want, p_from, p_now) c;
        ids := coalesce(v_claimed.ids, '{}');
        -- The last full look left nothing behind, or enough was found without looking there.
        if p_cursor[1] >= p_cursor[2] - v_margin or cardinality(ids) >= p_want then
            return;
        end if;
    end if;
    select c.* into v_claimed
    from pgorch._claim(p_bucket, p_worker_id, p_queues, p_tools, p_token, p_want - cardinality(ids), '-infinity', p_now) c;
    ids := ids || coalesce(v_claimed.ids, '{}');
    cursor := array[case when cardinality(ids) < p_want then p_now else least(v_claimed.oldest, p_now) end - v_margin, p_now];
end
$$;
comment on function pgorch._look is 'Claims up to p_want steps, at first from p_from on; cursor: from where to look the next time, null if as before.';
