-- What a path may cost. PostgreSQL compares every value of one side with every value of the other without looking
-- whether somebody wants it to stop: no timeout ends that, and no administrator. So it is not begun.

create or replace function pgorch._compares_paths(p_path jsonpath) returns boolean
    language sql immutable strict
    as $$
    -- In the canonical text without strings: are there more comparisons than comparisons with a literal?
    select (select count(*) from regexp_matches(b.bare, ' (==|!=|<>|<=|>=|<|>) ', 'g'))
         > (select count(*) from regexp_matches(b.bare,
                ' (?:==|!=|<>|<=|>=|<|>) (?:""|-?[0-9][-+0-9.eE]*|true|false|null)(?![^ )])'
                || '|(?<![^ (])(?:""|-?[0-9][-+0-9.eE]*|true|false|null) (?:==|!=|<>|<=|>=|<|>) ', 'g'))
    from (select pgorch._without_strings(p_path::text) as bare) b
    $$;
comment on function pgorch._compares_paths(jsonpath) is 'Does it compare what it finds with something else that it finds? Each side can be many values.';

create or replace function pgorch._side_size(p_side text, p_document jsonb, p_vars jsonb, p_all integer) returns integer
    language plpgsql immutable
    as $$
declare
    v_key pg_catalog.text;
begin
    p_side := ltrim(p_side, '-');
    if p_side like '$%' then
        return jsonb_array_length(jsonb_path_query_array(p_document, ('lax ' || p_side || '[*]')::jsonpath, p_vars, true));
    end if;
    -- Of what stands in a filter it is not known which value it is asked of: at most the longest list that there is by its key.
    v_key := (regexp_match(p_side, '^@(\."(?:[^"\\]|\\.)*")?$'))[1];
    if p_side <> '@' and v_key is null then
        return p_all;
    end if;
    return greatest(1, (
        select max((n #>> '{}')::integer)
        from jsonb_array_elements(jsonb_path_query_array(
            p_document, ('strict $.**' || coalesce(v_key, '') || ' ? (@.type() == "array").size()')::jsonpath, p_vars, true)) n));
end
$$;
comment on function pgorch._side_size(text, jsonb, jsonb, integer) is 'How many values one side of a comparison finds at most; p_all where that cannot be said.';

create or replace function pgorch._too_costly(p_path jsonpath, p_document jsonb, p_vars jsonb) returns text
    language plpgsql immutable
    as $$
declare
    v_all bigint;
    v_simple constant pg_catalog.text := '-?[$@](?:"(?:[^"\\]|\\.)*")?(?:\.(?:"(?:[^"\\]|\\.)*"|\*)|\[[^][]*\]|\.\*\*(?:\{[^}]*\})?)*';
    v_comparisons integer;
    v_sides pg_catalog.text[];
    v_found integer := 0;
    v_one bigint;
    v_other bigint;
begin
    -- A document of 16,000 bytes has no more than 4,000 values. What is stored compressed tells nothing by its size.
    if pg_column_compression(p_document) is null and pg_column_size(p_document) + pg_column_size(p_vars) < 16000
       or not pgorch._compares_paths(p_path) then
        return null;
    end if;
    -- jsonb_path_query() instead would take quadratic time.
    v_all := jsonb_array_length(jsonb_path_query_array(p_document, 'strict $.**.type()', '{}', true))
           + jsonb_array_length(jsonb_path_query_array(p_vars, 'strict $.**.type()', '{}', true));
    if v_all <= 4000 then
        return null;
    end if;
    v_comparisons := (select count(*) from regexp_matches(pgorch._without_strings(p_path::text), ' (==|!=|<>|<=|>=|<|>) ', 'g'));
    for v_sides in
        select m from regexp_matches(p_path::text, '(?<![^ (])(' || v_simple || '|"(?:[^"\\]|\\.)*"|[-0-9][-+0-9.eE]*|true|false|null) (?:==|!=|<>|<=|>=|<|>) ('
            || v_simple || '|"(?:[^"\\]|\\.)*"|[-0-9][-+0-9.eE]*|true|false|null)(?![^ )])', 'g') m
    loop
        v_found := v_found + 1;
        continue when not (v_sides[1] ~ '^-?[$@]' and v_sides[2] ~ '^-?[$@]');
        v_one := pgorch._side_size(v_sides[1], p_document, p_vars, v_all::integer);
        v_other := pgorch._side_size(v_sides[2], p_document, p_vars, v_all::integer);
        if v_one * v_other > 16000000 then
            return format('%s values would be compared with %s', v_one, v_other);
        end if;
    end loop;
    if v_found < v_comparisons and v_all * v_all > 16000000 then
        return format('what is compared may be each of %s values with each other', v_all);
    end if;
    return null;
end
$$;
comment on function pgorch._too_costly(jsonpath, jsonb, jsonb) is
    'Why a path must not be evaluated on a document: a comparison of more than 16 million pairs, which takes seconds that nothing can cut short; null: it may.';

create or replace function pgorch._check_rendered_size(p_template jsonb, p_state jsonb, p_vars jsonb) returns void
    language plpgsql immutable
    as $$
declare
    v_text constant pg_catalog.text := p_template::text;
    v_paths constant integer := (length(v_text) - length(replace(v_text, '${', ''))) / 2;
    v_path pg_catalog.record;
    v_bytes bigint := 0;
begin
    -- A state can be stored compressed to a hundredth.
    if v_paths::bigint * (pg_column_size(p_state) + pg_column_size(p_vars)) < 160000 then
        return;
    end if;
    for v_path in
        select p.path::jsonpath as path, count(*) as times from pgorch._template_paths(p_template) p(path) group by p.path::jsonpath::text, p.path
    loop
        -- What must not be evaluated is refused when it is filled in.
        continue when pgorch._too_costly(v_path.path, p_state, p_vars) is not null;
        v_bytes := v_bytes + v_path.times * octet_length(jsonb_path_query_array(p_state, v_path.path, p_vars, true)::text);
        if v_bytes > 16777216 then
            raise exception using errcode = 'OR006', message = 'the template would give more than 16 MiB',
                hint = 'Pass a reference to what is large, and let the tool read it.';
        end if;
    end loop;
end
$$;
comment on function pgorch._check_rendered_size(jsonb, jsonb, jsonb) is 'Raises OR006 if a filled template would be too large: a small one can name a large state many times.';
