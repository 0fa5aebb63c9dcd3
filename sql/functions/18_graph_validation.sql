-- Rule R8: everything that can be known of a graph is checked when it is created, and all errors are told at once.

create or replace function pgorch._size_errors(p_definition jsonb) returns setof jsonb
    language plpgsql immutable
    as $$
declare
    v_nodes constant integer := case jsonb_typeof(p_definition -> 'nodes') when 'array' then jsonb_array_length(p_definition -> 'nodes') end;
    v_edges constant integer := case jsonb_typeof(p_definition -> 'edges') when 'array' then jsonb_array_length(p_definition -> 'edges') end;
begin
    if v_nodes > 5000 then
        return next pgorch._graph_error('/nodes', 'too_large', format('the graph has %s nodes, more than 5,000', v_nodes),
            'Split it into several graphs; for many like items, let one task start a run for each.');
    end if;
    if v_edges > 20000 then
        return next pgorch._graph_error('/edges', 'too_large', format('the graph has %s edges, more than 20,000', v_edges),
            'Split it into several graphs.');
    end if;
    if v_nodes > 5000 or v_edges > 20000 then
        return;
    end if;
    if octet_length(p_definition::text) > 4 * 1024 * 1024 then
        return next pgorch._graph_error('', 'too_large', format('the definition has %s bytes, more than 4 MiB', octet_length(p_definition::text)),
            'Keep large data in a table or a store of your own and pass a reference.');
    elsif pgorch._count_of('${', p_definition::text) > 20000 then
        return next pgorch._graph_error('', 'too_large', 'the templates of the graph have more than 20,000 paths', 'Split the graph into several.');
    elsif jsonb_path_exists(p_definition, 'strict $.**{65}', '{}', true) then
        return next pgorch._graph_error('', 'too_large', 'the definition is nested deeper than 64 levels', 'Flatten it.');
    end if;
end
$$;
comment on function pgorch._size_errors(jsonb) is 'What is too large to be looked at any further.';

create or replace function pgorch._all_errors(p_definition jsonb) returns setof jsonb
    language plpgsql stable
    as $$
declare
    v_nodes pg_catalog.jsonb[] := '{}';
    v_edges pg_catalog.jsonb[] := '{}';
begin
    if jsonb_typeof(p_definition) is distinct from 'object' then
        return next pgorch._graph_error('', 'bad_value', format('a graph is an object, and this is %s', pgorch._kind(p_definition)),
            'Give an object with "nodes", "edges" and "start_node".');
        return;
    end if;
    return query select e from pgorch._size_errors(p_definition) e;
    if found then
        return;
    end if;
    return query select e from pgorch._whole_graph_errors(p_definition) e;
    if jsonb_typeof(p_definition -> 'nodes') = 'array' then
        v_nodes := array(select n.value from jsonb_array_elements(p_definition -> 'nodes') with ordinality n(value, at) order by n.at);
    end if;
    if jsonb_typeof(p_definition -> 'edges') = 'array' then
        v_edges := array(select e.value from jsonb_array_elements(p_definition -> 'edges') with ordinality e(value, at) order by e.at);
    end if;
    if p_definition -> 'nodes' = '[]' then
        return next pgorch._graph_error('/nodes', 'bad_value', 'the graph has no node', 'A graph has at least one node, at which a run starts.');
    end if;
    if jsonb_typeof(p_definition -> 'start_node') = 'string' and jsonb_typeof(p_definition -> 'nodes') = 'array'
       and not exists (select from unnest(v_nodes) n(value) where n.value ->> 'id' = p_definition ->> 'start_node') then
        return next pgorch._graph_error('/start_node', 'unknown_node', format('there is no node %s', pgorch._quoted(p_definition ->> 'start_node')),
            'Give the id of one of the nodes.', p_definition ->> 'start_node', '"nodes"');
    end if;
    if v_nodes <> '{}' then
        return query select e from pgorch._node_errors(v_nodes) e;
        return query select e from pgorch._child_errors(v_nodes, p_definition ->> 'name') e;
    end if;
    if v_edges <> '{}' then
        return query select e from pgorch._edge_errors(v_edges, v_nodes) e;
        return query select e from pgorch._else_errors(v_nodes, v_edges) e;
    end if;
    if v_nodes <> '{}' and jsonb_typeof(p_definition -> 'edges') = 'array' then
        return query select e from pgorch._connection_errors(p_definition) e;
    end if;
end
$$;
comment on function pgorch._all_errors(jsonb) is 'The errors of a definition, those of names still without the near names.';

create or replace function pgorch._with_near_names(p_error jsonb, p_definition jsonb) returns jsonb
    language sql stable
    as $$
    select (p_error - 'wrong' - 'right') || coalesce((
        select jsonb_build_object('hint', concat_ws(' ', n.near, p_error ->> 'hint'))
        from (select pgorch._near_names(p_error ->> 'wrong', case p_error ->> 'right'
                  when 'nodes' then (select array_agg(d.value ->> 'id') from jsonb_path_query(p_definition, 'strict $.nodes[*]', '{}', true) d(value))
                  when 'functions' then (select array_agg(t.name) from pgorch.tools t)
                  when 'graphs' then (select array_agg(distinct g.name) from pgorch.graphs g)
                  when 'tables' then pgorch._waitable_tables()
                  when 'graph' then (select array_agg(f.key) from pgorch._fields('graph') f)
                  when 'node' then (select array_agg(f.key) from pgorch._fields('node') f)
                  when 'edge' then (select array_agg(f.key) from pgorch._fields('edge') f)
                  when 'retry' then (select array_agg(f.key) from pgorch._fields('retry') f)
                  when 'row' then (select array_agg(f.key) from pgorch._fields('row') f)
                  when 'remind' then (select array_agg(f.key) from pgorch._fields('remind') f)
                  else array(select r.name from jsonb_array_elements_text(p_error -> 'right') r(name)) end) as near
             where p_error ? 'wrong') n
        where n.near is not null), '{}')
    $$;
comment on function pgorch._with_near_names(jsonb, jsonb) is 'An error with the names that were probably meant in front of its hint.';

create or replace function pgorch.validate_graph(p_definition jsonb) returns jsonb
    language plpgsql stable
    set search_path = pg_catalog, pgorch, pg_temp
    as $$
declare
    v_errors constant pg_catalog.jsonb[] := array(select e from pgorch._all_errors(p_definition) e);
begin
    -- Names are compared for the first 50 errors: a large graph with a thousand of them would take seconds.
    return (
        select coalesce(jsonb_agg(case when e.at <= 50 then pgorch._with_near_names(e.error, p_definition) else e.error - 'wrong' - 'right' end order by e.at), '[]')
        from unnest(v_errors) with ordinality e(error, at) where e.at <= 500
    ) || case when cardinality(v_errors) <= 500 then '[]'::jsonb
              else jsonb_build_array(pgorch._graph_error('', 'more_errors', 'there are more than these 500 errors', 'Correct these first.')) end;
end
$$;
comment on function pgorch.validate_graph(jsonb) is
    'All errors of a definition at once, as a list of {path (JSON pointer), code, message, hint}; an empty list means that it is valid.';
