-- What people do with an open approval besides deciding it.

create or replace function pgorch.reassign(
    p_approval_id uuid, p_assignees text[], p_comment text default null, p_actor text default null, p_roles text[] default null) returns uuid
    language plpgsql
    set jit = off set enable_seqscan = off
    as $$
declare
    v_bucket constant integer := pgorch.bucket_of(p_approval_id);
    v_actor constant pg_catalog.text := pgorch._actor(p_actor);
    v_roles constant pg_catalog.text[] := pgorch._roles(v_actor, p_roles);
    v_assignees constant pg_catalog.text[] := pgorch._checked_assignees(p_assignees);
    v_run pgorch.runs;
    v_approval pgorch.approvals;
    v_node pgorch.nodes;
    v_now pg_catalog.timestamptz;
begin
    perform pgorch._check_comment(p_comment);
    v_run := pgorch._locked_run(pgorch._run_of_approval(p_approval_id));
    v_approval := pgorch._chosen_approval(v_bucket, v_run, p_approval_id);
    v_now := pgorch.clock_now();
    select n.* into strict v_node from pgorch.nodes n where n.graph_id = v_approval.graph_id and n.id = v_approval.node;
    perform pgorch._check_in_time(v_approval, v_now);
    if not exists (select from unnest(v_assignees) a(name) where a.name like 'role:%')
       and (select count(*) from (select substr(a.name, 6) from unnest(v_assignees) a(name) union
                                  select v.voter from pgorch.votes v where v.bucket = v_bucket and v.approval_id = p_approval_id) p) < v_node.quorum then
        perform pgorch._raise('OR006', format('%s people must approve %s, and fewer are asked', v_node.quorum, v_approval.node), 'Ask more, or a role.');
    end if;
    -- Who may not decide because he started the run may not choose who does, either.
    if (v_node.exclude_initiator and pgorch._has_started(v_bucket, v_run.id, v_actor))
       or not (pgorch._is_asked(v_approval.assignees, v_actor, v_roles) or v_roles && '{operator,admin}'
               or v_actor = pgorch._user() and pgorch._may_speak_for_others()) then
        perform pgorch._raise('OR007', format('%s may not reassign approval %s', v_actor, p_approval_id),
            'Its assignees may, and who has the role operator or admin; but where the graph says exclude_initiator, not who started the run.');
    end if;
    update pgorch.approvals a set assignees = v_assignees where a.bucket = v_bucket and a.id = p_approval_id;
    v_run := pgorch._append(v_bucket, v_run, 'approval_reassigned', v_now, p_node => v_approval.node, p_actor => v_actor,
        p_output => jsonb_strip_nulls(jsonb_build_object('approval_id', p_approval_id, 'from', to_jsonb(v_approval.assignees),
            'to', to_jsonb(v_assignees), 'comment', p_comment)));
    perform pgorch._save_run(v_bucket, v_run, v_now);
    perform pgorch._audit(v_bucket, v_actor, 'reassign', v_run.id, p_approval_id,
        jsonb_build_object('assignees', v_approval.assignees), jsonb_build_object('assignees', v_assignees), p_comment);
    return p_approval_id;
end
$$;
comment on function pgorch.reassign is
    'Says anew who may decide an open approval: user:<name> and role:<name>. Approvals that were given stay. Assignees may, operators, administrators, and the owner of the schema.';

create or replace function pgorch.comment(p_approval_id uuid, p_comment text, p_actor text default null) returns uuid
    language plpgsql
    set jit = off set enable_seqscan = off
    as $$
declare
    v_bucket constant integer := pgorch.bucket_of(p_approval_id);
    v_actor constant pg_catalog.text := pgorch._actor(p_actor);
    v_run pgorch.runs;
    v_approval pgorch.approvals;
    v_now pg_catalog.timestamptz;
begin
    if coalesce(p_comment, '') = '' then
        perform pgorch._raise('OR006', 'a comment has no text', 'Write one.');
    end if;
    perform pgorch._check_comment(p_comment);
    v_run := pgorch._locked_run(pgorch._run_of_approval(p_approval_id));
    v_approval := pgorch._chosen_approval(v_bucket, v_run, p_approval_id);
    v_now := pgorch.clock_now();
    v_run := pgorch._append(v_bucket, v_run, 'approval_commented', v_now, p_node => v_approval.node, p_actor => v_actor,
        p_output => jsonb_build_object('approval_id', p_approval_id, 'comment', p_comment));
    perform pgorch._save_run(v_bucket, v_run, v_now);
    perform pgorch._audit(v_bucket, v_actor, 'comment', v_run.id, p_approval_id, p_comment => p_comment);
    return p_approval_id;
end
$$;
comment on function pgorch.comment is 'Adds a comment to an open approval: everybody who looks at it sees it.';
