-- Asking people: an approval is made, with its timers; it is brought to mind, and expires.

create or replace function pgorch._enter_approval(
    p_bucket integer, p_run pgorch.runs, p_node pgorch.nodes, p_move pgorch._move, p_title jsonb, p_show jsonb, p_now timestamptz)
    returns pgorch.runs
    language plpgsql
    as $$
declare
    v_step_id bigint;
    v_approval_id constant uuid := pgorch.new_run_id(p_bucket);
    v_deadline constant timestamptz := p_now + p_node.deadline;
    v_remind_at constant timestamptz := p_now + make_interval(secs => (p_node.remind ->> 'seconds')::double precision);
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
