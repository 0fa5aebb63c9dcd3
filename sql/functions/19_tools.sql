-- Tools: what workers can do, with the JSON Schema of each one's arguments.

create or replace function pgorch.register_tools(p_tools jsonb) returns void
    language plpgsql
    set search_path = pg_catalog, pgorch, pg_temp
    as $$
declare
    v_problem pg_catalog.text;
begin
    if jsonb_typeof(p_tools) is distinct from 'array' then
        perform pgorch._raise('OR006', format('the tools must be a list, and are %s', pgorch._kind(p_tools)),
            'Give a list of {"name", "description", "parameters", "retry"?, "timeout"?, "transactional"?}.');
    end if;
    perform pgorch._checked_json(p_tools, 'the list of tools', 16 * 1024 * 1024);
    select format('tool %s: %s', t.at, x.problem) into v_problem
    from jsonb_array_elements(p_tools) with ordinality t(value, at)
    cross join lateral (select pgorch._tool_problem(t.value) as problem) x
    where x.problem is not null order by t.at limit 1;
    v_problem := coalesce(v_problem, (
        select format('the name %s is there twice', pgorch._quoted(t.value ->> 'name'))
        from jsonb_array_elements(p_tools) t(value) group by t.value ->> 'name' having count(*) > 1 limit 1));
    if v_problem is not null then
        perform pgorch._raise('OR006', v_problem, 'None of the tools of this call was registered.');
    end if;
    -- In the order of names, so that two workers never wait for each other; nothing is written if nothing changed.
    insert into pgorch.tools as t (name, description, parameters, retry, timeout, transactional, registered_at)
    select n.value ->> 'name', coalesce(n.value ->> 'description', ''), coalesce(nullif(n.value -> 'parameters', 'null'), '{"type": "object"}'),
           pgorch._normal_retry(n.value -> 'retry'), pgorch._tool_timeout(n.value -> 'timeout'),
           coalesce((n.value ->> 'transactional')::boolean, false), pgorch.clock_now()
    from jsonb_array_elements(p_tools) n(value)
    order by n.value ->> 'name'
    on conflict (name) do update
    set description = excluded.description, parameters = excluded.parameters, retry = excluded.retry, timeout = excluded.timeout,
        transactional = excluded.transactional, registered_at = excluded.registered_at
    where (t.description, t.parameters, t.retry, t.timeout, t.transactional)
          is distinct from (excluded.description, excluded.parameters, excluded.retry, excluded.timeout, excluded.transactional);
end
$$;
comment on function pgorch.register_tools(jsonb) is
    'Makes tools known: a list of {name, description, parameters (JSON Schema), retry?, timeout? (interval or seconds), transactional?}. A known name is replaced.';

create or replace function pgorch._tool_timeout(p_timeout jsonb) returns interval
    language sql immutable
    as $$
    select case jsonb_typeof(p_timeout) when 'number' then make_interval(secs => (p_timeout #>> '{}')::double precision)
                                        when 'string' then (p_timeout #>> '{}')::interval end
    $$;

create or replace function pgorch._tool_problem(p_tool jsonb) returns text
    language plpgsql immutable
    as $$
declare
    v_name constant pg_catalog.text := p_tool ->> 'name';
    v_problem pg_catalog.text;
begin
    if jsonb_typeof(p_tool) <> 'object' then
        return format('must be an object, and is %s', pgorch._kind(p_tool));
    elsif jsonb_typeof(p_tool -> 'name') is distinct from 'string' or not length(v_name) between 1 and 200 or v_name ~ '[[:cntrl:]]' then
        return 'the name must be a string of 1 to 200 characters';
    elsif v_name = 'wait_for_approval' then
        return 'the name wait_for_approval is taken: it makes a node an approval';
    elsif v_name like 'pgorch.%' then
        return format('the name %s is taken: those that begin with pgorch. are the engine''s own', pgorch._quoted(v_name));
    elsif jsonb_typeof(p_tool -> 'description') not in ('string', 'null') then
        return format('the description of %s must be a string', pgorch._quoted(v_name));
    elsif jsonb_typeof(p_tool -> 'parameters') not in ('object', 'null') then
        return format('the parameters of %s must be a JSON Schema, an object', pgorch._quoted(v_name));
    elsif jsonb_typeof(p_tool -> 'transactional') not in ('boolean', 'null') then
        return format('transactional of %s must be true or false', pgorch._quoted(v_name));
    end if;
    if jsonb_typeof(p_tool -> 'timeout') = 'number' then
        if not (p_tool ->> 'timeout')::numeric between 0.000001 and 3155760000 then
            return format('the timeout of %s must be more than 0 seconds and at most 100 years', pgorch._quoted(v_name));
        end if;
    elsif jsonb_typeof(p_tool -> 'timeout') <> 'null' then
        v_problem := pgorch._interval_problem(p_tool -> 'timeout');
        if v_problem is not null then
            return format('the timeout of %s %s', pgorch._quoted(v_name), v_problem);
        end if;
    end if;
    if jsonb_typeof(p_tool -> 'retry') <> 'null' then
        return (select format('retry of %s: %s', pgorch._quoted(v_name), e ->> 'message')
                from pgorch._retry_errors(array[''], array[p_tool -> 'retry']) e limit 1);
    end if;
    return null;
end
$$;
