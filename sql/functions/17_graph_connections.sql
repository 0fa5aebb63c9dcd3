-- Errors of a graph as a whole: what cannot be reached, loops without an end or with two entries, references to
-- nodes that do not come before.

create or replace function pgorch._tree_path(p_ids text[], p_parents integer[], p_from integer, p_to integer) returns text
    language plpgsql immutable
    as $$
declare
    v_node integer := p_to;
    v_names pg_catalog.text := pgorch._quoted(p_ids[p_to]);
begin
    for v_step in 2 .. 12 loop
        exit when v_node = p_from;
        v_node := p_parents[v_node];
        v_names := pgorch._quoted(p_ids[v_node]) || ' → ' || v_names;
    end loop;
    return case when v_node = p_from then '' else pgorch._quoted(p_ids[p_from]) || ' → … → ' end || v_names;
end
$$;
comment on function pgorch._tree_path(text[], integer[], integer, integer) is 'The names on the way by which a node was found, for messages.';

create or replace function pgorch._connection_errors(p_definition jsonb) returns setof jsonb
    language plpgsql immutable
    as $$
declare
    v_shape pg_catalog.record;
begin
    select s.* into v_shape from pgorch._graph_shape(p_definition) s;
    return query
    select pgorch._graph_error('/nodes/' || (n.at - 1), 'unreachable_node',
        format('no way leads from the start to %s', pgorch._quoted(n.id)), 'Add an edge to it, or remove it.')
    from unnest(v_shape.ids, v_shape.places) with ordinality n(id, place, at)
    where n.place = 0 and jsonb_typeof(p_definition -> 'nodes' -> (n.at - 1)::integer -> 'id') = 'string' and n.at = array_position(v_shape.ids, n.id)
      and p_definition ->> 'start_node' = any (v_shape.ids);
    return query
    select pgorch._graph_error('/edges/' || (s.edge - 1), 'loop_with_two_entries',
        format('the loop %s → %s can be entered otherwise than at %s',
            pgorch._tree_path(v_shape.ids, v_shape.parents, v_shape.targets[s.edge], v_shape.all_sources[s.edge]),
            pgorch._quoted(v_shape.ids[v_shape.targets[s.edge]]), pgorch._quoted(v_shape.ids[v_shape.targets[s.edge]])),
        'Let all ways into the loop lead to one of its nodes; a pass node can be that entry.')
    from unnest(v_shape.strays) with ordinality s(edge, at) where s.at <= 100 order by s.edge;
    return query
    select pgorch._graph_error('/nodes/' || (n.at - 1), 'too_large',
        format('%s is inside %s loops, more than 32', pgorch._quoted(v_shape.ids[n.at]), n.depth), 'Nest fewer loops.')
    from unnest(v_shape.loop_depths) with ordinality n(depth, at) where n.depth > 32 order by n.at limit 1;
    if cardinality(v_shape.join_nodes) > 500000 then
        return next pgorch._graph_error('/nodes', 'too_large',
            'more than 500,000 pairs of a join and a node before it', 'Let parallel branches join at fewer nodes; run parts of the graph one after another.');
    end if;
    return query select e from pgorch._join_errors(p_definition, v_shape) e;
    return query select e from pgorch._loop_errors(p_definition, v_shape) e;
    return query select e from pgorch._pass_loop_errors(p_definition, v_shape) e;
    if v_shape.strays = '{}' then
        return query select e from pgorch._reference_errors(p_definition, v_shape) e;
    end if;
end
$$;
comment on function pgorch._connection_errors(jsonb) is 'Errors that follow from how nodes and edges are connected.';

create or replace function pgorch._join_errors(p_definition jsonb, p_shape record) returns setof jsonb
    language plpgsql immutable
    as $$
declare
    v_sources constant integer[] := p_shape.all_sources;
    v_targets constant integer[] := p_shape.targets;
    v_backs constant boolean[] := p_shape.backs;
begin
    if not jsonb_path_exists(p_definition, 'strict $.nodes[*].join.at_least', '{}', true) then
        return;
    end if;
    return query
    with arrivals as (
        select e.target, count(*) as arrivals
        from (select e.target from unnest(v_sources, v_targets, v_backs) e(source, target, back) where e.source > 0 and e.target > 0 and not e.back
              union all
              select p_shape.start_at) e
        group by e.target
    ),
    joins as (
        select n.at, (n.value #>> '{join,at_least}')::numeric as least, coalesce(a.arrivals, 0) as arrivals
        from jsonb_array_elements(p_definition -> 'nodes') with ordinality n(value, at)
        left join arrivals a on a.target = n.at
        where jsonb_typeof(n.value #> '{join,at_least}') = 'number'
    )
    select pgorch._graph_error('/nodes/' || (j.at - 1) || '/join', 'bad_value',
        case when j.least > j.arrivals then format('the join waits for %s arrivals, and at most %s can come in one visit', j.least, j.arrivals)
             else format('the join waits for %s arrivals, and no branches of this graph run in parallel', j.least) end,
        'Edges that go back begin another visit. Parallel are edges without condition out of one node, and those of a node with "branch": "all".')
    from joins j
    where j.least > j.arrivals or (j.least > 1 and not p_shape.has_forks)
    order by j.at;
end
$$;
comment on function pgorch._join_errors(jsonb, record) is 'Joins that wait for more than can come.';

create or replace function pgorch._loop_errors(p_definition jsonb, p_shape record) returns setof jsonb
    language plpgsql immutable
    as $$
declare
    v_sources constant integer[] := p_shape.sources;
    v_outcomes constant pg_catalog.text[] := p_shape.outcomes;
    v_conditional constant boolean[] := p_shape.conditional;
    v_limits constant integer[] := p_shape.limits;
    v_inner constant integer[] := p_shape.inner_loops;
    v_outer constant integer[] := p_shape.outer_loops;
    v_shared constant integer[] := p_shape.shared_loops;
    v_limited boolean[] := array_fill(false, array[cardinality(v_inner)]);
    v_decides boolean[] := v_limited;
    v_left boolean[] := v_limited;
    v_goes_on boolean[] := v_limited;
    v_loop integer;
begin
    if not true = any (p_shape.backs) then
        return;
    end if;
    for v_edge in 1 .. cardinality(v_sources) loop
        continue when v_sources[v_edge] = 0;
        if v_outcomes[v_edge] in ('success', 'always') then
            v_goes_on[v_sources[v_edge]] := true;
        end if;
        -- A limit counts per entry into the innermost loop, so it does not end the loops around that one.
        if v_limits[v_edge] is not null and v_shared[v_edge] > 0 then
            v_limited[v_shared[v_edge]] := true;
        end if;
        v_loop := v_inner[v_sources[v_edge]];
        while v_loop > 0 and v_loop <> v_shared[v_edge] loop
            v_left[v_loop] := true;
            v_decides[v_loop] := v_decides[v_loop] or v_conditional[v_edge];
            v_loop := v_outer[v_loop];
        end loop;
        while v_conditional[v_edge] and v_loop > 0 and not v_decides[v_loop] loop
            v_decides[v_loop] := true;
            v_loop := v_outer[v_loop];
        end loop;
    end loop;
    for v_node in 1 .. cardinality(v_inner) loop
        v_loop := v_inner[v_node];
        while v_loop > 0 and not v_goes_on[v_node] and not v_left[v_loop] loop
            v_left[v_loop] := true;
            v_loop := v_outer[v_loop];
        end loop;
    end loop;
    return query
    select pgorch._graph_error('/edges/' || (l.edge - 1), 'unbounded_loop',
        case when v_decides[l.header]
            then format('the loop %s → %s has no way out, and no edge of it has a limit', l.way, pgorch._quoted(p_shape.ids[l.header]))
            else format('the loop %s → %s goes round for ever: no edge of it has a limit or a condition', l.way, pgorch._quoted(p_shape.ids[l.header])) end,
        format('Give this edge a "limit", or a "condition" and %s an edge that leads out of the loop.', pgorch._quoted(p_shape.ids[l.header])))
    from (
        select distinct on (b.header) b.header, b.edge,
               pgorch._tree_path(p_shape.ids, p_shape.parents, b.header, v_sources[b.edge]) as way
        from (select p_shape.targets[e.edge] as header, e.edge from generate_subscripts(v_sources, 1) e(edge)
              where p_shape.backs[e.edge] and v_sources[e.edge] > 0) b
        where not v_limited[b.header] and not (v_decides[b.header] and v_left[b.header])
        order by b.header, b.edge
    ) l
    order by l.edge;
end
$$;
comment on function pgorch._loop_errors(jsonb, record) is
    'Loops without an end: each needs an edge with a limit, or a condition at one of its nodes and a way out.';

create or replace function pgorch._pass_loop_errors(p_definition jsonb, p_shape record) returns setof jsonb
    language plpgsql immutable
    as $$
declare
    v_count constant integer := cardinality(p_shape.ids);
    v_passes boolean[];
    v_sources integer[];
    v_targets integer[];
    v_walk pg_catalog.record;
begin
    select array_agg(pgorch._node_type(n.value) = 'pass' order by n.at) into v_passes
    from jsonb_array_elements(p_definition -> 'nodes') with ordinality n(value, at);
    -- Edges without a limit from pass node to pass node, and a start that leads to all of these.
    select array_agg(e.source), array_agg(e.target) into v_sources, v_targets
    from unnest(p_shape.sources, p_shape.targets, p_shape.limits) e(source, target, most)
    where e.source > 0 and e.target > 0 and e.most is null and v_passes[e.source] and v_passes[e.target];
    if v_sources is null then
        return;
    end if;
    select d.* into v_walk
    from pgorch._depth_first(v_count + 1, v_count + 1,
        v_sources || (select array_agg(v_count + 1) from generate_series(1, v_count)),
        v_targets || (select array_agg(n.at) from generate_series(1, v_count) n(at))) d;
    return query
    select pgorch._graph_error('/nodes/' || (e.target - 1), 'unbounded_loop',
        format('the loop %s → %s consists of pass nodes only, so nothing in it changes: it goes round for ever',
            pgorch._tree_path(p_shape.ids, v_walk.parents, e.target, e.source), pgorch._quoted(p_shape.ids[e.target])),
        'Give an edge of the loop a "limit", or let a task, a wait or an approval be part of it.')
    from unnest(v_sources, v_targets) e(source, target)
    where v_walk.places[e.target] <= v_walk.places[e.source] order by e.target limit 10;
end
$$;

create or replace function pgorch._references(p_definition jsonb) returns table (reader text, path text, id text, of_edge boolean)
    language plpgsql immutable
    as $$
begin
    return query
    select e.value ->> 'source', '/edges/' || (e.at - 1) || '/condition', r.id, true
    from jsonb_array_elements(p_definition -> 'edges') with ordinality e(value, at),
         unnest(pgorch._path_node_refs(pgorch._path_or_null(e.value ->> 'condition'))) r(id)
    where jsonb_typeof(e.value -> 'condition') = 'string' and strpos(e.value ->> 'condition', '$') > 0 and e.value ->> 'condition' ~ 'nodes'
    union all
    select n.value ->> 'id', s.path, r.id, false
    from jsonb_array_elements(p_definition -> 'nodes') with ordinality n(value, at),
         pgorch._node_templates(n.value, '/nodes/' || (n.at - 1)) t,
         pgorch._template_strings(t.template, t.path) s,
         pgorch._template_paths(to_jsonb(s.value)) p(text),
         unnest(pgorch._path_node_refs(pgorch._path_or_null(p.text))) r(id)
    where strpos(t.template::text, '${') > 0 and t.template::text ~ 'nodes'
    union all
    select null, s.path, r.id, false
    from pgorch._template_strings(p_definition -> 'output', '/output') s,
         pgorch._template_paths(to_jsonb(s.value)) p(text),
         unnest(pgorch._path_node_refs(pgorch._path_or_null(p.text))) r(id);
end
$$;
comment on function pgorch._references(jsonb) is 'Where conditions and templates read $nodes.<id>: the node that reads (of an edge: its source; of the output: null), the JSON pointer, the id ("" if none follows).';

create or replace function pgorch._reference_errors(p_definition jsonb, p_shape record) returns setof jsonb
    language plpgsql immutable
    as $$
declare
    v_readers integer[];
    v_paths pg_catalog.text[];
    v_refs pg_catalog.text[];
    v_of_edge boolean[];
    v_nodes integer[];
    v_before boolean[];
begin
    with known as (
        select i.id, min(i.at)::integer as at from unnest(p_shape.ids) with ordinality i(id, at) group by i.id
    )
    select array_agg(coalesce(k.at, 0)), array_agg(r.path), array_agg(r.id), array_agg(r.of_edge), array_agg(coalesce(n.at, 0))
    into v_readers, v_paths, v_refs, v_of_edge, v_nodes
    from (select distinct f.* from pgorch._references(p_definition) f) r
    left join known k on k.id = r.reader
    left join known n on n.id = r.id
    where k.at is not null or r.reader is null;
    if v_refs is null then
        return;
    end if;
    v_before := pgorch._come_before(p_shape.places, p_shape.sources, p_shape.targets, v_nodes, v_readers);
    return query
    select case
        when r.id = '' then pgorch._graph_error(r.path, 'bad_reference', '$nodes is not followed by the id of a node',
            'Write $nodes.<id>.output, with quotes around an id that is no plain word: $nodes."step-one".output.')
        when r.node = 0 then pgorch._graph_error(r.path, 'unknown_node', format('$nodes reads %s, which is no node', pgorch._quoted(r.id)),
            'Give the id of one of the nodes.', r.id, '"nodes"')
        else pgorch._graph_error(r.path, 'bad_reference', format('$nodes reads %s, which cannot come before %s',
            pgorch._quoted(r.id), pgorch._quoted(p_shape.ids[r.reader])), 'Only what nodes before it have given is known there.') end
    from unnest(v_paths, v_refs, v_nodes, v_readers, v_of_edge, v_before) r(path, id, node, reader, of_edge, comes_before)
    where r.node = 0
       or not (r.comes_before or r.reader = 0 or (r.of_edge and r.node = r.reader) or p_shape.places[r.node] = 0 or p_shape.places[r.reader] = 0)
    order by r.path;
end
$$;

create or replace function pgorch._come_before(
    p_places integer[], p_sources integer[], p_targets integer[], p_nodes integer[], p_readers integer[]) returns boolean[]
    language plpgsql immutable
    as $$
declare
    v_wanted constant integer[] := array(select distinct w.node from unnest(p_nodes) w(node) where w.node > 0 order by w.node);
    v_none constant bit varying := repeat('0', cardinality(v_wanted))::bit varying;
    v_own integer[] := array_fill(0, array[cardinality(p_places)]);
    v_before bit varying[] := array_fill(v_none, array[cardinality(p_places)]);
    v_source_before bit varying;
    v_order constant integer[] := array(
        select e.at from unnest(p_sources, p_targets) with ordinality e(source, target, at)
        where e.source > 0 and e.target > 0 order by p_places[e.source]);
    v_edge integer;
    v_changed boolean := true;
    v_answers boolean[] := '{}';
begin
    for v_at in 1 .. cardinality(v_wanted) loop
        v_own[v_wanted[v_at]] := v_at;
    end loop;
    -- One bit for each node that is asked for. In the order of places one round is enough but for loops, which take
    -- as many as they are deep.
    while v_changed loop
        v_changed := false;
        foreach v_edge in array v_order loop
            v_source_before := v_before[p_sources[v_edge]];
            if v_own[p_sources[v_edge]] > 0 then
                v_source_before := set_bit(v_source_before, v_own[p_sources[v_edge]] - 1, 1);
            end if;
            v_source_before := v_source_before | v_before[p_targets[v_edge]];
            if v_source_before <> v_before[p_targets[v_edge]] then
                v_before[p_targets[v_edge]] := v_source_before;
                v_changed := true;
            end if;
        end loop;
    end loop;
    for v_at in 1 .. cardinality(p_nodes) loop
        v_answers := array_append(v_answers, p_nodes[v_at] > 0 and p_readers[v_at] > 0 and get_bit(v_before[p_readers[v_at]], v_own[p_nodes[v_at]] - 1) = 1);
    end loop;
    return v_answers;
end
$$;
comment on function pgorch._come_before(integer[], integer[], integer[], integer[], integer[]) is 'For each pair: does a way lead from the node to its reader?';
