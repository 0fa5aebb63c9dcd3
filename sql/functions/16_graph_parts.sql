-- Errors of single nodes and edges.

create or replace function pgorch._node_errors(p_nodes jsonb[]) returns setof jsonb
    language sql stable
    as $$
    with nodes as materialized (
        select '/nodes/' || (n.at - 1) as path, n.value, pgorch._node_type(n.value) as type, n.at,
               jsonb_typeof(n.value -> 'id') = 'string' as has_id
        from unnest(p_nodes) with ordinality n(value, at)
    ),
    known as (
        select n.path, n.value, n.at, n.has_id, case when n.type = any (pgorch._node_types()) then n.type end as type
        from nodes n where jsonb_typeof(n.value) = 'object'
    )
    select pgorch._key_errors('node', array_agg(n.path order by n.at), array_agg(n.value order by n.at),
        array_agg(case when n.type = any (pgorch._node_types()) then n.type end order by n.at))
    from nodes n
    union all
    select pgorch._retry_errors(array_agg(k.path || '/retry' order by k.at), array_agg(k.value -> 'retry' order by k.at))
    from known k where jsonb_typeof(k.value -> 'retry') <> 'null'
    union all
    select pgorch._graph_error(n.path || '/type', 'unknown_type', format('there is no type %s of nodes',
            case when jsonb_typeof(n.value -> 'type') = 'string' then pgorch._quoted(n.value ->> 'type') else 'that is ' || pgorch._kind(n.value -> 'type') end),
            'Types are ' || array_to_string(pgorch._node_types(), ', ') || '.', n.value ->> 'type', to_jsonb(pgorch._node_types()))
    from nodes n
    where jsonb_typeof(n.value -> 'type') <> 'null'
      and (jsonb_typeof(n.value -> 'type') <> 'string' or n.type <> all (pgorch._node_types()))
    union all
    select pgorch._graph_error(k.path || '/id', 'duplicate_id',
        format('the id %s is taken by an earlier node', pgorch._quoted(k.value ->> 'id')), 'Give every node an id of its own.')
    from (select k.path, k.value, row_number() over (partition by k.value ->> 'id' order by k.at) as nth from known k where k.has_id) k
    where k.nth > 1
    union all
    (select pgorch._template_errors(t.template, t.path, t.scope)
     from known k, pgorch._node_templates(k.value, k.path) t
     where strpos(t.template::text, '${') > 0
     limit 1000)
    union all
    select pgorch._function_errors(array_agg(k.path order by k.at), array_agg(k.value order by k.at), array_agg(k.type order by k.at)) from known k
    union all
    select e from known k, pgorch._work_errors(k.value, k.path, k.type) e
    where k.type in ('map', 'graph', 'wait') or k.value ?| '{cancel_rest,concurrency,sql}'
    union all
    select e from known k, pgorch._approval_errors(k.value, k.path) e where k.type = 'approval' and k.value ?| '{form,quorum,remind}'
    $$;
comment on function pgorch._node_errors(jsonb[]) is 'Errors of nodes, each taken by itself.';

create or replace function pgorch._function_errors(p_paths text[], p_nodes jsonb[], p_types text[]) returns setof jsonb
    language sql stable
    as $$
    with known as materialized (
        select n.path, n.value, n.type, jsonb_typeof(n.value -> 'function') = 'string' as has_function
        from unnest(p_paths, p_nodes, p_types) n(path, value, type)
    )
    select pgorch._graph_error(k.path, 'missing_key', '"function" is missing',
        format('A %s names the function that a worker runs, or has an sql statement; a node without either has another type: %s.',
               k.type, array_to_string(array_remove(array_remove(pgorch._node_types(), 'task'), 'map'), ', ')))
    from known k
    where k.type in ('task', 'map') and num_nonnulls(k.value ->> 'function', k.value ->> 'sql') = 0
    union all
    select pgorch._graph_error(k.path || '/sql', 'bad_value', format('a %s has a function or an sql statement, and this one has both', k.type),
        'Make two nodes of it.')
    from known k
    where k.type in ('task', 'map') and num_nonnulls(k.value ->> 'function', k.value ->> 'sql') = 2
    union all
    select pgorch._graph_error(k.path || '/function', 'bad_value', 'the function pgorch.sql performs statements, which are written differently',
        'Write {"sql": "select my_function($1)", "input": ["${$.key}"]} in place of the function.')
    from known k where k.type in ('task', 'map') and k.value ->> 'function' = 'pgorch.sql'
    union all
    select pgorch._graph_error(k.path || '/' || f.key, 'unknown_function',
        format('no worker has registered the function %s', pgorch._quoted(k.value ->> f.key)),
        case when not exists (select from pgorch.tools) then 'No tool is registered at all: start a worker first.'
             else 'Start the worker that has it, or name one of the registered tools.' end,
        k.value ->> f.key, '"functions"')
    from known k
    cross join unnest(array['function', 'compensate']) f(key)
    where (k.type = 'task' or k.type = 'map' and f.key = 'function') and jsonb_typeof(k.value -> f.key) = 'string'
      and not exists (select from pgorch.tools t where t.name = k.value ->> f.key)
      and not (f.key = 'function' and k.value ->> f.key = 'pgorch.sql')
    union all
    select pgorch._graph_error(k.path || '/function', 'bad_value',
        format('an approval runs no function, and this one names %s', pgorch._quoted(k.value ->> 'function')),
        'Leave it out, or put the function into a task before or behind the approval.')
    from known k
    where k.type = 'approval' and k.has_function and k.value ->> 'function' <> 'wait_for_approval'
    $$;
comment on function pgorch._function_errors(text[], jsonb[], text[]) is 'Errors in what nodes run: their functions and statements, and what undoes them.';

create or replace function pgorch._edge_errors(p_edges jsonb[], p_nodes jsonb[]) returns setof jsonb
    language sql immutable
    as $$
    with types as materialized (
        select distinct on (n.value ->> 'id') n.value ->> 'id' as id, pgorch._node_type(n.value) as type, n.value ->> 'deadline' is not null as has_deadline
        from unnest(p_nodes) with ordinality n(value, at) order by n.value ->> 'id', n.at
    ),
    edges as materialized (
        select '/edges/' || (e.at - 1) as path, e.value, e.at, pgorch._edge_outcome(e.value) as outcome, s.type, s.has_deadline,
               coalesce(e.value ->> 'on', e.value ->> 'sourceHandle') as written_outcome
        from unnest(p_edges) with ordinality e(value, at)
        left join types s on s.id = e.value ->> 'source'
        where jsonb_typeof(e.value) = 'object'
    )
    select pgorch._key_errors('edge', array_agg('/edges/' || (e.at - 1) order by e.at), array_agg(e.value order by e.at), null)
    from unnest(p_edges) with ordinality e(value, at)
    union all
    select pgorch._graph_error(e.path || '/' || k.key, 'unknown_node', format('there is no node %s', pgorch._quoted(e.value ->> k.key)),
        'Give the id of one of the nodes.', e.value ->> k.key, '"nodes"')
    from edges e
    cross join unnest(array['source', 'target']) k(key)
    where jsonb_typeof(e.value -> k.key) = 'string' and not exists (select from types t where t.id = e.value ->> k.key)
    union all
    select pgorch._graph_error(e.path || case when e.value ->> 'on' is null then '/sourceHandle' else '/on' end, 'bad_outcome',
        format('a node of type %s%s is never %s', e.type, case when e.type in ('approval', 'wait') and e.written_outcome = 'expired' then ' without deadline' else '' end,
               e.written_outcome),
        case when e.written_outcome <> 'expired' then 'Only approvals are approved or rejected.'
             when e.type in ('approval', 'wait') then format('Give %s a "deadline".', pgorch._quoted(e.value ->> 'source'))
             else 'Only approvals and waits with a deadline expire; a timeout of a task is an error.' end)
    from edges e
    where e.type = any (pgorch._node_types()) and e.type <> 'fail'
      and (e.written_outcome in ('approved', 'rejected') and e.type <> 'approval'
           or e.written_outcome = 'expired' and not (e.type in ('approval', 'wait') and e.has_deadline))
    union all
    select pgorch._graph_error(e.path || '/source', 'bad_outcome',
        format('%s is a fail node: the run ends there and no edge leaves it', pgorch._quoted(e.value ->> 'source')), 'Remove the edge, or make the node a pass node.')
    from edges e where e.type = 'fail'
    union all
    -- Finding the place of a mistake takes a while, so not of twenty thousand.
    (select pgorch._condition_errors(e.value ->> 'condition', e.path || '/condition', e.outcome, coalesce(e.type, 'approval'))
     from edges e where jsonb_typeof(e.value -> 'condition') = 'string'
     limit 1000)
    $$;
comment on function pgorch._edge_errors(jsonb[], jsonb[]) is 'Errors of edges, each taken by itself with the nodes at its ends.';

create or replace function pgorch._else_errors(p_nodes jsonb[], p_edges jsonb[]) returns setof jsonb
    language sql immutable
    as $$
    -- In a group of edges that are candidates together: one without condition is the else, a second has no meaning.
    with edges as (
        select e.value ->> 'source' as source, pgorch._edge_outcome(e.value) as outcome, e.at,
               jsonb_typeof(coalesce(e.value -> 'condition', 'null')) <> 'null' as conditional
        from unnest(p_edges) with ordinality e(value, at)
        where jsonb_typeof(e.value -> 'source') = 'string'
    ),
    candidates as (
        select e.source, o.outcome, e.at, e.conditional, bool_or(e.conditional) over g as any_conditional,
               row_number() over (partition by e.source, o.outcome, e.conditional order by e.at) as nth
        from edges e
        join unnest(array['success', 'rejected', 'expired', 'error']) o(outcome) on e.outcome in (o.outcome, 'always')
        window g as (partition by e.source, o.outcome)
    )
    select distinct on (c.at) pgorch._graph_error('/edges/' || (c.at - 1), 'several_else',
        format('%s has a second edge without condition beside edges with conditions', pgorch._quoted(c.source)),
        'Give it a condition, remove it, or set "branch": "all" on the node, which takes every edge that holds.')
    from candidates c
    where c.any_conditional and not c.conditional and c.nth > 1
      and not exists (select from unnest(p_nodes) n(value) where n.value ->> 'id' = c.source and n.value ->> 'branch' = 'all')
    $$;
comment on function pgorch._else_errors(jsonb[], jsonb[]) is 'Groups of edges with more than one else.';
