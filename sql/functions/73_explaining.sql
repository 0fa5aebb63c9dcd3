-- Why a run goes where it goes: every edge out of a node, what its condition found, and why it is or is not taken.

create or replace function pgorch._values_found(p_condition jsonpath, p_contains jsonb, p_state jsonb, p_vars jsonb) returns jsonb
    language plpgsql immutable
    as $$
declare
    v_match pg_catalog.text[];
    v_values pg_catalog.jsonb;
    v_found pg_catalog.jsonb := '{}';
begin
    if p_contains is not null then
        return coalesce((select jsonb_object_agg('$.' || k.key, p_state -> k.key) from jsonb_object_keys(p_contains) k(key) where p_state ? k.key), '{}');
    end if;
    -- From the canonical text, where names are quoted and a variable is $"name"; what is in strings is passed over.
    for v_match in
        select m.t
        from regexp_matches(p_condition::text,
            '(\$(?:"(?:[^"\\]|\\.)*")?(?:\."(?:[^"\\]|\\.)*"|\.\*(?!\*)|\[[^]"]*\])*)|"(?:[^"\\]|\\.)*"', 'g') m(t)
        where m.t[1] is not null
    loop
        begin
            v_values := jsonb_path_query_array(p_state, v_match[1]::jsonpath, p_vars, true);
        exception when data_exception or undefined_object or syntax_error_or_access_rule_violation then
            v_values := '[]';
        end;
        if v_values <> '[]' then
            v_found := v_found || jsonb_build_object(regexp_replace(v_match[1], '"([A-Za-z_][A-Za-z0-9_]*)"', '\1', 'g'),
                case when jsonb_array_length(v_values) = 1 then v_values -> 0 else v_values end);
        end if;
    end loop;
    return v_found;
end
$$;
comment on function pgorch._values_found(jsonpath, jsonb, jsonb, jsonb) is
    'What the paths of a condition find, by path; a path that finds nothing is left out, one that finds several gives a list.';

-- Two columns have other names than those that are shown: in PL/pgSQL `found` is a variable of its own, and `limit` a word.
create or replace function pgorch._explained(p_graph_id uuid, p_node text, p_outcome text, p_state jsonb, p_vars jsonb, p_counts jsonb)
    returns table (ord integer, target text, on_outcome text, condition text, most integer, used integer, finds jsonb,
                   holds boolean, taken boolean, why text)
    language plpgsql stable
    as $$
declare
    v_node pgorch.nodes;
    v_edge pgorch.edges;
    v_ranks integer[];
    v_problem pg_catalog.jsonb;
    v_conditional boolean;
    v_unknown pg_catalog.jsonb;
    v_first integer;
    v_stopped integer;
begin
    select n.* into strict v_node from pgorch.nodes n where n.graph_id = p_graph_id and n.id = p_node;
    -- What is taken is asked of the function that decides it for runs; the rest only tells why.
    select c.ranks, c.problem into v_ranks, v_problem
    from pgorch._choose_edges(p_graph_id, p_node, v_node.branch_all, p_outcome, p_state, p_vars, p_counts) c;
    v_conditional := exists (
        select from pgorch.edges e
        where e.graph_id = p_graph_id and e.source = p_node and e.on_outcome in (p_outcome, 'always')
          and (e.condition is not null or e.contains is not null));
    for v_edge in
        select e.* from pgorch.edges e
        where e.graph_id = p_graph_id and e.source = p_node
        order by e.on_outcome not in (p_outcome, 'always'), e.rank
    loop
        ord := v_edge.ord;
        target := v_edge.target;
        on_outcome := v_edge.on_outcome;
        condition := coalesce(v_edge.condition::text, v_edge.contains::text);
        most := v_edge.max_traversals;
        used := case when v_edge.max_traversals is not null then coalesce((p_counts ->> v_edge.ord::text)::integer, 0) end;
        finds := null;
        holds := null;
        v_unknown := null;
        taken := false;
        if v_edge.on_outcome not in (p_outcome, 'always') then
            why := format('it is for %s, and the outcome is %s', v_edge.on_outcome, p_outcome);
            return next;
            continue;
        end if;
        if condition is not null then
            finds := pgorch._values_found(v_edge.condition, v_edge.contains, p_state, p_vars);
            select e.holds, e.problem into holds, v_unknown from pgorch._evaluate(p_state, v_edge.condition, v_edge.contains, p_vars) e;
        end if;
        taken := v_edge.rank = any (v_ranks) and coalesce(v_problem ->> 'type' <> 'ConditionUnknown', true);
        why := case
            when used >= most then format('its limit of %s is used up', most)
            when v_stopped is not null then format('it is not looked at: the condition of edge %s cannot be decided', v_stopped)
            when taken and not v_conditional then 'no edge for this outcome has a condition: all are taken'
            when taken and condition is null and v_node.branch_all then 'it has no condition, and the node takes all edges that hold'
            when taken and condition is null then 'no condition before it holds: it is the else'
            when taken then 'its condition holds'
            when v_unknown is not null then format('UNKNOWN: %s; the step fails with ConditionUnknown', v_unknown ->> 'message')
            when v_first is not null then format('edge %s is tried before it and holds', v_first)
            when not holds and finds = '{}' then 'its condition does not hold: nothing is where it looks'
            when not holds then 'its condition does not hold'
            else 'it would be taken, but the condition of another edge cannot be decided' end;
        if v_unknown is not null and v_first is null and v_stopped is null and coalesce(used < most, true) then
            v_stopped := ord;
        elsif taken and v_conditional and not v_node.branch_all then
            v_first := coalesce(v_first, ord);
        end if;
        return next;
    end loop;
end
$$;

create or replace function pgorch.explain_graph(
    p_graph text, p_node text, p_state jsonb, p_outcome text default 'success', p_vars jsonb default '{}')
    returns table (ord integer, target text, on_outcome text, condition text, "limit" integer, used integer, found jsonb,
                   holds boolean, taken boolean, why text)
    language plpgsql stable
    as $$
declare
    v_graph_id constant pg_catalog.uuid := pgorch.find_graph(p_graph);
    v_outcome constant pg_catalog.text := case p_outcome when 'approved' then 'success' else p_outcome end;
begin
    perform pgorch._known_node(v_graph_id, p_node);
    if v_outcome is null or v_outcome not in ('success', 'error', 'rejected', 'expired') then
        perform pgorch._raise('OR006', format('%s is no outcome of a node', coalesce(quote_literal(p_outcome), 'null')),
            'Outcomes are success (or approved), rejected, expired and error.');
    elsif jsonb_typeof(p_state) is distinct from 'object' or jsonb_typeof(p_vars) is distinct from 'object' then
        perform pgorch._raise('OR006', 'the state and the variables are JSON objects', 'The variables are {"input": ..., "error": ..., "decision": ...}.');
    end if;
    return query select * from pgorch._explained(v_graph_id, p_node, v_outcome, p_state, p_vars, '{}');
end
$$;
comment on function pgorch.explain_graph is
    'Which edges would be taken if a node of a graph ended with this outcome and this state, and why; p_vars holds $input, $nodes, $run, $error and $decision.';

create or replace function pgorch._known_node(p_graph_id uuid, p_node text) returns void
    language plpgsql stable
    as $$
begin
    if not exists (select from pgorch.nodes n where n.graph_id = p_graph_id and n.id = p_node) then
        perform pgorch._raise('OR003',
            format('the graph %s has no node %s', (select g.name || '@' || g.version from pgorch.graphs g where g.id = p_graph_id), coalesce(p_node, 'null')),
            format('Its nodes are %s.', (select left(string_agg(n.id, ', ' order by n.id), 500) from pgorch.nodes n where n.graph_id = p_graph_id)));
    end if;
end
$$;
