-- A subset of JSON Schema (draft 2020-12), for forms and for the input of graphs: one rule for psql and for HTTP.
-- A schema is looked at once, when its graph is created, and refused if it holds anything that is not checked here.

create or replace function pgorch._schema_keywords() returns text[]
    language sql immutable parallel safe
    as $$
    select '{type,enum,const,anyOf,allOf,oneOf,not,properties,required,additionalProperties,items,minItems,maxItems,uniqueItems,
             minimum,maximum,exclusiveMinimum,exclusiveMaximum,multipleOf,minLength,maxLength,pattern,format,
             title,description,default,examples}'::text[]
    $$;
comment on function pgorch._schema_keywords() is 'What a schema may hold. The last four are kept for those who draw forms and check nothing.';

create or replace function pgorch._schema_problems(p_schema jsonb, p_path text) returns setof jsonb
    language plpgsql immutable
    as $$
begin
    if octet_length(p_schema::text) > 65536 then
        return next pgorch._graph_error(p_path, 'bad_schema',
            format('the schema has %s bytes, more than 65,536', octet_length(p_schema::text)), 'Check less of the value here, and the rest in a step.');
    elsif jsonb_path_exists(p_schema, 'strict $.**{41}', '{}', true) then
        return next pgorch._graph_error(p_path, 'bad_schema', 'the schema is nested deeper than 40 levels', 'Flatten it.');
    else
        return query select p from pgorch._subschema_problems(p_schema, p_path) p;
    end if;
end
$$;
comment on function pgorch._schema_problems(jsonb, text) is
    'What is wrong with a schema, as {path, code, message, hint}; p_path is the JSON pointer of the schema in its document.';

create or replace function pgorch._subschema_problems(p_schema jsonb, p_path text) returns setof jsonb
    language plpgsql immutable
    as $$
declare
    v_keyword pg_catalog.text;
    v_value pg_catalog.jsonb;
    v_path pg_catalog.text;
    v_problem pg_catalog.text;
begin
    if jsonb_typeof(p_schema) = 'boolean' then
        return;
    elsif jsonb_typeof(p_schema) is distinct from 'object' then
        return next pgorch._graph_error(p_path, 'bad_schema', format('a schema is an object, and this is %s', pgorch._kind(p_schema)),
            'Write for instance {"type": "string"}; {} allows any value.');
        return;
    end if;
    for v_keyword, v_value in select k.key, k.value from jsonb_each(p_schema) k loop
        v_path := pgorch._pointer(p_path, v_keyword);
        v_problem := pgorch._keyword_problem(v_keyword, v_value);
        if v_problem is not null then
            return next pgorch._graph_error(v_path, 'bad_schema', v_problem, pgorch._keyword_hint(v_keyword));
        elsif v_keyword = 'properties' then
            return query select p from jsonb_each(v_value) s, pgorch._subschema_problems(s.value, pgorch._pointer(v_path, s.key)) p;
        elsif v_keyword in ('anyOf', 'allOf', 'oneOf') then
            return query
            select p from jsonb_array_elements(v_value) with ordinality s(value, at), pgorch._subschema_problems(s.value, v_path || '/' || (s.at - 1)) p;
        elsif v_keyword in ('items', 'additionalProperties', 'not') then
            return query select p from pgorch._subschema_problems(v_value, v_path) p;
        end if;
    end loop;
end
$$;

create or replace function pgorch._keyword_problem(p_keyword text, p_value jsonb) returns text
    language plpgsql immutable
    as $$
declare
    v_kind constant pg_catalog.text := jsonb_typeof(p_value);
    v_wrong pg_catalog.text;
begin
    case
    when p_keyword <> all (pgorch._schema_keywords()) then
        return format('schemas have no keyword %s here', pgorch._quoted(p_keyword));
    when p_keyword in ('title', 'description') then
        v_wrong := case when v_kind <> 'string' then 'a string' end;
    when p_keyword in ('examples', 'enum') then
        v_wrong := case when v_kind <> 'array' or p_value = '[]' then 'a list of values, and not empty' end;
    when p_keyword in ('anyOf', 'allOf', 'oneOf') then
        v_wrong := case when v_kind <> 'array' or p_value = '[]' then 'a list of schemas, and not empty' end;
    when p_keyword = 'properties' then
        v_wrong := case when v_kind <> 'object' then 'an object with a schema for each property' end;
    when p_keyword = 'required' then
        v_wrong := case when not pgorch._are_names(p_value) then 'a list of names, each of them once' end;
    when p_keyword = 'type' then
        v_wrong := case when not (pgorch._are_names(case when v_kind = 'array' then p_value else jsonb_build_array(p_value) end)
                                  and p_value <> '[]' and p_value <@ '["string", "number", "integer", "boolean", "object", "array", "null"]')
                        then '"string", "number", "integer", "boolean", "object", "array" or "null", or a list of these' end;
    when p_keyword = 'uniqueItems' then
        v_wrong := case when v_kind <> 'boolean' then 'true or false' end;
    when p_keyword in ('minLength', 'maxLength', 'minItems', 'maxItems') then
        v_wrong := case when v_kind <> 'number' or (p_value #>> '{}')::numeric < 0 or (p_value #>> '{}')::numeric % 1 <> 0 then 'a whole number from 0 on' end;
    when p_keyword in ('minimum', 'maximum', 'exclusiveMinimum', 'exclusiveMaximum') then
        v_wrong := case when v_kind <> 'number' then 'a number' end;
    when p_keyword = 'multipleOf' then
        v_wrong := case when v_kind <> 'number' or (p_value #>> '{}')::numeric <= 0 then 'a number above 0' end;
    when p_keyword = 'format' then
        v_wrong := case when v_kind <> 'string' or p_value #>> '{}' <> all ('{date,date-time,email,uri,uuid}')
                        then '"date", "date-time", "email", "uri" or "uuid"' end;
    when p_keyword = 'pattern' then
        if v_kind <> 'string' then
            v_wrong := 'a string';
        else
            return 'pattern ' || pgorch._pattern_problem(p_value #>> '{}');
        end if;
    else
        return null;
    end case;
    if v_wrong is null then
        return null;
    end if;
    return format('%s must be %s, and is %s', p_keyword, v_wrong,
        case when v_kind in ('string', 'number') then pgorch._quoted(p_value #>> '{}') else pgorch._kind(p_value) end);
end
$$;
comment on function pgorch._keyword_problem(text, jsonb) is 'What is wrong with a keyword of a schema, taken by itself; null: nothing.';

create or replace function pgorch._keyword_hint(p_keyword text) returns text
    language plpgsql immutable
    as $$
begin
    return case
        when p_keyword in ('$ref', '$defs', 'definitions', '$id', '$anchor', '$dynamicRef') then 'References are not followed: write the schema out where it is used.'
        when p_keyword = 'nullable' then 'Write "type": ["string", "null"].'
        when p_keyword in ('if', 'then', 'else') then 'Write the cases out with anyOf.'
        when p_keyword = 'pattern' then 'Use characters, classes as [a-z], groups, |, ^, $ and repetitions, with \ before a character that is meant as such.'
        when p_keyword = any (pgorch._schema_keywords()) then 'It means what it means in JSON Schema, draft 2020-12.'
        else concat_ws(' ', pgorch._near_names(p_keyword, pgorch._schema_keywords()),
            'Keywords are ' || array_to_string(pgorch._schema_keywords(), ', ') || '.') end;
end
$$;

create or replace function pgorch._are_names(p_value jsonb) returns boolean
    language plpgsql immutable
    as $$
begin
    return jsonb_typeof(p_value) = 'array'
       and not exists (select from jsonb_array_elements(p_value) n where jsonb_typeof(n) <> 'string')
       and (select count(distinct n) = count(*) from jsonb_array_elements(p_value) n);
end
$$;

create or replace function pgorch._pattern_problem(p_pattern text) returns text
    language plpgsql immutable strict
    as $$
declare
    -- What Postgres, Python and JavaScript read alike: no references back, no looking around, no options.
    v_token constant pg_catalog.text := '\\[dwsDWSnrtfv]|\\[^[:alnum:][:space:]]|\[\^?(?:\\[dwsnrtfv]|\\[^[:alnum:][:space:]]|[^][\\])+\]|\(\?:|[(|)^$.]|[*+?]\??'
                             '|\{[0-9]{1,3}(?:,[0-9]{0,3})?\}\??|[^][(){}|*+?^$.\\]';
    v_part pg_catalog.text;
    v_sizes integer[] := '{0}';
    v_depth integer := 1;
    v_last integer;
    v_times integer;
    v_written integer := 0;
begin
    if length(p_pattern) > 500 then
        return format('has %s characters, more than 500', length(p_pattern));
    elsif regexp_replace(p_pattern, v_token, '', 'g') <> '' then
        return format('%s is not understood at %s', pgorch._quoted(p_pattern), pgorch._quoted(regexp_replace(p_pattern, v_token, '', 'g')));
    end if;
    -- The matcher writes repetitions out, one inside another as often as both say; what it does then grows with the cube.
    for v_part in select m.t[1] from regexp_matches(p_pattern, '(' || v_token || ')', 'g') with ordinality m(t, at) order by m.at loop
        case
        when v_part in ('(', '(?:') then
            v_depth := v_depth + 1;
            v_sizes[v_depth] := 0;
            v_last := null;
        when v_part = ')' and v_depth > 1 then
            v_last := v_sizes[v_depth];
            v_depth := v_depth - 1;
            v_sizes[v_depth] := v_sizes[v_depth] + v_last;
        when v_part in (')', '|', '^', '$') then
            v_last := null;
        when v_part ~ '^[*+?{]' then
            if v_last is null then
                return format('%s repeats nothing at %s', pgorch._quoted(p_pattern), pgorch._quoted(v_part));
            end if;
            v_times := (select max(n.t[1]::integer) from regexp_matches(v_part, '[0-9]+', 'g') n(t));
            v_sizes[v_depth] := v_sizes[v_depth] + v_last * (greatest(v_times, 1) - 1);
            v_last := null;
        else
            v_written := v_written + 1;
            v_last := 1;
            v_sizes[v_depth] := v_sizes[v_depth] + 1;
        end case;
        if v_sizes[v_depth] - v_written > 300 or v_depth > 20 then
            return format('%s repeats or nests too much', pgorch._quoted(p_pattern));
        end if;
    end loop;
    perform '' ~ p_pattern;
    return null;
exception when invalid_regular_expression then
    return format('%s is not understood: %s', pgorch._quoted(p_pattern), sqlerrm);
end
$$;
comment on function pgorch._pattern_problem(text) is 'Why a regular expression is not taken; null: it means the same everywhere and is quickly matched.';
