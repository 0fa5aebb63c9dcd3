-- Asking people: an approval is made, with its timers; it is brought to mind, and expires.

create or replace function pgorch._enter_approval(
    p_bucket integer, p_run pgorch.runs, p_node pgorch.nodes, p_move pgorch._move, p_title jsonb, p_show jsonb, p_now timestamptz)
    returns pgorch.runs
    language plpgsql
    as $$
declare
    v_step_id bigint;
    v_approval_id constant pg_catalog.uuid := pgorch.new_run_id(p_bucket);
    v_deadline constant pg_catalog.timestamptz := pgorch._after(p_now, p_node.deadline);
    v_remind_at constant pg_catalog.timestamptz := p_now + make_interval(secs => (p_node.remind ->> 'seconds')::double precision);
begin
    insert into pgorch.steps (bucket, run_id, graph_id, kind, created_at, ready_at, visit, counts, lineage, born, node)
    values (p_bucket, p_run.id, p_run.graph_id, 'approval', p_now, p_now, p_move.visit, p_move.counts, p_move.lineage, p_run.seq, p_node.id)
    returning id into v_step_id;
    insert into pgorch.approvals (bucket, id, run_id, step_id, graph_id, node, title, show, requested_at, assignees, deadline, status)
    values (p_bucket, v_approval_id, p_run.id, v_step_id, p_run.graph_id, p_node.id, p_title #>> '{}', p_show, p_now,
            p_node.assignees, v_deadline, 'open');
    if v_deadline is not null or v_remind_at is not null then
        insert into pgorch.timers (bucket, run_id, step_id, due_at, kind, data)
        select p_bucket, p_run.id, v_step_id, t.due_at, t.kind, jsonb_build_object('approval_id', v_approval_id)
        from (values (v_remind_at, 'remind'), (v_deadline, 'deadline')) t(due_at, kind) where t.due_at is not null;
    end if;
    return pgorch._append(p_bucket, p_run, 'approval_requested', p_now, p_node => p_node.id, p_visit => p_move.visit,
        p_output => jsonb_build_object('approval_id', v_approval_id, 'title', p_title, 'show', p_show)
            || jsonb_strip_nulls(jsonb_build_object('assignees', p_node.assignees, 'deadline', v_deadline)));
end
$$;

create or replace function pgorch._end_approval(
    p_bucket integer, p_run pgorch.runs, p_approval pgorch.approvals, p_outcome text, p_kind pgorch.event_kind,
    p_actor text, p_output jsonb, p_decision jsonb, p_now timestamptz) returns pgorch.runs
    language plpgsql
    as $$
declare
    v_step pgorch.steps;
    v_move pgorch._move;
begin
    delete from pgorch.timers t where t.bucket = p_bucket and t.run_id = p_run.id and t.step_id = p_approval.step_id;
    select s.* into strict v_step from pgorch.steps s where s.bucket = p_bucket and s.id = p_approval.step_id;
    delete from pgorch.steps s where s.bucket = p_bucket and s.id = v_step.id;
    p_run.live := p_run.live - 1;
    v_move := pgorch._move_of(v_step);
    v_move.outcome := p_outcome;
    v_move.kind := p_kind;
    v_move.started_at := p_approval.requested_at;
    v_move.actor := p_actor;
    v_move.output := p_output;
    v_move.decision := p_decision;
    return pgorch._proceed(p_bucket, p_run, array[v_move], p_now);
end
$$;
comment on function pgorch._end_approval is 'Lets a run go on from an approval that is not open any more. The caller holds the run''s lock; the run is saved.';

create or replace function pgorch._open_approval(p_bucket integer, p_run_id uuid, p_approval_id uuid) returns pgorch.approvals
    language plpgsql
    as $$
declare
    v_approval pgorch.approvals;
begin
    select a.* into v_approval from pgorch.approvals a
    where a.bucket = p_bucket and a.id = p_approval_id and a.run_id = p_run_id and a.status = 'open';
    return v_approval;
end
$$;
comment on function pgorch._open_approval is 'The approval if it is still open, else null.';

create or replace function pgorch._expire_approval(
    p_bucket integer, p_run pgorch.runs, p_approval_id uuid, p_now timestamptz) returns pgorch.runs
    language plpgsql
    as $$
declare
    v_approval constant pgorch.approvals := pgorch._open_approval(p_bucket, p_run.id, p_approval_id);
    v_votes constant pg_catalog.text[] := pgorch._voters(p_bucket, p_approval_id);
begin
    if v_approval.id is null then
        return p_run;
    end if;
    update pgorch.approvals a set status = 'expired', decided_at = p_now
    where a.bucket = p_bucket and a.id = p_approval_id;
    return pgorch._end_approval(p_bucket, p_run, v_approval, 'expired', 'step_expired', null,
        jsonb_strip_nulls(jsonb_build_object('approval_id', p_approval_id, 'decision', 'expired', 'deadline', v_approval.deadline,
            'approved_by', to_jsonb(v_votes))),
        '{"decision": "expired"}', p_now);
end
$$;
comment on function pgorch._expire_approval is
    'Ends an approval whose deadline has passed; one that is not open is left alone. The caller holds the run''s lock; the run is saved.';

create or replace function pgorch._remind(
    p_bucket integer, p_run pgorch.runs, p_approval_id uuid, p_now timestamptz) returns pgorch.runs
    language plpgsql
    as $$
declare
    v_approval constant pgorch.approvals := pgorch._open_approval(p_bucket, p_run.id, p_approval_id);
    v_run pgorch.runs := p_run;
    v_to pg_catalog.text[];
    v_assignees pg_catalog.text[];
begin
    if v_approval.id is null or v_approval.deadline <= p_now then
        return p_run;
    end if;
    select array(select jsonb_array_elements_text(n.remind -> 'to')) into v_to
    from pgorch.nodes n where n.graph_id = v_approval.graph_id and n.id = v_approval.node;
    -- Those who are reminded may decide from now on as well. Where anybody may, nobody is added: that would exclude the others.
    if v_approval.assignees is not null then
        v_assignees := v_approval.assignees || array(
            select t.name from unnest(v_to) with ordinality t(name, at) where t.name <> all (v_approval.assignees) order by t.at);
    end if;
    update pgorch.approvals a set reminded_at = p_now, assignees = v_assignees
    where a.bucket = p_bucket and a.id = p_approval_id;
    v_run := pgorch._append(p_bucket, v_run, 'approval_reminded', p_now, p_node => v_approval.node,
        p_output => jsonb_strip_nulls(jsonb_build_object('approval_id', p_approval_id, 'title', v_approval.title,
            'to', to_jsonb(v_to), 'assignees', to_jsonb(v_assignees), 'deadline', v_approval.deadline)));
    perform pgorch._save_run(p_bucket, v_run, p_now);
    return v_run;
end
$$;
comment on function pgorch._remind is
    'Brings an open approval to mind: an event, and whoever the graph names may decide it as well. The caller holds the run''s lock; the run is saved.';
