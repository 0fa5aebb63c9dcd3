-- Hooks: addresses that are told of events, made and changed by people.

create or replace function pgorch.new_hook_secret() returns text
    language sql volatile
    as $$
    -- Three UUIDs hold 366 random bits, of which 256 are made.
    select 'whsec_' || encode(
        sha256(uuid_send(gen_random_uuid()) || uuid_send(gen_random_uuid()) || uuid_send(gen_random_uuid())), 'base64')
    $$;
comment on function pgorch.new_hook_secret() is 'A new secret to sign deliveries with. It is kept nowhere: give it to create_hook() and to the receiver.';

create or replace function pgorch._hook_kinds() returns text[]
    language sql immutable
    as $$
    -- What concerns the run as a whole, people, or a failure. A step's success is no news for outsiders: the plain path of
    -- advance() writes it by the thousand, and asks nobody.
    select array_agg(k::text order by k) from unnest(enum_range(null::pgorch.event_kind)) k
    where k::text ~ '^(run|approval)_' or k in ('step_failed', 'step_expired', 'compensation_started', 'undo_failed')
    $$;

create or replace function pgorch._hook_problem(p_url text, p_kinds text[], p_allow_private boolean) returns text
    language plpgsql immutable
    as $$
declare
    v_parts constant pg_catalog.text[] := regexp_match(p_url, '^(https?)://(?:[A-Za-z0-9._-]{1,253}|\[[0-9A-Fa-f:.]{2,45}\])(?::(\d{1,5}))?(?:[/?][!-~]*)?$');
begin
    return case
        when p_allow_private is null then 'allow_private is true or false'
        when v_parts is null or length(p_url) > 2000 or p_url ~ '[#\\<>"]' then
            'the url is no http address: https://host/path of at most 2000 visible ASCII characters, without user and fragment'
        when v_parts[2]::integer not between 1 and 65535 then 'a port is a number from 1 to 65535'
        when v_parts[1] = 'http' and not p_allow_private then
            'plain http would show the events to everybody on the way: use https, or allow_private for a receiver in your own network'
        when coalesce(array_ndims(p_kinds), 0) <> 1 then 'a hook names at least one kind of events'
        when not p_kinds <@ pgorch._hook_kinds() then
            format('%s is no kind of event that can be delivered; these are: %s',
                (select coalesce(quote_literal(left(k.kind, 60)), 'null') from unnest(p_kinds) k(kind)
                 where k.kind is null or k.kind <> all (pgorch._hook_kinds()) limit 1),
                array_to_string(pgorch._hook_kinds(), ', '))
    end;
end
$$;

create or replace function pgorch._check_hook_secret(p_secret text) returns void
    language plpgsql immutable
    as $$
begin
    -- What was given is never repeated: errors are logged.
    if coalesce(p_secret, '') !~ '^whsec_([A-Za-z0-9+/]{4})*([A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$'
       or length(decode(substr(p_secret, 7), 'base64')) not between 24 and 64 then
        perform pgorch._raise('OR006', 'a secret is whsec_ followed by 24 to 64 bytes in base64', 'Let one be made: select pgorch.new_hook_secret()');
    end if;
end
$$;

create or replace function pgorch._hook(p_hook text) returns pgorch.hooks
    language plpgsql
    as $$
declare
    v_hook pgorch.hooks;
begin
    -- No name looks like an id.
    select h.* into v_hook from pgorch.hooks h where h.name = p_hook or h.id::text = lower(p_hook) for update;
    if v_hook.id is null then
        perform pgorch._raise('OR003', format('there is no hook %s', coalesce(quote_literal(left(p_hook, 120)), 'null')),
            'See the view pgorch.hook_list for those there are.');
    end if;
    return v_hook;
end
$$;
comment on function pgorch._hook is 'The hook with this name or id, locked.';

create or replace function pgorch._tell_deliverers() returns void
    language sql volatile
    -- On the workers' channel; no bucket has this name.
    as $$ select pgorch._notify('pgorch_work', 'hooks') $$;
comment on function pgorch._tell_deliverers is 'Workers look at the hooks at once, also those that knew of none.';

create or replace function pgorch.create_hook(
    p_name text, p_url text, p_kinds text[], p_secret text, p_graph text default null, p_allow_private boolean default false,
    p_actor text default null) returns uuid
    language plpgsql
    set search_path = pg_catalog, pgorch, pg_temp
    as $$
declare
    v_actor constant pg_catalog.text := pgorch._actor(p_actor);
    v_id constant pg_catalog.uuid := pgorch.uuid7();
    v_problem pg_catalog.text := pgorch._hook_problem(p_url, p_kinds, p_allow_private);
begin
    if coalesce(p_name, '') !~ '^[A-Za-z0-9][A-Za-z0-9_.-]{0,99}$' or p_name ~ '^[0-9A-Fa-f]{8}-[0-9A-Fa-f]{4}-' then
        v_problem := 'a hook has a name of 1 to 100 letters, digits, dots, dashes and underscores, which does not look like an id';
    elsif p_graph = '' or length(p_graph) > 200 then
        v_problem := 'a graph has a name of 1 to 200 characters';
    end if;
    if v_problem is not null then
        perform pgorch._raise('OR006', v_problem, 'For instance: select pgorch.create_hook(''shop'', ''https://shop.example/pgorch'', ''{run_completed}'', :''secret'')');
    end if;
    perform pgorch._check_hook_secret(p_secret);
    if (select count(*) >= 100 from pgorch.hooks h) then
        perform pgorch._raise('OR002', 'there are 100 hooks, and whatever happens in a run is compared with each', 'Delete one, or let one receiver pass things on.');
    end if;
    insert into pgorch.hooks (id, name, url, kinds, graph, allow_private, created_at, created_by)
    values (v_id, p_name, p_url, p_kinds::pgorch.event_kind[], p_graph, p_allow_private, pgorch.clock_now(), v_actor)
    on conflict (name) do nothing;
    if not found then
        perform pgorch._raise('OR002', format('there is a hook %L already', p_name), 'Choose another name, or change that one by update_hook().');
    end if;
    insert into pgorch._hook_secrets (hook_id, secrets) values (v_id, array[p_secret]);
    perform pgorch._audit(0, v_actor, 'create_hook', null, p_after => jsonb_build_object('hook', p_name, 'url', p_url, 'kinds', p_kinds, 'graph', p_graph, 'allow_private', p_allow_private));
    perform pgorch._tell_deliverers();
    return v_id;
end
$$;
comment on function pgorch.create_hook is
    'From now on events of these kinds, of all runs or those of one graph, are delivered to this address, signed with the secret.';

create or replace function pgorch.update_hook(p_hook text, p_url text default null, p_kinds text[] default null, p_actor text default null) returns uuid
    language plpgsql
    set search_path = pg_catalog, pgorch, pg_temp
    as $$
declare
    v_actor constant pg_catalog.text := pgorch._actor(p_actor);
    v_hook constant pgorch.hooks := pgorch._hook(p_hook);
    v_problem constant pg_catalog.text := pgorch._hook_problem(
        coalesce(p_url, v_hook.url), coalesce(p_kinds, v_hook.kinds::text[]), v_hook.allow_private);
begin
    if v_problem is not null then
        perform pgorch._raise('OR006', v_problem, 'What is left out stays as it is.');
    end if;
    update pgorch.hooks h set url = coalesce(p_url, h.url), kinds = coalesce(p_kinds::pgorch.event_kind[], h.kinds)
    where h.id = v_hook.id;
    perform pgorch._audit(0, v_actor, 'update_hook', null, p_before => jsonb_build_object('hook', v_hook.name, 'url', v_hook.url, 'kinds', v_hook.kinds), p_after => jsonb_build_object('url', coalesce(p_url, v_hook.url), 'kinds', coalesce(p_kinds, v_hook.kinds::text[])));
    return v_hook.id;
end
$$;
comment on function pgorch.update_hook is 'Changes the address or the kinds of a hook. What waits to be delivered goes to the new address.';

create or replace function pgorch.rotate_hook_secret(p_hook text, p_secret text default null, p_actor text default null) returns uuid
    language plpgsql
    set search_path = pg_catalog, pgorch, pg_temp
    as $$
declare
    v_actor constant pg_catalog.text := pgorch._actor(p_actor);
    v_hook constant pgorch.hooks := pgorch._hook(p_hook);
begin
    if p_secret is not null then
        perform pgorch._check_hook_secret(p_secret);
    end if;
    update pgorch._hook_secrets s
    set secrets = case when p_secret is null then s.secrets[1:1]
                       when p_secret = s.secrets[1] then s.secrets
                       else array[p_secret, s.secrets[1]] end
    where s.hook_id = v_hook.id;
    perform pgorch._audit(0, v_actor, 'rotate_hook_secret', null, p_before => jsonb_build_object('hook', v_hook.name), p_after => jsonb_build_object('new', p_secret is not null));
    return v_hook.id;
end
$$;
comment on function pgorch.rotate_hook_secret is
    'Signs with a new secret and the one before it, until the receiver knows the new one; then, without a secret, with the new one alone.';

create or replace function pgorch.pause_hook(p_hook text, p_actor text default null) returns uuid
    language plpgsql
    set search_path = pg_catalog, pgorch, pg_temp
    as $$
declare
    v_actor constant pg_catalog.text := pgorch._actor(p_actor);
    v_now constant pg_catalog.timestamptz := pgorch.clock_now();
    v_hook constant pgorch.hooks := pgorch._hook(p_hook);
begin
    update pgorch.hooks h set paused_at = v_now, paused_because = 'paused by ' || v_actor
    where h.id = v_hook.id and h.paused_at is null;
    perform pgorch._audit(0, v_actor, 'pause_hook', null, p_before => jsonb_build_object('hook', v_hook.name));
    return v_hook.id;
end
$$;
comment on function pgorch.pause_hook is 'Sends nothing to a hook until it is resumed. What happens meanwhile waits, for a day.';

create or replace function pgorch.resume_hook(p_hook text, p_actor text default null) returns uuid
    language plpgsql
    set search_path = pg_catalog, pgorch, pg_temp
    as $$
declare
    v_actor constant pg_catalog.text := pgorch._actor(p_actor);
    v_hook constant pgorch.hooks := pgorch._hook(p_hook);
begin
    update pgorch.hooks h set paused_at = null, paused_because = null where h.id = v_hook.id;
    perform pgorch._audit(0, v_actor, 'resume_hook', null, p_before => jsonb_build_object('hook', v_hook.name, 'paused_because', v_hook.paused_because));
    perform pgorch._tell_deliverers();
    return v_hook.id;
end
$$;
comment on function pgorch.resume_hook is 'Sends to a paused hook again, and what has waited for it first.';

create or replace function pgorch.delete_hook(p_hook text, p_actor text default null) returns uuid
    language plpgsql
    set search_path = pg_catalog, pgorch, pg_temp
    as $$
declare
    v_actor constant pg_catalog.text := pgorch._actor(p_actor);
    v_hook constant pgorch.hooks := pgorch._hook(p_hook);
begin
    delete from pgorch.hooks h where h.id = v_hook.id;
    perform pgorch._audit(0, v_actor, 'delete_hook', null, p_before => jsonb_build_object('hook', v_hook.name, 'url', v_hook.url, 'kinds', v_hook.kinds, 'graph', v_hook.graph));
    return v_hook.id;
end
$$;
comment on function pgorch.delete_hook is 'Ends a hook. Nothing more is sent to it, also of what has already happened.';

create or replace function pgorch.test_hook(p_hook text, p_actor text default null) returns uuid
    language plpgsql
    set search_path = pg_catalog, pgorch, pg_temp
    as $$
declare
    v_bucket constant integer := 0;
    v_actor constant pg_catalog.text := pgorch._actor(p_actor);
    v_now constant pg_catalog.timestamptz := pgorch.clock_now();
    v_hook constant pgorch.hooks := pgorch._hook(p_hook);
    v_id constant pg_catalog.uuid := pgorch.new_run_id(v_bucket);
begin
    if v_hook.paused_at is not null then
        perform pgorch._raise('OR002', format('the hook %L is paused: %s', v_hook.name, v_hook.paused_because), 'Resume it first: select pgorch.resume_hook(...)');
    end if;
    insert into pgorch.hook_deliveries (bucket, id, hook_id, kind, created_at, status, next_at)
    values (v_bucket, v_id, v_hook.id, 'test', v_now, 'pending', v_now);
    perform pgorch._audit(0, v_actor, 'test_hook', null, p_before => jsonb_build_object('hook', v_hook.name));
    perform pgorch._tell_deliverers();
    return v_id;
end
$$;
comment on function pgorch.test_hook is 'Sends a message of the type test to a hook; returns the id of the delivery.';

create or replace function pgorch.resend_delivery(p_delivery_id uuid, p_actor text default null) returns uuid
    language plpgsql
    set search_path = pg_catalog, pgorch, pg_temp
    set jit = off set enable_seqscan = off
    as $$
declare
    v_bucket constant integer := pgorch.bucket_of(p_delivery_id);
    v_actor constant pg_catalog.text := pgorch._actor(p_actor);
    v_now constant pg_catalog.timestamptz := pgorch.clock_now();
    v_delivery pgorch.hook_deliveries;
    v_hook pgorch.hooks;
begin
    select d.* into v_delivery from pgorch.hook_deliveries d where d.bucket = v_bucket and d.id = p_delivery_id for update;
    if v_delivery.id is null then
        perform pgorch._raise('OR003', format('there is no delivery %s', coalesce(p_delivery_id::text, 'null')),
            'They are kept for a week: see the view pgorch.hook_delivery_list.');
    elsif v_delivery.status <> 'dead' then
        perform pgorch._raise('OR002', format('delivery %s is %s', p_delivery_id, v_delivery.status), 'Only what was given up is sent again.');
    end if;
    select h.* into v_hook from pgorch.hooks h where h.id = v_delivery.hook_id;
    if v_hook.id is null then
        perform pgorch._raise('OR002', format('the hook of delivery %s was deleted', p_delivery_id), 'Its event is in the history of its run.');
    elsif v_hook.paused_at is not null then
        perform pgorch._raise('OR002', format('the hook %L is paused: %s', v_hook.name, v_hook.paused_because), 'Resume it first: select pgorch.resume_hook(...)');
    end if;
    update pgorch.hook_deliveries d set status = 'pending', next_at = v_now, ended_at = null where d.bucket = v_bucket and d.id = p_delivery_id;
    perform pgorch._audit(v_bucket, v_actor, 'resend_delivery', v_delivery.run_id,
        p_before => jsonb_build_object('hook', v_hook.name, 'delivery_id', p_delivery_id, 'attempts', v_delivery.attempts));
    perform pgorch._tell_deliverers();
    return p_delivery_id;
end
$$;
comment on function pgorch.resend_delivery is
    'Sends once more what was given up, under the same id and with the same body. If its day is over, that is one attempt.';

create or replace view pgorch.hook_list as
select h.id as hook_id, h.name, h.url, h.kinds::text[] as kinds, h.graph, h.allow_private,
       case when h.paused_at is null then 'active' else 'paused' end as status, h.paused_at, h.paused_because,
       h.created_at, h.created_by
from pgorch.hooks h;
comment on view pgorch.hook_list is 'Addresses that are told of events.';
comment on column pgorch.hook_list.hook_id is 'Its id.';
comment on column pgorch.hook_list.name is 'Its name, by which all functions take it as well.';
comment on column pgorch.hook_list.url is 'Where its messages go.';
comment on column pgorch.hook_list.kinds is 'Kinds of events that are delivered.';
comment on column pgorch.hook_list.graph is 'Name of the graph whose runs it is about; null: of all.';
comment on column pgorch.hook_list.allow_private is 'May the address be a private one, and plain http?';
comment on column pgorch.hook_list.status is 'active or paused.';
comment on column pgorch.hook_list.paused_at is 'Since when nothing is sent.';
comment on column pgorch.hook_list.paused_because is 'Who paused it, or that the receiver answered 410.';
comment on column pgorch.hook_list.created_at is 'When it was made.';
comment on column pgorch.hook_list.created_by is 'Who made it.';
