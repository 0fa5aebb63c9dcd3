-- What waits for people, and for whom.

create or replace view pgorch.waiting_approvals as
select a.bucket, a.id as approval_id, a.run_id, g.name as graph, a.node, a.title, a.show, a.requested_at,
       c.now - a.requested_at as waiting_for, r.initiator,
       n.form, a.assignees, n.quorum, coalesce(v.voters, '{}') as approved_by, n.exclude_initiator,
       a.deadline, a.reminded_at,
       coalesce(least(a.deadline, a.requested_at + make_interval(secs => (n.remind ->> 'seconds')::double precision)) <= c.now, false) as overdue
from pgorch.approvals a
join pgorch.runs r on r.bucket = a.bucket and r.id = a.run_id
join pgorch.graphs g on g.id = a.graph_id
join pgorch.nodes n on n.graph_id = a.graph_id and n.id = a.node
left join lateral (
    select array_agg(v.voter order by v.number) as voters from pgorch.votes v
    where v.bucket = a.bucket and v.approval_id = a.id) v on true
cross join (select pgorch.clock_now() as now) c
where a.status = 'open';
comment on view pgorch.waiting_approvals is 'Approvals that nobody has decided yet.';
comment on column pgorch.waiting_approvals.bucket is 'Bucket of the run.';
comment on column pgorch.waiting_approvals.approval_id is 'Id of the approval: decide(run, decision, p_approval_id => ...).';
comment on column pgorch.waiting_approvals.run_id is 'Run that waits.';
comment on column pgorch.waiting_approvals.graph is 'Name of its graph.';
comment on column pgorch.waiting_approvals.node is 'Node that asks.';
comment on column pgorch.waiting_approvals.title is 'The question.';
comment on column pgorch.waiting_approvals.show is 'What to look at when deciding.';
comment on column pgorch.waiting_approvals.requested_at is 'Since when it waits.';
comment on column pgorch.waiting_approvals.waiting_for is 'For how long it has been waiting.';
comment on column pgorch.waiting_approvals.initiator is 'Who started the run.';
comment on column pgorch.waiting_approvals.form is 'JSON Schema of the data that an approval gives; null: none.';
comment on column pgorch.waiting_approvals.assignees is 'Who may decide: user:<name> and role:<name>; null: anybody.';
comment on column pgorch.waiting_approvals.quorum is 'How many different people must approve.';
comment on column pgorch.waiting_approvals.approved_by is 'Who has approved so far, if one is not enough.';
comment on column pgorch.waiting_approvals.exclude_initiator is 'May who started the run not decide?';
comment on column pgorch.waiting_approvals.deadline is 'From when on it is too late.';
comment on column pgorch.waiting_approvals.reminded_at is 'When it was brought to mind.';
comment on column pgorch.waiting_approvals.overdue is 'Is it time for its reminder, or past its deadline?';

create or replace function pgorch._waits_for(
    p_assignees text[], p_excluded text, p_approved_by text[], p_actor text, p_roles text[]) returns boolean
    language sql immutable
    as $$
    select pgorch._is_asked(p_assignees, p_actor, p_roles) and p_excluded is distinct from p_actor and p_actor <> all (p_approved_by)
    $$;
comment on function pgorch._waits_for is 'Can somebody decide an approval, as far as he goes: asked, not excluded, and has not approved it already?';

create or replace view pgorch.my_approvals as
select w.*
from pgorch.waiting_approvals w
cross join (select pgorch._user()::text as name, pgorch._session_roles() as roles) me
where pgorch._waits_for(w.assignees, case when w.exclude_initiator and pgorch._has_started(w.bucket, w.run_id, me.name) then me.name end, w.approved_by, me.name, me.roles);
comment on view pgorch.my_approvals is 'Of the waiting approvals those that the user of the session can decide.';
do $$
declare
    v_column pg_catalog.record;
begin
    for v_column in
        select a.attname, col_description(a.attrelid, a.attnum) as text
        from pg_attribute a where a.attrelid = 'pgorch.waiting_approvals'::regclass and a.attnum > 0
    loop
        execute format('comment on column pgorch.my_approvals.%I is %L', v_column.attname, v_column.text);
    end loop;
end
$$;

create or replace function pgorch._votes(p_bucket integer, p_approval_id uuid) returns jsonb
    language plpgsql stable
    as $$
begin
    return coalesce((
        select jsonb_agg(jsonb_build_object('by', v.voter, 'at', v.voted_at, 'data', v.data, 'comment', v.comment) order by v.number)
        from pgorch.votes v where v.bucket = p_bucket and v.approval_id = p_approval_id), '[]');
end
$$;

create or replace function pgorch._open_approvals(p_bucket integer, p_run_id uuid) returns jsonb
    language plpgsql stable
    as $$
begin
    return coalesce((
        select jsonb_agg(jsonb_build_object('approval_id', a.id, 'node', a.node, 'title', a.title, 'show', a.show, 'form', n.form,
                   'assignees', a.assignees, 'quorum', n.quorum, 'votes', pgorch._votes(p_bucket, a.id),
                   'requested_at', a.requested_at, 'deadline', a.deadline) order by a.requested_at, a.id)
        from pgorch.approvals a join pgorch.nodes n on n.graph_id = a.graph_id and n.id = a.node
        where a.bucket = p_bucket and a.run_id = p_run_id and a.status = 'open'), '[]');
end
$$;
comment on function pgorch._open_approvals(integer, uuid) is 'The open approvals of a run, as its document shows them.';

create or replace function pgorch.approval_document(p_approval_id uuid) returns jsonb
    language plpgsql stable
    set jit = off set enable_seqscan = off
    as $$
declare
    v_bucket constant integer := pgorch.bucket_of(p_approval_id);
    v_run_id constant pg_catalog.uuid := pgorch._run_of_approval(p_approval_id);
    v_now constant pg_catalog.timestamptz := pgorch.clock_now();
    v_document pg_catalog.jsonb;
begin
    select jsonb_build_object(
        'approval_id', a.id, 'run_id', a.run_id, 'graph', g.name, 'version', g.version, 'node', a.node, 'status', a.status,
        'title', a.title, 'show', a.show, 'form', n.form, 'assignees', a.assignees, 'quorum', n.quorum,
        'votes', pgorch._votes(v_bucket, a.id), 'initiator', r.initiator, 'exclude_initiator', n.exclude_initiator,
        'requested_at', a.requested_at, 'deadline', a.deadline, 'reminded_at', a.reminded_at,
        'overdue', a.status = 'open' and coalesce(
            least(a.deadline, a.requested_at + make_interval(secs => (n.remind ->> 'seconds')::double precision)) <= v_now, false),
        'decided_at', a.decided_at, 'decided_by', a.decided_by, 'data', a.data, 'comment', a.comment,
        'events', coalesce((
            select jsonb_agg(pgorch._event(h) order by h.seq)
            from pgorch.history h
            where h.bucket = v_bucket and h.run_id = v_run_id and h.node = a.node
              and h.output ->> 'approval_id' = p_approval_id::text), '[]'))
    into v_document
    from pgorch.approvals a
    join pgorch.runs r on r.bucket = v_bucket and r.id = a.run_id
    join pgorch.graphs g on g.id = a.graph_id
    join pgorch.nodes n on n.graph_id = a.graph_id and n.id = a.node
    where a.bucket = v_bucket and a.id = p_approval_id;
    return v_document;
end
$$;
comment on function pgorch.approval_document is
    'Everything about an approval as one JSON object: question, form, who is asked, who has approved, comments, and how it was decided.';
