-- The shape of a graph: order, dominators, loops, and from where a join can be reached.
-- Nodes and edges are numbers from 1 in the order of the definition; an edge with an end of 0 is left out. All of it
-- takes time in proportion to the edges (times a logarithm), but for the ways to joins, which have a limit of their own.

create or replace function pgorch._grouped(p_count integer, p_keys integer[], out firsts integer[], out items integer[])
    language plpgsql immutable
    as $$
declare
    v_next integer[];
    v_key integer;
begin
    firsts := array_fill(0, array[p_count + 1]);
    foreach v_key in array p_keys loop
        if v_key > 0 then
            firsts[v_key] := firsts[v_key] + 1;
        end if;
    end loop;
    v_key := 1;
    for v_at in 1 .. p_count + 1 loop
        v_key := v_key + firsts[v_at];
        firsts[v_at] := v_key - firsts[v_at];
    end loop;
    v_next := firsts;
    items := array_fill(0, array[greatest(cardinality(p_keys), 1)]);
    for v_at in 1 .. cardinality(p_keys) loop
        v_key := p_keys[v_at];
        if v_key > 0 then
            items[v_next[v_key]] := v_at;
            v_next[v_key] := v_next[v_key] + 1;
        end if;
    end loop;
end
$$;
comment on function pgorch._grouped(integer, integer[]) is
    'Positions in p_keys by key: those of key k are items[firsts[k]] up to items[firsts[k + 1] - 1], in order.';

create or replace function pgorch._depth_first(
    p_count integer, p_start integer, p_sources integer[], p_targets integer[],
    out places integer[], out sequence integer[], out parents integer[])
    language plpgsql immutable
    as $$
declare
    v_firsts integer[];
    v_items integer[];
    v_next integer[];
    v_stack integer[] := array_fill(0, array[p_count]);
    v_top integer := 1;
    v_node integer;
    v_target integer;
    v_place integer := p_count;
begin
    select g.firsts, g.items into v_firsts, v_items from pgorch._grouped(p_count, p_sources) g;
    v_next := v_firsts;
    places := array_fill(0, array[p_count]);
    sequence := array_fill(0, array[p_count]);
    parents := array_fill(0, array[p_count]);
    v_stack[1] := p_start;
    parents[p_start] := p_start;
    while v_top > 0 loop
        v_node := v_stack[v_top];
        if v_next[v_node] = v_firsts[v_node + 1] then
            v_top := v_top - 1;
            places[v_node] := v_place;
            sequence[v_place] := v_node;
            v_place := v_place - 1;
        else
            v_target := p_targets[v_items[v_next[v_node]]];
            v_next[v_node] := v_next[v_node] + 1;
            if v_target > 0 and parents[v_target] = 0 then
                parents[v_target] := v_node;
                v_top := v_top + 1;
                v_stack[v_top] := v_target;
            end if;
        end if;
    end loop;
end
$$;
comment on function pgorch._depth_first(integer, integer, integer[], integer[]) is
    'Reverse postorder: places[node], 0 for a node that cannot be reached, and sequence[place]. An edge goes backwards exactly if it does not lead to a later place.';

create or replace function pgorch._dominators(
    p_count integer, p_places integer[], p_sequence integer[], p_sources integer[], p_targets integer[],
    out owners integer[], out depths integer[], out jumps integer[])
    language plpgsql immutable
    as $$
declare
    v_firsts integer[];
    v_items integer[];
    v_node integer;
    v_owner integer;
    v_other integer;
    v_swap integer;
begin
    -- Edges that go backwards are left out: if the graph is reducible they change no dominator, and if it is not,
    -- one of them leads to a node that does not dominate its source here either.
    select g.firsts, g.items into v_firsts, v_items from pgorch._grouped(p_count, p_targets) g;
    owners := array_fill(0, array[p_count]);
    depths := array_fill(0, array[p_count]);
    jumps := array_fill(0, array[p_count]);
    foreach v_node in array p_sequence loop
        continue when v_node = 0;
        v_owner := 0;
        for v_at in v_firsts[v_node] .. v_firsts[v_node + 1] - 1 loop
            v_other := p_sources[v_items[v_at]];
            continue when v_other = 0;
            continue when p_places[v_other] = 0 or p_places[v_other] >= p_places[v_node];
            if v_owner = 0 then
                v_owner := v_other;
                continue;
            end if;
            -- The lowest common ancestor. A jump leads to the same depth from any two nodes of one depth.
            if depths[v_owner] < depths[v_other] then
                v_swap := v_owner;
                v_owner := v_other;
                v_other := v_swap;
            end if;
            while depths[v_owner] > depths[v_other] loop
                v_swap := jumps[v_owner];
                v_owner := case when depths[v_swap] >= depths[v_other] then v_swap else owners[v_owner] end;
            end loop;
            while v_owner <> v_other loop
                if jumps[v_owner] <> jumps[v_other] then
                    v_owner := jumps[v_owner];
                    v_other := jumps[v_other];
                else
                    v_owner := owners[v_owner];
                    v_other := owners[v_other];
                end if;
            end loop;
        end loop;
        if v_owner = 0 then
            owners[v_node] := v_node;
            jumps[v_node] := v_node;
        else
            v_swap := jumps[v_owner];
            owners[v_node] := v_owner;
            depths[v_node] := depths[v_owner] + 1;
            jumps[v_node] := case when depths[v_owner] - depths[v_swap] = depths[v_swap] - depths[jumps[v_swap]]
                                  then jumps[v_swap] else v_owner end;
        end if;
    end loop;
end
$$;
comment on function pgorch._dominators(integer, integer[], integer[], integer[], integer[]) is
    'The tree of dominators: owner (the closest dominator) and depth of each node, and a jump to an ancestor further up, so that ancestors are found in logarithmic time.';

create or replace function pgorch._backward_edges(
    p_count integer, p_places integer[], p_sequence integer[], p_sources integer[], p_targets integer[],
    out backs boolean[], out strays integer[])
    language plpgsql immutable
    as $$
declare
    v_owners integer[];
    v_depths integer[];
    v_jumps integer[];
    v_node integer;
    v_target integer;
begin
    select d.owners, d.depths, d.jumps into v_owners, v_depths, v_jumps
    from pgorch._dominators(p_count, p_places, p_sequence, p_sources, p_targets) d;
    backs := array_fill(false, array[greatest(cardinality(p_sources), 1)]);
    strays := '{}';
    for v_edge in 1 .. cardinality(p_sources) loop
        v_node := p_sources[v_edge];
        v_target := p_targets[v_edge];
        continue when v_node = 0 or v_target = 0;
        continue when p_places[v_node] = 0 or p_places[v_target] > p_places[v_node];
        while v_depths[v_node] > v_depths[v_target] loop
            v_node := case when v_depths[v_jumps[v_node]] >= v_depths[v_target] then v_jumps[v_node] else v_owners[v_node] end;
        end loop;
        if v_node = v_target then
            backs[v_edge] := true;
        else
            strays := strays || v_edge;
        end if;
    end loop;
end
$$;
comment on function pgorch._backward_edges(integer, integer[], integer[], integer[], integer[]) is
    'Of the edges that go backwards: those to a dominator of their source (backs), and the others (strays), each of which closes a loop with two entries.';

create or replace function pgorch._loops(
    p_count integer, p_sequence integer[], p_sources integer[], p_targets integer[], p_backs boolean[],
    out is_header boolean[], out outer_loops integer[])
    language plpgsql immutable
    as $$
declare
    v_firsts integer[];
    v_items integer[];
    v_merged integer[];
    v_stack integer[] := array_fill(0, array[p_count]);
    v_top integer;
    v_header integer;
    v_node integer;
    v_other integer;
    v_edge integer;
begin
    select g.firsts, g.items into v_firsts, v_items from pgorch._grouped(p_count, p_targets) g;
    is_header := array_fill(false, array[p_count]);
    outer_loops := array_fill(0, array[p_count]);
    v_merged := array_fill(0, array[p_count]);
    -- Inner loops first; a loop that is done counts as one node, its header.
    for v_place in reverse p_count .. 1 loop
        v_header := p_sequence[v_place];
        exit when v_header = 0;
        v_node := v_header;
        v_top := 0;
        loop
            for v_at in v_firsts[v_node] .. v_firsts[v_node + 1] - 1 loop
                v_edge := v_items[v_at];
                v_other := p_sources[v_edge];
                continue when v_other = 0 or p_backs[v_edge] <> (v_node = v_header);
                if v_node = v_header then
                    is_header[v_header] := true;
                end if;
                while v_merged[v_other] > 0 loop
                    if v_merged[v_merged[v_other]] > 0 then
                        v_merged[v_other] := v_merged[v_merged[v_other]];
                    end if;
                    v_other := v_merged[v_other];
                end loop;
                continue when v_other = v_header;
                v_merged[v_other] := v_header;
                outer_loops[v_other] := v_header;
                v_top := v_top + 1;
                v_stack[v_top] := v_other;
            end loop;
            exit when v_top = 0;
            v_node := v_stack[v_top];
            v_top := v_top - 1;
        end loop;
    end loop;
end
$$;
comment on function pgorch._loops(integer, integer[], integer[], integer[], boolean[]) is
    'Natural loops: which nodes are headers, and for each node the header of the innermost loop around it that is not its own (0: none). Edges must be reachable and without strays.';

create or replace function pgorch._edge_loops(
    p_count integer, p_sequence integer[], p_sources integer[], p_targets integer[], p_is_header boolean[], p_outer_loops integer[],
    out inner_loops integer[], out loop_depths integer[], out shared_loops integer[])
    language plpgsql immutable
    as $$
declare
    v_node integer;
    v_one integer;
    v_other integer;
begin
    inner_loops := array_fill(0, array[p_count]);
    loop_depths := array_fill(0, array[p_count]);
    shared_loops := array_fill(0, array[greatest(cardinality(p_sources), 1)]);
    foreach v_node in array p_sequence loop
        continue when v_node = 0;
        inner_loops[v_node] := case when p_is_header[v_node] then v_node else p_outer_loops[v_node] end;
        v_one := p_outer_loops[v_node];
        if v_one > 0 then
            loop_depths[v_node] := loop_depths[v_one];
        end if;
        if p_is_header[v_node] then
            loop_depths[v_node] := loop_depths[v_node] + 1;
        end if;
    end loop;
    for v_edge in 1 .. cardinality(p_sources) loop
        continue when p_sources[v_edge] = 0 or p_targets[v_edge] = 0;
        v_one := inner_loops[p_sources[v_edge]];
        v_other := inner_loops[p_targets[v_edge]];
        while v_one <> v_other loop
            if v_one = 0 or (v_other > 0 and loop_depths[v_other] > loop_depths[v_one]) then
                v_other := p_outer_loops[v_other];
            elsif v_other = 0 or loop_depths[v_one] > loop_depths[v_other] then
                v_one := p_outer_loops[v_one];
            else
                v_one := p_outer_loops[v_one];
                v_other := p_outer_loops[v_other];
            end if;
        end loop;
        shared_loops[v_edge] := v_one;
    end loop;
end
$$;
comment on function pgorch._edge_loops(integer, integer[], integer[], integer[], boolean[], integer[]) is
    'For each node the header of the innermost loop around it and how many there are; for each edge the header of the innermost loop around both its ends. 0: none.';

create or replace function pgorch._ways_to_joins(
    p_count integer, p_sources integer[], p_targets integer[], p_backs boolean[], p_inner_loops integer[], p_outer_loops integer[],
    p_joins boolean[], p_most integer,
    out join_nodes integer[], out from_nodes integer[])
    language plpgsql immutable
    as $$
declare
    v_firsts integer[];
    v_items integer[];
    v_seen integer[] := array_fill(0, array[p_count]);
    v_around integer[] := array_fill(0, array[p_count]);
    v_stack integer[] := array_fill(0, array[p_count]);
    v_top integer;
    v_node integer;
    v_other integer;
    v_edge integer;
begin
    select g.firsts, g.items into v_firsts, v_items from pgorch._grouped(p_count, p_targets) g;
    join_nodes := '{}';
    from_nodes := '{}';
    for v_join in 1 .. p_count loop
        continue when not p_joins[v_join];
        v_node := p_inner_loops[v_join];
        while v_node > 0 loop
            v_around[v_node] := v_join;
            v_node := p_outer_loops[v_node];
        end loop;
        v_top := 0;
        v_node := v_join;
        loop
            for v_at in v_firsts[v_node] .. v_firsts[v_node + 1] - 1 loop
                v_edge := v_items[v_at];
                v_other := p_sources[v_edge];
                continue when v_other = 0;
                -- Going back in a loop around the join is another visit of it.
                continue when v_seen[v_other] = v_join or (p_backs[v_edge] and v_around[v_node] = v_join);
                v_seen[v_other] := v_join;
                join_nodes := array_append(join_nodes, v_join);
                from_nodes := array_append(from_nodes, v_other);
                v_top := v_top + 1;
                v_stack[v_top] := v_other;
            end loop;
            exit when v_top = 0;
            v_node := v_stack[v_top];
            v_top := v_top - 1;
        end loop;
        exit when cardinality(join_nodes) > p_most;
    end loop;
end
$$;
comment on function pgorch._ways_to_joins(integer, integer[], integer[], boolean[], integer[], integer[], boolean[], integer) is
    'Pairs of a join and a node from which it can be reached without going back in a loop around the join; stops soon after p_most.';
