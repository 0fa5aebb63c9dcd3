-- Graphs that run others: which version of the other is meant.

create or replace function pgorch._graph_id(p_graph text) returns uuid
    language plpgsql stable
    as $$
declare
    v_id pg_catalog.uuid;
    v_parts pg_catalog.text[];
begin
    if p_graph ~ '^[0-9a-fA-F]{8}-([0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12}$' then
        select g.id into v_id from pgorch.graphs g where g.id = p_graph::uuid;
    end if;
    if v_id is null then
        select g.id into v_id from pgorch.graphs g where g.name = p_graph order by g.version desc limit 1;
    end if;
    if v_id is null then
        v_parts := regexp_match(p_graph, '^(.*)@([0-9]{1,9})$');
        select g.id into v_id from pgorch.graphs g where g.name = v_parts[1] and g.version = v_parts[2]::integer;
    end if;
    return v_id;
end
$$;
comment on function pgorch._graph_id(text) is 'The graph with an id, a name (its latest version) or name@version; null if there is none.';

create or replace function pgorch._child_errors(p_nodes jsonb[], p_name text) returns setof jsonb
    language sql stable
    as $$
    select case
        when p_name = regexp_replace(c.name, '@[0-9]+$', '') then
            pgorch._graph_error(c.path, 'unknown_graph', format('%s names itself, and there is no such earlier version that it could run', pgorch._quoted(p_name)),
                'To repeat steps, use an edge back. Only a version that is there already can be run as a child.')
        else pgorch._graph_error(c.path, 'unknown_graph', format('there is no graph %s', pgorch._quoted(c.name)),
                'Create it first, and name it by its id, its name (the latest version) or name@version.', regexp_replace(c.name, '@[0-9]+$', ''), '"graphs"') end
    from (select '/nodes/' || (n.at - 1) || '/graph' as path, n.value ->> 'graph' as name
          from unnest(p_nodes) with ordinality n(value, at)
          where n.value ->> 'type' = 'graph' and pgorch._field_problem('graph_ref', n.value -> 'graph') is null and n.value ->> 'graph' is not null) c
    where pgorch._graph_id(c.name) is null
    $$;
comment on function pgorch._child_errors(jsonb[], text) is 'Nodes that name a graph which does not exist.';

create or replace function pgorch._children(p_definition jsonb) returns jsonb
    language sql stable
    as $$
    select jsonb_object_agg(c.name, pgorch._graph_id(c.name))
    from (select distinct n #>> '{}' as name
          from jsonb_path_query(p_definition, 'lax $.nodes[*] ? (@.type == "graph").graph ? (@.type() == "string")', '{}', true) n) c
    $$;
comment on function pgorch._children(jsonb) is
    'The ids of the graphs that a definition runs now, by the names that it has for them; null: none.';
