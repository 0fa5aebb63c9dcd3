-- Which keys graphs, nodes, edges and their parts have.

create or replace function pgorch._node_types() returns text[]
    language sql immutable parallel safe
    as $$ select '{task,approval,wait,map,graph,pass,fail}'::text[] $$;

create or replace function pgorch._fields(p_part text) returns table (key text, kind text, types text[], required boolean)
    language sql immutable
    as $$
    select f.key, f.kind, f.types, f.required
    from (values
        ('graph', 'name', 'graph_name', null::text[], false), ('graph', 'description', 'text', null, false),
        ('graph', 'nodes', 'list', null, true), ('graph', 'edges', 'list', null, true),
        ('graph', 'start_node', 'name', null, true), ('graph', 'retry', 'retry', null, false),
        ('graph', 'timeout', 'interval', null, false), ('graph', 'input_schema', 'schema', null, false),
        ('graph', 'reducers', 'reducers', null, false), ('graph', 'output', 'template', null, false),

        ('node', 'id', 'name', null, true), ('node', 'type', 'type', null, false),
        ('node', 'label', 'text', null, false), ('node', 'description', 'text', null, false),
        ('node', 'join', 'join', null, false), ('node', 'cancel_rest', 'boolean', null, false),
        ('node', 'branch', 'branch', '{task,approval,wait,map,graph,pass}', false),
        ('node', 'into', 'name', '{task,approval,wait,map,graph,pass}', false),
        ('node', 'input', 'template', '{task,approval,map,graph,pass}', false),
        ('node', 'function', 'name', '{task,approval,map}', false), ('node', 'sql', 'sql', '{task,map}', false),
        ('node', 'retry', 'retry', '{task,map,graph}', false),
        ('node', 'timeout', 'interval', '{task,map}', false), ('node', 'heartbeat', 'interval', '{task,map}', false),
        ('node', 'queue', 'queue', '{task,map}', false), ('node', 'priority', 'priority', '{task,map}', false),
        ('node', 'compensate', 'name', '{task}', false), ('node', 'concurrency_key', 'key', '{task}', false),
        ('node', 'concurrency', 'count', '{task,map}', false),
        ('node', 'items', 'items', '{map}', false), ('node', 'tolerate', 'tolerate', '{map}', false),
        ('node', 'graph', 'graph_ref', '{graph}', false),
        ('node', 'for', 'duration', '{wait}', false), ('node', 'until', 'time', '{wait}', false),
        ('node', 'signal', 'signal', '{wait}', false), ('node', 'row', 'row', '{wait}', false),
        ('node', 'deadline', 'interval', '{approval,wait}', false),
        ('node', 'title', 'text', '{approval}', false), ('node', 'show', 'template', '{approval}', false),
        ('node', 'form', 'schema', '{approval}', false), ('node', 'assignees', 'people', '{approval}', false),
        ('node', 'quorum', 'quorum', '{approval}', false), ('node', 'exclude_initiator', 'boolean', '{approval}', false),
        ('node', 'remind', 'remind', '{approval}', false),
        ('node', 'error', 'name', '{fail}', false), ('node', 'message', 'text', '{fail}', false),

        ('edge', 'source', 'name', null, true), ('edge', 'target', 'name', null, true), ('edge', 'id', 'name', null, false),
        ('edge', 'on', 'outcome', null, false), ('edge', 'sourceHandle', 'outcome', null, false),
        ('edge', 'condition', 'condition', null, false), ('edge', 'limit', 'limit', null, false),
        ('edge', 'label', 'text', null, false), ('edge', 'description', 'text', null, false),

        ('retry', 'max_attempts', 'attempts', null, false), ('retry', 'initial_interval', 'interval', null, false),
        ('retry', 'backoff_factor', 'factor', null, false), ('retry', 'max_interval', 'interval', null, false),
        ('retry', 'jitter', 'jitter', null, false), ('retry', 'retry_on', 'names', null, false),
        ('retry', 'non_retryable', 'names', null, false),

        ('row', 'table', 'name', null, true), ('row', 'key', 'row_key', null, true),
        ('row', 'key_column', 'name', null, false), ('row', 'condition', 'row_condition', null, true),

        ('remind', 'after', 'interval', null, true), ('remind', 'to', 'people', null, false)
    ) f(part, key, kind, types, required)
    where f.part = p_part
    $$;
comment on function pgorch._fields(text) is
    'The keys of a part of a definition: the kind of each one''s value (_field_problem), and for which types of nodes it is (null: all).';

create or replace function pgorch._editor_keys() returns text[]
    language sql immutable
    as $$
    select '{position,positionAbsolute,data,style,className,width,height,initialWidth,initialHeight,measured,selected,selectable,dragging,draggable,
             dragHandle,resizing,connectable,deletable,focusable,hidden,zIndex,ariaLabel,sourcePosition,targetPosition,sourceHandle,
             targetHandle,handles,parentId,parentNode,extent,expandParent,origin,animated,markerStart,markerEnd,pathOptions,
             interactionWidth,reconnectable,updatable,labelStyle,labelShowBg,labelBgStyle,labelBgPadding,labelBgBorderRadius,viewport,$schema}'::text[]
    $$;
comment on function pgorch._editor_keys() is 'Keys that graph editors add: kept, without a meaning. Edges may have a type as well.';

create or replace function pgorch._part_name(p_part text) returns text
    language sql immutable
    as $$ select case p_part when 'edge' then 'an edge' when 'retry' then 'a retry policy' when 'remind' then 'a reminder' else 'a ' || p_part end $$;

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
    'Wrong, unknown and missing keys of graphs, nodes, edges, retry policies, rows or reminders; p_types are the types of nodes, null where they do not matter. A key with null counts as left out.';

create or replace function pgorch._retry_errors(p_paths text[], p_retries jsonb[]) returns setof jsonb
    language sql immutable
    as $$
    select e.error || jsonb_build_object('code', case when e.error ->> 'code' = 'bad_value' then 'bad_retry' else e.error ->> 'code' end)
    from pgorch._key_errors('retry', p_paths, p_retries, null) e(error)
    $$;
