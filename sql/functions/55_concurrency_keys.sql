-- Concurrency keys. A step with a key waits outside the lanes (held = 'limit') until it is given a place, and keeps that until
-- it ends or is given back, for instance for another attempt. A key is shared by the steps of one node, in all runs and
-- versions of its graph; so many of them as the node's `concurrency` says have a place at once. Of a key with a large number
-- only a few stand in the lane at once, and the next ones line up behind what came meanwhile: whoever has a hundred
-- thousand steps is served in turn with whoever has ten.
--
-- Nobody who enters or ends a step gives places: they note the key and go on. Places are given by whoever looks for steps
-- next, one at a time in each bucket, who waits for no run and no step while doing so. Hence no new order of locks.

create or replace function pgorch._key_window() returns integer
    language sql immutable parallel safe
    as $$ select 100 $$;
comment on function pgorch._key_window() is
    'How many steps of one key stand in the lanes at once. Fewer make shares finer, more give workers with many slots more at a look.';

create or replace function pgorch._limiter(
    p_bucket integer, p_run pgorch.runs, p_graph pgorch.graphs, p_node pgorch.nodes, out limiter text, out problem jsonb)
    language plpgsql stable
    as $$
declare
    v_key pg_catalog.jsonb;
begin
    select r.value, r.problem into v_key, problem from pgorch._rendered(p_bucket, p_run, p_graph, p_node.concurrency_key) r;
    if problem is not null then
        return;
    end if;
    -- Null names nobody: to take it for a key would make all whose key is missing wait for each other.
    if jsonb_typeof(v_key) not in ('string', 'number', 'boolean') or length(v_key #>> '{}') not between 1 and 200 then
        problem := jsonb_build_object('type', 'TemplateError', 'retryable', false, 'message', format(
            'the concurrency key of %s must be a text of 1 to 200 characters, a number or a boolean, and is %s',
            p_node.id, left(v_key::text, 100)));
        return;
    end if;
    limiter := jsonb_build_array(p_graph.name, p_node.id, v_key #>> '{}')::text;
end
$$;
comment on function pgorch._limiter is 'What a step of the node is held under: graph, node and the rendered key, as text; or why its key cannot be made.';

create or replace function pgorch._key_changed(p_bucket integer, p_limiters text[], p_due_at timestamptz) returns void
    language plpgsql
    as $$
begin
    if cardinality(array_remove(p_limiters, null)) > 0 then
        insert into pgorch._key_changes (bucket, limiter, due_at)
        select distinct p_bucket, k.limiter, p_due_at from unnest(p_limiters) k(limiter) where k.limiter is not null;
    end if;
end
$$;
comment on function pgorch._key_changed is
    'To be called by whoever enters, ends or gives back steps with these keys (nulls are passed over): places are given anew from p_due_at on.';

create or replace function pgorch._keys_given_back(
    p_bucket integer, p_limiters text[], p_ready_at timestamptz[], p_now timestamptz) returns void
    language plpgsql
    as $$
begin
    -- Others may have the places now, and the steps themselves when they are due.
    insert into pgorch._key_changes (bucket, limiter, due_at)
    select p_bucket, k.limiter, k.due_at
    from (select t.limiter, p_now as due_at from unnest(p_limiters) t(limiter)
          union select t.limiter, t.ready_at from unnest(p_limiters, p_ready_at) t(limiter, ready_at) where t.ready_at > p_now) k;
end
$$;
comment on function pgorch._keys_given_back is 'Steps with these keys have given up their places, and may have others from these times on.';

create or replace function pgorch._refill(p_bucket integer, p_step_ids bigint[], p_now timestamptz) returns boolean
    language plpgsql
    as $$
begin
    insert into pgorch._key_changes (bucket, limiter, due_at)
    select distinct p_bucket, s.limiter, p_now
    from pgorch.steps s
    cross join lateral (select n.concurrency from pgorch.nodes n where n.graph_id = s.graph_id and n.id = s.node limit 1) n
    cross join lateral (
        select from pgorch.steps w
        where w.bucket = p_bucket and w.limiter = s.limiter and w.held = 'limit' and w.ready_at <= p_now limit 1) w
    where s.bucket = p_bucket and s.id = any ((select p_step_ids)::bigint[]) and n.concurrency > pgorch._key_window();
    return found;
end
$$;
comment on function pgorch._refill is 'Steps have left the lanes: notes those of their keys of which others may line up now. Are there any?';

create or replace function pgorch._admit(p_bucket integer, p_from timestamptz, p_now timestamptz) returns bigint[]
    language plpgsql
    as $$
declare
    v_keys pg_catalog.text[];
    v_open pg_catalog.text[];
    v_free bigint[];
    v_ids bigint[];
begin
    if not pgorch._take_keys(p_bucket) then
        -- Put off, and not only left: where nobody has found anything to do, nobody looks again soon.
        update pgorch._key_changes c set due_at = p_now + interval '0.5 seconds'
        where c.bucket = p_bucket and c.id = any (array(
            select d.id from pgorch._key_changes d
            where d.bucket = p_bucket and d.due_at between p_from and p_now order by d.due_at limit 5000 for update skip locked));
        return null;
    end if;
    with seen as (
        delete from pgorch._key_changes c
        where c.bucket = p_bucket and c.id = any (array(
            select d.id from pgorch._key_changes d
            where d.bucket = p_bucket and d.due_at between p_from and p_now order by d.due_at limit 5000 for update skip locked))
        returning c.limiter)
    select array_agg(distinct s.limiter) into v_keys from seen s;

    select array_agg(f.limiter), array_agg(f.free) into v_open, v_free
    from pgorch._free_places(p_bucket, v_keys, p_now) f where f.free > 0;
    if v_open is null then
        return null;
    end if;
    -- Who is being changed by somebody else (cancelled, say) is passed over: to wait for it could be to wait in a circle.
    select array_agg(c.id) into v_ids
    from unnest((select v_open), (select v_free)) o(limiter, free)
    cross join lateral (
        select s.id from pgorch.steps s
        where s.bucket = p_bucket and s.limiter = o.limiter and s.held = 'limit' and s.ready_at <= p_now
        order by s.priority desc, s.id limit o.free for update skip locked) c;
    -- In the lane they stand behind what came before they were given a place.
    update pgorch.steps s
    set held = null, ready_at = p_now, lane_tool = n.function,
        lane_queue = case when s.deaths = 2 then '!' else '' end || pgorch._lane_queue(n.queue, r.queue)
    from pgorch.runs r, pgorch.nodes n
    where s.bucket = p_bucket and s.id = any ((select v_ids)::bigint[])
      and r.bucket = p_bucket and r.id = s.run_id
      and n.graph_id = s.graph_id and n.id = s.node;
    -- If who was passed over stays as it was, nobody tells.
    insert into pgorch._key_changes (bucket, limiter, due_at)
    select p_bucket, f.limiter, p_now + interval '1 second'
    from pgorch._free_places(p_bucket, v_open, p_now) f where f.free > 0;
    return v_ids;
end
$$;
comment on function pgorch._admit is
    'Gives free places to the steps that wait longest, the most urgent first, for the keys that have changed since p_from; returns those steps, null if none. While somebody else is at it, nothing is given, and the changes are put off.';

create or replace function pgorch._take_keys(p_bucket integer) returns boolean
    language plpgsql
    -- Longer than workers take. Whoever does it in a long transaction of his own keeps no worker from its lease.
    set lock_timeout = '20ms'
    as $$
begin
    perform pgorch._lock_limits(p_bucket, array['keys'], array['']);
    return true;
exception when lock_not_available then
    return false;
end
$$;
comment on function pgorch._take_keys is 'Is the caller the one who gives places in a bucket, until the transaction ends?';

create or replace function pgorch._free_places(p_bucket integer, p_limiters text[], p_now timestamptz)
    returns table (limiter text, free bigint)
    language plpgsql
    as $$
begin
    return query
        select k.limiter, least(n.concurrency - t.taken, pgorch._key_window() - t.in_lane)
        from unnest(p_limiters) k(limiter)
        -- The number is that of the first who waits: versions of a graph may have different ones.
        cross join lateral (
            select s.graph_id, s.node from pgorch.steps s
            where s.bucket = p_bucket and s.limiter = k.limiter and s.held = 'limit' and s.ready_at <= p_now
            order by s.priority desc, s.id limit 1) f
        cross join lateral (
            select n.concurrency from pgorch.nodes n where n.graph_id = f.graph_id and n.id = f.node limit 1) n
        cross join lateral (
            select count(*) as taken, count(*) filter (where s.worker_id is null) as in_lane from pgorch.steps s
            where s.bucket = p_bucket and s.limiter = k.limiter and s.held is null) t;
end
$$;
comment on function pgorch._free_places is
    'How many places are free for each key of which steps wait. Negative if the number was lowered.';
