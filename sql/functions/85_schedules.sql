-- Schedules: described, paused, resumed and deleted. When they fire is in 86_firing.sql.

create or replace function pgorch._locked_schedule(p_name text) returns pgorch.schedules
    language plpgsql
    as $$
declare
    v_schedule pgorch.schedules;
begin
    select s.* into v_schedule from pgorch.schedules s where s.name = p_name for update;
    if v_schedule.name is null then
        perform pgorch._no_schedule(p_name);
    end if;
    return v_schedule;
end
$$;

create or replace function pgorch._no_schedule(p_name text) returns void
    language plpgsql stable
    as $$
begin
    perform pgorch._raise('OR003', format('there is no schedule %s', coalesce(pgorch._quoted(p_name), 'null')),
        coalesce(pgorch._near_names(p_name, (select array_agg(s.name) from pgorch.schedules s)), 'The view pgorch.schedule_list has those there are.'));
end
$$;

create or replace function pgorch._schedule_bucket(p_name text, p_bucket integer) returns integer
    language sql stable
    as $$ select coalesce(p_bucket, pgorch._key_bucket('schedule:' || p_name)) $$;
comment on function pgorch._schedule_bucket(text, integer) is 'The bucket of all runs of a schedule, and of what is noted about it.';

create or replace function pgorch._schedule_description(p_schedule pgorch.schedules) returns jsonb
    language sql immutable
    as $$
    select to_jsonb(p_schedule) - '{turn,due_after,next_due,buffered,last_due,last_run_id,last_error,created_at,created_by,updated_at,updated_by}'::text[]
    $$;

create or replace function pgorch._checked_schedule(p_schedule pgorch.schedules) returns pgorch.schedules
    language plpgsql
    as $$
declare
    v_schedule pgorch.schedules := p_schedule;
    v_graph_id constant pg_catalog.uuid := pgorch.find_graph(p_schedule.graph);
    v_input pg_catalog.jsonb;
    v_errors pg_catalog.jsonb;
begin
    if v_schedule.name is null or v_schedule.name !~ '^[a-zA-Z0-9_][a-zA-Z0-9_.-]{0,99}$' then
        perform pgorch._raise('OR006', format('%s is no name of a schedule', coalesce(pgorch._quoted(v_schedule.name), 'null')),
            'Use up to 100 letters, digits, "_", "-" and "."; the first is a letter, a digit or "_".');
    end if;
    v_schedule.cron := pgorch._checked_cron(v_schedule.cron);
    v_schedule.time_zone := pgorch._checked_time_zone(v_schedule.time_zone);
    perform pgorch._checked_json(v_schedule.input, 'the input', 4194304);
    select jsonb_agg(e) into v_errors from pgorch._template_errors(v_schedule.input, '', null) e;
    if v_errors is not null then
        perform pgorch._raise('OR006', format('the input of the schedule is no template: %s (at %s)', v_errors -> 0 ->> 'message', v_errors -> 0 ->> 'path'),
            coalesce(v_errors -> 0 ->> 'hint', 'Its strings may hold ${$.due} and ${$.name}.'));
    end if;
    -- Filled once for trial, so that what no run can be started with is refused here and not at night.
    begin
        v_input := pgorch._schedule_input(v_schedule, pgorch.clock_now());
    exception when sqlstate 'OR006' or data_exception then
        perform pgorch._raise('OR006', format('the input of the schedule cannot be filled in: %s', sqlerrm),
            'There are ${$.due}, the time in UTC at which the run was due, and ${$.name}, the schedule''s name.');
    end;
    perform pgorch._checked_start(v_graph_id, array[v_input], v_schedule.priority, v_schedule.queue, null, pgorch._schedule_labels(v_schedule));
    if v_schedule.overlap is null or v_schedule.overlap not in ('skip', 'buffer_one', 'cancel_other', 'allow') then
        perform pgorch._raise('OR006', format('%s is no policy for runs that overlap', coalesce(pgorch._quoted(v_schedule.overlap), 'null')),
            'Say skip, buffer_one, cancel_other or allow.');
    end if;
    if v_schedule.catch_up is null or v_schedule.catch_up not in ('one', 'all', 'none') then
        perform pgorch._raise('OR006', format('%s is no policy for due times that were missed', coalesce(pgorch._quoted(v_schedule.catch_up), 'null')),
            'Say one (the last of them), all, or none.');
    end if;
    if v_schedule.catch_up_window is null or v_schedule.catch_up_window not between interval '1 minute' and interval '366 days' then
        perform pgorch._raise('OR006', format('the catch-up window %s is outside one minute to 366 days', coalesce(v_schedule.catch_up_window::text, 'null')),
            'It says how late a run may start, for instance 7 days.');
    end if;
    return v_schedule;
end
$$;
comment on function pgorch._checked_schedule(pgorch.schedules) is 'The schedule as it is stored, if all that a caller may say of it is right.';

create or replace function pgorch.create_schedule(
    p_name text, p_graph text, p_cron text, p_time_zone text default 'UTC', p_input jsonb default '{}',
    p_queue text default null, p_priority integer default 0, p_labels jsonb default null, p_overlap text default 'skip',
    p_catch_up text default 'one', p_catch_up_window interval default '7 days', p_paused boolean default null,
    p_actor text default null, p_bucket integer default null) returns boolean
    language plpgsql
    as $$
declare
    v_actor constant pg_catalog.text := pgorch._actor(p_actor);
    v_bucket constant integer := pgorch._schedule_bucket(p_name, p_bucket);
    v_now constant pg_catalog.timestamptz := pgorch.clock_now();
    v_before pgorch.schedules;
    v_after pgorch.schedules;
begin
    -- Creators of one name stand in line.
    perform pg_advisory_xact_lock(hashtextextended('pgorch schedule ' || p_name, 0));
    select s.* into v_before from pgorch.schedules s where s.name = p_name for update;
    v_after := v_before;
    v_after.name := p_name;
    v_after.graph := p_graph;
    v_after.cron := p_cron;
    v_after.time_zone := p_time_zone;
    v_after.input := p_input;
    v_after.queue := p_queue;
    v_after.priority := p_priority;
    v_after.labels := p_labels;
    v_after.overlap := p_overlap;
    v_after.catch_up := p_catch_up;
    v_after.catch_up_window := p_catch_up_window;
    v_after.paused := coalesce(p_paused, v_before.paused, false);
    v_after := pgorch._checked_schedule(v_after);
    if v_before.name is null then
        insert into pgorch.schedules (name, graph, cron, time_zone, input, queue, priority, labels, overlap, catch_up, catch_up_window,
                                      paused, due_after, created_at, created_by, updated_at, updated_by)
        values (v_after.name, v_after.graph, v_after.cron, v_after.time_zone, v_after.input, v_after.queue, v_after.priority,
                v_after.labels, v_after.overlap, v_after.catch_up, v_after.catch_up_window, v_after.paused, v_now, v_now, v_actor,
                v_now, v_actor);
        perform pgorch._audit(v_bucket, v_actor, 'create_schedule', null, p_after => pgorch._schedule_description(v_after));
        return true;
    elsif v_after is not distinct from v_before then
        return false;
    end if;
    if (v_after.cron, v_after.time_zone) <> (v_before.cron, v_before.time_zone) or v_after.paused <> v_before.paused then
        v_after.due_after := v_now;
        v_after.next_due := null;
    end if;
    update pgorch.schedules s
    set graph = v_after.graph, cron = v_after.cron, time_zone = v_after.time_zone, input = v_after.input, queue = v_after.queue,
        priority = v_after.priority, labels = v_after.labels, overlap = v_after.overlap, catch_up = v_after.catch_up,
        catch_up_window = v_after.catch_up_window, paused = v_after.paused, turn = v_before.turn + 1,
        due_after = v_after.due_after, next_due = v_after.next_due,
        buffered = case when v_after.overlap = 'buffer_one' and not v_after.paused then v_before.buffered end,
        last_error = null, updated_at = v_now, updated_by = v_actor
    where s.name = p_name;
    perform pgorch._audit(v_bucket, v_actor, 'change_schedule', null, p_before => pgorch._schedule_description(v_before),
        p_after => pgorch._schedule_description(v_after));
    return false;
end
$$;
comment on function pgorch.create_schedule is
    'Creates a schedule, or describes the one of that name anew (true: it is new). A worker computes within seconds when it is due. Overlap: skip, buffer_one, cancel_other, allow; catch-up: one, all, none.';

create or replace function pgorch.pause_schedule(p_name text, p_actor text default null, p_bucket integer default null) returns boolean
    language plpgsql
    as $$
declare
    v_actor constant pg_catalog.text := pgorch._actor(p_actor);
    v_schedule constant pgorch.schedules := pgorch._locked_schedule(p_name);
begin
    if v_schedule.paused then
        return false;
    end if;
    update pgorch.schedules s set paused = true, turn = v_schedule.turn + 1, next_due = null, buffered = null where s.name = p_name;
    perform pgorch._audit(pgorch._schedule_bucket(p_name, p_bucket), v_actor, 'pause_schedule', null,
        p_before => jsonb_build_object('name', p_name, 'paused', false), p_after => jsonb_build_object('name', p_name, 'paused', true));
    return true;
end
$$;
comment on function pgorch.pause_schedule is 'From now on the schedule starts nothing, until it is resumed. False: it was paused already.';

create or replace function pgorch.resume_schedule(p_name text, p_actor text default null, p_bucket integer default null) returns boolean
    language plpgsql
    as $$
declare
    v_actor constant pg_catalog.text := pgorch._actor(p_actor);
    v_now constant pg_catalog.timestamptz := pgorch.clock_now();
    v_schedule constant pgorch.schedules := pgorch._locked_schedule(p_name);
begin
    if not v_schedule.paused then
        return false;
    end if;
    update pgorch.schedules s set paused = false, turn = v_schedule.turn + 1, due_after = v_now, next_due = null, last_error = null
    where s.name = p_name;
    perform pgorch._audit(pgorch._schedule_bucket(p_name, p_bucket), v_actor, 'resume_schedule', null,
        p_before => jsonb_build_object('name', p_name, 'paused', true), p_after => jsonb_build_object('name', p_name, 'paused', false));
    return true;
end
$$;
comment on function pgorch.resume_schedule is 'A paused schedule goes on with the next time at which it is due; what was due meanwhile is not caught up. False: it was not paused.';

create or replace function pgorch.delete_schedule(p_name text, p_actor text default null, p_bucket integer default null) returns void
    language plpgsql
    as $$
declare
    v_actor constant pg_catalog.text := pgorch._actor(p_actor);
    v_schedule constant pgorch.schedules := pgorch._locked_schedule(p_name);
begin
    delete from pgorch.schedules s where s.name = v_schedule.name;
    perform pgorch._audit(pgorch._schedule_bucket(p_name, p_bucket), v_actor, 'delete_schedule', null,
        p_before => pgorch._schedule_description(v_schedule));
end
$$;
comment on function pgorch.delete_schedule is 'Deletes a schedule. Its runs go on.';

create or replace view pgorch.schedule_list as
select r.bucket, s.name, s.graph, s.cron, s.time_zone, s.input, s.queue, s.priority, s.labels, s.overlap, s.catch_up, s.catch_up_window,
       s.paused, s.next_due, s.buffered, s.last_due, s.last_run_id, r.status as last_status, s.last_error,
       s.created_at, s.created_by, s.updated_at, s.updated_by
from pgorch.schedules s
left join pgorch.runs r on r.bucket = pgorch.bucket_of(s.last_run_id) and r.id = s.last_run_id;
comment on view pgorch.schedule_list is 'Schedules, when each is due next, and what became of its last run.';
comment on column pgorch.schedule_list.bucket is 'Bucket of the last run.';
comment on column pgorch.schedule_list.name is 'Name.';
comment on column pgorch.schedule_list.graph is 'Graph that it starts: a name (then the latest version), name@version, or an id.';
comment on column pgorch.schedule_list.cron is 'When: minute, hour, day of the month, month, day of the week.';
comment on column pgorch.schedule_list.time_zone is 'Time zone in which that is meant.';
comment on column pgorch.schedule_list.input is 'Input of its runs; ${$.due} and ${$.name} are filled in.';
comment on column pgorch.schedule_list.queue is 'Queue of its runs.';
comment on column pgorch.schedule_list.priority is 'Priority of its runs.';
comment on column pgorch.schedule_list.labels is 'Labels of its runs, beside {"schedule": its name}.';
comment on column pgorch.schedule_list.overlap is 'When it is due while a run of it is unfinished: skip, buffer_one, cancel_other or allow.';
comment on column pgorch.schedule_list.catch_up is 'Of due times that passed while no worker was there: one, all or none.';
comment on column pgorch.schedule_list.catch_up_window is 'Due times older than this are not caught up.';
comment on column pgorch.schedule_list.paused is 'Does it start nothing at present?';
comment on column pgorch.schedule_list.next_due is 'When it is due next; null: paused, or no worker has computed it yet.';
comment on column pgorch.schedule_list.buffered is 'Due time whose run starts when the one before it has ended.';
comment on column pgorch.schedule_list.last_due is 'Due time of the last run.';
comment on column pgorch.schedule_list.last_run_id is 'The last run.';
comment on column pgorch.schedule_list.last_status is 'Its status.';
comment on column pgorch.schedule_list.last_error is 'Why the last run could not be started, or why the next due time cannot be computed: code, message.';
comment on column pgorch.schedule_list.created_at is 'When it was created.';
comment on column pgorch.schedule_list.created_by is 'Who created it.';
comment on column pgorch.schedule_list.updated_at is 'When it was described last.';
comment on column pgorch.schedule_list.updated_by is 'Who did; initiator of its runs.';

create or replace function pgorch.schedule_document(p_name text) returns jsonb
    language plpgsql
    set jit = off set enable_seqscan = off
    as $$
declare
    v_schedule pgorch.schedules;
    v_bucket integer;
    v_status pgorch.run_status;
begin
    select s.* into v_schedule from pgorch.schedules s where s.name = p_name;
    if v_schedule.name is null then
        perform pgorch._no_schedule(p_name);
    end if;
    v_bucket := pgorch.bucket_of(v_schedule.last_run_id);
    select r.status into v_status from pgorch.runs r where r.bucket = v_bucket and r.id = v_schedule.last_run_id;
    return to_jsonb(v_schedule) - 'turn' || jsonb_build_object(
        'catch_up_window', v_schedule.catch_up_window::text, 'last_status', v_status, 'as_of', pgorch.clock_now(),
        'firings', coalesce((
            select jsonb_agg(jsonb_build_object('at', f.at, 'due', f.due, 'outcome', f.outcome, 'run_id', f.run_id,
                                                'actor', f.actor, 'detail', f.detail) order by f.id desc)
            from (select o.* from pgorch.schedule_firings o where o.schedule = p_name order by o.id desc limit 20) f), '[]'));
end
$$;
comment on function pgorch.schedule_document is 'Everything about a schedule as one JSON object, with what became of its last 20 due times.';
