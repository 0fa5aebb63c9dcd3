-- Templates: JSON in which strings may hold ${path}. A string that is one ${path} keeps the JSON type of what it finds.

create or replace function pgorch._template_parts(p_text text) returns jsonb
    language plpgsql immutable strict
    as $body$
declare
    -- $${ is an escape; a path may hold strings with braces, and one level of braces as in .**{2}.
    v_pattern constant pg_catalog.text := '(\$\$\{)|\$\{((?:[^{}"]|"(?:[^"\\]|\\.)*"|\{[^{}"]*\})*)\}';
    v_parts pg_catalog.jsonb := '[]';
    v_literal pg_catalog.text := '';
    v_from integer := 1;
    v_at integer;
    v_end integer;
begin
    loop
        v_at := regexp_instr(p_text, v_pattern, v_from);
        exit when v_at = 0;
        v_end := regexp_instr(p_text, v_pattern, v_from, 1, 1);
        v_literal := v_literal || substr(p_text, v_from, v_at - v_from);
        if substr(p_text, v_at, 3) = '$${' then
            v_literal := v_literal || '${';
        else
            if v_literal <> '' then
                v_parts := v_parts || jsonb_build_object('text', v_literal);
                v_literal := '';
            end if;
            v_parts := v_parts || jsonb_build_object('path', btrim(substr(p_text, v_at + 2, v_end - v_at - 3)));
        end if;
        v_from := v_end;
    end loop;
    v_literal := v_literal || substr(p_text, v_from);
    if v_literal <> '' or v_parts = '[]' then
        v_parts := v_parts || jsonb_build_object('text', v_literal);
    end if;
    return v_parts;
end
$body$;

create or replace function pgorch._find(p_path text, p_state jsonb, p_vars jsonb) returns jsonb
    language plpgsql immutable
    as $$
declare
    v_path constant pg_catalog.jsonpath := p_path::jsonpath;
    v_found pg_catalog.jsonb;
    v_too_costly constant pg_catalog.text := pgorch._too_costly(v_path, p_state, p_vars);
begin
    if v_too_costly is not null then
        raise exception using errcode = 'OR006', message = format('${%s} cannot be evaluated: %s', p_path, v_too_costly);
    end if;
    v_found := jsonb_path_query_array(p_state, v_path, p_vars);
    -- What may match many times is a list, also when it matched once or never. Strings cannot fool this test much:
    -- at worst a path with such a character in a quoted key gives a list.
    if v_path::text ~ '(\[\*\]|\.\*|\?| to )' then
        return v_found;
    end if;
    if v_found = '[]' then
        raise exception using errcode = 'OR006', message = format('${%s} found nothing', p_path);
    end if;
    return v_found -> 0;
end
$$;

create or replace function pgorch._render(p_template jsonb, p_state jsonb, p_vars jsonb) returns jsonb
    language plpgsql immutable
    as $$
declare
    v_parts pg_catalog.jsonb;
    v_part pg_catalog.jsonb;
    v_value pg_catalog.jsonb;
    v_text pg_catalog.text := '';
begin
    case jsonb_typeof(p_template)
    when 'object' then
        return coalesce((select jsonb_object_agg(t.key, pgorch._render(t.value, p_state, p_vars)) from jsonb_each(p_template) t), '{}');
    when 'array' then
        return coalesce((select jsonb_agg(pgorch._render(t.value, p_state, p_vars) order by t.ord)
                         from jsonb_array_elements(p_template) with ordinality t(value, ord)), '[]');
    when 'string' then
        if strpos(p_template #>> '{}', '${') = 0 then
            return p_template;
        end if;
        v_parts := pgorch._template_parts(p_template #>> '{}');
        if jsonb_array_length(v_parts) = 1 and v_parts -> 0 ? 'path' then
            return pgorch._find(v_parts -> 0 ->> 'path', p_state, p_vars);
        end if;
        for v_part in select t.value from jsonb_array_elements(v_parts) with ordinality t(value, ord) order by t.ord loop
            if v_part ? 'text' then
                v_text := v_text || (v_part ->> 'text');
            else
                v_value := pgorch._find(v_part ->> 'path', p_state, p_vars);
                v_text := v_text || coalesce(v_value #>> '{}', 'null');
            end if;
        end loop;
        return to_jsonb(v_text);
    else
        return p_template;
    end case;
end
$$;
comment on function pgorch._render(jsonb, jsonb, jsonb) is 'Fills a template from the state and the variables $input, $nodes, $run, $error, $decision.';
