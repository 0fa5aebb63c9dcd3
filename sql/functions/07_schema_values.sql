-- Does a value fit its schema? All problems at once. The schema is one that _schema_problems() found nothing wrong with.
-- The code of a problem is the keyword that is not kept.

create or replace function pgorch._value_problems(p_schema jsonb, p_value jsonb, p_path text default '') returns setof jsonb
    language plpgsql immutable
    as $$
declare
    v_kind constant pg_catalog.text := jsonb_typeof(p_value);
begin
    if jsonb_typeof(p_schema) = 'boolean' then
        if p_schema = 'false' then
            return next pgorch._value_problem(p_path, 'not', 'is not allowed here', 'Leave it out.');
        end if;
        return;
    end if;
    if p_schema ? 'type' and not pgorch._is_of_type(p_value, p_schema -> 'type') then
        return next pgorch._value_problem(p_path, 'type', format('must be %s, and is %s',
            pgorch._type_words(p_schema -> 'type'), case when v_kind = 'number' then left(p_value #>> '{}', 40) else pgorch._kind(p_value) end));
        return;
    end if;
    if p_schema ? 'const' and p_value <> p_schema -> 'const' then
        return next pgorch._value_problem(p_path, 'const', format('must be %s', pgorch._short_json(p_schema -> 'const')));
    end if;
    if p_schema ? 'enum' and not exists (select from jsonb_array_elements(p_schema -> 'enum') e where e = p_value) then
        return next pgorch._value_problem(p_path, 'enum', format('must be one of %s, and is %s',
            pgorch._short_json(p_schema -> 'enum'), pgorch._short_json(p_value)));
    end if;
    case v_kind
    when 'object' then
        return query select p from pgorch._object_problems(p_schema, p_value, p_path) p;
    when 'array' then
        return query select p from pgorch._array_problems(p_schema, p_value, p_path) p;
    when 'string' then
        return query select p from pgorch._string_problems(p_schema, p_value #>> '{}', p_path) p;
    when 'number' then
        return query select p from pgorch._number_problems(p_schema, (p_value #>> '{}')::numeric, p_path) p;
    else
        null;
    end case;
    if p_schema ?| '{anyOf,allOf,oneOf,not}' then
        return query select p from pgorch._choice_problems(p_schema, p_value, p_path) p;
    end if;
end
$$;
comment on function pgorch._value_problems(jsonb, jsonb, text) is
    'What of a value does not fit its schema, as {path, code, message, hint}; p_path is the JSON pointer of the value in its document.';

create or replace function pgorch._value_problem(p_path text, p_keyword text, p_message text, p_hint text default '') returns jsonb
    language sql immutable
    as $$
    select jsonb_build_object('path', p_path, 'code', p_keyword, 'hint', p_hint, 'message',
        case when p_path = '' then 'the value'
             else pgorch._quoted(replace(replace(substring(p_path from '[^/]*$'), '~1', '/'), '~0', '~')) end || ' ' || p_message)
    $$;

create or replace function pgorch._is_of_type(p_value jsonb, p_type jsonb) returns boolean
    language sql immutable parallel safe
    as $$
    select p_type ? jsonb_typeof(p_value)
        or p_type ? 'integer' and jsonb_typeof(p_value) = 'number' and (p_value #>> '{}')::numeric % 1 = 0
    $$;
comment on function pgorch._is_of_type(jsonb, jsonb) is 'Is a value of the type, or of one of the types, of a schema? 1.0 is an integer.';

create or replace function pgorch._type_words(p_type jsonb) returns text
    language sql immutable
    as $$
    select string_agg(case t.name when 'integer' then 'a whole number' when 'number' then 'a number' when 'string' then 'a string'
                                  when 'boolean' then 'true or false' when 'object' then 'an object' when 'array' then 'a list' else 'null' end,
                      ' or ' order by t.at)
    from jsonb_array_elements_text(case when jsonb_typeof(p_type) = 'array' then p_type else jsonb_build_array(p_type) end) with ordinality t(name, at)
    $$;

create or replace function pgorch._short_json(p_value jsonb) returns text
    language sql immutable
    as $$ select case when length(p_value::text) > 200 then left(p_value::text, 199) || '…' else p_value::text end $$;

create or replace function pgorch._object_problems(p_schema jsonb, p_value jsonb, p_path text) returns setof jsonb
    language plpgsql immutable
    as $$
declare
    v_properties constant pg_catalog.jsonb := coalesce(p_schema -> 'properties', '{}');
    v_others constant pg_catalog.jsonb := p_schema -> 'additionalProperties';
begin
    return query
    select pgorch._value_problem(pgorch._pointer(p_path, r.name), 'required', 'is missing')
    from jsonb_array_elements_text(p_schema -> 'required') with ordinality r(name, at)
    where not p_value ? r.name order by r.at;
    if v_properties <> '{}' then
        return query
        select p from jsonb_each(p_value) v,
                      pgorch._value_problems(v_properties -> v.key, v.value, pgorch._pointer(p_path, v.key)) p
        where v_properties ? v.key;
    end if;
    if v_others = 'false' then
        return query
        select pgorch._value_problem(pgorch._pointer(p_path, v.key), 'additionalProperties', 'is not known here',
            coalesce(pgorch._near_names(v.key, array(select jsonb_object_keys(v_properties))), 'Leave it out.'))
        from jsonb_object_keys(p_value) v(key) where not v_properties ? v.key limit 100;
    elsif jsonb_typeof(v_others) = 'object' then
        return query
        select p from jsonb_each(p_value) v, pgorch._value_problems(v_others, v.value, pgorch._pointer(p_path, v.key)) p
        where not v_properties ? v.key;
    end if;
end
$$;

create or replace function pgorch._array_problems(p_schema jsonb, p_value jsonb, p_path text) returns setof jsonb
    language plpgsql immutable
    as $$
declare
    v_items constant pg_catalog.jsonb := p_schema -> 'items';
    v_length constant integer := jsonb_array_length(p_value);
    v_plain boolean;
begin
    if v_length < (p_schema ->> 'minItems')::numeric then
        return next pgorch._value_problem(p_path, 'minItems', format('must have at least %s items, and has %s', p_schema ->> 'minItems', v_length));
    end if;
    if v_length > (p_schema ->> 'maxItems')::numeric then
        return next pgorch._value_problem(p_path, 'maxItems', format('must have at most %s items, and has %s', p_schema ->> 'maxItems', v_length));
    end if;
    if p_schema -> 'uniqueItems' = 'true' and (select count(distinct e) from jsonb_array_elements(p_value) e) < v_length then
        return next pgorch._value_problem(p_path, 'uniqueItems', 'must not hold an item twice');
    end if;
    if v_items is not null then
        -- The common long list, of a plain type, is looked at without a call for each item.
        v_plain := jsonb_typeof(v_items) = 'object' and v_items ? 'type' and v_items - '{type,title,description}'::text[] = '{}';
        return query
        select p from jsonb_array_elements(p_value) with ordinality e(value, at),
                      pgorch._value_problems(v_items, e.value, p_path || '/' || (e.at - 1)) p
        where not v_plain or not pgorch._is_of_type(e.value, v_items -> 'type');
    end if;
end
$$;

create or replace function pgorch._string_problems(p_schema jsonb, p_value text, p_path text) returns setof jsonb
    language plpgsql immutable
    as $$
begin
    if length(p_value) < (p_schema ->> 'minLength')::numeric then
        return next pgorch._value_problem(p_path, 'minLength',
            format('must have at least %s characters, and has %s', p_schema ->> 'minLength', length(p_value)));
    end if;
    if length(p_value) > (p_schema ->> 'maxLength')::numeric then
        return next pgorch._value_problem(p_path, 'maxLength',
            format('must have at most %s characters, and has %s', p_schema ->> 'maxLength', length(p_value)));
    end if;
    if p_schema ? 'pattern' then
        if length(p_value) > 10000 then
            return next pgorch._value_problem(p_path, 'pattern', format('has %s characters, too many to be matched with a pattern', length(p_value)),
                'At most 10,000 are.');
        elsif p_value !~ (p_schema ->> 'pattern') then
            return next pgorch._value_problem(p_path, 'pattern', format('must match the pattern %s', pgorch._quoted(p_schema ->> 'pattern')));
        end if;
    end if;
    if p_schema ? 'format' and not pgorch._has_format(p_value, p_schema ->> 'format') then
        return next pgorch._value_problem(p_path, 'format', case p_schema ->> 'format'
            when 'date' then 'must be a date, as 2025-12-31' when 'date-time' then 'must be a time with its zone, as 2025-12-31T23:59:00Z'
            when 'email' then 'must be an e-mail address' when 'uri' then 'must be a URI, as https://example.com/page'
            else 'must be a UUID' end || format(', and is %s', pgorch._quoted(p_value)));
    end if;
end
$$;

create or replace function pgorch._has_format(p_text text, p_format text) returns boolean
    language plpgsql immutable strict
    as $$
declare
    v_parts pg_catalog.text[];
begin
    if length(p_text) > 2000 then
        return false;
    end if;
    case p_format
    when 'uuid' then
        return p_text ~ '^[0-9a-fA-F]{8}-([0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12}$';
    when 'email' then
        -- What browsers take for an address.
        return p_text ~ '^[a-zA-Z0-9.!#$%&''*+/=?^_`{|}~-]+@[a-zA-Z0-9]([a-zA-Z0-9-]{0,61}[a-zA-Z0-9])?(\.[a-zA-Z0-9]([a-zA-Z0-9-]{0,61}[a-zA-Z0-9])?)*$';
    when 'uri' then
        return p_text ~ '^[a-zA-Z][a-zA-Z0-9+.-]*:([a-zA-Z0-9._~:/?#@!$&''()*+,;=[\]-]|%[0-9a-fA-F]{2})+$';
    else
        v_parts := regexp_match(p_text, case p_format
            when 'date' then '^([0-9]{4})-([0-9]{2})-([0-9]{2})$'
            else '^([0-9]{4})-([0-9]{2})-([0-9]{2})[Tt]([01][0-9]|2[0-3]):[0-5][0-9]:([0-5][0-9]|60)(?:\.[0-9]+)?(?:[Zz]|[+-](?:[01][0-9]|2[0-3]):[0-5][0-9])$' end);
        return make_date(v_parts[1]::integer, v_parts[2]::integer, v_parts[3]::integer) is not null;
    end case;
exception when datetime_field_overflow then
    return false;
end
$$;
comment on function pgorch._has_format(text, text) is 'Is a text a date, date-time (RFC 3339), email, uri (absolute) or uuid?';

create or replace function pgorch._number_problems(p_schema jsonb, p_value numeric, p_path text) returns setof jsonb
    language plpgsql immutable
    as $$
declare
    v_and_is constant pg_catalog.text := ', and is ' || left(p_value::text, 40);
begin
    if p_value < (p_schema ->> 'minimum')::numeric then
        return next pgorch._value_problem(p_path, 'minimum', format('must be at least %s', p_schema ->> 'minimum') || v_and_is);
    end if;
    if p_value > (p_schema ->> 'maximum')::numeric then
        return next pgorch._value_problem(p_path, 'maximum', format('must be at most %s', p_schema ->> 'maximum') || v_and_is);
    end if;
    if p_value <= (p_schema ->> 'exclusiveMinimum')::numeric then
        return next pgorch._value_problem(p_path, 'exclusiveMinimum', format('must be more than %s', p_schema ->> 'exclusiveMinimum') || v_and_is);
    end if;
    if p_value >= (p_schema ->> 'exclusiveMaximum')::numeric then
        return next pgorch._value_problem(p_path, 'exclusiveMaximum', format('must be less than %s', p_schema ->> 'exclusiveMaximum') || v_and_is);
    end if;
    if p_value % (p_schema ->> 'multipleOf')::numeric <> 0 then
        return next pgorch._value_problem(p_path, 'multipleOf', format('must be a multiple of %s', p_schema ->> 'multipleOf') || v_and_is);
    end if;
end
$$;

create or replace function pgorch._choice_problems(p_schema jsonb, p_value jsonb, p_path text) returns setof jsonb
    language plpgsql immutable
    as $$
declare
    v_keyword pg_catalog.text;
    v_fits integer;
    v_faults pg_catalog.text;
begin
    return query
    select p from jsonb_array_elements(p_schema -> 'allOf') s, pgorch._value_problems(s, p_value, p_path) p;
    foreach v_keyword in array '{anyOf,oneOf}'::text[] loop
        continue when not p_schema ? v_keyword;
        select count(*) filter (where f.fault is null), string_agg(f.fault, '; ' order by f.at) filter (where f.at <= 5) into v_fits, v_faults
        from (select s.at, (select p ->> 'message' from pgorch._value_problems(s.value, p_value, p_path) p limit 1) as fault
              from jsonb_array_elements(p_schema -> v_keyword) with ordinality s(value, at)) f;
        if v_fits = 0 then
            return next pgorch._value_problem(p_path, v_keyword,
                format('fits none of the %s forms that it may have', jsonb_array_length(p_schema -> v_keyword)), 'Of each, the first problem: ' || v_faults || '.');
        elsif v_fits > 1 and v_keyword = 'oneOf' then
            return next pgorch._value_problem(p_path, 'oneOf', format('fits %s of the forms that it may have, and must fit one', v_fits));
        end if;
    end loop;
    if p_schema ? 'not' and not exists (select from pgorch._value_problems(p_schema -> 'not', p_value, p_path)) then
        return next pgorch._value_problem(p_path, 'not', 'has a form that is not allowed: ' || pgorch._short_json(p_schema -> 'not'));
    end if;
end
$$;
