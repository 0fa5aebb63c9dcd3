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

create or replace function pgorch._fault_position(p_text text, p_fault text) returns integer
    language plpgsql immutable strict
    as $$
declare
    v_end integer := length(p_text);
    v_token constant text := coalesce((regexp_match(p_fault, 'at or near "(.*)" of jsonpath input'))[1], '');
begin
    if p_fault ~ 'at end of jsonpath input' then
        return length(p_text) + 1;
    elsif v_token = '' then
        return null;
    end if;
    -- Postgres names the token but not its place: it ends where the shortest beginning with the same fault ends.
    while v_end > 1 and pgorch._path_fault(left(p_text, v_end - 1)) = p_fault loop
        v_end := v_end - 1;
    end loop;
    return case when substr(p_text, v_end - length(v_token) + 1, length(v_token)) = v_token
                then v_end - length(v_token) + 1 end;
end
$$;
comment on function pgorch._fault_position(text, text) is 'The character, from 1, at which a path stops making sense; null where that cannot be said.';

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
        else 'A condition is a SQL/JSON path predicate such as $.score >= 0.8 && $.status == "done".'
    end
    from (select pgorch._without_strings(p_text) as bare) b
    $$;
comment on function pgorch._path_hint(text) is 'What to write instead, for the usual slips in a path that does not compile.';

create or replace function pgorch._path_limits(p_text text) returns text
    language sql immutable
    as $$
    select case
        when length(p_text) > 2000 then format('has %s characters, more than 2,000', length(p_text))
        when (select count(*) from regexp_matches(b.bare, '\*\*', 'g')) > 1 then 'uses .** more than once, which can take very long'
        when (select max(d.depth) from (
                select sum(case when m.t[1] in ('(', '[', '{') then 1 else -1 end) over (order by m.at) as depth
                from regexp_matches(b.bare, '[][(){}]', 'g') with ordinality m(t, at)) d) > 20 then 'is nested deeper than 20 levels'
    end
    from (select case when length(p_text) <= 2000 then pgorch._without_strings(p_text) else '' end as bare) b
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
    v_vars constant jsonb := (select coalesce(jsonb_object_agg(r.root, '{}'::jsonb), '{}') from unnest(pgorch._path_roots(p_path)) r(root));
begin
    perform jsonb_path_match('{}', p_path, v_vars);
    return true;
exception when others then
    return false;
end
$$;
comment on function pgorch._is_predicate(jsonpath) is 'Is the result of a path always true, false or unknown? A plain path finds a value instead, and nothing in an empty document.';
