-- What routing needs to know of a graph beyond its definition: the numbers of its edges, forks, joins and loops.

create or replace function pgorch._edge_outcome(p_edge jsonb) returns text
    language sql immutable parallel safe
    as $$
    select case coalesce(p_edge ->> 'on', p_edge ->> 'sourceHandle', 'success')
                when 'approved' then 'success' else coalesce(p_edge ->> 'on', p_edge ->> 'sourceHandle', 'success') end
    $$;
comment on function pgorch._edge_outcome(jsonb) is 'The outcome that an edge is for; editors say sourceHandle. Approved is the success of an approval.';

create or replace function pgorch._node_type(p_node jsonb) returns text
    language sql immutable parallel safe
    as $$
    select case when coalesce(p_node ->> 'type', 'task') = 'task' and p_node ->> 'function' = 'wait_for_approval'
                then 'approval' else coalesce(p_node ->> 'type', 'task') end
    $$;

create or replace function pgorch._numbered_edges(
    p_definition jsonb,
    out ids text[], out sources integer[], out targets integer[], out outcomes text[], out conditional boolean[], out limits integer[])
    language plpgsql immutable
    as $$
begin
    select array_agg(n.value ->> 'id' order by n.at) into ids
    from jsonb_array_elements(p_definition -> 'nodes') with ordinality n(value, at);
    with known as (
        select t.id, min(t.at)::integer as at from unnest(ids) with ordinality t(id, at) group by t.id
    )
    select coalesce(array_agg(coalesce(s.at, 0) order by e.at), '{}'),
           coalesce(array_agg(coalesce(t.at, 0) order by e.at), '{}'),
           coalesce(array_agg(pgorch._edge_outcome(e.value) order by e.at), '{}'),
           coalesce(array_agg(coalesce(jsonb_typeof(e.value -> 'condition'), 'null') <> 'null' order by e.at), '{}'),
           coalesce(array_agg(case when jsonb_typeof(e.value -> 'limit') = 'number' and (e.value ->> 'limit')::numeric between 1 and 1000000000
                                   then trunc((e.value ->> 'limit')::numeric)::integer end order by e.at), '{}')
    into sources, targets, outcomes, conditional, limits
    from jsonb_array_elements(p_definition -> 'edges') with ordinality e(value, at)
    left join known s on s.id = e.value ->> 'source'
    left join known t on t.id = e.value ->> 'target';
end
$$;
comment on function pgorch._numbered_edges(jsonb) is 'Nodes and edges as numbers from 1, an unknown end as 0; limits are null where an edge has none.';

create or replace function pgorch._has_forks(
    p_branch_all boolean[], p_sources integer[], p_outcomes text[], p_conditional boolean[]) returns boolean
    language sql immutable
    as $$
    select exists (
        select from unnest(p_sources, p_outcomes, p_conditional) e(source, outcome, conditional)
        join unnest(array['success', 'rejected', 'expired', 'error']) o(outcome) on e.outcome in (o.outcome, 'always')
        where e.source > 0
        group by e.source, o.outcome
        having count(*) > 1 and (p_branch_all[e.source] or not bool_or(e.conditional)))
    $$;
comment on function pgorch._has_forks(boolean[], integer[], text[], boolean[]) is 'Can some node take several edges at once?';

create or replace function pgorch._joining(p_count integer, p_start integer, p_targets integer[]) returns boolean[]
    language sql immutable
    as $$
    select array_agg(n.at = any (j.joining) order by n.at)
    from generate_series(1, p_count) n(at),
         (select coalesce(array_agg(t.target), '{}') as joining
          from (select e.target from unnest(p_targets) e(target) where e.target > 0
                group by e.target having count(*) + case when e.target = p_start then 1 else 0 end > 1) t) j
    $$;
comment on function pgorch._joining(integer, integer, integer[]) is 'Which nodes have several ways in; the start of a run is one.';

create or replace function pgorch._graph_shape(
    p_definition jsonb,
    out ids text[], out sources integer[], out targets integer[], out outcomes text[], out conditional boolean[], out limits integer[],
    out start_at integer, out places integer[], out parents integer[], out backs boolean[], out strays integer[],
    out all_sources integer[], out inner_loops integer[], out outer_loops integer[], out shared_loops integer[], out loop_depths integer[],
    out has_forks boolean, out joins boolean[], out join_nodes integer[], out from_nodes integer[])
    language plpgsql immutable
    as $$
declare
    v_count constant integer := jsonb_array_length(p_definition -> 'nodes');
    v_sequence integer[];
    v_is_header boolean[];
    v_branch_all boolean[];
    v_most constant integer := 500000;
begin
    select e.ids, e.sources, e.targets, e.outcomes, e.conditional, e.limits
    into ids, sources, targets, outcomes, conditional, limits
    from pgorch._numbered_edges(p_definition) e;
    start_at := coalesce(array_position(ids, p_definition ->> 'start_node'), 1);
    select d.places, d.sequence, d.parents into places, v_sequence, parents
    from pgorch._depth_first(v_count, start_at, sources, targets) d;
    all_sources := sources;
    -- What cannot be reached has no part in loops and joins.
    sources := array(select case when e.target > 0 and places[e.source] > 0 then e.source else 0 end
                     from unnest(sources, targets) with ordinality e(source, target, at) order by e.at);
    select b.backs, b.strays into backs, strays
    from pgorch._backward_edges(v_count, places, v_sequence, sources, targets) b;
    for v_at in 1 .. cardinality(strays) loop
        sources[strays[v_at]] := 0;
    end loop;
    select l.is_header, l.outer_loops into v_is_header, outer_loops
    from pgorch._loops(v_count, v_sequence, sources, targets, backs) l;
    select l.inner_loops, l.loop_depths, l.shared_loops into inner_loops, loop_depths, shared_loops
    from pgorch._edge_loops(v_count, v_sequence, sources, targets, v_is_header, outer_loops) l;

    select array_agg(coalesce(n.value ->> 'branch', '') = 'all' order by n.at) into v_branch_all
    from jsonb_array_elements(p_definition -> 'nodes') with ordinality n(value, at);
    has_forks := pgorch._has_forks(v_branch_all, sources, outcomes, conditional);
    joins := case when has_forks then pgorch._joining(v_count, start_at, targets) else array_fill(false, array[v_count]) end;
    for v_at in 1 .. case when has_forks then cardinality(sources) else 0 end loop
        -- A loop that one branch leaves while another goes round can be left again: what lies behind it is a join too.
        if sources[v_at] > 0 and inner_loops[sources[v_at]] <> shared_loops[v_at] then
            joins[targets[v_at]] := true;
        end if;
    end loop;
    join_nodes := '{}';
    from_nodes := '{}';
    if has_forks then
        select w.join_nodes, w.from_nodes into join_nodes, from_nodes
        from pgorch._ways_to_joins(v_count, sources, targets, backs, inner_loops, outer_loops, joins, v_most) w;
    end if;
end
$$;
comment on function pgorch._graph_shape(jsonb) is
    'Everything about nodes and edges that follows from how they are connected. Needs lists of objects, at least one node, and no more than the limits of a graph.';

create or replace function pgorch._loop_chains(p_ids text[], p_inner_loops integer[], p_outer_loops integer[]) returns text[]
    language plpgsql immutable
    as $$
declare
    v_of_header pg_catalog.text[] := array_fill('{}'::text, array[cardinality(p_ids)]);
    v_chains pg_catalog.text[] := v_of_header;
    v_header integer;
    v_chain pg_catalog.text[];
begin
    for v_node in 1 .. cardinality(p_ids) loop
        v_header := p_inner_loops[v_node];
        continue when v_header = 0;
        if v_of_header[v_header] = '{}' then
            v_chain := '{}';
            while v_header > 0 loop
                v_chain := p_ids[v_header] || v_chain;
                v_header := p_outer_loops[v_header];
            end loop;
            v_of_header[p_inner_loops[v_node]] := v_chain::text;
        end if;
        v_chains[v_node] := v_of_header[p_inner_loops[v_node]];
    end loop;
    return v_chains;
end
$$;
comment on function pgorch._loop_chains(text[], integer[], integer[]) is 'For each node the headers of the loops around it, outermost first, as the text of an array.';

create or replace function pgorch._ways_on(p_shape record, p_reads_roots boolean[], out ends boolean[], out plain boolean[])
    language plpgsql immutable
    as $$
declare
    v_sources constant integer[] := p_shape.sources;
    v_outcomes constant pg_catalog.text[] := p_shape.outcomes;
    v_limits constant integer[] := p_shape.limits;
    v_shared constant integer[] := p_shape.shared_loops;
    v_inner constant integer[] := p_shape.inner_loops;
    v_outer constant integer[] := p_shape.outer_loops;
    v_counted boolean[] := array_fill(false, array[cardinality(v_inner)]);
    v_loop integer;
begin
    ends := array_fill(true, array[cardinality(v_inner)]);
    plain := ends;
    for v_edge in 1 .. cardinality(v_sources) loop
        if v_limits[v_edge] is not null and v_shared[v_edge] > 0 then
            v_counted[v_shared[v_edge]] := true;
        end if;
    end loop;
    for v_edge in 1 .. cardinality(v_sources) loop
        continue when v_outcomes[v_edge] not in ('success', 'always');
        ends[v_sources[v_edge]] := false;
        if v_limits[v_edge] is not null or p_reads_roots[v_edge] then
            plain[v_sources[v_edge]] := false;
        end if;
        -- Whoever leaves a loop forgets how often its edges were taken.
        v_loop := v_inner[v_sources[v_edge]];
        while v_loop > 0 and v_loop <> v_shared[v_edge] loop
            if v_counted[v_loop] then
                plain[v_sources[v_edge]] := false;
            end if;
            v_loop := v_outer[v_loop];
        end loop;
    end loop;
end
$$;
comment on function pgorch._ways_on(record, boolean[]) is
    'For each node: does the path end after its success, and can that success be routed without counts and without variables?';
