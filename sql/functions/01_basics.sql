-- Time, ids, errors and the checks that every door shares.

create or replace function pgorch.clock_now() returns timestamptz
    -- Not SQL: as a volatile function over a table it would be parsed anew at each call.
    language plpgsql volatile
    as $$ begin return clock_timestamp() + (select c.offset_by from pgorch._clock c); end $$;
comment on function pgorch.clock_now() is 'The one clock of the engine: the server''s time, which a test can move by set_clock().';

create or replace function pgorch.set_clock(p_offset interval) returns void
    language sql
    as $$ update pgorch._clock c set offset_by = p_offset $$;
comment on function pgorch.set_clock(interval) is 'For tests: let clock_now() run ahead of the server''s time by this much.';

create or replace function pgorch.uuid7() returns uuid
    language sql volatile
    as $$
    -- 48 bits of milliseconds, then random; bits 52 and 53 turn version 4 into version 7.
    select encode(
        set_bit(set_bit(
            overlay(uuid_send(gen_random_uuid())
                placing substring(int8send((extract(epoch from clock_timestamp()) * 1000)::bigint) from 3)
                from 1 for 6),
            52, 1), 53, 1),
        'hex')::uuid
    $$;
comment on function pgorch.uuid7() is 'A UUID of version 7: ordered by the time at which it was made.';

create or replace function pgorch.new_run_id(p_bucket integer) returns uuid
    language sql volatile
    as $$ select encode(set_byte(uuid_send(pgorch.uuid7()), 15, p_bucket), 'hex')::uuid $$;
comment on function pgorch.new_run_id(integer) is 'A new id of a run or approval in a bucket: UUIDv7 whose last byte is the bucket.';

create or replace function pgorch._new_lease_token() returns uuid
    language sql volatile
    as $$
    -- The number orders tokens, the random half makes one unguessable even if a restore sets the sequence back.
    select encode(overlay(uuid_send(gen_random_uuid()) placing int8send(nextval('pgorch._lease_numbers')) from 1 for 8), 'hex')::uuid
    $$;

create or replace function pgorch.bucket_count() returns integer
    -- Not SQL: as a function over a table it would be parsed anew at each call.
    language plpgsql stable
    as $$ begin return (select (s.value #>> '{}')::integer from pgorch.settings s where s.name = 'buckets'); end $$;
comment on function pgorch.bucket_count() is 'How many buckets new runs are spread over: 1 on a single server.';

create or replace function pgorch._raise(p_state text, p_message text, p_hint text, p_detail text default null) returns void
    language plpgsql
    as $$
begin
    if p_detail is null then
        raise exception using errcode = p_state, message = p_message, hint = p_hint;
    end if;
    raise exception using errcode = p_state, message = p_message, hint = p_hint, detail = p_detail;
end
$$;
comment on function pgorch._raise(text, text, text, text) is
    'OR001 lease lost, OR002 wrong state, OR003 not found, OR004 invalid graph, OR005 idempotency conflict, OR006 invalid value, OR007 not allowed.';

create or replace function pgorch._passes(p_state text) returns boolean
    language plpgsql immutable
    as $$ begin return left(p_state, 2) in ('40', '53', '55', '57'); end $$;
comment on function pgorch._passes(text) is
    'May the same come out well the next time? So it is with deadlocks, locks, resources and a shutdown, whose fault is not with what was tried.';

create or replace function pgorch._user() returns name
    language plpgsql stable
    as $$
declare
    v_stack pg_catalog.text;
begin
    -- The search_path may be anybody's here, and to fix one takes longer than all of this: so every name says its schema.
    get diagnostics v_stack = pg_context;
    if pg_catalog.strpos(v_stack, '_run_statement(text,jsonb)') operator(pg_catalog.=) 0 then
        return session_user;
    end if;
    return pgorch._step_owner(v_stack);
end
$$;
comment on function pgorch._user() is 'On whose behalf the session works now: its user, and in an SQL step the owner of the graph.';

create or replace function pgorch._step_owner(p_stack text) returns name
    language plpgsql stable
    set search_path = pg_catalog, pg_temp
    as $$
declare
    v_function pg_catalog.text[];
begin
    -- Who has a session can have functions of any name in it, and write such lines himself. Only in a session that may
    -- perform the steps of others can there be a step of somebody else.
    if not pgorch._may_perform_for_others() then
        return session_user;
    end if;
    -- A statement of an SQL step is run by a worker, on behalf of its graph's owner. What it could set, it could set back;
    -- the functions from which it is called it cannot get rid of. It may write their names elsewhere: the last are the true ones.
    v_function := parse_ident(substring(p_stack from
        '^.*\m_run_statement\(text,jsonb\)[^\n]*\n[^\n]*?((?:pgorch_sql\.)?(?:"(?:[^"]|"")+"|[^ ".]+))\(text,jsonb\)'));
    if v_function is null then
        perform pgorch._raise('OR007', 'it cannot be told for whom this SQL step works', 'Call _run_statement() from the function of a graph''s owner only.');
    end if;
    return v_function[cardinality(v_function)];
end
$$;
comment on function pgorch._step_owner is 'Whose SQL step it is that has this stack of calls; the user of the session, if it can be in none of somebody else''s.';

create or replace function pgorch._may_perform_for_others() returns boolean
    language plpgsql stable
    set search_path = pg_catalog, pg_temp
    as $$
begin
    return pg_has_role(session_user, (select n.nspowner from pg_namespace n where n.nspname = 'pgorch'), 'member');
end
$$;
comment on function pgorch._may_perform_for_others is 'May this session perform the SQL steps of any owner? So may the owner of the schema, as whom workers connect.';

create or replace function pgorch._may_speak_for_others() returns boolean
    language plpgsql stable
    set search_path = pg_catalog, pg_temp
    as $$
begin
    -- That is the right of the schema's owner (the API connects as such) and of pgorch_api. SQL steps are of no use for it.
    return pgorch._user() = session_user
        and (pgorch._may_perform_for_others()
             or exists (select from pg_roles r where r.rolname = 'pgorch_api' and pg_has_role(session_user, r.oid, 'member')));
end
$$;

create or replace function pgorch._actor(p_actor text) returns text
    language plpgsql stable
    as $$
declare
    v_user constant pg_catalog.name := pgorch._user();
begin
    if p_actor is null or p_actor operator(pg_catalog.=) v_user then
        return v_user;
    end if;
    if pgorch._may_speak_for_others() then
        return p_actor;
    end if;
    perform pgorch._raise('OR007', pg_catalog.format('%s may not act as %s', v_user, p_actor),
        'Leave the actor out: it is then the user of your session, or in an SQL step the owner of its graph.');
end
$$;

create or replace function pgorch._checked_json(p_value jsonb, p_what text, p_limit integer) returns jsonb
    language plpgsql immutable
    as $$
declare
    v_size integer := pg_column_size(p_value);
begin
    if v_size > p_limit then
        perform pgorch._raise('OR006', format('%s has %s bytes, more than the limit of %s', p_what, v_size, p_limit),
            'Keep large data in a table or a store of your own and pass a reference.');
    end if;
    -- A number such as 1e308 is short here and three hundred digits wherever it is read.
    if v_size * 32::bigint > p_limit and octet_length(p_value::text) > p_limit * 2::bigint then
        perform pgorch._raise('OR006', format('%s has %s bytes as JSON text, more than twice the limit of %s',
            p_what, octet_length(p_value::text), p_limit), 'Send numbers of hundreds of digits as strings.');
    end if;
    -- A depth of 64 cannot be reached in fewer bytes, and a number cannot be too large in a small scalar.
    if v_size > 8 and (
        jsonb_path_exists(p_value, 'strict $.** ? (@.type() == "number" && (@ > 9007199254740992 || @ < -9007199254740992))', '{}', true)
    ) then
        perform pgorch._check_numbers(p_value, p_what);
    end if;
    -- Level 0 is the value itself; an empty list at level 64 is the 65th bracket.
    if v_size > 256 and jsonb_path_exists(p_value, 'strict $.**{64} ? (@.type() == "array" || @.type() == "object")', '{}', true) then
        perform pgorch._raise('OR006', format('%s is nested deeper than 64 levels', p_what), 'Flatten it.');
    end if;
    return p_value;
end
$$;

create or replace function pgorch._check_numbers(p_value jsonb, p_what text) returns void
    language plpgsql immutable
    as $$
declare
    v_number numeric;
begin
    for v_number in
        select (n #>> '{}')::numeric
        -- jsonb_path_query() instead would take quadratic time.
        from jsonb_array_elements(jsonb_path_query_array(
            p_value, 'strict $.** ? (@.type() == "number" && (@ > 9007199254740992 || @ < -9007199254740992))', '{}', true)) n
    loop
        if (case when abs(v_number) > 1.7976931348623157e308 then true
                else (v_number::float8)::text::numeric <> v_number end) then
            perform pgorch._raise('OR006', format('%s holds the number %s, which clients cannot read exactly', p_what, left(v_number::text, 40)),
                'Integers go up to 2^53; send a larger one as a string.');
        end if;
    end loop;
end
$$;

create or replace function pgorch._is_plainly_strict(p_value jsonb) returns boolean
    language sql stable parallel safe
    as $$
    -- For the plain path, and inlined there: small, and no number that _checked_json would have to look at.
    select pg_column_size(p_value) <= 256
       and not jsonb_path_exists(p_value, 'strict $.** ? (@.type() == "number" && (@ > 9007199254740992 || @ < -9007199254740992))', '{}', true)
       or pg_column_size(p_value) <= 1048576 and pgorch._checked_json(p_value, 'the result', 1048576) is not null
    $$;
