-- Small values of a graph's definition: errors, near names, intervals, retry policies.

create or replace function pgorch._graph_error(
    p_path text, p_code text, p_message text, p_hint text default '', p_wrong text default null, p_right jsonb default null) returns jsonb
    language sql immutable parallel safe
    as $$
    select jsonb_build_object('path', p_path, 'code', p_code, 'message', p_message, 'hint', p_hint)
           || case when p_wrong is null then '{}'::jsonb else jsonb_build_object('wrong', p_wrong, 'right', p_right) end
    $$;
comment on function pgorch._graph_error(text, text, text, text, text, jsonb) is
    'One error of a definition. For a wrong name, `right` are the names that it may have been meant for, or "nodes", "functions", "graphs", "tables", or a part (_fields); _with_near_names() turns them into the hint.';

create or replace function pgorch._pointer(p_parent text, p_key text) returns text
    language sql immutable parallel safe
    as $$ select p_parent || '/' || replace(replace(p_key, '~', '~0'), '/', '~1') $$;
comment on function pgorch._pointer(text, text) is 'The JSON pointer of a key (RFC 6901).';

create or replace function pgorch._quoted(p_text text) returns text
    language sql immutable parallel safe
    as $$ select to_json(case when length(p_text) > 80 then left(p_text, 79) || '…' else p_text end)::text $$;
comment on function pgorch._quoted(text) is 'A name or text as a message shows it: quoted, and cut when it is long.';

create or replace function pgorch._kind(p_value jsonb) returns text
    language sql immutable parallel safe
    as $$ select case jsonb_typeof(p_value) when 'array' then 'a list' when 'object' then 'an object' when 'string' then 'a string'
                      when 'number' then 'a number' when 'boolean' then 'true or false' when 'null' then 'null' else 'missing' end $$;

create or replace function pgorch._distance(p_one text, p_other text, p_most integer) returns integer
    language plpgsql immutable strict
    as $$
declare
    v_one pg_catalog.text[] := string_to_array(p_one, null);
    v_other pg_catalog.text[] := string_to_array(p_other, null);
    v_from integer := 1;
    v_rows integer := cardinality(v_one);
    v_columns integer := cardinality(v_other);
    v_before integer[];
    v_row integer[];
    v_best integer;
begin
    if abs(v_rows - v_columns) > p_most then
        return p_most + 1;
    end if;
    while v_from <= v_rows and v_from <= v_columns and v_one[v_from] = v_other[v_from] loop
        v_from := v_from + 1;
    end loop;
    while v_rows >= v_from and v_columns >= v_from and v_one[v_rows] = v_other[v_columns] loop
        v_rows := v_rows - 1;
        v_columns := v_columns - 1;
    end loop;
    v_rows := v_rows - v_from + 1;
    v_columns := v_columns - v_from + 1;
    if v_rows = 0 or v_columns = 0 then
        return greatest(v_rows, v_columns);
    end if;
    v_before := array(select i from generate_series(0, v_columns) i);
    for v_at in 1 .. v_rows loop
        v_row := array[v_at];
        v_best := v_at;
        for v_column in 1 .. v_columns loop
            v_row[v_column + 1] := least(v_row[v_column] + 1, v_before[v_column + 1] + 1,
                v_before[v_column] + case when v_one[v_from + v_at - 1] = v_other[v_from + v_column - 1] then 0 else 1 end);
            v_best := least(v_best, v_row[v_column + 1]);
        end loop;
        if v_best > p_most then
            return p_most + 1;
        end if;
        v_before := v_row;
    end loop;
    return v_before[v_columns + 1];
end
$$;
comment on function pgorch._distance(text, text, integer) is 'Levenshtein distance; p_most + 1 stands for anything above p_most.';

create or replace function pgorch._near_names(p_name text, p_names text[]) returns text
    language sql immutable
    as $$
    -- Only the 300 likeliest are measured, so that a misspelt name in a large graph costs milliseconds.
    with likely as (
        select c.name, least(3, length(p_name) / 2) as most
        from (select distinct n.name from unnest(p_names) n(name)) c
        where length(p_name) between 1 and 200 and length(c.name) between 1 and 200
          and (abs(length(c.name) - length(p_name)) <= 3 or strpos(lower(c.name), lower(p_name)) > 0 or strpos(lower(p_name), lower(c.name)) > 0)
        order by left(lower(c.name), 1) = left(lower(p_name), 1) desc, abs(length(c.name) - length(p_name)), c.name
        limit 300
    ), near as (
        select l.name, d.distance
        from likely l
        cross join lateral (select pgorch._distance(lower(p_name), lower(l.name), l.most) as distance) d
        where d.distance <= l.most
           or (length(p_name) >= 3 and length(l.name) >= 3
               and (strpos(lower(l.name), lower(p_name)) > 0 or strpos(lower(p_name), lower(l.name)) > 0))
        order by d.distance, l.name
        limit 3
    )
    select 'Did you mean ' || string_agg(pgorch._quoted(n.name), ' or ' order by n.distance, n.name) || '?'
    from near n where n.distance = (select min(b.distance) from near b)
    $$;
comment on function pgorch._near_names(text, text[]) is 'A hint that names up to three similar names; null if none is similar.';

create or replace function pgorch._lacks_unit(p_text text) returns boolean
    language sql immutable parallel safe
    as $$ select p_text ~ '^\s*[-+]?[0-9.]+\s*$' $$;
comment on function pgorch._lacks_unit is 'Is an interval a number alone? PostgreSQL takes it for seconds; who wrote it may have meant minutes.';

create or replace function pgorch._interval_problem(p_value jsonb) returns text
    language plpgsql immutable
    as $$
declare
    v_interval interval;
begin
    if jsonb_typeof(p_value) is distinct from 'string' then
        return format('must be an interval in a string, and is %s', pgorch._kind(p_value));
    end if;
    if length(p_value #>> '{}') > 100 then
        return 'is too long for an interval';
    elsif pgorch._lacks_unit(p_value #>> '{}') then
        return format('has no unit, and is %s', pgorch._quoted(p_value #>> '{}'));
    end if;
    begin
        v_interval := (p_value #>> '{}')::interval;
    exception when others then
        return format('is no interval: %s', pgorch._quoted(p_value #>> '{}'));
    end;
    if extract(epoch from v_interval) <= 0 then
        return format('must be longer than nothing, and is %s', pgorch._quoted(p_value #>> '{}'));
    elsif extract(epoch from v_interval) > 3155760000 then
        return format('must be at most 100 years, and is %s', pgorch._quoted(p_value #>> '{}'));
    end if;
    return null;
end
$$;
comment on function pgorch._interval_problem(jsonb) is 'What is wrong with an interval of a definition; null: nothing.';

create or replace function pgorch._seconds(p_value jsonb) returns numeric
    language sql immutable
    as $$ select trim_scale(extract(epoch from (p_value #>> '{}')::interval)) $$;

create or replace function pgorch._normal_retry(p_retry jsonb) returns jsonb
    language sql immutable
    as $$
    select jsonb_strip_nulls(jsonb_build_object(
        'max_attempts', coalesce((p_retry ->> 'max_attempts')::numeric::integer, 3),
        'initial_seconds', i.seconds,
        'backoff_factor', coalesce((p_retry ->> 'backoff_factor')::numeric, 2),
        'max_seconds', coalesce(pgorch._seconds(p_retry -> 'max_interval'), 100 * i.seconds),
        'jitter', case jsonb_typeof(p_retry -> 'jitter') when 'number' then (p_retry ->> 'jitter')::numeric
                       when 'boolean' then case when (p_retry ->> 'jitter')::boolean then 0.1 else 0 end else 0.1 end,
        'retry_on', p_retry -> 'retry_on',
        'non_retryable', p_retry -> 'non_retryable'))
    from (select coalesce(pgorch._seconds(p_retry -> 'initial_interval'), 1) as seconds) i
    where jsonb_typeof(p_retry) = 'object'
    $$;
comment on function pgorch._normal_retry(jsonb) is
    'A retry policy with its defaults, intervals in seconds; null for null. Three attempts, 1 second, doubled each time up to a hundredfold, 10 % jitter.';
