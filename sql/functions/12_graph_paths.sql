-- SQL/JSON paths of conditions and templates: do they compile, what do they read, are they predicates?

create or replace function pgorch._path_fault(p_text text) returns text
    language plpgsql immutable strict
    as $$
begin
    perform p_text::jsonpath;
    return null;
exception when others then
    return sqlerrm;
end
$$;
comment on function pgorch._path_fault(text) is 'Why a text is no path; null: it is one.';

create or replace function pgorch._path_or_null(p_text text) returns jsonpath
    language plpgsql immutable strict
    as $$
begin
    return p_text::jsonpath;
exception when others then
    return null;
end
$$;

create or replace function pgorch._fault_place(p_text text, p_fault text, out place integer, out near text)
    language plpgsql immutable strict
    as $$
declare
    v_end integer := length(p_text);
begin
    near := (regexp_match(p_fault, 'at or near "(.*)" of jsonpath input'))[1];
    if p_fault ~ 'at end of jsonpath input' then
        -- What is in single quotes was read as a word, and missed only at the end.
        near := (regexp_match(p_text, '^((?:[^"'']|"(?:[^"\\]|\\.)*")*)'''))[1];
        place := length(coalesce(near, p_text)) + 1;
        near := case when near is not null then '''' end;
    elsif near <> '' then
        -- Postgres names the token but not its place: it ends where the shortest beginning with the same fault ends.
        while v_end > 1 and pgorch._path_fault(left(p_text, v_end - 1)) = p_fault loop
            v_end := v_end - 1;
        end loop;
        -- A word is complete, and its fault seen, at the blank behind it.
        if near ~ '^[[:space:]]+$' then
            near := (regexp_match(left(p_text, v_end), '([^[:space:]]+)[[:space:]]*$'))[1];
            near := coalesce((regexp_match(near, '[[:alnum:]_]+$'))[1], near);
            v_end := length(rtrim(left(p_text, v_end), E' \t\n\r'));
        end if;
        if substr(p_text, v_end - length(near) + 1, length(near)) = near then
            place := v_end - length(near) + 1;
        end if;
    end if;
end
$$;
comment on function pgorch._fault_place(text, text) is 'The character, from 1, at which a path stops making sense, and what stands there; null where that cannot be said.';

create or replace function pgorch._fault_message(p_what text, p_text text, p_fault text) returns text
    language sql immutable
    as $$
    select format('%s %s is not understood', p_what, pgorch._quoted(p_text))
           || case when f.place > length(p_text) then format(' at character %s: something is missing at its end', f.place)
                   when f.place is not null then format(' at character %s, near %s', f.place, pgorch._quoted(f.near))
                   else ': ' || p_fault end
    from pgorch._fault_place(p_text, p_fault) f
    $$;

create or replace function pgorch._without_strings(p_path text) returns text
    language sql immutable parallel safe
    as $$ select regexp_replace(p_path, '"(?:[^"\\]|\\.)*"', '""', 'g') $$;

create or replace function pgorch._path_hint(p_text text) returns text
    language sql immutable
    as $$
    select case
        when b.bare ~ '''' then 'Strings take double quotes: $.status == "done".'
        when b.bare ~ '\.[[:space:]]*[[:alpha:]_][[:alnum:]_]*-[[:alpha:]_]' then 'A name with a dash takes quotes: $."step-one".'
        when b.bare ~* '\y(and|or|not)\y' then 'Write && for and, || for or, !(...) for not.'
        when b.bare ~ '===|!==' then 'Compare with == or !=.'
        when b.bare ~ '(^|[^=!<>])=($|[^=])' then 'Compare with ==, not =.'
        when b.bare ~ '\.[[:space:]]*[0-9]' then 'A name that begins with a digit takes quotes: $."2nd"; an element of a list is $.list[0].'
        when b.bare ~ '\y(True|False|None|undefined)\y' then 'Constants are true, false and null.'
        when b.bare !~ '\$' and b.bare ~ '[[:alpha:]_]' then 'The state is $: write $.quality, not quality.'
        when b.bare ~ '\y(in|between)\y' then 'Write the comparisons out: $.a >= 1 && $.a <= 9, or $.a == "x" || $.a == "y".'
        else 'Conditions and templates are SQL/JSON paths: $.score >= 0.8 && $.status == "done", ${$.items[0].name}.'
    end
    from (select pgorch._without_strings(p_text) as bare) b
    $$;
comment on function pgorch._path_hint(text) is 'What to write instead, for the usual slips in a path that does not compile.';

create or replace function pgorch._path_limits(p_text text) returns text
    language plpgsql immutable
    as $$
declare
    v_bare pg_catalog.text;
begin
    if length(p_text) > 2000 then
        return format('has %s characters, more than 2,000', length(p_text));
    elsif length(p_text) - length(translate(p_text, '([{', '')) <= 20 and strpos(p_text, '**') = 0 then
        return null;
    end if;
    v_bare := pgorch._without_strings(p_text);
    if (select count(*) from regexp_matches(v_bare, '\*\*', 'g')) > 1 then
        return 'uses .** more than once, which can take very long';
    elsif (select max(d.depth) from (
               select sum(case when m.t[1] in ('(', '[', '{') then 1 else -1 end) over (order by m.at) as depth
               from regexp_matches(v_bare, '[][(){}]', 'g') with ordinality m(t, at)) d) > 20 then
        return 'is nested deeper than 20 levels';
    end if;
    return null;
end
$$;
comment on function pgorch._path_limits(text) is 'Which limit a path exceeds; null: none.';

create or replace function pgorch._path_roots(p_path jsonpath) returns text[]
    language sql immutable strict
    as $$
    -- From the canonical text, where a variable is $"name": evaluation passes over what && and || leave out.
    select array_agg(distinct v.name) from (
        select (m.t[1]::jsonb) #>> '{}' as name
        from regexp_matches(p_path::text, '\$("(?:[^"\\]|\\.)*")|"(?:[^"\\]|\\.)*"', 'g') m(t)
        where m.t[1] is not null) v
    $$;
comment on function pgorch._path_roots(jsonpath) is 'The variables that a path reads, without the dollar sign; null: none.';

create or replace function pgorch._path_node_refs(p_path jsonpath) returns text[]
    language sql immutable strict
    as $$
    -- An empty string stands for $nodes that is not followed by the id of a node.
    select array_agg(distinct coalesce(r.id, '')) from (
        select (m.t[2]::jsonb) #>> '{}' as id
        from regexp_matches(p_path::text, '\$("(?:[^"\\]|\\.)*")(?:\.("(?:[^"\\]|\\.)*"))?|"(?:[^"\\]|\\.)*"', 'g') m(t)
        where m.t[1] = '"nodes"') r
    $$;
comment on function pgorch._path_node_refs(jsonpath) is 'The nodes that a path reads as $nodes.<id>; null: none.';

create or replace function pgorch._is_predicate(p_path jsonpath) returns boolean
    language plpgsql immutable strict
    as $$
declare
    v_vars constant pg_catalog.jsonb := (select coalesce(jsonb_object_agg(r.root, '{}'::jsonb), '{}') from unnest(pgorch._path_roots(p_path)) r(root));
begin
    perform jsonb_path_match('{}', p_path, v_vars);
    return true;
exception when others then
    return false;
end
$$;
comment on function pgorch._is_predicate(jsonpath) is 'Is the result of a path always true, false or unknown? A plain path finds a value instead, and nothing in an empty document.';

create or replace function pgorch._root_problem(p_root text, p_outcome text, p_type text) returns text
    language sql immutable
    as $$
    -- Of conditions, p_outcome and p_type are those of an edge and its source. Elsewhere p_outcome is null, and p_type says
    -- where the path stands: 'item' in the input of a map, 'row' in a condition on a row, null in any other template.
    select case
        when p_type = 'row' and p_outcome is null then format('$%s is not known to a condition on a row, which reads the row only', p_root)
        when p_root in ('input', 'nodes', 'run') then null
        when p_root in ('item', 'index') then case when p_outcome is not null or p_type is distinct from 'item'
            then format('$%s is known in the input of a map only', p_root) end
        when p_root = 'error' and p_outcome is null then '$error is known to the edges out of the failed node only'
        when p_root = 'error' and p_outcome not in ('error', 'always') then '$error is known on edges with "on": "error" or "always" only'
        when p_root = 'decision' and p_outcome is null then '$decision is known to the edges out of the approval only'
        when p_root = 'decision' and p_type <> 'approval' then '$decision is known on edges out of an approval only'
        when p_root = 'decision' and p_outcome in ('error', 'expired') then '$decision is known only where there was one'
        when p_root not in ('error', 'decision') then format('$%s is no root', p_root)
    end
    $$;
comment on function pgorch._root_problem(text, text, text) is 'Why a path may not read a variable; null: it may.';

create or replace function pgorch._path_errors(p_text text, p_path text, p_code text, p_outcome text, p_type text) returns setof jsonb
    language plpgsql immutable
    as $$
declare
    v_what constant pg_catalog.text := case when p_code = 'bad_condition' then 'the condition' else 'the path' end;
    v_fault pg_catalog.text := pgorch._path_limits(p_text);
    v_root pg_catalog.text;
begin
    if v_fault is not null then
        return next pgorch._graph_error(p_path, p_code, format('%s %s %s', v_what, pgorch._quoted(p_text), v_fault),
            'Split it over several edges, or compute the value in a step.');
        return;
    end if;
    v_fault := pgorch._path_fault(p_text);
    if v_fault is not null then
        return next pgorch._graph_error(p_path, p_code, pgorch._fault_message(v_what, p_text, v_fault),
            pgorch._path_hint(p_text));
        return;
    end if;
    foreach v_root in array coalesce(pgorch._path_roots(p_text::jsonpath), '{}') loop
        v_fault := pgorch._root_problem(v_root, p_outcome, p_type);
        if v_fault is null then
            continue;
        elsif p_type = 'row' and p_outcome is null then
            return next pgorch._graph_error(p_path, 'unknown_root', v_fault,
                'A column of the row is $.<name>; what the run knows belongs in the key, or in the conditions of the edges behind.');
        elsif v_root in ('item', 'index') then
            return next pgorch._graph_error(p_path, 'unknown_root', v_fault, 'What the items gave is $nodes.<id>.output, a list in their order.');
        elsif v_root in ('error', 'decision') then
            return next pgorch._graph_error(p_path, 'unknown_root', v_fault,
                format('Elsewhere read it from $nodes.<id>.%s.', case v_root when 'error' then 'error' else 'output' end));
        else
            return next pgorch._graph_error(p_path, 'unknown_root', v_fault,
                format('Roots are $ (the state), $input, $nodes, $run, $error and $decision, and in the input of a map $item and $index; a key of the state is $.%s.', v_root),
                '$' || v_root, '["$input", "$nodes", "$run", "$error", "$decision", "$item", "$index"]');
        end if;
    end loop;
end
$$;
comment on function pgorch._path_errors(text, text, text, text, text) is 'Errors of one path: its limits, its syntax with the place of the mistake, and its roots.';

create or replace function pgorch._condition_errors(p_text text, p_path text, p_outcome text, p_type text) returns setof jsonb
    language plpgsql immutable
    as $$
begin
    return query select e from pgorch._path_errors(p_text, p_path, 'bad_condition', p_outcome, p_type) e;
    if not found and not pgorch._is_predicate(p_text::jsonpath) then
        return next pgorch._graph_error(p_path, 'not_a_predicate',
            format('the condition %s finds a value and is neither true nor false', pgorch._quoted(p_text)),
            'Compare it, as in $.done == true, or ask whether it is there: exists($.done).');
    end if;
end
$$;
