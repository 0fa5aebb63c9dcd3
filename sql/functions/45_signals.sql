-- Signals: messages to a run, stored first and matched with a wait later, so that an early one is not lost.

create or replace function pgorch.signal(
    p_run_id uuid, p_name text, p_payload jsonb default '{}', p_idempotency_key text default null, p_actor text default null) returns uuid
    language plpgsql
    set jit = off set enable_seqscan = off
    as $$
declare
    v_bucket constant integer := pgorch.bucket_of(p_run_id);
    v_actor constant pg_catalog.text := pgorch._actor(p_actor);
    v_run pgorch.runs;
    v_now pg_catalog.timestamptz;
    v_earlier pgorch.signals;
    v_id constant pg_catalog.uuid := pgorch.new_run_id(v_bucket);
    v_step pgorch.steps;
    v_signal pgorch.signals;
begin
    if p_name is null or p_name = '' or length(p_name) > 200 then
        perform pgorch._raise('OR006', 'the name of a signal has 1 to 200 characters', 'Use the name that the wait of the graph gives.');
    elsif p_payload is null then
        perform pgorch._raise('OR006', 'the payload of a signal is missing', 'Send {} if there is nothing to say.');
    elsif p_idempotency_key = '' or length(p_idempotency_key) > 200 then
        perform pgorch._raise('OR006', 'an idempotency key has 1 to 200 characters', 'Send a shorter one, for instance a UUID.');
    end if;
    perform pgorch._checked_json(p_payload, 'the payload of the signal', 1048576);

    v_run := pgorch._locked_run(p_run_id);
    v_now := pgorch.clock_now();
    select s.* into v_earlier from pgorch.signals s
    where s.bucket = v_bucket and s.run_id = p_run_id and s.idempotency_key = p_idempotency_key;
    if v_earlier.id is not null then
        if (v_earlier.name, v_earlier.payload) is distinct from (p_name, p_payload) then
            perform pgorch._raise('OR005', format('the idempotency key %s belongs to another signal of this run', p_idempotency_key),
                'Use a new key for a new signal.');
        end if;
        return v_earlier.id;
    end if;
    if v_run.finished_at is not null then
        perform pgorch._raise('OR002', format('run %s takes no signals any more: it is %s since %s', p_run_id, v_run.status, v_run.finished_at),
            'Look at the run''s state.');
    end if;
    insert into pgorch.signals (bucket, id, run_id, name, payload, sent_at, sent_by, idempotency_key)
    values (v_bucket, v_id, p_run_id, p_name, p_payload, v_now, v_actor, p_idempotency_key);
    v_run := pgorch._append(v_bucket, v_run, 'signal_received', v_now, p_actor => v_actor,
        p_output => jsonb_build_object('signal_id', v_id, 'name', p_name, 'payload', p_payload));
    perform pgorch._audit(v_bucket, v_actor, 'signal', p_run_id, p_after => jsonb_build_object('signal_id', v_id, 'name', p_name));
    perform pgorch._save_run(v_bucket, v_run, v_now);
    -- A deadline stands even if nobody has looked at the clock yet: a wait that is overdue ends, and the next one is asked.
    loop
        select s.* into v_step from pgorch.steps s
        where s.bucket = v_bucket and s.run_id = p_run_id and s.kind = 'wait' and s.input ->> 'signal' = p_name
        order by s.id limit 1;
        exit when v_step.id is null or not pgorch._is_past_deadline(v_step, v_now);
        v_run := pgorch._end_wait(v_bucket, v_run, v_step, 'expired', null, v_now);
    end loop;
    -- A wait that began just now may have taken it.
    v_signal := pgorch._take_signal(v_bucket, p_run_id, p_name);
    if v_step.id is not null and v_signal.id is not null then
        perform pgorch._note_taken(v_bucket, v_signal.id, v_step.id, v_now);
        perform pgorch._end_wait(v_bucket, v_run, v_step, 'success', v_signal.payload, v_now, v_signal.sent_by);
    end if;
    return v_id;
end
$$;
comment on function pgorch.signal is
    'Sends a message to a run. The oldest wait for its name whose deadline has not passed takes it, now or when the run comes to it. With an idempotency key it counts once. Returns the signal''s id.';

create or replace function pgorch._is_past_deadline(p_step pgorch.steps, p_now timestamptz) returns boolean
    language sql immutable
    as $$ select coalesce((p_step.input ->> 'deadline')::timestamptz <= p_now, false) $$;
