-- Settling the results of one run: everything that the plain path does not take.

create or replace function pgorch._settle(
    p_bucket integer, p_worker_id uuid, p_run_id uuid, p_step_ids bigint[], p_lease_tokens uuid[], p_outcomes text[], p_outputs jsonb[],
    p_now timestamptz)
    returns table (step_id bigint, lease_token uuid, message text, delay_seconds double precision)
    language plpgsql
    as $$
declare
    v_run pgorch.runs;
    v_step pgorch.steps;
    v_moves pgorch._move[] := '{}';
    v_settled record;
    v_counted boolean := false;
begin
    -- The run first, then its steps; and after the wait for it every lease is looked at.
    select r.* into v_run from pgorch.runs r where r.bucket = p_bucket and r.id = p_run_id for update;
    for i in 1 .. cardinality(p_step_ids) loop
        step_id := p_step_ids[i];
        lease_token := p_lease_tokens[i];
        message := null;
        delay_seconds := null;
        select s.* into v_step from pgorch.steps s
        where s.bucket = p_bucket and s.id = p_step_ids[i] and s.lease_token = p_lease_tokens[i]
        for update;
        -- The worker is compared here, for with it in the query the index of all that it leases could serve.
        if not found or v_step.worker_id <> p_worker_id then
            message := 'the lease on this step is lost: its run has ended, another worker has it, or the result was taken before';
            return next;
            continue;
        end if;
        if p_outcomes[i] = 'release' then
            perform pgorch._give_back(p_bucket, array[v_step.id], p_now, 0, 1);
            continue;
        end if;
        select o.* into v_settled from pgorch._outcome(p_bucket, v_run, v_step, p_outcomes[i], p_outputs[i], p_now) o;
        if v_settled.delay is null then
            delete from pgorch.steps s where s.bucket = p_bucket and s.id = v_step.id;
            perform pgorch._key_changed(p_bucket, array[v_step.limiter], p_now);
            v_counted := v_counted or num_nonnulls(v_step.queue_limit, v_step.tool_limit) > 0;
            v_run.live := v_run.live - 1;
            v_moves := v_moves || v_settled.move;
        else
            v_run := pgorch._append(p_bucket, v_run, 'attempt_failed', p_now, p_node => v_step.node, p_attempt => v_step.attempt,
                p_started_at => v_step.started_at, p_worker_id => p_worker_id, p_visit => v_step.visit, p_error => p_outputs[i]);
            perform pgorch._give_back(p_bucket, array[v_step.id], p_now + make_interval(secs => v_settled.delay), 0, 0, 1);
            delay_seconds := v_settled.delay;
            return next;
        end if;
    end loop;
    if v_moves <> '{}' then
        perform pgorch._proceed(p_bucket, v_run, v_moves, p_now);
    elsif v_run.id is not null then
        perform pgorch._save_run(p_bucket, v_run, p_now);
    end if;
    -- What a limit kept back can go to another worker now.
    if v_counted then
        perform pgorch._wake_workers(p_bucket);
    end if;
end
$$;
comment on function pgorch._settle is 'Takes results of steps of one run. Rows: results that were refused (message) and attempts that will be made again (delay_seconds).';

create or replace function pgorch._outcome(
    p_bucket integer, p_run pgorch.runs, p_step pgorch.steps, p_outcome text, p_output jsonb, p_now timestamptz,
    out move pgorch._move, out delay double precision)
    language plpgsql
    as $$
begin
    if p_outcome = 'success' and p_output is not null then
        move.output := pgorch._checked_json(p_output, format('the result of %s', p_step.node), 1048576);
    elsif p_outcome = 'error' and jsonb_typeof(p_output) = 'object' and jsonb_typeof(p_output -> 'type') = 'string' then
        move.error := pgorch._checked_json(p_output, format('the error of %s', p_step.node), 1048576);
        delay := pgorch._retry_delay(pgorch._retry_policy(p_step.graph_id, p_step.node), p_output,
            p_step.failures + 1, random());
    else
        perform pgorch._raise('OR006', format('step %s was handed in as %s, which is no outcome with its value', p_step.id, coalesce(p_outcome, 'null')),
            'Outcomes are success with a JSON value, error with an object that has a type, and release.');
    end if;
    move.outcome := p_outcome;
    move.node := p_step.node;
    move.visit := p_step.visit;
    move.counts := p_step.counts;
    move.lineage := p_step.lineage;
    move.attempt := p_step.attempt;
    move.started_at := p_step.started_at;
    move.worker_id := p_step.worker_id;
end
$$;
comment on function pgorch._outcome is 'What a result means: the end of its step (move), or another attempt after delay seconds.';

create or replace function pgorch._give_back(
    p_bucket integer, p_step_ids bigint[], p_ready_at timestamptz, p_deaths integer, p_uncounted integer,
    p_failures integer default 0) returns void
    language plpgsql
    as $$
declare
    v_keys text[];
    v_now timestamptz;
begin
    -- From two deaths on a step waits where only one at a time is taken ('!'), from three on it is not run any more ('').
    -- A step with a concurrency key gives up its place, and waits for another until it may run again.
    with back as (
        update pgorch.steps s
        set worker_id = null, lease_token = null, started_at = null, ready_at = p_ready_at, queue_limit = null, tool_limit = null,
            deaths = s.deaths + p_deaths, failures = s.failures + p_failures, attempt = s.attempt - p_uncounted,
            held = case when s.limiter is not null and s.deaths + p_deaths < 3 then 'limit' end,
            lane_queue = case when s.deaths + p_deaths >= 3 then ''
                              when s.limiter is not null then null
                              when s.deaths + p_deaths = 2 then '!' || pgorch._lane_queue(n.queue, r.queue)
                              else pgorch._lane_queue(n.queue, r.queue) end,
            lane_tool = case when s.deaths + p_deaths >= 3 then ''
                             when s.limiter is null then n.function end
        from pgorch.runs r, pgorch.nodes n
        where s.bucket = p_bucket and s.id = any (p_step_ids)
          and r.bucket = p_bucket and r.id = s.run_id
          and n.graph_id = s.graph_id and n.id = s.node
        returning s.limiter)
    select array_agg(distinct b.limiter) into v_keys from back b where b.limiter is not null;
    if v_keys is not null then
        -- Others may have the places now, and the step itself one when it is due.
        v_now := pgorch.clock_now();
        perform pgorch._key_changed(p_bucket, v_keys, v_now);
        if p_ready_at > v_now then
            perform pgorch._key_changed(p_bucket, v_keys, p_ready_at);
        end if;
    end if;
    perform pgorch._wake_workers(p_bucket);
end
$$;
comment on function pgorch._give_back is 'Puts leased steps back into their lanes, with so many deaths and failures more, and so many attempts less.';
