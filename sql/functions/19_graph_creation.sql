-- Graphs come to be here: validated, versioned by content, and prepared for routing.

create or replace function pgorch.create_graph(p_definition jsonb, p_actor text default null)
    returns table (graph_id uuid, name text, version integer, created boolean)
    language plpgsql
    set search_path = pg_catalog, pgorch, pg_temp
    as $$
declare
    v_actor constant text := pgorch._actor(p_actor);
    v_digest constant text := encode(sha256(convert_to(p_definition::text, 'UTF8')), 'hex');
    v_name text;
    v_graph pgorch.graphs;
    v_errors jsonb;
begin
    v_name := coalesce(p_definition ->> 'name', 'graph-' || left(v_digest, 12));
    select g.* into v_graph from pgorch.graphs g where g.name = v_name and g.digest = v_digest;
    if v_graph.id is null then
        v_errors := pgorch.validate_graph(p_definition);
        if v_errors <> '[]' then
            perform pgorch._raise('OR004', pgorch._error_summary(v_errors),
                'The detail lists all of them as {path, code, message, hint}; nothing was stored.', v_errors::text);
        end if;
        -- Creators of one name stand in line, so that versions have no gaps and the same content is stored once.
        perform pg_advisory_xact_lock(hashtextextended('pgorch graph ' || v_name, 0));
        select g.* into v_graph from pgorch.graphs g where g.name = v_name and g.digest = v_digest;
    end if;
    created := v_graph.id is null;
    if created then
        begin
            v_graph := pgorch._store_graph(p_definition, v_name, v_digest, v_actor);
        exception when unique_violation then
            -- Only a transaction with an older snapshot (repeatable read) does not see what it waited for.
            raise exception using errcode = 'serialization_failure',
                message = format('another version of %s was created at the same time', pgorch._quoted(v_name)), hint = 'Try again.';
        end;
    end if;
    graph_id := v_graph.id;
    name := v_graph.name;
    version := v_graph.version;
    return next;
end
$$;
comment on function pgorch.create_graph(jsonb, text) is
    'Stores a graph as the next version of its name; the same content again gives the version that is there. An invalid one raises OR004 with all errors in the detail.';

create or replace function pgorch._error_summary(p_errors jsonb) returns text
    language sql immutable
    as $$
    select case when jsonb_array_length(p_errors) = 1 then 'the graph is not valid: '
                else format('the graph has %s errors, the first: ', jsonb_array_length(p_errors)) end
           || (p_errors -> 0 ->> 'message') || case when p_errors -> 0 ->> 'path' = '' then '' else ' (at ' || (p_errors -> 0 ->> 'path') || ')' end
    $$;

create or replace function pgorch._store_graph(p_definition jsonb, p_name text, p_digest text, p_actor text) returns pgorch.graphs
    language plpgsql
    as $$
declare
    v_graph pgorch.graphs;
    v_shape record;
    v_ids text[];
    v_ways_on record;
begin
    select s.* into v_shape from pgorch._graph_shape(p_definition) s;
    v_ids := v_shape.ids;
    select w.* into v_ways_on from pgorch._ways_on(v_shape, array(
        select jsonb_typeof(e.value -> 'condition') = 'string' and pgorch._path_roots((e.value ->> 'condition')::jsonpath) is not null
        from jsonb_array_elements(p_definition -> 'edges') with ordinality e(value, at) order by e.at)) w;
    insert into pgorch.graphs (id, name, version, digest, definition, start_node, retry, has_forks, node_refs, created_at, created_by, owner)
    select pgorch.uuid7(), p_name, coalesce(max(g.version), 0) + 1, p_digest, p_definition, p_definition ->> 'start_node',
           pgorch._normal_retry(p_definition -> 'retry'), v_shape.has_forks, pgorch._node_refs(p_definition), pgorch.clock_now(), p_actor,
           session_user
    from pgorch.graphs g where g.name = p_name
    returning * into v_graph;

    insert into pgorch.nodes (graph_id, id, type, function, queue, priority, input, into_key, retry, timeout, title, show,
                              branch_all, joins, loops, ends, fast_out, fast_in)
    select v_graph.id, n.value ->> 'id', t.type, case when t.type = 'task' then n.value ->> 'function' end,
           coalesce(n.value ->> 'queue', 'default'), (n.value ->> 'priority')::numeric::integer,
           i.input, n.value ->> 'into', pgorch._normal_retry(n.value -> 'retry'), (n.value ->> 'timeout')::interval,
           nullif(n.value -> 'title', 'null'), nullif(n.value -> 'show', 'null'),
           coalesce(n.value ->> 'branch' = 'all', false), n.joins, n.chain::text[], n.ends,
           t.type = 'task' and n.plain and not v_shape.has_forks and coalesce(n.value ->> 'branch', '') <> 'all',
           t.type = 'task' and i.input is null and not n.joins
    from rows from (
        jsonb_array_elements(p_definition -> 'nodes'), unnest(v_shape.joins),
        unnest(pgorch._loop_chains(v_shape.ids, v_shape.inner_loops, v_shape.outer_loops)),
        unnest(v_ways_on.ends), unnest(v_ways_on.plain)) n(value, joins, chain, ends, plain)
    cross join lateral (select pgorch._node_type(n.value) as type) t
    cross join lateral (select case when t.type = 'fail'
        then jsonb_strip_nulls(jsonb_build_object('error', coalesce(n.value ->> 'error', 'Failed'), 'message', n.value ->> 'message'))
        else nullif(n.value -> 'input', 'null') end as input) i;

    insert into pgorch.edges (graph_id, source, rank, ord, target, on_outcome, condition, contains, roots, max_traversals,
                              counted_loop, back, edge_id, label)
    select v_graph.id, e.value ->> 'source',
           row_number() over (partition by e.value ->> 'source' order by e.conditional desc, e.at),
           e.at - 1, e.value ->> 'target', e.outcome, c.condition,
           case when jsonb_typeof(e.value -> 'condition') = 'object' then e.value -> 'condition' end,
           coalesce(pgorch._path_roots(c.condition), '{}'), e.most,
           case when e.most is not null then v_ids[e.loop] end, e.back, e.value ->> 'id', e.value ->> 'label'
    from rows from (
        jsonb_array_elements(p_definition -> 'edges'), unnest(v_shape.outcomes), unnest(v_shape.conditional), unnest(v_shape.limits),
        unnest(v_shape.shared_loops), unnest(v_shape.backs)) with ordinality e(value, outcome, conditional, most, loop, back, at)
    cross join lateral (select case when jsonb_typeof(e.value -> 'condition') = 'string'
                                    then (e.value ->> 'condition')::jsonpath end as condition) c
    where e.value is not null;

    insert into pgorch._reach (graph_id, target, source, via_back)
    select v_graph.id, v_ids[w.target], v_ids[w.source], false
    from unnest(v_shape.join_nodes, v_shape.from_nodes) w(target, source)
    union all
    select v_graph.id, l.header, n.id, true
    from pgorch.nodes n
    cross join lateral unnest(n.loops) l(header)
    join pgorch.nodes h on h.graph_id = v_graph.id and h.id = l.header and h.joins
    where n.graph_id = v_graph.id;
    return v_graph;
end
$$;
comment on function pgorch._store_graph(jsonb, text, text, text) is 'Writes a valid definition and what routing needs to know of it.';

create or replace function pgorch.find_graph(p_graph text) returns uuid
    language plpgsql stable
    set search_path = pg_catalog, pgorch, pg_temp
    as $$
declare
    v_id uuid;
    v_parts text[] := regexp_match(p_graph, '^(.*)@([0-9]{1,9})$');
begin
    if p_graph ~ '^[0-9a-fA-F]{8}-([0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12}$' then
        select g.id into v_id from pgorch.graphs g where g.id = p_graph::uuid;
    end if;
    if v_id is null then
        select g.id into v_id from pgorch.graphs g where g.name = p_graph order by g.version desc limit 1;
    end if;
    if v_id is null and v_parts is not null then
        select g.id into v_id from pgorch.graphs g where g.name = v_parts[1] and g.version = v_parts[2]::integer;
    end if;
    if v_id is null then
        perform pgorch._raise('OR003', format('there is no graph %s', coalesce(pgorch._quoted(p_graph), 'null')), coalesce(
            (select format('%s has the versions 1 to %s.', pgorch._quoted(v_parts[1]), max(g.version))
             from pgorch.graphs g where g.name = v_parts[1] having count(*) > 0),
            pgorch._near_names(coalesce(v_parts[1], p_graph), (select array_agg(distinct g.name) from pgorch.graphs g)),
            'Give the id of a graph, its name (the latest version), or name@version.'));
    end if;
    return v_id;
end
$$;
comment on function pgorch.find_graph(text) is 'The graph with an id, a name (its latest version) or name@version; OR003 if there is none.';
