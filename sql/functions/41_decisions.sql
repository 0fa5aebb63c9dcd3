-- Decisions by people, and cancelling.

create or replace function pgorch._locked_run(p_run_id uuid) returns pgorch.runs
    language plpgsql
    as $$
declare
    v_run pgorch.runs;
    v_bucket constant integer := pgorch.bucket_of(p_run_id);
begin
    -- Lock order: the run, then its steps and approvals by id. Everything that changes a run begins here or in advance().
    select r.* into v_run from pgorch.runs r where r.bucket = v_bucket and r.id = p_run_id for update;
    if v_run.id is null then
        perform pgorch._raise('OR003', format('there is no run %s', coalesce(p_run_id::text, 'null')), 'See the view pgorch.run_list for those there are.');
    end if;
    return v_run;
end
$$;

create or replace function pgorch._chosen_approval(p_bucket integer, p_run pgorch.runs, p_approval_id uuid) returns pgorch.approvals
    language plpgsql
    as $$
declare
    v_open pgorch.approvals[];
    v_last pgorch.approvals;
begin
    select array_agg(a order by a.requested_at, a.id) into v_open
    from pgorch.approvals a
    where a.bucket = p_bucket and a.run_id = p_run.id and a.status = 'open' and (p_approval_id is null or a.id = p_approval_id);
    if cardinality(v_open) = 1 then
        return v_open[1];
    elsif cardinality(v_open) > 1 then
        perform pgorch._raise('OR002', format('run %s waits for %s approvals: %s', p_run.id, cardinality(v_open),
            (select string_agg(o.node || ' ' || o.id, ', ') from unnest(v_open) o)), 'Name the one that you decide.');
    end if;

    select a.* into v_last from pgorch.approvals a
    where a.bucket = p_bucket and a.run_id = p_run.id and (p_approval_id is null or a.id = p_approval_id)
    order by a.decided_at desc limit 1;
    if v_last.id is null and p_approval_id is not null then
        perform pgorch._raise('OR003', format('run %s has no approval %s', p_run.id, p_approval_id), 'See the view pgorch.waiting_approvals.');
    elsif v_last.decided_by is not null then
        perform pgorch._raise('OR002', format('run %s does not wait for this decision any more: %s was %s by %s at %s; the run is %s',
            p_run.id, v_last.node, v_last.status, v_last.decided_by, v_last.decided_at, p_run.status), 'The first decision stands.');
    end if;
    perform pgorch._raise('OR002', format('run %s waits for no decision: it is %s', p_run.id, p_run.status), 'Look at the run''s state.');
end
$$;

create or replace function pgorch.decide(
    p_run_id uuid, p_decision text, p_data jsonb default null, p_comment text default null,
    p_approval_id uuid default null, p_actor text default null) returns uuid
    language plpgsql
    set jit = off set enable_seqscan = off
    as $$
declare
    v_bucket constant integer := pgorch.bucket_of(p_run_id);
    v_actor constant text := pgorch._actor(p_actor);
    v_run pgorch.runs;
    v_approval pgorch.approvals;
    v_step pgorch.steps;
    v_move pgorch._move;
    v_now timestamptz;
begin
    if p_decision is null or p_decision not in ('approved', 'rejected') then
        perform pgorch._raise('OR006', format('%s is no decision', coalesce(quote_literal(p_decision), 'null')), 'Say approved or rejected.');
    end if;
    if p_data is not null and jsonb_typeof(p_data) <> 'object' then
        perform pgorch._raise('OR006', format('the data of a decision is a JSON object, not %s', jsonb_typeof(p_data)), 'Put the value under a key.');
    end if;
    perform pgorch._checked_json(p_data, 'the data of the decision', 1048576);
    if length(p_comment) > 10000 then
        perform pgorch._raise('OR006', 'a comment has at most 10,000 characters', 'Shorten it.');
    end if;

    v_run := pgorch._locked_run(p_run_id);
    v_approval := pgorch._chosen_approval(v_bucket, v_run, p_approval_id);
    v_now := pgorch.clock_now();
    update pgorch.approvals a
    set status = p_decision, decided_at = v_now, decided_by = v_actor, data = p_data, comment = p_comment
    where a.bucket = v_bucket and a.id = v_approval.id;
    select s.* into strict v_step from pgorch.steps s where s.bucket = v_bucket and s.id = v_approval.step_id;
    delete from pgorch.steps s where s.bucket = v_bucket and s.id = v_step.id;
    v_run.live := v_run.live - 1;

    v_move.node := v_approval.node;
    v_move.outcome := case p_decision when 'approved' then 'success' else 'rejected' end;
    v_move.kind := 'approval_decided';
    v_move.visit := v_step.visit;
    v_move.counts := v_step.counts;
    v_move.lineage := v_step.lineage;
    v_move.started_at := v_approval.requested_at;
    v_move.actor := v_actor;
    v_move.output := jsonb_strip_nulls(jsonb_build_object('approval_id', v_approval.id, 'decision', p_decision, 'by', v_actor,
        'at', v_now, 'comment', p_comment)) || case when p_data is null then '{}' else jsonb_build_object('data', p_data) end;
    -- Conditions read the fields of the data as $decision.<field>; what pgorch says of the decision itself goes before.
    v_move.decision := coalesce(p_data, '{}') || jsonb_strip_nulls(jsonb_build_object(
        'decision', p_decision, 'by', v_actor, 'comment', p_comment));
    perform pgorch._proceed(v_bucket, v_run, array[v_move], v_now);
    return v_approval.id;
end
$$;
comment on function pgorch.decide is
    'Decides an open approval: approved or rejected, with data and a comment. It takes effect when the caller''s transaction commits. The actor is the session''s user.';

create or replace function pgorch.approve(p_run_id uuid, p_data jsonb default null, p_comment text default null) returns uuid
    language sql
    as $$ select pgorch.decide(p_run_id => p_run_id, p_decision => 'approved', p_data => p_data, p_comment => p_comment) $$;
comment on function pgorch.approve is 'Short for decide(run, ''approved''): for psql.';

create or replace function pgorch.reject(p_run_id uuid, p_comment text default null, p_data jsonb default null) returns uuid
    language sql
    as $$ select pgorch.decide(p_run_id => p_run_id, p_decision => 'rejected', p_data => p_data, p_comment => p_comment) $$;
comment on function pgorch.reject is 'Short for decide(run, ''rejected''): for psql.';

create or replace function pgorch.cancel(p_run_id uuid, p_reason text default null, p_actor text default null) returns text
    language plpgsql
    set jit = off set enable_seqscan = off
    as $$
declare
    v_bucket constant integer := pgorch.bucket_of(p_run_id);
    v_actor constant text := pgorch._actor(p_actor);
    v_run pgorch.runs := pgorch._locked_run(p_run_id);
    v_now constant timestamptz := pgorch.clock_now();
begin
    if v_run.finished_at is not null then
        perform pgorch._raise('OR002', format('run %s cannot be cancelled: it is %s since %s', p_run_id, v_run.status, v_run.finished_at),
            'Nothing needs to be done.');
    end if;
    v_run := pgorch._end_run(v_bucket, v_run, 'cancelled',
        case when p_reason is not null then jsonb_build_object('type', 'Cancelled', 'message', left(p_reason, 10000)) end, v_actor, v_now);
    perform pgorch._save_run(v_bucket, v_run, v_now);
    return v_run.status;
end
$$;
comment on function pgorch.cancel is 'Ends a run now. Steps under way are stopped at their worker''s next heartbeat; nothing they hand in counts any more.';
