-- Claiming: which steps a worker gets.

create or replace function pgorch._claim(
    p_bucket integer, p_worker_id uuid, p_queues text[], p_tools text[], p_token uuid, p_want integer, p_now timestamptz) returns bigint[]
    language plpgsql
    -- Runs under advance()'s settings: no scans, joins by nested loops, no JIT.
    as $$
declare
    v_ids bigint[];
    v_suspect bigint;
begin
    -- Lanes are (queue, tool), so that steps nobody here can run are never looked at. The arrays stand in subqueries
    -- so that the planner cannot see their length: one plan serves all, and it is made once.
    with picked as materialized (
        select c.id
        from unnest((select p_queues)) q(queue)
        cross join unnest((select p_tools)) t(tool)
        cross join lateral (
            select s.id, s.priority, s.ready_at from pgorch.steps s
            where s.bucket = p_bucket and s.lane_tool is not null
              and s.lane_queue = q.queue and s.lane_tool = t.tool and s.ready_at <= p_now
            order by s.priority desc, s.ready_at, s.id
            limit (select p_want) for update skip locked) c
        order by c.priority desc, c.ready_at, c.id
        limit (select p_want)
    )
    select array_agg(p.id) into v_ids from picked p;

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
            v_ids := v_ids[1:p_want - 1] || v_suspect;
        end if;
    end if;

    -- The lane '' holds what three workers have died of: any worker hands it in as failed.
    if coalesce(cardinality(v_ids), 0) < p_want then
        v_ids := v_ids || array(
            select s.id from pgorch.steps s
            where s.bucket = p_bucket and s.lane_tool is not null and s.lane_queue = '' and s.lane_tool = ''
            order by s.priority desc, s.ready_at, s.id limit 1 for update skip locked);
    end if;

    if cardinality(v_ids) > 0 then
        update pgorch.steps s
        set lane_queue = null, lane_tool = null, worker_id = p_worker_id, lease_token = p_token,
            attempt = s.attempt + 1, started_at = p_now
        where s.bucket = p_bucket and s.id = any ((select v_ids)::bigint[]);
    end if;
    return v_ids;
end
$$;
