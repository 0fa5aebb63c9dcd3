-- Deliveries: what is on its way to hooks. Written together with the events, claimed by workers, tried for a day.

create or replace function pgorch._queue_hook(
    p_bucket integer, p_run_id uuid, p_graph_id uuid, p_seq integer, p_kind pgorch.event_kind, p_now timestamptz,
    p_hook_id uuid, p_graph text) returns void
    language plpgsql
    as $$
declare
    v_id constant pg_catalog.uuid := pgorch.new_run_id(p_bucket);
begin
    if p_graph is not null and not exists (select from pgorch.graphs g where g.id = p_graph_id and g.name = p_graph) then
        return;
    end if;
    insert into pgorch.hook_deliveries (bucket, id, hook_id, kind, run_id, seq, created_at, status, next_at)
    values (p_bucket, v_id, p_hook_id, p_kind, p_run_id, p_seq, p_now, 'pending', p_now);
end
$$;
comment on function pgorch._queue_hook is
    'An event is to be delivered to a hook that wants its kind, if its run is of the hook''s graph. Called by whoever writes history.';

create or replace function pgorch._queue_completed(p_bucket integer, p_run_ids uuid[], p_seqs integer[], p_now timestamptz) returns void
    language plpgsql
    -- Beyond what _write_plain() sets: there the rows are reached by their places.
    set jit = off set enable_indexscan = on set enable_seqscan = off
    as $$
declare
    v_graph_ids pg_catalog.uuid[];
begin
    select array_agg(r.graph_id order by t.ord) into v_graph_ids
    from unnest(p_run_ids) with ordinality t(run_id, ord)
    join pgorch.runs r on r.bucket = p_bucket and r.id = t.run_id;
    perform pgorch._queue_hook(p_bucket, t.run_id, t.graph_id, t.seq, 'run_completed', p_now, h.id, h.graph)
    from unnest(p_run_ids, v_graph_ids, p_seqs) t(run_id, graph_id, seq)
    cross join pgorch.hooks h where 'run_completed' = any (h.kinds);
end
$$;
comment on function pgorch._queue_completed is 'Like _queue_hook(), for the runs that the plain path has completed.';

create or replace function pgorch._hook_body(p_bucket integer, p_delivery pgorch.hook_deliveries, p_hook pgorch.hooks) returns text
    language plpgsql
    -- Whoever makes it, it is the same text.
    set timezone = 'UTC'
    as $$
declare
    v_data pg_catalog.jsonb;
    v_event pg_catalog.jsonb;
    v_body pg_catalog.jsonb;
begin
    if p_delivery.kind = 'test' then
        v_data := jsonb_build_object('hook', p_hook.name);
    else
        select jsonb_build_object('run_id', r.id, 'graph_id', r.graph_id, 'graph', g.name, 'version', g.version)
            || case when p_delivery.kind = 'run_completed'
                    then jsonb_build_object('output', coalesce(r.output, pgorch._state(r.input, r.snapshot, r.delta))) else '{}' end
        into v_data
        from pgorch.runs r join pgorch.graphs g on g.id = r.graph_id
        where r.bucket = p_bucket and r.id = p_delivery.run_id;
        select pgorch._event(h) - 'worker_id' into v_event
        from pgorch.history h where h.bucket = p_bucket and h.run_id = p_delivery.run_id and h.seq = p_delivery.seq;
        -- Retention may have taken the run meanwhile.
        v_data := coalesce(v_data, '{}') || coalesce(v_event, '{}')
            || jsonb_build_object('run_id', p_delivery.run_id, 'seq', p_delivery.seq, 'kind', p_delivery.kind);
    end if;
    v_body := jsonb_build_object('type', p_delivery.kind, 'timestamp', p_delivery.created_at, 'data', v_data);
    if length(v_body::text) > 65536 then
        v_data := v_data - 'output' - 'error' || '{"left_out": ["output", "error"]}';
        v_body := v_body || jsonb_build_object('data', v_data);
    end if;
    return v_body::text;
end
$$;
comment on function pgorch._hook_body is 'What is sent. Receivers are to be able to take it, so large values are left out: the API has them.';

create or replace function pgorch.claim_deliveries(
    p_bucket integer, p_limit integer, p_lease_seconds double precision, p_busy uuid[] default '{}')
    returns table (id uuid, attempt integer, hook_id uuid, url text, allow_private boolean, secrets text[], body text)
    language plpgsql
    set jit = off set enable_seqscan = off
    as $$
declare
    v_now constant pg_catalog.timestamptz := pgorch.clock_now();
    v_lease_ends constant pg_catalog.timestamptz := v_now + make_interval(secs => p_lease_seconds);
    v_hook pgorch.hooks;
    v_ids pg_catalog.uuid[];
begin
    -- Hook by hook, so that what waits for one that does not answer holds up no other.
    for v_hook in
        select h.* from pgorch.hooks h where h.paused_at is null and h.id <> all (p_busy) order by h.id
    loop
        select array_agg(x.id) into v_ids
        from (select d.id from pgorch.hook_deliveries d
              where d.bucket = p_bucket and d.hook_id = v_hook.id and d.next_at <= v_now
              order by d.next_at limit p_limit for update skip locked) x;
        continue when v_ids is null;
        -- Counted before it begins: an attempt that kills its worker is one.
        update pgorch.hook_deliveries d set attempts = d.attempts + 1, next_at = v_lease_ends
        where d.bucket = p_bucket and d.id = any (v_ids);
        insert into pgorch.hook_attempts (bucket, delivery_id, attempt, started_at)
        select p_bucket, d.id, d.attempts, v_now
        from pgorch.hook_deliveries d where d.bucket = p_bucket and d.id = any (v_ids);
        return query
            select d.id, d.attempts, v_hook.id, v_hook.url, v_hook.allow_private,
                   (select s.secrets from pgorch._hook_secrets s where s.hook_id = v_hook.id), pgorch._hook_body(p_bucket, d, v_hook)
            from pgorch.hook_deliveries d where d.bucket = p_bucket and d.id = any (v_ids);
    end loop;
end
$$;
comment on function pgorch.claim_deliveries is
    'For workers: up to so many due deliveries of each hook that is not busy, with what signs them. Whoever takes one records what came of it before the lease ends, or another tries again.';

create or replace function pgorch._delivery_pause(p_attempt integer) returns interval
    language sql volatile
    -- 5 s, 15 s, 45 s, 2 min, 7 min, 20 min, 1 h, 3 h, then every 4 h; a fifth more or less, so that not all come at once.
    as $$ select make_interval(secs => least(5 * 3 ^ (least(p_attempt, 20) - 1), 14400) * (0.8 + 0.4 * random())) $$;

create or replace function pgorch.record_delivery(
    p_bucket integer, p_delivery_id uuid, p_attempt integer, p_http_status integer, p_problem text) returns text
    language plpgsql
    set jit = off set enable_seqscan = off
    as $$
declare
    v_now constant pg_catalog.timestamptz := pgorch.clock_now();
    v_ok constant boolean := coalesce(p_http_status between 200 and 299, false);
    v_delivery pgorch.hook_deliveries;
begin
    select d.* into v_delivery from pgorch.hook_deliveries d where d.bucket = p_bucket and d.id = p_delivery_id for update;
    if v_delivery.id is null then
        return null;
    end if;
    -- That it arrived counts from whomever we hear it; that it did not, only from the last who tried.
    if v_delivery.status = 'pending' and (v_ok or v_delivery.attempts = p_attempt) then
        v_delivery.next_at := v_now + pgorch._delivery_pause(p_attempt);
        if v_ok or v_delivery.next_at > v_delivery.created_at + interval '1 day' then
            v_delivery.status := case when v_ok then 'delivered' else 'dead' end;
            v_delivery.next_at := null;
            v_delivery.ended_at := v_now;
        end if;
        update pgorch.hook_deliveries d
        set status = v_delivery.status, next_at = v_delivery.next_at, ended_at = v_delivery.ended_at
        where d.bucket = p_bucket and d.id = p_delivery_id;
    end if;
    update pgorch.hook_attempts a
    set ended_at = v_now, http_status = p_http_status, next_at = v_delivery.next_at,
        problem = case when v_ok then null when p_http_status between 300 and 399 then 'it redirects, which is not followed'
                       else left(p_problem, 500) end
    where a.bucket = p_bucket and a.delivery_id = p_delivery_id and a.attempt = p_attempt;
    if p_http_status = 410 then
        update pgorch.hooks h set paused_at = v_now, paused_because = 'the receiver answered 410 Gone'
        where h.id = v_delivery.hook_id and h.paused_at is null;
    end if;
    return v_delivery.status;
end
$$;
comment on function pgorch.record_delivery is
    'For workers: what came of an attempt. A status of 200 to 299 is a success; after anything else it is tried again, for a day in all. 410 pauses the hook.';

create or replace function pgorch.tend_deliveries(p_bucket integer) returns void
    language plpgsql
    set jit = off set enable_seqscan = off
    as $$
declare
    v_now constant pg_catalog.timestamptz := pgorch.clock_now();
    v_day_ago constant pg_catalog.timestamptz := v_now - interval '1 day';
    v_week_ago constant pg_catalog.uuid := pgorch._first_id_of(v_now - interval '7 days');
    v_served pg_catalog.uuid[];
    v_paused pg_catalog.uuid[];
begin
    select coalesce(array_agg(h.id) filter (where h.paused_at is null), '{}'), coalesce(array_agg(h.id) filter (where h.paused_at is not null), '{}')
    into v_served, v_paused from pgorch.hooks h;
    -- For these nobody asks any more, so no attempt finds out that their day is over.
    update pgorch.hook_deliveries d set status = 'dead', next_at = null, ended_at = v_now
    where d.bucket = p_bucket and d.next_at is not null
      and (d.hook_id <> all (v_served || v_paused) or d.hook_id = any (v_paused) and d.created_at < v_day_ago
           -- Whoever took it last never told what came of it, and the next one may not either.
           or d.created_at < v_day_ago and d.next_at < v_now and exists (
               select from pgorch.hook_attempts a
               where a.bucket = p_bucket and a.delivery_id = d.id and a.attempt = d.attempts and a.ended_at is null));
    delete from pgorch.hook_attempts a where a.bucket = p_bucket and a.delivery_id < v_week_ago;
    delete from pgorch.hook_deliveries d where d.bucket = p_bucket and d.id < v_week_ago and d.next_at is null;
end
$$;
comment on function pgorch.tend_deliveries is
    'For workers, once an hour: gives up what waits for hooks that were deleted, or paused for more than a day, and what is a day old when a worker leaves it without a word, and removes what ended a week ago.';

create or replace view pgorch.hook_delivery_list as
select d.bucket, d.id as delivery_id, d.hook_id, h.name as hook, d.kind, d.run_id, d.seq, d.status, d.attempts, d.created_at,
       d.next_at, d.ended_at,
       (select coalesce(jsonb_agg(jsonb_build_object('attempt', a.attempt, 'started_at', a.started_at, 'ended_at', a.ended_at,
                   'http_status', a.http_status, 'problem', a.problem, 'next_at', a.next_at) order by a.attempt), '[]')
        from pgorch.hook_attempts a where a.bucket = d.bucket and a.delivery_id = d.id) as log
from pgorch.hook_deliveries d
left join pgorch.hooks h on h.id = d.hook_id;
comment on view pgorch.hook_delivery_list is 'Messages to hooks: those on their way, and for a week those that ended.';
comment on column pgorch.hook_delivery_list.bucket is 'Bucket of the run.';
comment on column pgorch.hook_delivery_list.delivery_id is 'The header webhook-id, at every attempt.';
comment on column pgorch.hook_delivery_list.hook_id is 'Hook.';
comment on column pgorch.hook_delivery_list.hook is 'Its name; null if it was deleted.';
comment on column pgorch.hook_delivery_list.kind is 'Kind of the event; test: of none.';
comment on column pgorch.hook_delivery_list.run_id is 'Run.';
comment on column pgorch.hook_delivery_list.seq is 'Number of the event in its history.';
comment on column pgorch.hook_delivery_list.status is 'pending, delivered, or dead: given up after a day.';
comment on column pgorch.hook_delivery_list.attempts is 'Attempts so far.';
comment on column pgorch.hook_delivery_list.created_at is 'When the event happened.';
comment on column pgorch.hook_delivery_list.next_at is 'When it is tried next; while it is being tried, when that is taken to have failed.';
comment on column pgorch.hook_delivery_list.ended_at is 'When it was delivered or given up.';
comment on column pgorch.hook_delivery_list.log is 'All attempts: when, the answer''s status or why there was none, and when it was to be tried again.';
