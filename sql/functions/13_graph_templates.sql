-- Templates of a graph: their paths.

create or replace function pgorch._template_strings(p_template jsonb, p_path text) returns table (path text, value text)
    language plpgsql immutable
    as $$
begin
    case jsonb_typeof(p_template)
    when 'object' then
        return query select s.* from jsonb_each(p_template) t, pgorch._template_strings(t.value, pgorch._pointer(p_path, t.key)) s;
    when 'array' then
        return query select s.* from jsonb_array_elements(p_template) with ordinality t(value, at),
                                     pgorch._template_strings(t.value, p_path || '/' || (t.at - 1)) s;
    when 'string' then
        if strpos(p_template #>> '{}', '${') > 0 then
            return query select p_path, p_template #>> '{}';
        end if;
    else
        return;
    end case;
end
$$;
comment on function pgorch._template_strings(jsonb, text) is 'The strings of a template that hold ${, with their JSON pointers.';

create or replace function pgorch._template_paths(p_template jsonb) returns setof text
    language plpgsql immutable
    as $$
begin
    return query
    select p.value ->> 'path'
    from pgorch._template_strings(p_template, '') s, jsonb_array_elements(pgorch._template_parts(s.value)) p(value)
    where p.value ? 'path';
end
$$;
comment on function pgorch._template_paths(jsonb) is 'The paths that a template reads, one for each ${...}.';

create or replace function pgorch._count_of(p_part text, p_text text) returns integer
    language sql immutable strict
    as $$ select (length(p_text) - length(replace(p_text, p_part, ''))) / length(p_part) $$;

create or replace function pgorch._template_errors(p_template jsonb, p_path text, p_scope text) returns setof jsonb
    language plpgsql immutable
    as $body$
declare
    v_string pg_catalog.record;
    -- What _template_parts() takes for a path or an escape.
    v_understood constant pg_catalog.text := '(\$\$\{)|\$\{((?:[^{}"]|"(?:[^"\\]|\\.)*"|\{[^{}"]*\})*)\}';
begin
    for v_string in select s.path, s.value from pgorch._template_strings(p_template, p_path) s loop
        -- Filling a string takes time in proportion to its length times its paths.
        if length(v_string.value) > 100000 or pgorch._count_of('${', v_string.value) > 200 then
            return next pgorch._graph_error(v_string.path, 'too_large',
                'a string with ${...} has at most 100,000 characters and 200 paths', 'Let a task put the text together.');
            continue;
        end if;
        if strpos(regexp_replace(v_string.value, v_understood, '', 'g'), '${') > 0 then
            return next pgorch._graph_error(v_string.path, 'bad_template',
                format('%s holds ${ without the } that ends it', pgorch._quoted(v_string.value)),
                'Write ${$.key}, with double quotes around strings in it; $${ stands for the characters ${.');
        end if;
        return query
        select e from jsonb_array_elements(pgorch._template_parts(v_string.value)) p(value),
                      pgorch._path_errors(p.value ->> 'path', v_string.path, 'bad_template', null, p_scope) e
        where p.value ? 'path';
    end loop;
end
$body$;
comment on function pgorch._template_errors(jsonb, text, text) is 'Errors of the paths in a template; p_scope is ''item'' in the input of a map.';

create or replace function pgorch._node_templates(p_node jsonb, p_path text) returns table (path text, template jsonb, scope text)
    language sql immutable
    as $$
    select p_path || '/' || k.key || case k.key when 'row' then '/key' else '' end, t.template,
           case when k.key = 'input' and p_node -> 'type' = '"map"' then 'item' end
    from jsonb_each(case jsonb_typeof(p_node) when 'object' then p_node else '{}' end) k
    cross join lateral (select case k.key when 'row' then k.value -> 'key' else k.value end as template) t
    where k.key in ('input', 'title', 'show', 'error', 'message', 'items', 'concurrency_key', 'for', 'until', 'signal', 'row')
      and jsonb_typeof(t.template) <> 'null'
    $$;
comment on function pgorch._node_templates(jsonb, text) is 'The templates of a node, with their JSON pointers, and ''item'' where $item and $index are known.';

create or replace function pgorch._node_refs(p_definition jsonb) returns text[]
    language sql immutable
    as $$
    select coalesce(array_agg(distinct r.id), '{}') from (
        select unnest(pgorch._path_node_refs((e.value ->> 'condition')::jsonpath)) as id
        from jsonb_array_elements(p_definition -> 'edges') e(value) where jsonb_typeof(e.value -> 'condition') = 'string'
        union all
        select unnest(pgorch._path_node_refs(p::jsonpath))
        from jsonb_array_elements(p_definition -> 'nodes') n(value), pgorch._node_templates(n.value, '') t, pgorch._template_paths(t.template) p
        where strpos(t.template::text, '${') > 0
        union all
        select unnest(pgorch._path_node_refs(p::jsonpath)) from pgorch._template_paths(p_definition -> 'output') p
    ) r
    $$;
comment on function pgorch._node_refs(jsonb) is 'The nodes that a valid graph reads as $nodes.<id> in conditions and templates.';
