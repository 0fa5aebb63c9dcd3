-- What a run may be started with.

create or replace function pgorch._input_problems(p_graph pgorch.graphs, p_input jsonb) returns text
    language plpgsql immutable
    as $$
declare
    v_problems pg_catalog.jsonb[];
begin
    if p_graph.input_schema is null then
        return null;
    end if;
    v_problems := array(select p from pgorch._value_problems(p_graph.input_schema, p_input) p limit 101);
    if v_problems = '{}' then
        return null;
    end if;
    return (
        select string_agg(format('%s%s', p.problem ->> 'message', ' (at ' || nullif(p.problem ->> 'path', '') || ')'), '; ' order by p.at)
        from unnest(v_problems) with ordinality p(problem, at) where p.at <= 5)
        || case when cardinality(v_problems) > 100 then '; and more than 95 others'
                when cardinality(v_problems) > 5 then format('; and %s others', cardinality(v_problems) - 5) else '' end;
end
$$;
comment on function pgorch._input_problems(pgorch.graphs, jsonb) is 'What of an input does not fit the input_schema of a graph, the first five problems as text; null: it fits.';
