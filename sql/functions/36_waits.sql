-- Waits: for a time, a signal, or a row. A waiting run holds nothing but its rows.

create or replace function pgorch._enter_wait(
    p_bucket integer, p_run pgorch.runs, p_graph pgorch.graphs, p_node pgorch.nodes, p_move pgorch._move, p_value jsonb, p_now timestamptz,
    out run pgorch.runs, out outcome text, out output jsonb, out problem jsonb)
    language plpgsql
    as $$
declare
    v_for pg_catalog.jsonb;
    v_due pg_catalog.timestamptz;
    v_deadline constant pg_catalog.timestamptz := pgorch._after(p_now, p_node.deadline);
    v_step_id bigint;
    v_signal pgorch.signals;
begin
    run := p_run;
    select w.due, w.problem into v_due, problem from pgorch._due_time(p_node, p_value, p_now) w;
    if problem is not null then
        outcome := 'error';
        return;
    end if;
    if v_due <= p_now then
        outcome := 'success';
        output := '{}';
        return;
    end if;
    if p_node.wait_signal is not null then
        v_signal := pgorch._take_signal(p_bucket, run.id, p_value #>> '{}');
        if v_signal.id is not null then
            outcome := 'success';
            output := v_signal.payload;
        end if;
    end if;

    v_for := jsonb_strip_nulls(jsonb_build_object('until', v_due, 'deadline', v_deadline,
        'signal', case when p_node.wait_signal is not null then p_value end,
        'table', p_node.wait_row -> 'table', 'key', case when p_node.wait_row is not null then p_value end));
    v_step_id := pgorch._enter_waiting(p_bucket, run, 'wait', p_move, v_for, p_now);
    if v_signal.id is not null then
        perform pgorch._note_taken(p_bucket, v_signal.id, v_step_id, p_now);
        delete from pgorch.steps s where s.bucket = p_bucket and s.id = v_step_id;
        return;
    end if;
    if p_node.wait_row is not null then
        select w.output, w.problem into output, problem
        from pgorch._watch_row(p_bucket, run, p_graph, p_node, v_step_id, p_value #>> '{}', p_now) w;
        if output is not null or problem is not null then
            outcome := case when problem is null then 'success' end;
            delete from pgorch.steps s where s.bucket = p_bucket and s.id = v_step_id;
            if problem is not null then
                outcome := 'error';
            end if;
            return;
        end if;
    end if;
    insert into pgorch.timers (bucket, run_id, step_id, due_at, kind)
    select p_bucket, run.id, v_step_id, t.due_at, t.kind
    from (values (v_due, 'wait'), (v_deadline, 'deadline')) t(due_at, kind) where t.due_at is not null;
    run := pgorch._append(p_bucket, run, 'wait_started', p_now, p_node => p_node.id, p_visit => p_move.visit, p_output => v_for);
    run.live := run.live + 1;
end
$$;
comment on function pgorch._enter_wait is 'A wait begins, or is over at once: the time has come, the signal is there, the row is as it should be.';

create or replace function pgorch._after(p_at timestamptz, p_interval interval) returns timestamptz
    language sql immutable parallel safe
    as $$ select (p_at at time zone 'UTC' + p_interval) at time zone 'UTC' $$;
comment on function pgorch._after is 'A time so much later: days have 24 hours, whatever the time zone of the session.';

create or replace function pgorch._due_time(p_node pgorch.nodes, p_value jsonb, p_now timestamptz, out due timestamptz, out problem jsonb)
    language plpgsql stable
    as $$
declare
    v_interval interval;
begin
    if jsonb_typeof(p_value) not in ('string', 'number') or p_value = '""'
       or (p_node.wait_signal is not null and length(p_value #>> '{}') > 200) then
        problem := jsonb_build_object('type', 'BadWait', 'retryable', false,
            'message', format('%s cannot wait for %s', p_node.id, left(p_value::text, 100)),
            'hint', 'A wait is for an interval, until a time, for the name of a signal (at most 200 characters), or for the key of a row.');
        return;
    end if;
    if p_node.wait_for is not null then
        if jsonb_typeof(p_value) = 'string' and pgorch._lacks_unit(p_value #>> '{}') then
            raise invalid_datetime_format using message = 'it has no unit';
        end if;
        v_interval := case when jsonb_typeof(p_value) = 'number' then make_interval(secs => (p_value #>> '{}')::double precision)
                           else (p_value #>> '{}')::interval end;
        due := pgorch._after(p_now, v_interval);
    elsif p_node.wait_until is not null then
        -- As where it is written out: without its zone a time would be another one in each session.
        if not pgorch._has_format(p_value #>> '{}', 'date-time') then
            raise invalid_datetime_format using message = 'it is no time with its zone';
        end if;
        due := (p_value #>> '{}')::timestamptz;
    end if;
    if due = 'infinity' or due = '-infinity' then
        raise datetime_field_overflow using message = 'no end of the wait';
    end if;
exception when data_exception then
    problem := jsonb_build_object('type', 'BadWait', 'retryable', false,
        'message', format('%s cannot wait for %s: %s', p_node.id, left(p_value::text, 100), sqlerrm),
        'hint', case when p_node.wait_for is not null then 'Write a number and a unit: "90 seconds", "PT24H".'
                     else 'Write a time with its zone: "2027-01-31T09:00:00Z".' end);
end
$$;
comment on function pgorch._due_time is 'When a wait for a time ends; null for other waits.';

create or replace function pgorch._end_wait(
    p_bucket integer, p_run pgorch.runs, p_step pgorch.steps, p_outcome text, p_output jsonb, p_now timestamptz,
    p_actor text default null, p_error jsonb default null) returns pgorch.runs
    language plpgsql
    as $$
declare
    v_move pgorch._move;
begin
    p_run := pgorch._drop_steps(p_bucket, p_run, array[p_step.id], p_now);
    v_move := pgorch._move_of(p_step);
    v_move.outcome := p_outcome;
    v_move.output := p_output;
    v_move.error := p_error;
    v_move.started_at := p_step.created_at;
    v_move.actor := p_actor;
    return pgorch._proceed(p_bucket, p_run, array[v_move], p_now);
end
$$;
comment on function pgorch._end_wait is 'What a step waited for has come, or its deadline; the run goes on. The caller holds the run''s lock.';

create or replace function pgorch._take_signal(p_bucket integer, p_run_id uuid, p_name text) returns pgorch.signals
    language plpgsql
    as $$
declare
    v_signal pgorch.signals;
begin
    select s.* into v_signal from pgorch.signals s
    where s.bucket = p_bucket and s.run_id = p_run_id and s.name = p_name and s.taken_at is null
    order by s.sent_at, s.id limit 1;
    return v_signal;
end
$$;
comment on function pgorch._take_signal is 'The oldest signal of a name that no wait has taken yet. The caller holds the run''s lock, and notes who takes it.';

create or replace function pgorch._note_taken(p_bucket integer, p_signal_id uuid, p_step_id bigint, p_now timestamptz) returns void
    language plpgsql
    as $$
begin
    update pgorch.signals s set taken_by = p_step_id, taken_at = p_now where s.bucket = p_bucket and s.id = p_signal_id;
end
$$;
