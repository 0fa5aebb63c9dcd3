-- What people did.

create or replace function pgorch._audit(
    p_bucket integer, p_actor text, p_action text, p_run_id uuid, p_approval_id uuid default null,
    p_before jsonb default null, p_after jsonb default null, p_comment text default null) returns void
    language plpgsql
    as $$
declare
    v_now constant pg_catalog.timestamptz := pgorch.clock_now();
begin
    insert into pgorch.audit (bucket, at, actor, source, action, run_id, approval_id, before, after, comment)
    values (p_bucket, v_now, p_actor, session_user, p_action, p_run_id, p_approval_id, p_before, p_after, p_comment);
end
$$;
comment on function pgorch._audit is
    'Notes what somebody did, in the transaction that does it: called by every function that does what a person wants, but for starting runs.';

create or replace function pgorch._audit_in(p_bucket integer, p_run_id uuid, p_actor text, p_action text, p_before bigint, p_limit integer)
    returns setof pgorch.audit
    language plpgsql stable
    set jit = off set enable_seqscan = off
    as $$
begin
    return query
        select a.* from pgorch.audit a
        where a.bucket = p_bucket and (p_run_id is null or a.run_id = p_run_id)
          and (p_actor is null or a.actor = p_actor) and (p_action is null or a.action = p_action)
          and (p_before is null or a.id < p_before)
        order by a.id desc limit p_limit;
end
$$;

create or replace function pgorch.list_audit(
    p_run_id uuid default null, p_actor text default null, p_action text default null, p_before bigint default null, p_limit integer default 100)
    returns table (id bigint, at timestamptz, actor text, source text, action text, run_id uuid, approval_id uuid,
                   before jsonb, after jsonb, comment text)
    language plpgsql stable
    set jit = off set enable_seqscan = off
    as $$
begin
    return query
        select e.id, e.at, e.actor, e.source, e.action, e.run_id, e.approval_id, e.before, e.after, e.comment
        from generate_series(0, pgorch.bucket_count() - 1) b(bucket)
        cross join lateral pgorch._audit_in(b.bucket, p_run_id, p_actor, p_action, p_before, p_limit) e
        order by e.id desc limit p_limit;
end
$$;
comment on function pgorch.list_audit is
    'Who did what, newest first: of a run, by somebody, of a kind (approve, cancel, create_key, ...). p_before: only entries older than the one with this id.';
