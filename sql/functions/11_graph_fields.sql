-- Which keys graphs, nodes, edges and retry policies have, and what their values may be.

create or replace function pgorch._fields(p_part text) returns table (key text, kind text, types text[], required boolean)
    language sql immutable
    as $$
    select f.key, f.kind, f.types, f.required
    from (values
        ('graph', 'name', 'graph_name', null::text[], false), ('graph', 'description', 'text', null, false),
        ('graph', 'nodes', 'list', null, true), ('graph', 'edges', 'list', null, true),
        ('graph', 'start_node', 'name', null, true), ('graph', 'retry', 'retry', null, false),

        ('node', 'id', 'name', '{task,approval,pass,fail}', true), ('node', 'type', 'type', '{task,approval,pass,fail}', false),
        ('node', 'label', 'text', '{task,approval,pass,fail}', false), ('node', 'description', 'text', '{task,approval,pass,fail}', false),
        ('node', 'function', 'name', '{task,approval}', false), ('node', 'input', 'template', '{task,pass}', false),
        ('node', 'into', 'name', '{task,approval,pass}', false), ('node', 'retry', 'retry', '{task}', false),
        ('node', 'timeout', 'interval', '{task}', false), ('node', 'queue', 'queue', '{task}', false),
        ('node', 'priority', 'priority', '{task}', false), ('node', 'branch', 'branch', '{task,approval,pass}', false),
        ('node', 'join', 'join', '{task,approval,pass,fail}', false), ('node', 'title', 'text', '{approval}', false),
        ('node', 'show', 'template', '{approval}', false), ('node', 'error', 'name', '{fail}', false),
        ('node', 'message', 'text', '{fail}', false),

        ('edge', 'source', 'name', null, true), ('edge', 'target', 'name', null, true), ('edge', 'id', 'name', null, false),
        ('edge', 'on', 'outcome', null, false), ('edge', 'sourceHandle', 'outcome', null, false),
        ('edge', 'condition', 'condition', null, false), ('edge', 'limit', 'limit', null, false),
        ('edge', 'label', 'text', null, false), ('edge', 'description', 'text', null, false),

        ('retry', 'max_attempts', 'attempts', null, false), ('retry', 'initial_interval', 'interval', null, false),
        ('retry', 'backoff_factor', 'factor', null, false), ('retry', 'max_interval', 'interval', null, false),
        ('retry', 'jitter', 'jitter', null, false), ('retry', 'retry_on', 'names', null, false),
        ('retry', 'non_retryable', 'names', null, false)
    ) f(part, key, kind, types, required)
    where f.part = p_part
    $$;

create or replace function pgorch._later_keys(p_part text) returns text[]
    language sql immutable
    as $$
    select case p_part
        when 'graph' then '{timeout,input_schema,reducers,output,compensate}'::text[]
        when 'node' then '{sql,compensate,items,concurrency,tolerate,heartbeat,deadline,form,assignees,quorum,exclude_initiator,remind,cancel_rest,for,until,signal,row,reducers,graph}'
        else '{}' end
    $$;
comment on function pgorch._later_keys(text) is 'Keys of the language that this version does not know yet: refused, never passed over.';

create or replace function pgorch._editor_keys() returns text[]
    language sql immutable
    as $$
    select '{position,positionAbsolute,data,style,className,width,height,initialWidth,initialHeight,measured,selected,selectable,dragging,draggable,
             dragHandle,resizing,connectable,deletable,focusable,hidden,zIndex,ariaLabel,sourcePosition,targetPosition,sourceHandle,
             targetHandle,handles,parentId,parentNode,extent,expandParent,origin,animated,markerStart,markerEnd,pathOptions,
             interactionWidth,reconnectable,updatable,labelStyle,labelShowBg,labelBgStyle,labelBgPadding,labelBgBorderRadius,viewport,$schema}'::text[]
    $$;
comment on function pgorch._editor_keys() is 'Keys that graph editors add: kept, without a meaning. Edges may have a type as well.';

create or replace function pgorch._name_problem(p_value jsonb, p_most integer) returns text
    language sql immutable
    as $$
    select case
        when jsonb_typeof(p_value) <> 'string' then format('must be a string, and is %s', pgorch._kind(p_value))
        when p_value = '""' then 'must not be empty'
        when length(p_value #>> '{}') > p_most then format('has %s characters, more than %s', length(p_value #>> '{}'), p_most)
        when p_value #>> '{}' ~ '[\u0001-\u001f\u007f-\u009f]' then 'must not hold control characters'
    end
    $$;

create or replace function pgorch._number_problem(p_value jsonb, p_least numeric, p_most numeric, p_whole boolean) returns text
    language sql immutable
    as $$
    select case when jsonb_typeof(p_value) <> 'number' then format('must be a %s, and is %s', case when p_whole then 'whole number' else 'number' end, pgorch._kind(p_value))
                when not (p_value #>> '{}')::numeric between p_least and p_most or (p_whole and (p_value #>> '{}')::numeric % 1 <> 0)
                then format('must be a %s from %s to %s, and is %s', case when p_whole then 'whole number' else 'number' end, p_least, p_most, left(p_value #>> '{}', 40)) end
    $$;

create or replace function pgorch._choice_problem(p_value jsonb, p_choices text[]) returns text
    language sql immutable
    as $$
    select case when jsonb_typeof(p_value) <> 'string' then format('must be a string, and is %s', pgorch._kind(p_value))
                when p_value #>> '{}' <> all (p_choices) then format('must be %s, and is %s',
                    (select string_agg(pgorch._quoted(c.choice), ' or ' order by c.at) from unnest(p_choices) with ordinality c(choice, at)),
                    pgorch._quoted(p_value #>> '{}')) end
    $$;

create or replace function pgorch._field_problem(p_kind text, p_value jsonb) returns text
    language plpgsql immutable
    as $$
declare
    v_type constant text := jsonb_typeof(p_value);
begin
    case p_kind
    when 'name' then
        return pgorch._name_problem(p_value, 200);
    when 'condition' then
        return case
            when v_type not in ('string', 'object')
            then format('must be a string (a predicate on the state) or an object (contained in the state), and is %s', pgorch._kind(p_value))
            when p_value = '{}' then 'is an empty object, which every state contains'
            when v_type = 'object' and strpos(p_value::text, '${') > 0 then 'is an object, in which ${...} is not filled in' end;
    when 'outcome' then
        return pgorch._choice_problem(p_value, '{success,approved,rejected,error,always}');
    when 'limit' then
        return pgorch._number_problem(p_value, 1, 1000000, true);
    when 'text' then
        return case when v_type <> 'string' then format('must be a string, and is %s', pgorch._kind(p_value))
                    when length(p_value #>> '{}') > 10000 then 'has more than 10,000 characters' end;
    when 'interval' then
        return pgorch._interval_problem(p_value);
    when 'queue' then
        return coalesce(pgorch._name_problem(p_value, 100), case when p_value #>> '{}' like '!%' then 'must not begin with !' end);
    when 'priority' then
        return pgorch._number_problem(p_value, -1000, 1000, true);
    when 'branch' then
        return pgorch._choice_problem(p_value, '{first,all}');
    when 'join' then
        return pgorch._choice_problem(p_value, '{all}');
    when 'attempts' then
        return pgorch._number_problem(p_value, 1, 1000, true);
    when 'factor' then
        return pgorch._number_problem(p_value, 1, 1000, false);
    when 'jitter' then
        return case when v_type <> 'boolean' then pgorch._number_problem(p_value, 0, 1, false) end;
    when 'graph_name' then
        return coalesce(pgorch._name_problem(p_value, 200),
            case when strpos(p_value #>> '{}', '@') > 0 then 'must not hold @, which parts a name from a version' end);
    when 'list' then
        return case when v_type <> 'array' then format('must be a list, and is %s', pgorch._kind(p_value)) end;
    when 'names' then
        if v_type <> 'array' then
            return format('must be a list of names, and is %s', pgorch._kind(p_value));
        elsif jsonb_array_length(p_value) > 100 then
            return 'has more than 100 names';
        end if;
        return (select min(pgorch._name_problem(v.value, 200)) from jsonb_array_elements(p_value) v(value));
    else
        return null;
    end case;
end
$$;
comment on function pgorch._field_problem(text, jsonb) is 'What is wrong with a value of a kind; null: nothing.';

create or replace function pgorch._problem_code(p_kind text, p_value jsonb) returns text
    language sql immutable
    as $$
    select case when p_value = '"expired"' and p_kind = 'outcome' or p_kind = 'join' and (p_value = '"any"' or jsonb_typeof(p_value) = 'object')
                then 'not_supported_yet'
                when p_kind in ('interval', 'condition', 'limit', 'retry', 'outcome') then 'bad_' || p_kind
                when p_kind in ('name', 'graph_name') then 'bad_name' else 'bad_value' end
    $$;

create or replace function pgorch._problem_hint(p_kind text, p_value jsonb) returns text
    language sql immutable
    as $$
    select case
        when p_kind = 'interval' then 'Write a number and a unit: "90 seconds", "48 hours", "PT24H".'
        when p_kind = 'join' and (jsonb_typeof(p_value) = 'object' or p_value = '"any"') then 'Joins other than "all" are not supported by this version of pgorch.'
        when p_kind = 'outcome' and p_value = '"expired"' then 'Deadlines of approvals are not supported by this version of pgorch.'
        when p_kind = 'condition' then 'Leave the condition out for an edge that is always taken, or the else beside other conditions.'
        when p_kind = 'retry' then 'For example {"max_attempts": 3, "initial_interval": "2 seconds"}.'
        else '' end
    $$;

create or replace function pgorch._part_name(p_part text) returns text
    language sql immutable
    as $$ select case p_part when 'edge' then 'an edge' when 'retry' then 'a retry policy' else 'a ' || p_part end $$;

create or replace function pgorch._key_errors(p_part text, p_paths text[], p_values jsonb[], p_types text[]) returns setof jsonb
    language sql immutable
    as $$
    -- All nodes (or edges) in one statement: the tables of keys are built once, not for each of them.
    with fields as materialized (select f.* from pgorch._fields(p_part) f),
    parts as materialized (select v.* from unnest(p_paths, p_values, p_types) v(path, value, type) where jsonb_typeof(v.value) = 'object'),
    keys as materialized (
        select p.path, p.type, p.value as part, k.key, k.value, f.kind, f.types, pgorch._field_problem(f.kind, k.value) as problem
        from parts p
        cross join lateral jsonb_each(p.value) k
        left join fields f on f.key = k.key
        where k.value <> 'null'
    )
    select case
        when k.kind is null and k.key = any (pgorch._later_keys(p_part)) then pgorch._graph_error(pgorch._pointer(k.path, k.key), 'not_supported_yet',
            format('%s is not supported by this version of pgorch', pgorch._quoted(k.key)), 'Leave it out, or use a version that knows it.')
        when k.kind is null then pgorch._graph_error(pgorch._pointer(k.path, k.key), 'unknown_key',
            format('%s has no key %s', pgorch._part_name(p_part), pgorch._quoted(k.key)),
            '', k.key, to_jsonb(p_part))
        when not k.type = any (k.types) then pgorch._graph_error(pgorch._pointer(k.path, k.key), 'unknown_key',
            format('a node of type %s has no %s', k.type, pgorch._quoted(k.key)),
            format('It is for nodes of type %s.', array_to_string(k.types, ', ')))
        else pgorch._graph_error(pgorch._pointer(k.path, k.key), pgorch._problem_code(k.kind, k.value),
            format('%s %s', k.key, k.problem), pgorch._problem_hint(k.kind, k.value))
    end
    from keys k
    where case when k.kind is null then k.key <> all (pgorch._editor_keys()) and not (p_part = 'edge' and k.key = 'type')
               -- With `on`, an editor may name its handles as it likes.
               when k.key = 'sourceHandle' and jsonb_typeof(k.part -> 'on') <> 'null' then false
               else k.problem is not null or not coalesce(k.type = any (k.types), true) end
    union all
    select pgorch._graph_error(p.path, 'missing_key', format('%s is missing', pgorch._quoted(f.key)))
    from parts p
    join fields f on f.required and jsonb_typeof(coalesce(p.value -> f.key, 'null')) = 'null'
    union all
    select pgorch._graph_error(v.path, 'bad_value', format('%s must be an object, and is %s', pgorch._part_name(p_part), pgorch._kind(v.value)))
    from unnest(p_paths, p_values) v(path, value) where jsonb_typeof(v.value) <> 'object'
    $$;
comment on function pgorch._key_errors(text, text[], jsonb[], text[]) is
    'Wrong, unknown and missing keys of graphs, nodes, edges or retry policies; p_types are the types of nodes, null where they do not matter. A key with null counts as left out.';

create or replace function pgorch._retry_errors(p_paths text[], p_retries jsonb[]) returns setof jsonb
    language sql immutable
    as $$
    select e.error || jsonb_build_object('code', case when e.error ->> 'code' = 'bad_value' then 'bad_retry' else e.error ->> 'code' end)
    from pgorch._key_errors('retry', p_paths, p_retries, null) e(error)
    $$;
