-- Schedules fire: a worker computes the due times, these functions decide what becomes of them, once however many
-- workers ask. All runs of a schedule live in one bucket.

create or replace function pgorch._schedule_input(p_schedule pgorch.schedules, p_due timestamptz) returns jsonb
    language sql stable
    as $$
    select pgorch._render(p_schedule.input, jsonb_build_object('name', p_schedule.name,
               'due', to_char(p_due at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"')), '{}')
    $$;
comment on function pgorch._schedule_input(pgorch.schedules, timestamptz) is 'The input of the run that is due then: ${$.due} is that time in UTC, ${$.name} the schedule''s name.';

create or replace function pgorch._schedule_labels(p_schedule pgorch.schedules) returns jsonb
    language sql immutable
    as $$ select coalesce(p_schedule.labels, '{}') || jsonb_build_object('schedule', p_schedule.name) $$;
comment on function pgorch._schedule_labels(pgorch.schedules) is 'Labels of its runs: those that were asked for, and its name.';

create or replace function pgorch._unfinished_runs(p_schedule text) returns uuid[]
    language plpgsql
    as $$
declare
    v_ids pg_catalog.uuid[];
    v_bucket integer;
    v_unfinished pg_catalog.uuid[] := '{}';
begin
    select coalesce(array_agg(f.run_id), '{}') into v_ids
    from pgorch.schedule_firings f where f.schedule = p_schedule and f.outcome in ('started', 'triggered');
    -- One bucket, unless the number of buckets has grown.
    for v_bucket in select distinct pgorch.bucket_of(i) from unnest(v_ids) i loop
        v_unfinished := v_unfinished || array(
            select r.id from pgorch.runs r where r.bucket = v_bucket and r.id = any (v_ids) and r.finished_at is null order by r.id);
    end loop;
    return v_unfinished;
end
$$;
comment on function pgorch._unfinished_runs(text) is 'Which runs of a schedule have not ended, oldest first.';

create or replace function pgorch._log_firing(
    p_schedule text, p_at timestamptz, p_due timestamptz, p_outcome text, p_run_id uuid default null, p_actor text default null, p_detail text default null)
    returns void
    language plpgsql
    as $$
declare
    v_unfinished pg_catalog.uuid[];
begin
    insert into pgorch.schedule_firings (schedule, at, due, outcome, run_id, actor, detail)
    values (p_schedule, p_at, p_due, p_outcome, p_run_id, p_actor, left(p_detail, 1000));
    -- From here it is known which runs go on, however many times have passed since they began.
    v_unfinished := pgorch._unfinished_runs(p_schedule);
    delete from pgorch.schedule_firings f
    where f.schedule = p_schedule
      and (f.outcome not in ('started', 'triggered') or f.run_id <> all (v_unfinished))
      and f.id <= (select o.id from pgorch.schedule_firings o where o.schedule = p_schedule order by o.id desc offset 100 limit 1);
end
$$;

create or replace function pgorch._start_of_schedule(
    p_bucket integer, p_schedule pgorch.schedules, p_due timestamptz, p_overlap text, p_key text, p_actor text) returns uuid
    language plpgsql
    as $$
declare
    v_actor constant pg_catalog.text := pgorch._actor(p_actor);
    v_graph_id constant pg_catalog.uuid := pgorch.find_graph(p_schedule.graph);
    v_input constant pg_catalog.jsonb := pgorch._schedule_input(p_schedule, p_due);
    v_labels constant pg_catalog.jsonb := pgorch._schedule_labels(p_schedule);
    v_id pg_catalog.uuid;
begin
    if p_overlap = 'cancel_other' then
        foreach v_id in array pgorch._unfinished_runs(p_schedule.name) loop
            begin
                perform pgorch.cancel(p_run_id => v_id, p_reason => format('the schedule %s starts its next run', p_schedule.name), p_actor => p_actor);
            exception when sqlstate 'OR002' then
                -- It has ended in between.
                null;
            end;
        end loop;
    end if;
    perform pgorch._checked_start(v_graph_id, array[v_input], p_schedule.priority, p_schedule.queue, p_bucket, v_labels);
    if p_key is null then
        return (pgorch._start(p_bucket, v_graph_id, array[v_input], null, p_schedule.priority, p_schedule.queue, v_actor, p_labels => v_labels))[1];
    end if;
    return pgorch._start_once(p_bucket, p_schedule.graph, v_graph_id, v_input, p_key, p_schedule.priority, p_schedule.queue, v_actor, v_labels);
end
$$;

create or replace function pgorch._initiator_of_schedule(p_schedule pgorch.schedules) returns text
    language plpgsql stable
    as $$
begin
    return pgorch._actor(p_schedule.updated_by);
exception when sqlstate 'OR007' then
    -- A worker that may not speak for others starts runs in its own name.
    return null;
end
$$;
comment on function pgorch._initiator_of_schedule(pgorch.schedules) is
    'Who starts its runs: whoever described it last. So exclude_initiator keeps from deciding who wrote the input.';

create or replace function pgorch.due_schedules(p_seconds double precision default 5, p_limit integer default 100)
    returns table (name text, turn bigint, cron text, time_zone text, after timestamptz, until timestamptz, due_in double precision)
    language plpgsql
    as $$
declare
    v_now constant pg_catalog.timestamptz := pgorch.clock_now();
    v_schedule pgorch.schedules;
begin
    for v_schedule in
        select s.* from pgorch.schedules s
        where not s.paused and (s.next_due is null or s.next_due <= v_now + make_interval(secs => p_seconds) or s.buffered is not null)
        order by s.next_due nulls first, s.name limit p_limit
    loop
        due_in := coalesce(extract(epoch from v_schedule.next_due - v_now), 0);
        if due_in > 0 and v_schedule.buffered is not null then
            if cardinality(pgorch._unfinished_runs(v_schedule.name)) = 0 then
                due_in := 0;
            elsif due_in > p_seconds then
                continue;
            end if;
        end if;
        name := v_schedule.name;
        turn := v_schedule.turn;
        cron := v_schedule.cron;
        time_zone := v_schedule.time_zone;
        after := greatest(v_schedule.due_after, v_now - pgorch._catch_up_time(v_schedule));
        until := v_now;
        return next;
    end loop;
end
$$;
comment on function pgorch.due_schedules is
    'For workers: schedules that are due now (due_in 0 or less) or within p_seconds. Of those due, the worker computes the times after `after` up to `until`, and one more, and calls fire_schedule().';

create or replace function pgorch._catch_up_time(p_schedule pgorch.schedules) returns interval
    language sql immutable
    as $$ select case p_schedule.catch_up when 'none' then interval '1 minute' else p_schedule.catch_up_window end $$;

create or replace function pgorch.fire_schedule(p_name text, p_turn bigint, p_times timestamptz[], p_bucket integer default null) returns text
    language plpgsql
    set jit = off set enable_seqscan = off
    as $$
declare
    v_bucket constant integer := pgorch._schedule_bucket(p_name, p_bucket);
    v_last constant pg_catalog.timestamptz := p_times[cardinality(p_times)];
    v_schedule pgorch.schedules;
    v_now pg_catalog.timestamptz;
    v_oldest pg_catalog.timestamptz;
    v_past pg_catalog.timestamptz[];
    v_due pg_catalog.timestamptz;
    v_missed pg_catalog.timestamptz;
    v_outcome pg_catalog.text := 'planned';
    v_unfinished pg_catalog.uuid[];
    v_error pg_catalog.jsonb;
begin
    -- Whoever else is at it does it; and whoever computed from an earlier state comes too late.
    select s.* into v_schedule from pgorch.schedules s where s.name = p_name and s.turn = p_turn and not s.paused for update skip locked;
    if v_schedule.name is null then
        return 'taken';
    end if;
    v_now := pgorch.clock_now();
    v_unfinished := pgorch._unfinished_runs(p_name);
    v_error := v_schedule.last_error;

    if v_schedule.buffered is not null and v_unfinished = '{}' then
        v_due := v_schedule.buffered;
        v_schedule.buffered := null;
    else
        if coalesce(cardinality(p_times), 0) = 0 or exists (
            select from unnest(p_times) with ordinality t(due, at)
            where t.due is null or t.due <= v_schedule.due_after or t.due <= p_times[t.at - 1])
        then
            perform pgorch._raise('OR006', format('the due times of the schedule %s are not a growing list of times after %s', p_name, v_schedule.due_after),
                'They are computed by workers; there is nothing to call by hand.');
        end if;
        v_oldest := v_now - pgorch._catch_up_time(v_schedule);
        -- The last of the times is the one to come, or if there are many, where the next call goes on.
        v_past := array(select t.due from unnest(p_times) t(due) where t.due <= v_now and t.due < v_last order by t.due);
        select case when v_schedule.catch_up = 'all' then min(t.due) when v_last > v_now then max(t.due) end
        into v_due from unnest(v_past) t(due) where t.due > v_oldest;
        v_missed := least(v_schedule.next_due, v_past[1]);
        if v_missed <= v_now and v_missed < coalesce(v_due, 'infinity') then
            perform pgorch._log_firing(p_name, v_now, v_missed, 'missed', p_detail =>
                format('no worker looked until %s', to_char(v_now at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"')));
            v_outcome := 'missed';
        end if;
        v_schedule.due_after := greatest(v_schedule.due_after, coalesce(v_due, v_past[cardinality(v_past)]));
        select min(t.due) into v_schedule.next_due from unnest(p_times) t(due) where t.due > v_schedule.due_after;
        if v_due is not null and v_unfinished <> '{}' and v_schedule.overlap in ('skip', 'buffer_one') then
            v_outcome := 'skipped';
            if v_schedule.overlap = 'buffer_one' and v_schedule.buffered is null then
                v_schedule.buffered := v_due;
                v_outcome := 'buffered';
            end if;
            perform pgorch._log_firing(p_name, v_now, v_due, v_outcome, v_unfinished[1]);
            v_due := null;
        end if;
    end if;

    if v_due is not null then
        begin
            v_schedule.last_run_id := pgorch._start_of_schedule(v_bucket, v_schedule, v_due, v_schedule.overlap,
                format('schedule:%s:%s', p_name, to_char(v_due at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"')),
                pgorch._initiator_of_schedule(v_schedule));
            v_schedule.last_due := v_due;
            v_error := null;
            v_outcome := 'started';
            perform pgorch._log_firing(p_name, v_now, v_due, v_outcome, v_schedule.last_run_id);
        exception when others then
            if pgorch._passes(sqlstate) then
                raise;
            end if;
            v_error := jsonb_build_object('code', sqlstate, 'message', left(sqlerrm, 1000));
            v_outcome := 'failed';
        end;
        if v_outcome = 'failed' then
            perform pgorch._log_firing(p_name, v_now, v_due, v_outcome, p_detail => v_error ->> 'message');
        end if;
    end if;
    update pgorch.schedules s
    set turn = v_schedule.turn + 1, due_after = v_schedule.due_after, next_due = v_schedule.next_due, buffered = v_schedule.buffered,
        last_due = v_schedule.last_due, last_run_id = v_schedule.last_run_id, last_error = v_error
    where s.name = p_name;
    return v_outcome;
end
$$;
comment on function pgorch.fire_schedule is
    'For workers: decides what becomes of due times of a schedule, at most one run in each call. p_turn and p_times follow from due_schedules(). Tells started, skipped, buffered, missed, failed, planned (nothing is due), or taken (somebody else was first).';

create or replace function pgorch.fail_schedule(p_name text, p_turn bigint, p_error text) returns void
    language sql
    as $$
    update pgorch.schedules s set last_error = jsonb_build_object('code', 'OR006', 'message', left(p_error, 1000))
    where s.name = p_name and s.turn = p_turn and s.last_error ->> 'message' is distinct from left(p_error, 1000)
    $$;
comment on function pgorch.fail_schedule is 'For workers: tells that it cannot be computed when a schedule is due. It is tried again.';

create or replace function pgorch.trigger_schedule(
    p_name text, p_overlap text default null, p_idempotency_key text default null, p_actor text default null, p_bucket integer default null)
    returns uuid
    language plpgsql
    set jit = off set enable_seqscan = off
    as $$
declare
    v_actor constant pg_catalog.text := pgorch._actor(p_actor);
    v_bucket constant integer := pgorch._schedule_bucket(p_name, p_bucket);
    v_key constant pg_catalog.text := format('schedule:%s:trigger:', p_name) || p_idempotency_key;
    v_schedule constant pgorch.schedules := pgorch._locked_schedule(p_name);
    v_overlap constant pg_catalog.text := coalesce(p_overlap, v_schedule.overlap);
    v_now constant pg_catalog.timestamptz := pgorch.clock_now();
    v_unfinished pg_catalog.uuid[];
    v_run_id pg_catalog.uuid;
begin
    if v_overlap not in ('skip', 'buffer_one', 'cancel_other', 'allow') then
        perform pgorch._raise('OR006', format('%s is no policy for runs that overlap', pgorch._quoted(v_overlap)), 'Say allow or cancel_other.');
    end if;
    select k.run_id into v_run_id from pgorch._idempotency_keys k where k.bucket = v_bucket and k.key = v_key;
    if found then
        return v_run_id;
    end if;
    v_unfinished := pgorch._unfinished_runs(p_name);
    if v_unfinished <> '{}' and v_overlap in ('skip', 'buffer_one') then
        perform pgorch._raise('OR002', format('the schedule %s starts no run beside another, and its run %s has not ended', p_name, v_unfinished[1]),
            'Wait for it, or trigger it with the overlap allow or cancel_other.');
    end if;
    v_run_id := pgorch._start_of_schedule(v_bucket, v_schedule, v_now, v_overlap, v_key, v_actor);
    perform pgorch._log_firing(p_name, v_now, v_now, 'triggered', v_run_id, v_actor);
    perform pgorch._audit(v_bucket, v_actor, 'trigger_schedule', v_run_id, p_after => jsonb_build_object('name', p_name, 'overlap', v_overlap));
    update pgorch.schedules s set turn = v_schedule.turn + 1, last_due = v_now, last_run_id = v_run_id, last_error = null where s.name = p_name;
    return v_run_id;
end
$$;
comment on function pgorch.trigger_schedule is
    'Starts a run of a schedule now, also of a paused one, beside what is due; returns its id. p_overlap: instead of the schedule''s policy (allow, cancel_other).';
