-- Reducers: how a value that is written comes together with the one that is there (rule R7).

create or replace function pgorch._reduce(p_reducer text, p_old jsonb, p_new jsonb) returns jsonb
    language plpgsql immutable
    as $$
declare
    v_wanted constant pg_catalog.text[] := case p_reducer when 'sum' then '{number}' when 'merge' then '{object}'
                                               when 'min' then '{number,string}' when 'max' then '{number,string}' end;
    v_first constant boolean := p_old is null or p_old = 'null';
    v_less boolean;
begin
    if p_reducer = 'append' then
        -- A list is appended element by element, anything else as one element.
        if not v_first and jsonb_typeof(p_old) <> 'array' then
            return null;
        end if;
        return case when v_first then '[]' else p_old end
            || case when jsonb_typeof(p_new) = 'array' then p_new else jsonb_build_array(p_new) end;
    elsif p_reducer = 'last' then
        return p_new;
    elsif jsonb_typeof(p_new) <> all (v_wanted) or (not v_first and jsonb_typeof(p_old) <> jsonb_typeof(p_new)) then
        return null;
    elsif v_first then
        return p_new;
    elsif p_reducer = 'sum' then
        return to_jsonb((p_old #>> '{}')::numeric + (p_new #>> '{}')::numeric);
    elsif p_reducer = 'merge' then
        return p_old || p_new;
    end if;
    v_less := case when jsonb_typeof(p_new) = 'number' then (p_new #>> '{}')::numeric < (p_old #>> '{}')::numeric
                   else (p_new #>> '{}') collate "C" < (p_old #>> '{}') collate "C" end;
    return case when v_less = (p_reducer = 'min') then p_new else p_old end;
end
$$;
comment on function pgorch._reduce(text, jsonb, jsonb) is
    'append, sum, min, max, merge or last of an old value (null: none) and a new one; null: their types do not fit.';

create or replace function pgorch._reduced(p_reducers jsonb, p_state jsonb, p_written jsonb, out written jsonb, out problem jsonb)
    language plpgsql immutable
    as $$
declare
    v_key pg_catalog.text;
    v_value pg_catalog.jsonb;
begin
    written := p_written;
    for v_key in select k.key from jsonb_object_keys(p_written) k(key) where p_reducers ? k.key loop
        v_value := pgorch._reduce(p_reducers ->> v_key, p_state -> v_key, p_written -> v_key);
        if v_value is null then
            problem := jsonb_build_object('type', 'ReducerMismatch',
                'message', format('the reducer %s of the key %s cannot bring together %s and %s', p_reducers ->> v_key, v_key,
                    coalesce(jsonb_typeof(p_state -> v_key), 'nothing'), jsonb_typeof(p_written -> v_key)),
                'hint', 'sum takes numbers, min and max numbers or strings, merge objects, append a list that is there.');
            return;
        end if;
        written := jsonb_set(written, array[v_key], v_value);
    end loop;
end
$$;
comment on function pgorch._reduced(jsonb, jsonb, jsonb) is 'What is written once the reducers of a graph have been applied.';

create or replace function pgorch._unreduced(p_written jsonb, p_reducers jsonb) returns jsonb
    language sql immutable
    as $$ select case when p_reducers is null then p_written else p_written - array(select jsonb_object_keys(p_reducers)) end $$;
comment on function pgorch._unreduced(jsonb, jsonb) is 'The written keys that have no reducer, so that only one of several parallel branches may write them.';
