-- Graphs come to be here: validated, versioned by content, and prepared for routing.

create or replace function pgorch.create_graph(p_definition jsonb, p_actor text default null)
    returns table (graph_id uuid, name text, version integer, created boolean)
    language plpgsql
    set search_path = pg_catalog, pgorch, pg_temp
    as $$
declare
    v_actor constant pg_catalog.text := pgorch._actor(p_actor);
    v_children pg_catalog.jsonb := pgorch._children(p_definition);
    -- Once a child has a newer version, the same definition is a new version too: it runs another child. But a graph that
    -- runs itself would be a new version each time it is created.
    v_digest constant pg_catalog.text := encode(sha256(convert_to(
        p_definition::text || coalesce(E'\n' || nullif(v_children - coalesce(p_definition ->> 'name', ''), '{}')::text, ''), 'UTF8')), 'hex');
    v_name pg_catalog.text;
    v_graph pgorch.graphs;
    v_errors pg_catalog.jsonb;
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
        v_children := pgorch._children(p_definition);
    end if;
    created := v_graph.id is null;
    if created then
        begin
            v_graph := pgorch._store_graph(p_definition, v_name, v_digest, v_children, v_actor);
        exception when unique_violation then
            -- Only a transaction with an older snapshot (repeatable read) does not see what it waited for.
            raise exception using errcode = 'serialization_failure',
                message = format('another version of %s was created at the same time', pgorch._quoted(v_name)), hint = 'Try again.';
        end;
    end if;
    -- Also of a version that was there: its tables may have been made anew since.
    perform pgorch._watch_tables(v_graph.id);
    perform pgorch._make_sql_runner(v_graph);
    graph_id := v_graph.id;
    name := v_graph.name;
    version := v_graph.version;
    return next;
end
$$;
comment on function pgorch.create_graph(jsonb, text) is
    'Stores a graph as the next version of its name; the same content again, with the same versions of the graphs that it runs, gives the version that is there. Waits on rows put triggers on their tables. An invalid one raises OR004 with all errors in the detail.';

create or replace function pgorch._error_summary(p_errors jsonb) returns text
    language sql immutable
    as $$
    select case when jsonb_array_length(p_errors) = 1 then 'the graph is not valid: '
                else format('the graph has %s errors, the first: ', jsonb_array_length(p_errors)) end
           || (p_errors -> 0 ->> 'message') || case when p_errors -> 0 ->> 'path' = '' then '' else ' (at ' || (p_errors -> 0 ->> 'path') || ')' end
    $$;

create or replace function pgorch._store_graph(p_definition jsonb, p_name text, p_digest text, p_children jsonb, p_actor text) returns pgorch.graphs
    language plpgsql
    as $$
declare
    v_graph pgorch.graphs;
    v_shape pg_catalog.record;
    v_ids pg_catalog.text[];
    v_ways_on pg_catalog.record;
    v_reducers constant pg_catalog.jsonb := nullif(nullif(jsonb_strip_nulls(p_definition -> 'reducers'), 'null'), '{}');
begin
    select s.* into v_shape from pgorch._graph_shape(p_definition) s;
    v_ids := v_shape.ids;
    select w.* into v_ways_on from pgorch._ways_on(v_shape, array(
        select jsonb_typeof(e.value -> 'condition') = 'string' and (
            pgorch._path_roots((e.value ->> 'condition')::jsonpath) is not null or pgorch._compares_paths((e.value ->> 'condition')::jsonpath))
        from jsonb_array_elements(p_definition -> 'edges') with ordinality e(value, at) order by e.at)) w;
    insert into pgorch.graphs (id, name, version, digest, definition, start_node, retry, timeout, input_schema, reducers, output, has_forks,
                               node_refs, created_at, created_by, owner)
    select pgorch.uuid7(), p_name, coalesce(max(g.version), 0) + 1, p_digest, p_definition, p_definition ->> 'start_node',
           pgorch._normal_retry(p_definition -> 'retry'), (p_definition ->> 'timeout')::interval,
           nullif(p_definition -> 'input_schema', 'null'), v_reducers, nullif(p_definition -> 'output', 'null'),
           v_shape.has_forks, pgorch._node_refs(p_definition), pgorch.clock_now(), p_actor, pgorch._user()
    from pgorch.graphs g where g.name = p_name
    returning * into v_graph;
    perform pgorch._store_nodes(v_graph, v_shape, v_ways_on.ends, v_ways_on.plain, p_children);

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
comment on function pgorch._store_graph(jsonb, text, text, jsonb, text) is 'Writes a valid definition and what routing needs to know of it.';

create or replace function pgorch._store_nodes(p_graph pgorch.graphs, p_shape record, p_ends boolean[], p_plain boolean[], p_children jsonb) returns void
    language plpgsql
    as $$
declare
    v_is_plain constant boolean := not p_graph.has_forks and p_graph.reducers is null;
    v_chains constant pg_catalog.text[] := pgorch._loop_chains(p_shape.ids, p_shape.inner_loops, p_shape.outer_loops);
    v_joins constant boolean[] := p_shape.joins;
begin
    -- fast_out and fast_in name what _advance_plain() does as well as _settle() would, and nothing else: what is not
    -- plainly a task goes by the longer way. Of a map, fast_out is about its
    -- items, which _settle_items() takes, and of a join fast_in is about arrivals, which _settle_arrivals() makes.
    insert into pgorch.nodes (
        graph_id, id, type, function, sql, queue, priority, input, into_key, retry, timeout, heartbeat, compensate, concurrency_key,
        concurrency, items, tolerate, tolerate_percent, child_graph_id, wait_for, wait_until, wait_signal, wait_row, deadline,
        title, show, form, assignees, quorum, exclude_initiator, remind, join_least, cancel_rest, branch_all, joins, loops, ends,
        fast_out, fast_in)
    select p_graph.id, n.v ->> 'id', t.type, t.function, n.v ->> 'sql', coalesce(n.v ->> 'queue', 'default'),
           (n.v ->> 'priority')::numeric::integer, t.input, n.v ->> 'into', pgorch._normal_retry(n.v -> 'retry'),
           (n.v ->> 'timeout')::interval, (n.v ->> 'heartbeat')::interval, n.v ->> 'compensate', nullif(n.v -> 'concurrency_key', 'null'),
           coalesce((n.v ->> 'concurrency')::numeric::integer, case when n.v ->> 'concurrency_key' is not null then 1 end),
           nullif(n.v -> 'items', 'null'),
           case jsonb_typeof(n.v -> 'tolerate') when 'number' then (n.v ->> 'tolerate')::numeric::integer end,
           case jsonb_typeof(n.v -> 'tolerate') when 'string' then rtrim(n.v ->> 'tolerate', '%')::numeric end,
           case t.type when 'graph' then (p_children ->> (n.v ->> 'graph'))::uuid end,
           nullif(n.v -> 'for', 'null'), nullif(n.v -> 'until', 'null'), nullif(n.v -> 'signal', 'null'),
           case t.type when 'wait' then pgorch._normal_row(n.v -> 'row') end, (n.v ->> 'deadline')::interval,
           nullif(n.v -> 'title', 'null'), nullif(n.v -> 'show', 'null'), nullif(n.v -> 'form', 'null'),
           case jsonb_typeof(n.v -> 'assignees') when 'array' then array(select jsonb_array_elements_text(n.v -> 'assignees')) end,
           coalesce((n.v ->> 'quorum')::numeric::integer, 1), coalesce((n.v ->> 'exclude_initiator')::boolean, false),
           case jsonb_typeof(n.v -> 'remind') when 'object' then jsonb_build_object(
               'seconds', pgorch._seconds(n.v #> '{remind,after}'), 'to', coalesce(nullif(n.v #> '{remind,to}', 'null'), '[]')) end,
           case when n.v -> 'join' = '"any"' then 1 else (n.v #>> '{join,at_least}')::numeric::integer end,
           coalesce((n.v ->> 'cancel_rest')::boolean, false), coalesce(n.v ->> 'branch' = 'all', false), n.joins, n.chain::text[], n.ends,
           t.type = 'map' or t.is_plain and v_is_plain and n.plain and coalesce(n.v ->> 'branch', '') <> 'all'
               -- A run that ends here has an output to be put together,
               -- and perhaps a timer to be taken away.
               and not (n.ends and (p_graph.output is not null or p_graph.timeout is not null)),
           n.joins or t.is_plain and t.input is null
    from rows from (jsonb_array_elements(p_graph.definition -> 'nodes'), unnest(v_joins), unnest(v_chains), unnest(p_ends), unnest(p_plain))
         n(v, joins, chain, ends, plain)
    cross join lateral (
        select y.type, case when y.type in ('task', 'map') then case when n.v ->> 'sql' is null then n.v ->> 'function' else 'pgorch.sql' end end as function,
               y.type = 'task' and num_nonnulls(n.v ->> 'sql', n.v ->> 'compensate', n.v ->> 'concurrency_key', n.v ->> 'heartbeat') = 0 as is_plain,
               case when y.type = 'fail'
                   then jsonb_strip_nulls(jsonb_build_object('error', coalesce(n.v ->> 'error', 'Failed'), 'message', n.v ->> 'message'))
                   else nullif(n.v -> 'input', 'null') end as input
        from (select pgorch._node_type(n.v) as type) y) t;
end
$$;
comment on function pgorch._store_nodes(pgorch.graphs, record, boolean[], boolean[], jsonb) is 'Writes the nodes of a graph, with what its shape means for them; p_ends and p_plain are those of _ways_on(), p_children those of _children().';

create or replace function pgorch.find_graph(p_graph text) returns uuid
    language plpgsql stable
    set search_path = pg_catalog, pgorch, pg_temp
    as $$
declare
    v_id constant pg_catalog.uuid := pgorch._graph_id(p_graph);
    v_name constant pg_catalog.text := regexp_replace(p_graph, '@[0-9]{1,9}$', '');
begin
    if v_id is null then
        perform pgorch._raise('OR003', format('there is no graph %s', coalesce(pgorch._quoted(p_graph), 'null')), coalesce(
            (select format('%s has the versions 1 to %s.', pgorch._quoted(v_name), max(g.version))
             from pgorch.graphs g where g.name = v_name having count(*) > 0),
            pgorch._near_names(v_name, (select array_agg(distinct g.name) from pgorch.graphs g)),
            'Give the id of a graph, its name (the latest version), or name@version.'));
    end if;
    return v_id;
end
$$;
comment on function pgorch.find_graph(text) is 'The graph with an id, a name (its latest version) or name@version; OR003 if there is none.';
