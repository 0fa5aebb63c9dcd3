-- What people did.

create or replace function pgorch._audit(
    p_bucket integer, p_actor text, p_action text, p_run_id uuid, p_approval_id uuid default null,
    p_before jsonb default null, p_after jsonb default null, p_comment text default null) returns void
    language plpgsql
    as $$
declare
    v_now constant timestamptz := pgorch.clock_now();
begin
    insert into pgorch.audit (bucket, at, actor, source, action, run_id, approval_id, before, after, comment)
    values (p_bucket, v_now, p_actor, session_user, p_action, p_run_id, p_approval_id, p_before, p_after, p_comment);
end
$$;
comment on function pgorch._audit is
    'Notes what somebody did, in the transaction that does it: called by every function that does what a person wants, but for starting runs.';
