-- Settling one result: everything that the plain path does not take.

create or replace function pgorch._settle(
    p_bucket integer, p_worker_id uuid, p_step_id bigint, p_lease_token uuid, p_outcome text, p_output jsonb, p_now timestamptz,
    out message text, out delay_seconds double precision)
    language plpgsql
    as $$
declare
    v_run pgorch.runs;
    v_step pgorch.steps;
    v_move pgorch._move;
    v_delay double precision;
    v_failures integer;
begin
    select s.* into v_step from pgorch.steps s
    where s.bucket = p_bucket and s.id = p_step_id and s.lease_token = p_lease_token;
    if found then
        -- The run first, then the step, as everywhere; and after the wait the lease is looked at again.
        select r.* into strict v_run from pgorch.runs r where r.bucket = p_bucket and r.id = v_step.run_id for update;
        select s.* into v_step from pgorch.steps s
        where s.bucket = p_bucket and s.id = p_step_id and s.lease_token = p_lease_token and s.worker_id = p_worker_id
        for update;
    end if;
    if not found then
        message := 'the lease on this step is lost: its run has ended, another worker has it, or the result was taken before';
        return;
    end if;

    if p_outcome = 'release' then
        perform pgorch._give_back(p_bucket, array[p_step_id], p_now, 0, 1);
        return;
    elsif p_outcome = 'success' and p_output is not null then
        v_move.outcome := 'success';
        v_move.output := pgorch._checked_json(p_output, format('the result of %s', v_step.node), 1048576);
    elsif p_outcome = 'error' and jsonb_typeof(p_output) = 'object' and jsonb_typeof(p_output -> 'type') = 'string' then
        v_move.outcome := 'error';
        v_move.error := p_output;
        v_failures := greatest(v_step.attempt - v_step.deaths, 1);
        v_delay := pgorch._retry_delay(pgorch._retry_policy(v_step.graph_id, v_step.node), p_output, v_failures, random());
        if v_delay is not null then
            v_run := pgorch._append(p_bucket, v_run, 'attempt_failed', p_now, p_node => v_step.node, p_attempt => v_step.attempt,
                p_started_at => v_step.started_at, p_worker_id => p_worker_id, p_visit => v_step.visit, p_error => p_output);
            perform pgorch._give_back(p_bucket, array[p_step_id], p_now + make_interval(secs => v_delay), 0, 0);
            perform pgorch._save_run(p_bucket, v_run, p_now);
            delay_seconds := v_delay;
            return;
        end if;
    else
        perform pgorch._raise('OR006', format('step %s was handed in as %s, which is no outcome with its value', p_step_id, coalesce(p_outcome, 'null')),
            'Outcomes are success with a JSON value, error with an object that has a type, and release.');
    end if;

    delete from pgorch.steps s where s.bucket = p_bucket and s.id = p_step_id;
    v_run.live := v_run.live - 1;
    v_move.node := v_step.node;
    v_move.visit := v_step.visit;
    v_move.counts := v_step.counts;
    v_move.lineage := v_step.lineage;
    v_move.attempt := v_step.attempt;
    v_move.started_at := v_step.started_at;
    v_move.worker_id := p_worker_id;
    perform pgorch._proceed(p_bucket, v_run, v_move, p_now);
end
$$;

create or replace function pgorch._give_back(
    p_bucket integer, p_step_ids bigint[], p_ready_at timestamptz, p_deaths integer, p_uncounted integer) returns void
    language plpgsql
    as $$
begin
    -- From two deaths on a step waits where only one at a time is taken ('!'), from three on it is not run any more ('').
    update pgorch.steps s
    set worker_id = null, lease_token = null, started_at = null, ready_at = p_ready_at,
        deaths = s.deaths + p_deaths, attempt = s.attempt - p_uncounted,
        lane_queue = case when s.deaths + p_deaths >= 3 then ''
                          when s.deaths + p_deaths = 2 then '!' || pgorch._lane_queue(n.queue, r.queue)
                          else pgorch._lane_queue(n.queue, r.queue) end,
        lane_tool = case when s.deaths + p_deaths >= 3 then '' else n.function end
    from pgorch.runs r, pgorch.nodes n
    where s.bucket = p_bucket and s.id = any (p_step_ids)
      and r.bucket = p_bucket and r.id = s.run_id
      and n.graph_id = s.graph_id and n.id = s.node;
    perform pgorch._wake_workers(p_bucket);
end
$$;
comment on function pgorch._give_back is 'Puts leased steps back into their lanes, with so many deaths more and so many attempts less.';
