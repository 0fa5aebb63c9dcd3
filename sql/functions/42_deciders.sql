-- Who may decide: assignees are user:<name> and role:<name>; a user in psql has the database roles of which he is a member.

create or replace function pgorch._session_roles() returns text[]
    language plpgsql stable
    as $$
begin
    -- Walked by hand: pg_has_role() calls a superuser a member of every role.
    return (
        with recursive mine(oid) as (
            select r.oid from pg_roles r where r.rolname = pgorch._user()
            union
            select m.roleid from pg_auth_members m join mine on m.member = mine.oid)
        select array_agg(r.rolname::text order by r.rolname) from mine join pg_roles r on r.oid = mine.oid);
end
$$;
comment on function pgorch._session_roles() is 'The database roles of the session''s user: himself, and those of which he is a member, also through others.';

create or replace function pgorch._roles(p_actor text, p_roles text[]) returns text[]
    language plpgsql stable
    as $$
begin
    if p_roles is null then
        return case when p_actor = pgorch._user() then pgorch._session_roles() else '{}' end;
    elsif pgorch._may_speak_for_others() then
        return p_roles;
    end if;
    perform pgorch._raise('OR007', format('%s may not say which roles %s has', pgorch._user(), p_actor),
        'Leave the roles out: they are then the database roles of which the user of your session is a member.');
end
$$;
comment on function pgorch._roles(text, text[]) is 'The roles of an actor. Only who may speak for others may name them.';

create or replace function pgorch._is_asked(p_assignees text[], p_actor text, p_roles text[]) returns boolean
    language sql immutable
    as $$
    select p_assignees is null
        or 'user:' || p_actor = any (p_assignees)
        or p_assignees && array(select 'role:' || r.name from unnest(p_roles) r(name))
    $$;
comment on function pgorch._is_asked(text[], text, text[]) is 'Is somebody among the assignees? Without assignees everybody is.';

create or replace function pgorch._has_started(p_bucket integer, p_run_id uuid, p_actor text) returns boolean
    language plpgsql stable
    as $$
begin
    return exists (
        with recursive line(initiator, above) as (
            select r.initiator, array[r.forked_from, r.parent_run_id] from pgorch.runs r where r.bucket = p_bucket and r.id = p_run_id
            union
            select r.initiator, array[r.forked_from, r.parent_run_id]
            from line l join pgorch.runs r on r.bucket = p_bucket and r.id = any (l.above))
        select from line l where l.initiator = p_actor);
end
$$;
comment on function pgorch._has_started is 'Did somebody start a run, or one from which it was forked, or of which it or that is a child?';

create or replace function pgorch._check_in_time(p_approval pgorch.approvals, p_now timestamptz) returns void
    language plpgsql
    as $$
begin
    if p_approval.deadline <= p_now then
        perform pgorch._raise('OR002', format('the deadline of %s was at %s: it is too late to decide approval %s',
            p_approval.node, p_approval.deadline, p_approval.id), 'The run goes on as its graph says for expired approvals.');
    end if;
end
$$;

create or replace function pgorch._check_asked(
    p_run pgorch.runs, p_node pgorch.nodes, p_approval pgorch.approvals, p_actor text, p_roles text[]) returns void
    language plpgsql
    as $$
begin
    if p_node.exclude_initiator and pgorch._has_started(p_run.bucket, p_run.id, p_actor) then
        perform pgorch._raise('OR007', format('%s started run %s, or one that it comes from, and so may not decide %s of it', p_actor, p_run.id, p_approval.node),
            'Somebody else has to decide: the graph says exclude_initiator.');
    elsif not pgorch._is_asked(p_approval.assignees, p_actor, p_roles) then
        perform pgorch._raise('OR007', format('%s is not asked to decide %s: approval %s is assigned to %s',
            p_actor, p_approval.node, p_approval.id, array_to_string(p_approval.assignees, ', ')),
            'Let one of them decide, or reassign it (pgorch.reassign). A role counts if the key of the API has it or, in SQL, if it is a database role of which the user is a member.');
    end if;
end
$$;
comment on function pgorch._check_asked is 'Refuses a decision of somebody who is not asked or, where the graph excludes him, who started the run.';

create or replace function pgorch._checked_assignees(p_assignees text[]) returns text[]
    language plpgsql immutable
    as $$
declare
    v_name pg_catalog.text;
begin
    if coalesce(cardinality(p_assignees), 0) not between 1 and 100 or array_ndims(p_assignees) <> 1 then
        perform pgorch._raise('OR006', format('an approval is assigned to 1 to 100 users and roles, not to %s', coalesce(cardinality(p_assignees), 0)),
            'Name them: {user:ann, role:finance}.');
    end if;
    foreach v_name in array p_assignees loop
        if coalesce(v_name, '') !~ '^(user|role):[^[:cntrl:]]{1,200}$' then
            perform pgorch._raise('OR006', format('%s is no assignee', coalesce(quote_literal(left(v_name, 220)), 'null')),
                'Write user:<name> or role:<name>.');
        end if;
    end loop;
    return array(select a.name from unnest(p_assignees) with ordinality a(name, at) group by a.name order by min(a.at));
end
$$;
