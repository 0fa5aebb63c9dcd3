-- Workers, their leases, and what happens to the steps of those that die.

create or replace function pgorch.enlist_worker(
    p_bucket integer, p_worker_id uuid, p_name text, p_queues text[], p_tools text[], p_slots integer,
    p_lease_seconds double precision, p_marker bigint default null) returns void
    language plpgsql
    set jit = off set enable_seqscan = off
    as $$
declare
    v_now constant pg_catalog.timestamptz := pgorch.clock_now();
    v_marker bigint := p_marker;
begin
    if cardinality(p_queues) = 0 or exists (select from unnest(p_queues) q(queue) where q.queue is null or q.queue = '' or q.queue like '!%') then
        perform pgorch._raise('OR006', 'a worker serves at least one queue, and no queue is named "" or begins with "!"', 'Use other names.');
    end if;
    -- A marker that is not held here (behind a pooler, on another node) says nothing about the worker's life.
    if v_marker is not null and pg_try_advisory_xact_lock_shared(v_marker) then
        v_marker := null;
    end if;
    insert into pgorch._worker_leases as l (bucket, worker_id, name, queues, tools, slots, started_at, marker, expires_at, lease_seconds)
    values (p_bucket, p_worker_id, p_name, p_queues, p_tools, p_slots, v_now, v_marker, v_now + make_interval(secs => p_lease_seconds),
            p_lease_seconds)
    on conflict (bucket, worker_id) do update
    set name = excluded.name, queues = excluded.queues, tools = excluded.tools, slots = excluded.slots,
        marker = excluded.marker, expires_at = excluded.expires_at, lease_seconds = excluded.lease_seconds, lanes_due_at = '-infinity',
        status = case l.status when 'left' then 'alive' else l.status end;
    -- Whose row is gone, as it may be by hand, is as dead as others. Not with each heartbeat: with the vacuum horizon pinned
    -- this walks each step that was ever leased.
    with recursive holders(worker_id) as (
        (select s.worker_id from pgorch.steps s
         where s.bucket = p_bucket and s.worker_id is not null order by s.worker_id limit 1)
        union all
        select (select s.worker_id from pgorch.steps s
                where s.bucket = p_bucket and s.worker_id > h.worker_id order by s.worker_id limit 1)
        from holders h where h.worker_id is not null)
    insert into pgorch._worker_leases (bucket, worker_id, name, queues, tools, slots, started_at, status, expires_at)
    select p_bucket, h.worker_id, h.worker_id::text, '{}', '{}', 0, v_now, 'dead', v_now
    from holders h
    where h.worker_id is not null
    on conflict (bucket, worker_id) do nothing;
end
$$;
comment on function pgorch.enlist_worker is
    'Tells the database of a worker: what it serves and until when it is believed alive. p_marker: key of an advisory lock that another session of the worker holds, or null.';

create or replace function pgorch.beat(p_bucket integer, p_worker_id uuid, p_lease_seconds double precision)
    returns table (alive boolean, work_waiting boolean, revoked bigint[], due_seconds double precision, to_drain boolean)
    language plpgsql
    set jit = off set enable_seqscan = off
    as $$
declare
    v_now constant pg_catalog.timestamptz := pgorch.clock_now();
    v_lease pg_catalog.record;
    v_renews boolean;
    v_from pg_catalog.timestamptz;
    v_began pg_catalog.timestamptz;
    v_due pg_catalog.timestamptz;
begin
    select l.queues, l.tools, l.expires_at, l.lanes_from, l.lanes_due_at, l.to_drain into v_lease
    from pgorch._worker_leases l where l.bucket = p_bucket and l.worker_id = p_worker_id and l.status = 'alive';
    -- The clock has gone back since such a lease was renewed: without this it would outlast its worker by as much.
    update pgorch._worker_leases l set expires_at = v_now + make_interval(secs => 1.1 * l.lease_seconds)
    where l.bucket = p_bucket and l.status = 'alive' and l.expires_at > v_now + make_interval(secs => 1.2 * l.lease_seconds);
    perform pgorch._recover(p_bucket, p_worker_id, v_now);
    -- It is renewed for a tenth longer, so that not each heartbeat writes: with the vacuum horizon pinned, everybody who looks
    -- for the row walks all its versions. And the lanes are looked through from their beginning only now and then, for what
    -- was committed late: whatever was claimed since the horizon stands still lies there.
    v_renews := v_lease.expires_at < v_now + make_interval(secs => p_lease_seconds);
    v_from := case when v_lease.lanes_from > v_now or (v_renews and v_lease.lanes_due_at not between v_now and v_now + interval '1 minute')
                   then '-infinity' else v_lease.lanes_from end;
    v_began := clock_timestamp();
    -- Workers that sleep do not see that a key's retry is due.
    if exists (select from pgorch._key_changes c where c.bucket = p_bucket and c.due_at between v_from and v_now)
       and pgorch._admit(p_bucket, v_from, v_now) is not null then
        perform pgorch._wake_workers(p_bucket);
    end if;
    work_waiting := pgorch._work_waits(p_bucket, v_lease.queues, v_lease.tools, v_from, v_now);
    v_due := case when v_from = '-infinity' then pgorch._next_full_look(v_now, v_began) else v_lease.lanes_due_at end;
    if v_renews or v_from = '-infinity' then
        update pgorch._worker_leases l
        set expires_at = v_now + make_interval(secs => 1.1 * p_lease_seconds), lease_seconds = p_lease_seconds,
            lanes_from = case when work_waiting then v_from else v_now - interval '2 seconds' end,
            lanes_due_at = v_due
        where l.bucket = p_bucket and l.worker_id = p_worker_id and l.status = 'alive';
        alive := found;
    else
        alive := v_renews is not null;
    end if;
    work_waiting := alive and work_waiting;
    if exists (select from pgorch._revocations v where v.bucket = p_bucket and v.worker_id = p_worker_id) then
        with gone as (
            delete from pgorch._revocations v where v.bucket = p_bucket and v.worker_id = p_worker_id returning v.step_id)
        select array_agg(g.step_id) into revoked from gone g;
    end if;
    revoked := coalesce(revoked, '{}');
    to_drain := coalesce(v_lease.to_drain, false);
    due_seconds := pgorch._next_due(p_bucket, v_now);
    return next;
end
$$;
comment on function pgorch.beat is
    'A worker''s heartbeat: renews its lease, frees what dead workers held, and tells whether work waits, which of its steps were cancelled, in how many seconds the next timer is due, and whether the worker is to drain.';

create or replace function pgorch._work_waits(
    p_bucket integer, p_queues text[], p_tools text[], p_from timestamptz, p_now timestamptz) returns boolean
    language plpgsql
    set jit = off set enable_sort = off
    as $$
begin
    return exists (
            select from unnest(p_queues) q(queue)
            cross join unnest(p_tools) t(tool)
            cross join unnest(array[q.queue, '!' || q.queue]) l(lane)
            cross join lateral (
                select from pgorch.steps s
                where s.bucket = p_bucket and s.lane_tool is not null
                  and s.lane_queue = l.lane and s.lane_tool = t.tool and s.ready_at between p_from and p_now
                order by s.priority desc, s.ready_at, s.id limit 1) c)
        or exists (
            select from pgorch.steps s
            where s.bucket = p_bucket and s.lane_tool is not null and s.lane_queue = '' and s.lane_tool = ''
            order by s.priority desc, s.ready_at, s.id limit 1);
end
$$;
comment on function pgorch._work_waits is 'Does anything that became claimable at p_from or later wait in these lanes?';

create or replace function pgorch._recover(p_bucket integer, p_worker_id uuid, p_now timestamptz) returns void
    language plpgsql
    as $$
declare
    v_dead pg_catalog.uuid[];
    v_gone pg_catalog.uuid[];
    v_how pg_catalog.text[];
    v_holding pg_catalog.uuid[];
    v_step pg_catalog.record;
    v_run pgorch.runs;
begin
    -- Nothing of a graph is evaluated here and nothing is waited for, so that neither bad data nor a busy run can stop it.
    if exists (
        select from pgorch._worker_leases l
        where l.bucket = p_bucket and l.status = 'alive' and l.worker_id <> p_worker_id
          and (l.expires_at < p_now or (l.marker is not null and pg_try_advisory_xact_lock_shared(l.marker)))
    ) then
        -- Looked at once more under the row's lock: the worker may have come back in between.
        select array_agg(d.worker_id) into v_dead
        from (select l.worker_id from pgorch._worker_leases l
              where l.bucket = p_bucket and l.status = 'alive' and l.worker_id <> p_worker_id
                and (l.expires_at < p_now or (l.marker is not null and pg_try_advisory_xact_lock_shared(l.marker)))
              for update skip locked) d;
        update pgorch._worker_leases l set status = 'dead', asleep = false, expires_at = p_now
        where l.bucket = p_bucket and l.worker_id = any (v_dead);
    end if;

    -- A call of advance() that was under way while its worker died or left can have leased steps to it afterwards, so they
    -- are looked for again and again; ever more seldom, since with the vacuum horizon pinned a look passes each step that the
    -- worker ever had. One heartbeat of all does it.
    select array_agg(d.worker_id), array_agg(d.status) into v_gone, v_how
    from (select l.worker_id, l.status from pgorch._worker_leases l
          where l.bucket = p_bucket and l.status <> 'alive' and l.look_at not between p_now and p_now + interval '5 minutes'
          for update skip locked) d;
    if v_gone is null then
        return;
    end if;
    for v_step in
        select s.id, s.run_id, s.worker_id, s.node, s.attempt, s.started_at, s.visit, s.deaths, d.status, case when s.kind <> 'task' then s.item end as item
        from unnest(v_gone, v_how) d(worker_id, status)
        cross join lateral (
            select s.* from pgorch.steps s where s.bucket = p_bucket and s.worker_id = d.worker_id
            order by s.run_id, s.id limit 500) s
        order by s.run_id, s.id
    loop
        if array_position(v_holding, v_step.worker_id) is null then
            v_holding := v_holding || v_step.worker_id;
        end if;
        -- A run that somebody works on is left to the next heartbeat.
        select r.* into v_run from pgorch.runs r where r.bucket = p_bucket and r.id = v_step.run_id for update skip locked;
        continue when not found;
        perform from pgorch.steps s
        where s.bucket = p_bucket and s.id = v_step.id and s.worker_id = v_step.worker_id for update skip locked;
        continue when not found;
        -- Whoever went by itself has not died of it.
        if v_step.status = 'left' then
            perform pgorch._give_back(p_bucket, array[v_step.id], p_now, 0, 0);
            continue;
        end if;
        -- What three have died of is not run any more: whoever held it was only to hand it in, and died of something else.
        if v_step.deaths >= 3 then
            perform pgorch._give_back(p_bucket, array[v_step.id], p_now, 0, 1);
            continue;
        end if;
        v_run := pgorch._append(p_bucket, v_run, 'attempt_lost', p_now, p_node => v_step.node, p_attempt => v_step.attempt,
            p_started_at => v_step.started_at, p_worker_id => v_step.worker_id, p_visit => v_step.visit,
            p_item => v_step.item);
        -- After one death it can be claimed at once. One that is suspected of killing waits a moment, so that it
        -- does not take down workers as fast as somebody starts them.
        perform pgorch._give_back(
            p_bucket, array[v_step.id], p_now + case when v_step.deaths = 1 then interval '2 seconds' else '0' end, 1, 0);
        perform pgorch._save_run(p_bucket, v_run, p_now);
    end loop;

    delete from pgorch._worker_leases l
    where l.bucket = p_bucket and l.worker_id = any (v_gone) and l.worker_id <> all (coalesce(v_holding, '{}'))
      and l.expires_at < p_now - interval '10 minutes';
    if found then
        delete from pgorch._revocations v
        where v.bucket = p_bucket
          and not exists (select from pgorch._worker_leases l where l.bucket = p_bucket and l.worker_id = v.worker_id);
    end if;
    update pgorch._worker_leases l
    set look_at = p_now + case when l.worker_id = any (v_holding) then interval '0' else least((p_now - l.expires_at) / 2, interval '5 minutes') end
    where l.bucket = p_bucket and l.worker_id = any (v_gone);
end
$$;
comment on function pgorch._recover is
    'Declares workers dead whose lease or session is over, and puts back the steps of those that are gone, each with one death more.';

create or replace function pgorch.drain_worker(p_worker text, p_actor text default null) returns uuid[]
    language plpgsql
    set jit = off set enable_seqscan = off
    as $$
declare
    v_actor constant pg_catalog.text := pgorch._actor(p_actor);
    v_now constant pg_catalog.timestamptz := pgorch.clock_now();
    v_ids pg_catalog.uuid[] := '{}';
begin
    for v_bucket in 0 .. pgorch.bucket_count() - 1 loop
        with asked as (
            update pgorch._worker_leases l set to_drain = true
            where l.bucket = v_bucket and l.status = 'alive' and l.expires_at > v_now and (l.name = p_worker or l.worker_id::text = lower(p_worker))
            returning l.worker_id)
        select array(select a.worker_id from asked a union select i from unnest(v_ids) i) into v_ids;
    end loop;
    if v_ids = '{}' then
        perform pgorch._raise('OR003', format('there is no living worker %s', coalesce(pgorch._quoted(p_worker), 'null')), 'See the view pgorch.worker_list.');
    end if;
    perform pgorch._audit(0, v_actor, 'drain_worker', null, p_before => jsonb_build_object('worker', p_worker),
        p_after => jsonb_build_object('worker_ids', v_ids));
    return v_ids;
end
$$;
comment on function pgorch.drain_worker is
    'Lets a worker, named by its name or id, end the steps that it has begun, begin no others, and go: it hears of it with its next heartbeat. Of several with one name all. Returns their ids.';

create or replace function pgorch.leave(p_bucket integer, p_worker_id uuid) returns integer
    language plpgsql
    set jit = off set enable_seqscan = off
    as $$
declare
    v_now constant pg_catalog.timestamptz := pgorch.clock_now();
    v_runs pg_catalog.uuid[];
    v_ids bigint[];
begin
    -- The runs first, for whether a step is held depends on its run. What somebody else is changing just now is not waited
    -- for: it ends, or the next heartbeat of another worker finds it.
    select array_agg(t.id) into v_runs
    from (select r.id from pgorch.runs r
          where r.bucket = p_bucket and r.id = any (array(
              select s.run_id from pgorch.steps s where s.bucket = p_bucket and s.worker_id = p_worker_id))
          order by r.id for update skip locked) t;
    select array_agg(t.id) into v_ids
    from (select s.id from pgorch.steps s where s.bucket = p_bucket and s.worker_id = p_worker_id and s.run_id = any (v_runs)
          order by s.id for update skip locked) t;
    if v_ids is not null then
        perform pgorch._give_back(p_bucket, v_ids, v_now, 0, 0);
    end if;
    delete from pgorch._revocations v where v.bucket = p_bucket and v.worker_id = p_worker_id;
    -- The row stays for a while: so the others look for what a call that is under way leases to it now.
    update pgorch._worker_leases l set status = 'left', asleep = false, marker = null, expires_at = v_now
    where l.bucket = p_bucket and l.worker_id = p_worker_id and l.status = 'alive';
    return coalesce(cardinality(v_ids), 0);
end
$$;
comment on function pgorch.leave is 'A worker that goes gives back what it still has, without waiting for its lease to end. Returns how many steps that were.';
