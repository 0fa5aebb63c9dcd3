-- Decisions by people.

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
    order by a.decided_at desc, a.id desc limit 1;
    if v_last.id is null and p_approval_id is not null then
        perform pgorch._raise('OR003', format('run %s has no approval %s', p_run.id, p_approval_id)
            || case when exists (select from pgorch.approvals a where a.bucket = p_bucket and a.id = p_approval_id)
                    then ': it belongs to another run' else '' end, 'See the view pgorch.waiting_approvals.');
    elsif v_last.status in ('approved', 'rejected') then
        perform pgorch._raise('OR002', format('run %s does not wait for this decision any more: %s was %s by %s at %s; the run is %s',
            p_run.id, v_last.node, v_last.status,
            coalesce(array_to_string(case v_last.status when 'approved' then pgorch._voters(p_bucket, v_last.id) end, ', '), v_last.decided_by),
            v_last.decided_at, p_run.status), 'The first decision stands.');
    elsif v_last.status = 'expired' then
        perform pgorch._raise('OR002', format('run %s does not wait for this decision any more: nobody decided %s before its deadline at %s; the run is %s',
            p_run.id, v_last.node, v_last.deadline, p_run.status), 'Look at the run''s state.');
    end if;
    perform pgorch._raise('OR002', format('run %s waits for no decision: it is %s', p_run.id, p_run.status), 'Look at the run''s state.');
end
$$;
comment on function pgorch._chosen_approval is 'The open approval that somebody means; else it is said why there is none, and who was first.';

create or replace function pgorch._run_of_approval(p_approval_id uuid) returns uuid
    language plpgsql stable
    as $$
declare
    v_bucket constant integer := pgorch.bucket_of(p_approval_id);
    v_run_id pg_catalog.uuid;
begin
    select a.run_id into v_run_id from pgorch.approvals a where a.bucket = v_bucket and a.id = p_approval_id;
    if v_run_id is null then
        perform pgorch._raise('OR003', format('there is no approval %s', coalesce(p_approval_id::text, 'null')), 'See the view pgorch.waiting_approvals.');
    end if;
    return v_run_id;
end
$$;

create or replace function pgorch._decision_var(p_data jsonb, p_said jsonb) returns jsonb
    language sql immutable parallel safe
    as $$ select (coalesce(p_data, '{}') - '{decision,by,comment,approved_by}'::text[]) || p_said $$;
comment on function pgorch._decision_var is
    'The variable $decision: the fields of the data, and what pgorch says of the decision itself. Those names are its own, also where it says nothing.';

create or replace function pgorch.decide(
    p_run_id uuid default null, p_decision text default null, p_data jsonb default null, p_comment text default null,
    p_approval_id uuid default null, p_actor text default null, p_roles text[] default null) returns uuid
    language plpgsql
    set jit = off set enable_seqscan = off
    as $$
declare
    v_run_id constant pg_catalog.uuid := coalesce(p_run_id, pgorch._run_of_approval(p_approval_id));
    v_bucket constant integer := pgorch.bucket_of(v_run_id);
    v_actor constant pg_catalog.text := pgorch._actor(p_actor);
    v_roles constant pg_catalog.text[] := pgorch._roles(v_actor, p_roles);
    v_run pgorch.runs;
    v_approval pgorch.approvals;
    v_node pgorch.nodes;
    v_data pg_catalog.jsonb := p_data;
    v_now pg_catalog.timestamptz;
    v_said pg_catalog.jsonb;
begin
    perform pgorch._check_decision(p_decision, p_data, p_comment);
    v_run := pgorch._locked_run(v_run_id);
    v_approval := pgorch._chosen_approval(v_bucket, v_run, p_approval_id);
    -- Not before the lock was there: whoever waited for it may be late by now.
    v_now := pgorch.clock_now();
    select n.* into strict v_node from pgorch.nodes n where n.graph_id = v_approval.graph_id and n.id = v_approval.node;
    perform pgorch._check_in_time(v_approval, v_now);
    perform pgorch._check_asked(v_run, v_node, v_approval, v_actor, v_roles);

    if p_decision = 'approved' then
        perform pgorch._check_form(v_node, p_data);
        if v_node.quorum > 1 then
            if pgorch._vote(v_bucket, v_run, v_node, v_approval, v_actor, p_data, p_comment, v_now) < v_node.quorum then
                return v_approval.id;
            end if;
            v_data := pgorch._voted_data(v_bucket, v_approval.id);
            perform pgorch._check_form(v_node, v_data);
        end if;
    end if;
    update pgorch.approvals a
    set status = p_decision, decided_at = v_now, decided_by = v_actor, data = v_data, comment = p_comment
    where a.bucket = v_bucket and a.id = v_approval.id;
    v_said := jsonb_strip_nulls(jsonb_build_object('decision', p_decision, 'by', v_actor, 'comment', p_comment,
        'approved_by', to_jsonb(pgorch._voters(v_bucket, v_approval.id))));
    perform pgorch._audit(v_bucket, v_actor, case p_decision when 'approved' then 'approve' else 'reject' end, v_run.id, v_approval.id,
        jsonb_build_object('status', 'open'),
        jsonb_build_object('status', p_decision) || case when v_data is null then '{}' else jsonb_build_object('data', v_data) end, p_comment);
    perform pgorch._end_approval(v_bucket, v_run, v_approval,
        case p_decision when 'approved' then 'success' else 'rejected' end, 'approval_decided', v_actor,
        v_said || jsonb_build_object('approval_id', v_approval.id, 'at', v_now)
            || case when v_data is null then '{}' else jsonb_build_object('data', v_data) end,
        pgorch._decision_var(v_data, v_said), v_now);
    return v_approval.id;
end
$$;
comment on function pgorch.decide is
    'Decides an open approval: approved or rejected, with data and a comment. The approval is named by its id, or by its run if that has one open approval. It takes effect when the caller''s transaction commits. The actor is the session''s user.';

create or replace function pgorch.approve(
    p_run_id uuid default null, p_data jsonb default null, p_comment text default null, p_approval_id uuid default null) returns uuid
    language sql
    as $$
    select pgorch.decide(p_run_id => p_run_id, p_decision => 'approved', p_data => p_data, p_comment => p_comment, p_approval_id => p_approval_id)
    $$;
comment on function pgorch.approve is 'Short for decide(run, ''approved''): for psql.';

create or replace function pgorch.reject(
    p_run_id uuid default null, p_comment text default null, p_data jsonb default null, p_approval_id uuid default null) returns uuid
    language sql
    as $$
    select pgorch.decide(p_run_id => p_run_id, p_decision => 'rejected', p_data => p_data, p_comment => p_comment, p_approval_id => p_approval_id)
    $$;
comment on function pgorch.reject is 'Short for decide(run, ''rejected''): for psql.';

create or replace function pgorch.approve_plain(p_run_id uuid, p_actor text default null, p_roles text[] default null) returns uuid
    language plpgsql
    set jit = off set enable_seqscan = off
    as $$
declare
    v_bucket constant integer := pgorch.bucket_of(p_run_id);
    v_run constant pgorch.runs := pgorch._locked_run(p_run_id);
    v_approval constant pgorch.approvals := pgorch._chosen_approval(v_bucket, v_run, null);
begin
    if exists (
        select from pgorch.nodes n
        where n.graph_id = v_approval.graph_id and n.id = v_approval.node and (n.form is not null or n.quorum > 1)) then
        perform pgorch._raise('OR006', format('%s is no plain approval: it has a form, or several must approve it', v_approval.node),
            'Say {"decision": "approved"}, and what its form asks for under "data".');
    end if;
    return pgorch.decide(p_run_id, 'approved', p_approval_id => v_approval.id, p_actor => p_actor, p_roles => p_roles);
end
$$;
comment on function pgorch.approve_plain is
    'Approves the open approval of a run without a word, if it is a plain one: without a form, and with nobody else who must approve it. What a request without a body means.';
