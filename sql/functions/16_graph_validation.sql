-- Validation.
create or replace function pgorch._retry_errors(p_retry jsonb, p_path text) returns setof jsonb
    language sql immutable as $$ select null::jsonb where false $$;

create or replace function pgorch.validate_graph(p_definition jsonb) returns jsonb
    language plpgsql stable
    set search_path = pg_catalog, pgorch, pg_temp
    as $$
declare
    v_errors jsonb;
    v_ids text[];
    v_shape record;
begin
    if jsonb_typeof(p_definition) is distinct from 'object' or jsonb_typeof(p_definition -> 'nodes') is distinct from 'array'
       or jsonb_typeof(p_definition -> 'edges') is distinct from 'array' or p_definition -> 'nodes' = '[]' then
        return jsonb_build_array(pgorch._graph_error('', 'bad_graph', 'a graph is an object with nodes, edges and start_node'));
    end if;
    if jsonb_array_length(p_definition -> 'nodes') > 5000 or jsonb_array_length(p_definition -> 'edges') > 20000 then
        return jsonb_build_array(pgorch._graph_error('', 'too_large', 'a graph has at most 5,000 nodes and 20,000 edges'));
    end if;
    select array_agg(n.value ->> 'id' order by n.at) into v_ids
    from jsonb_array_elements(p_definition -> 'nodes') with ordinality n(value, at);
    select jsonb_agg(x.error) into v_errors from (
        select pgorch._graph_error('/nodes/' || n.at - 1 || '/function', 'unknown_function',
            format('no worker has registered the function %s', pgorch._quoted(n.value ->> 'function')),
            coalesce(pgorch._near_names(n.value ->> 'function', (select array_agg(t.name) from pgorch.tools t)), '')) as error
        from jsonb_array_elements(p_definition -> 'nodes') with ordinality n(value, at)
        where pgorch._node_type(n.value) = 'task' and not exists (select from pgorch.tools t where t.name = n.value ->> 'function')
        union all
        select pgorch._graph_error('/edges/' || e.at - 1 || '/' || k.key, 'unknown_node',
            format('there is no node %s', pgorch._quoted(e.value ->> k.key)), coalesce(pgorch._near_names(e.value ->> k.key, v_ids), ''))
        from jsonb_array_elements(p_definition -> 'edges') with ordinality e(value, at), unnest(array['source', 'target']) k(key)
        where not e.value ->> k.key = any (v_ids)
    ) x;
    return coalesce(v_errors, '[]');
end
$$;
comment on function pgorch.validate_graph(jsonb) is
    'All errors of a definition at once, as a list of {path (JSON pointer), code, message, hint}; an empty list means that it is valid.';
