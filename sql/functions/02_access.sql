-- Keys of the HTTP API: made, looked up and revoked. What a role may do is in the route table of the API.

create or replace function pgorch.create_key(
    p_principal text, p_roles text[], p_expires_in interval default '90 days')
    returns table (id text, key text, expires_at timestamptz)
    language plpgsql
    set search_path = pg_catalog, pgorch, pg_temp
    as $$
declare
    v_now constant pg_catalog.timestamptz := pgorch.clock_now();
    v_problem constant pg_catalog.text := pgorch._key_problem(p_principal, p_roles, p_expires_in);
    v_secret pg_catalog.text;
begin
    if v_problem is not null then
        perform pgorch._raise('OR006', v_problem, 'For instance: select * from pgorch.create_key(''ada'', ''{operator}'', ''90 days'')');
    end if;
    -- Both draw on the server's cryptographic generator. Three UUIDs hold 366 random bits, of which 256 are made; the first
    -- six bytes of a UUID are all random.
    id := encode(substring(uuid_send(gen_random_uuid()) for 6), 'hex');
    v_secret := rtrim(translate(encode(
        sha256(uuid_send(gen_random_uuid()) || uuid_send(gen_random_uuid()) || uuid_send(gen_random_uuid())), 'base64'), '+/', '-_'), '=');
    key := format('pgo_%s_%s', id, v_secret);
    expires_at := v_now + p_expires_in;
    insert into pgorch.api_keys (id, principal, roles, secret_hash, created_at, created_by, expires_at)
    values (create_key.id, p_principal, p_roles, sha256(convert_to(v_secret, 'UTF8')), v_now, session_user, create_key.expires_at);
    perform pgorch._audit(0, session_user, 'create_key', null,
        p_after => jsonb_build_object('id', id, 'principal', p_principal, 'roles', p_roles, 'expires_at', expires_at));
    return next;
end
$$;
comment on function pgorch.create_key is
    'Makes a key of the HTTP API for a principal. The key is shown this once and kept nowhere. Without an interval it works for 90 days, with null it never expires.';

create or replace function pgorch._key_problem(p_principal text, p_roles text[], p_expires_in interval) returns text
    language sql immutable
    as $$
    select case
        when coalesce(p_principal, '') !~ '^[^[:cntrl:]]{1,200}$' or btrim(p_principal) <> p_principal then
            'a principal has a name of 1 to 200 characters, none of them a control character, and no space around it'
        when coalesce(array_ndims(p_roles), 0) <> 1 or not p_roles && array['viewer', 'operator', 'approver', 'admin'] then
            'a key has one role at least of viewer, operator, approver and admin: without one it opens nothing'
        when exists (select from unnest(p_roles) r(name) where coalesce(r.name, '') !~ '^[^[:cntrl:][:space:]]{1,63}$') then
            'a role has a name of 1 to 63 characters, none of them a space or control character'
        when (select count(distinct r.name) from unnest(p_roles) r(name)) < cardinality(p_roles) then
            'a role is named twice'
        when p_expires_in <= '0' or p_expires_in > '100 years' then
            'a key works for more than no time and at most 100 years, or, with null, for ever'
    end
    $$;

create or replace function pgorch.revoke_key(p_id text) returns timestamptz
    language plpgsql
    set search_path = pg_catalog, pgorch, pg_temp
    as $$
declare
    -- Whoever finds a key where it should not be has all of it at hand.
    v_id constant pg_catalog.text := substring(p_id from '^(?:pgo_)?([0-9a-f]{12})(?:_|$)');
    v_now constant pg_catalog.timestamptz := pgorch.clock_now();
    v_revoked_at pg_catalog.timestamptz;
begin
    update pgorch.api_keys k set revoked_at = coalesce(k.revoked_at, v_now)
    where k.id = v_id
    returning k.revoked_at into v_revoked_at;
    if v_revoked_at is null then
        -- What was given may be a secret, and errors are logged.
        perform pgorch._raise('OR003', coalesce('there is no key ' || v_id, 'that is not the id of a key: 12 hexadecimal digits'),
            'See the view pgorch.key_list for those there are.');
    end if;
    perform pgorch._audit(0, session_user, 'revoke_key', null, p_before => jsonb_build_object('id', v_id),
        p_after => jsonb_build_object('revoked_at', v_revoked_at));
    return v_revoked_at;
end
$$;
comment on function pgorch.revoke_key is
    'Ends a key, given by its id or as a whole; returns since when it is revoked. Every API process refuses it at most 5 seconds after the commit.';

create or replace function pgorch.api_principal(p_id text, p_hash bytea)
    returns table (principal text, roles text[], expires_in double precision)
    language plpgsql
    set search_path = pg_catalog, pgorch, pg_temp
    as $$
declare
    v_now constant pg_catalog.timestamptz := pgorch.clock_now();
    v_minute_ago constant pg_catalog.timestamptz := v_now - interval '1 minute';
    v_key pgorch.api_keys;
begin
    select k.* into v_key from pgorch.api_keys k
    where k.id = p_id and k.secret_hash = p_hash and k.revoked_at is null and (k.expires_at is null or k.expires_at > v_now);
    if v_key.id is null then
        return;
    end if;
    if v_key.last_used_at is null or v_key.last_used_at <= v_minute_ago then
        -- Whoever holds the row, to revoke it say, must not hold up requests.
        update pgorch.api_keys k set last_used_at = v_now
        where k.id = (
            select u.id from pgorch.api_keys u
            where u.id = p_id and (u.last_used_at is null or u.last_used_at <= v_minute_ago)
            for update skip locked);
    end if;
    principal := v_key.principal;
    roles := v_key.roles;
    expires_in := extract(epoch from v_key.expires_at - v_now);
    return next;
end
$$;
comment on function pgorch.api_principal is
    'For the API: whose key has this id and this SHA-256 of its secret, with which roles, and for how many seconds yet (null: for ever). No row if it is unknown, expired or revoked. Notes the use, at most once a minute.';

create or replace view pgorch.key_list as
select k.id, k.principal, k.roles,
       case when k.revoked_at is not null then 'revoked'
            when k.expires_at <= pgorch.clock_now() then 'expired'
            else 'valid' end as status,
       k.created_at, k.created_by, k.expires_at, k.last_used_at, k.revoked_at
from pgorch.api_keys k;
comment on view pgorch.key_list is 'Keys of the HTTP API, without what could open anything.';
comment on column pgorch.key_list.id is 'Public half of the key: revoke_key(id).';
comment on column pgorch.key_list.principal is 'Who its bearer is.';
comment on column pgorch.key_list.roles is 'What the bearer may do, and which approvals are assigned to him.';
comment on column pgorch.key_list.status is 'valid, expired or revoked.';
comment on column pgorch.key_list.created_at is 'When it was made.';
comment on column pgorch.key_list.created_by is 'Database user who made it.';
comment on column pgorch.key_list.expires_at is 'From when on it does not work; null: never expires.';
comment on column pgorch.key_list.last_used_at is 'When it was last used, to the minute.';
comment on column pgorch.key_list.revoked_at is 'When it was revoked.';
