-- Timers: what is to happen to runs at a time. Workers fire them when they are due; psql can.

create or replace function pgorch.tick(p_bucket integer) returns integer
    language plpgsql
    set jit = off set enable_seqscan = off
    as $$
declare
    v_now constant pg_catalog.timestamptz := pgorch.clock_now();
    v_ids bigint[];
    v_timer pgorch.timers;
    v_run pgorch.runs;
    v_fired integer := 0;
    v_locked boolean;
begin
    if exists (select from pgorch._row_changes c where c.bucket = p_bucket) then
        v_fired := pgorch._fire_row_changes(p_bucket);
    end if;
    -- A run that somebody works on is left to the next tick, and its timers, many as they may be, take no other one's place.
    v_ids := array(
        select t.id from pgorch.timers t join pgorch.runs r on r.bucket = p_bucket and r.id = t.run_id
        where t.bucket = p_bucket and t.due_at <= v_now order by t.due_at, t.id limit 50 for update of r skip locked);
    for v_timer in
        select t.* from pgorch.timers t where t.bucket = p_bucket and t.id = any (v_ids) order by t.due_at, t.id
    loop
        begin
            -- The timer may be gone by now, through one before it.
            select r.* into v_run from pgorch.runs r where r.bucket = p_bucket and r.id = v_timer.run_id for update skip locked;
            continue when not found;
            delete from pgorch.timers t where t.bucket = p_bucket and t.id = v_timer.id;
            continue when not found;
            v_fired := v_fired + 1;
            if v_run.finished_at is null then
                perform pgorch._fire(p_bucket, v_run, v_timer, v_now);
            end if;
        exception when others then
            -- One bad run must not stop the others' clocks. If somebody works on a child of it, it is over in a moment.
            v_locked := left(sqlstate, 2) in ('40', '55');
            raise warning 'timer % of run % failed and is tried again in % s: %', v_timer.kind, v_timer.run_id, case when v_locked then 1 else 30 end, sqlerrm;
            update pgorch.timers t set due_at = v_now + case when v_locked then interval '1 second' else interval '30 seconds' end
            where t.bucket = p_bucket and t.id = v_timer.id;
            -- It was waited for with the other runs locked: once is enough.
            exit when v_locked;
        end;
    end loop;
    return v_fired;
end
$$;
comment on function pgorch.tick(integer) is
    'Fires the timers of a bucket that are due: waits end, deadlines pass, reminders go out. Returns how many; call it again until that is 0.';

create or replace function pgorch._fire(p_bucket integer, p_run pgorch.runs, p_timer pgorch.timers, p_now timestamptz) returns void
    language plpgsql
    as $$
declare
    v_step pgorch.steps;
begin
    if p_timer.kind = 'run_timeout' then
        if p_run.ending is null then
            p_run := pgorch._fail_run(p_bucket, p_run, jsonb_build_object('type', 'RunTimeout',
                'message', format('the run has taken longer than the timeout of its graph, %s',
                    (select g.timeout from pgorch.graphs g where g.id = p_run.graph_id))), p_now);
            perform pgorch._save_run(p_bucket, p_run, p_now);
            perform pgorch._tell_parent(p_bucket, p_run, p_now);
        end if;
        return;
    end if;
    select s.* into v_step from pgorch.steps s where s.bucket = p_bucket and s.id = p_timer.step_id and s.run_id = p_run.id;
    if v_step.id is null then
        return;
    elsif v_step.kind = 'wait' then
        if p_timer.kind = 'recheck' then
            perform pgorch._recheck_row(p_bucket, p_run, v_step, p_timer.data, p_now);
        elsif p_timer.kind = 'deadline' then
            perform pgorch._end_wait(p_bucket, p_run, v_step, 'expired', null, p_now);
        else
            perform pgorch._end_wait(p_bucket, p_run, v_step, 'success', '{}', p_now);
        end if;
    elsif v_step.kind = 'child' then
        perform pgorch._fire_child(p_bucket, p_run, v_step, p_timer, p_now);
    elsif p_timer.kind = 'deadline' then
        perform pgorch._expire_approval(p_bucket, p_run, (p_timer.data ->> 'approval_id')::uuid, p_now);
    elsif p_timer.kind = 'remind' then
        perform pgorch._remind(p_bucket, p_run, (p_timer.data ->> 'approval_id')::uuid, p_now);
    end if;
end
$$;
comment on function pgorch._fire is 'What a timer is for happens. The caller holds the run''s lock.';

create or replace function pgorch._fire_child(
    p_bucket integer, p_run pgorch.runs, p_step pgorch.steps, p_timer pgorch.timers, p_now timestamptz) returns void
    language plpgsql
    as $$
declare
    v_child pgorch.runs;
begin
    if p_timer.data ? 'start' then
        perform pgorch._start_child_again(p_bucket, p_run, p_step, p_now);
        return;
    end if;
    select r.* into v_child from pgorch.runs r where r.bucket = p_bucket and r.id = (p_step.input ->> 'run_id')::uuid;
    if v_child.finished_at is not null then
        perform pgorch._child_ended(p_bucket, p_run, p_step, v_child, p_now);
    end if;
end
$$;

create or replace function pgorch._next_due(p_bucket integer, p_now timestamptz) returns double precision
    language plpgsql stable
    as $$
begin
    return (
        select min(d.seconds)
        from ((select extract(epoch from t.due_at - p_now) as seconds from pgorch.timers t where t.bucket = p_bucket order by t.due_at limit 1)
              union all
              (select 0.05 from pgorch._row_changes c where c.bucket = p_bucket limit 1)) d);
end
$$;
comment on function pgorch._next_due is 'Seconds until there is something to do for tick() in a bucket; null if nothing is to be.';
