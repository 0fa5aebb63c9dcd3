-- Which edges are taken when a node ends (rules R1 to R3), and what that means for loops.

create or replace function pgorch._evaluate(
    p_state jsonb, p_condition jsonpath, p_contains jsonb, p_vars jsonb,
    out holds boolean, out problem jsonb)
    language plpgsql immutable
    as $$
declare
    v_too_costly pg_catalog.text;
begin
    if p_contains is not null then
        holds := p_state @> p_contains;
    else
        v_too_costly := pgorch._too_costly(p_condition, p_state, p_vars);
        if v_too_costly is not null then
            problem := jsonb_build_object('type', 'ConditionUnknown',
                'message', format('the condition %s cannot be evaluated: %s', p_condition, v_too_costly),
                'hint', 'Let a step compare the lists and put its answer into the state.');
            return;
        end if;
        holds := jsonb_path_match(p_state, p_condition, p_vars);
        if holds is null then
            problem := jsonb_build_object('type', 'ConditionUnknown',
                'message', format('the condition %s is neither true nor false for this state', p_condition),
                'hint', 'Compare values of one type; a number sent as a string is no number.');
        end if;
    end if;
exception when data_exception or undefined_object or syntax_error_or_access_rule_violation then
    problem := jsonb_build_object('type', 'ConditionUnknown',
        'message', format('the condition %s cannot be evaluated: %s', p_condition, sqlerrm));
end
$$;

create or replace function pgorch._choose_edges(
    p_graph_id uuid, p_node text, p_branch_all boolean, p_outcome text, p_state jsonb, p_vars jsonb, p_counts jsonb,
    out ranks integer[], out candidates integer, out problem jsonb)
    language plpgsql stable
    as $$
declare
    v_edge pg_catalog.record;
    v_conditional boolean;
    v_holds boolean;
begin
    ranks := '{}';
    select count(*), coalesce(bool_or(e.condition is not null or e.contains is not null), false)
    into candidates, v_conditional
    from pgorch.edges e
    where e.graph_id = p_graph_id and e.source = p_node and e.on_outcome in (p_outcome, 'always');
    if candidates = 0 then
        return;
    end if;
    for v_edge in
        select e.rank, e.ord, e.condition, e.contains, e.max_traversals
        from pgorch.edges e
        where e.graph_id = p_graph_id and e.source = p_node and e.on_outcome in (p_outcome, 'always')
        order by e.rank
    loop
        continue when v_edge.max_traversals <= coalesce((p_counts ->> v_edge.ord::text)::integer, 0);
        if v_edge.condition is null and v_edge.contains is null then
            v_holds := true;
        else
            select e.holds, e.problem into v_holds, problem
            from pgorch._evaluate(p_state, v_edge.condition, v_edge.contains, p_vars) e;
            if problem is not null then
                problem := problem || jsonb_build_object('edge', v_edge.ord);
                return;
            end if;
        end if;
        if v_holds then
            ranks := ranks || v_edge.rank;
            exit when v_conditional and not p_branch_all;
        end if;
    end loop;
    if ranks = '{}' then
        problem := jsonb_build_object('type', 'NoMatchingEdge',
            'message', format('%s ended with %s, and none of its %s edge(s) for that matches', p_node, p_outcome, candidates),
            'hint', 'Add an edge without condition as the else.');
    end if;
end
$$;

create or replace function pgorch._common_depth(p_one text[], p_other text[]) returns integer
    language sql immutable parallel safe
    as $$
    select count(*)::integer from generate_subscripts(p_one, 1) i where p_one[1:i] = p_other[1:i]
    $$;
comment on function pgorch._common_depth(text[], text[]) is 'How many loops two nodes share, from the outermost inwards.';

create or replace function pgorch._visit_after(
    p_visit integer[], p_source_loops text[], p_target_loops text[], p_back boolean) returns integer[]
    language plpgsql immutable
    as $$
declare
    v_depth integer;
begin
    if p_back then
        -- The target is the header of the loop gone round, and the last of its own loops.
        v_depth := cardinality(p_target_loops);
        return p_visit[1:v_depth - 1] || (p_visit[v_depth] + 1);
    end if;
    v_depth := pgorch._common_depth(p_source_loops, p_target_loops);
    return p_visit[1:v_depth] || array_fill(0, array[cardinality(p_target_loops) - v_depth]);
end
$$;

create or replace function pgorch._counts_after(
    p_graph_id uuid, p_counts jsonb, p_source_loops text[], p_target_loops text[]) returns jsonb
    language plpgsql stable
    as $$
declare
    v_shared pg_catalog.text[];
begin
    if p_counts is null or p_source_loops = p_target_loops then
        return p_counts;
    end if;
    -- A loop that is left forgets its counts: the limit is per entry.
    v_shared := p_source_loops[1:pgorch._common_depth(p_source_loops, p_target_loops)];
    return (
        select jsonb_object_agg(e.ord::text, p_counts -> e.ord::text)
        from pgorch.edges e
        where e.graph_id = p_graph_id and p_counts ? e.ord::text
          and (e.counted_loop is null or e.counted_loop = any (v_shared)));
end
$$;
