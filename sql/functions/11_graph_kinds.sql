-- What the value of a key may be, by its kind.

create or replace function pgorch._name_problem(p_value jsonb, p_most integer) returns text
    language sql immutable
    as $$
    select case
        when jsonb_typeof(p_value) <> 'string' then format('must be a string, and is %s', pgorch._kind(p_value))
        when p_value = '""' then 'must not be empty'
        when length(p_value #>> '{}') > p_most then format('has %s characters, more than %s', length(p_value #>> '{}'), p_most)
        when p_value #>> '{}' ~ '[\u0001-\u001f\u007f-\u009f]' then 'must not hold control characters'
    end
    $$;

create or replace function pgorch._text_problem(p_value jsonb, p_most integer) returns text
    language sql immutable
    as $$
    select case when jsonb_typeof(p_value) <> 'string' then format('must be a string, and is %s', pgorch._kind(p_value))
                when length(p_value #>> '{}') > p_most then format('has more than %s characters', to_char(p_most, 'FM999,999,999')) end
    $$;

create or replace function pgorch._number_problem(p_value jsonb, p_least numeric, p_most numeric, p_whole boolean) returns text
    language sql immutable
    as $$
    select case when jsonb_typeof(p_value) <> 'number' then format('must be a %s, and is %s', case when p_whole then 'whole number' else 'number' end, pgorch._kind(p_value))
                when not (p_value #>> '{}')::numeric between p_least and p_most or (p_whole and (p_value #>> '{}')::numeric % 1 <> 0)
                then format('must be a %s from %s to %s, and is %s', case when p_whole then 'whole number' else 'number' end, p_least, p_most, left(p_value #>> '{}', 40)) end
    $$;

create or replace function pgorch._choice_problem(p_value jsonb, p_choices text[]) returns text
    language sql immutable
    as $$
    select case when jsonb_typeof(p_value) <> 'string' then format('must be a string, and is %s', pgorch._kind(p_value))
                when p_value #>> '{}' <> all (p_choices) then format('must be %s, and is %s',
                    (select string_agg(pgorch._quoted(c.choice), ' or ' order by c.at) from unnest(p_choices) with ordinality c(choice, at)),
                    pgorch._quoted(p_value #>> '{}')) end
    $$;

create or replace function pgorch._names_problem(p_value jsonb) returns text
    language plpgsql immutable
    as $$
begin
    if jsonb_typeof(p_value) <> 'array' then
        return format('must be a list of names, and is %s', pgorch._kind(p_value));
    elsif jsonb_array_length(p_value) > 100 then
        return 'has more than 100 names';
    end if;
    return (select min(pgorch._name_problem(v.value, 200)) from jsonb_array_elements(p_value) v(value));
end
$$;

create or replace function pgorch._people_problem(p_value jsonb) returns text
    language plpgsql immutable
    as $$
declare
    v_wrong pg_catalog.text;
begin
    if jsonb_typeof(p_value) <> 'array' or jsonb_array_length(p_value) not between 1 and 100 then
        return format('must be a list of 1 to 100 users and roles, and %s', case when jsonb_typeof(p_value) <> 'array'
            then 'is ' || pgorch._kind(p_value) else format('has %s', jsonb_array_length(p_value)) end);
    end if;
    select case when jsonb_typeof(v.value) <> 'string' then format('must hold strings, and holds %s', pgorch._kind(v.value))
                when strpos(v.value #>> '{}', '${') > 0 then format('holds %s, and ${...} is not filled in there', pgorch._quoted(v.value #>> '{}'))
                when v.value #>> '{}' !~ '^(user|role):[^[:cntrl:]]{1,200}$'
                then format('holds %s, which is no user:<name> or role:<name>', pgorch._quoted(v.value #>> '{}')) end
    into v_wrong
    from jsonb_array_elements(p_value) with ordinality v(value, at)
    where jsonb_typeof(v.value) <> 'string' or strpos(v.value #>> '{}', '${') > 0 or v.value #>> '{}' !~ '^(user|role):[^[:cntrl:]]{1,200}$'
    order by v.at limit 1;
    return v_wrong;
end
$$;

create or replace function pgorch._is_one_path(p_text text) returns boolean
    language sql immutable strict
    as $$ select jsonb_array_length(t.parts) = 1 and t.parts -> 0 ? 'path' from (select pgorch._template_parts(p_text) as parts) t $$;
comment on function pgorch._is_one_path(text) is 'Is a string exactly one ${...}, which keeps the type of what it finds?';

create or replace function pgorch._field_problem(p_kind text, p_value jsonb) returns text
    language plpgsql immutable
    as $$
declare
    v_type constant pg_catalog.text := jsonb_typeof(p_value);
begin
    case p_kind
    when 'name' then
        return pgorch._name_problem(p_value, 200);
    when 'condition' then
        return case
            when v_type not in ('string', 'object')
            then format('must be a string (a predicate on the state) or an object (contained in the state), and is %s', pgorch._kind(p_value))
            when p_value = '{}' then 'is an empty object, which every state contains'
            when v_type = 'object' and strpos(p_value::text, '${') > 0 then 'is an object, in which ${...} is not filled in' end;
    when 'row_condition' then
        return case when v_type not in ('string', 'object') or p_value = '{}'
                    then format('must be a string (a predicate on the row) or an object (contained in the row), and is %s',
                                case p_value when '{}' then 'empty' else pgorch._kind(p_value) end) end;
    when 'outcome' then
        return pgorch._choice_problem(p_value, '{success,approved,rejected,expired,error,always}');
    when 'limit' then
        return pgorch._number_problem(p_value, 1, 1000000, true);
    when 'text' then
        return pgorch._text_problem(p_value, 10000);
    when 'interval' then
        return pgorch._interval_problem(p_value);
    when 'queue' then
        return coalesce(pgorch._name_problem(p_value, 100), case when p_value #>> '{}' like '!%' then 'must not begin with !' end);
    when 'priority' then
        return pgorch._number_problem(p_value, -1000, 1000, true);
    when 'branch' then
        return pgorch._choice_problem(p_value, '{first,all}');
    when 'join' then
        return case when v_type <> 'object' then pgorch._choice_problem(p_value, '{all,any}')
                    when p_value - 'at_least' <> '{}' or not p_value ? 'at_least' then 'must be "all", "any" or {"at_least": n}, and is another object'
                    else 'at_least ' || pgorch._number_problem(p_value -> 'at_least', 1, 20000, true) end;
    when 'attempts' then
        return pgorch._number_problem(p_value, 1, 1000, true);
    when 'factor' then
        return pgorch._number_problem(p_value, 1, 1000, false);
    when 'jitter' then
        return case when v_type <> 'boolean' then pgorch._number_problem(p_value, 0, 1, false) end;
    when 'list' then
        return case when v_type <> 'array' then format('must be a list, and is %s', pgorch._kind(p_value)) end;
    when 'names' then
        return pgorch._names_problem(p_value);
    when 'graph_name' then
        return coalesce(pgorch._name_problem(p_value, 200),
            case when strpos(p_value #>> '{}', '@') > 0 then 'must not hold @, which parts a name from a version' end);
    when 'boolean' then
        return case when v_type <> 'boolean' then format('must be true or false, and is %s', pgorch._kind(p_value)) end;
    when 'count' then
        return pgorch._number_problem(p_value, 1, 100000, true);
    when 'quorum' then
        return pgorch._number_problem(p_value, 1, 100, true);
    when 'people' then
        return pgorch._people_problem(p_value);
    when 'key', 'signal' then
        return pgorch._name_problem(p_value, case p_kind when 'key' then 2000 else 200 end);
    when 'graph_ref' then
        return pgorch._name_problem(p_value, 210);
    when 'sql' then
        return coalesce(pgorch._text_problem(p_value, 100000), case when btrim(p_value #>> '{}', E' \t\r\n;') = '' then 'must not be empty' end);
    when 'items' then
        return case when v_type not in ('string', 'array') then format('must be a list or a path to one, and is %s', pgorch._kind(p_value))
                    when v_type = 'string' and not pgorch._is_one_path(p_value #>> '{}')
                    then format('must be a list or one path to it, and is %s', pgorch._quoted(p_value #>> '{}')) end;
    when 'tolerate' then
        return case when v_type <> 'string' then pgorch._number_problem(p_value, 0, 1000000, true)
                    when p_value #>> '{}' !~ '^([0-9]{1,2}(\.[0-9]{1,6})?|100)%$'
                    then format('must be a count or a percentage such as "10%%", and is %s', pgorch._quoted(p_value #>> '{}')) end;
    when 'duration' then
        return case when v_type <> 'string' or strpos(p_value #>> '{}', '${') = 0 then pgorch._interval_problem(p_value)
                    else pgorch._text_problem(p_value, 2000) end;
    when 'time' then
        return case when v_type <> 'string' then format('must be a time in a string, and is %s', pgorch._kind(p_value))
                    when strpos(p_value #>> '{}', '${') > 0 then pgorch._text_problem(p_value, 2000)
                    when not pgorch._has_format(p_value #>> '{}', 'date-time')
                    then format('must be a time with its zone, and is %s', pgorch._quoted(p_value #>> '{}')) end;
    when 'row_key' then
        return case when v_type not in ('string', 'number') then format('must be a value or a path to it, and is %s', pgorch._kind(p_value))
                    when v_type = 'string' then pgorch._name_problem(p_value, 2000) end;
    when 'schema', 'reducers' then
        return case when v_type <> 'object' then format('must be an object, and is %s', pgorch._kind(p_value)) end;
    else
        -- Kinds whose values are looked at elsewhere: type, retry, row, remind, template.
        return null;
    end case;
end
$$;
comment on function pgorch._field_problem(text, jsonb) is 'What is wrong with a value of a kind; null: nothing.';

create or replace function pgorch._problem_code(p_kind text, p_value jsonb) returns text
    language sql immutable
    as $$
    select case when p_kind in ('interval', 'condition', 'limit', 'retry', 'outcome', 'schema') then 'bad_' || p_kind
                when p_kind = 'duration' then 'bad_interval'
                when p_kind in ('name', 'graph_name') then 'bad_name' else 'bad_value' end
    $$;

create or replace function pgorch._problem_hint(p_kind text, p_value jsonb) returns text
    language sql immutable
    as $$
    select case p_kind
        when 'interval' then 'Write a number and a unit: "90 seconds", "48 hours", "PT24H".'
        when 'duration' then 'Write a number and a unit, as "48 hours", or a path to such a text, as "${$.pause}".'
        when 'time' then 'For instance "2030-01-31T09:00:00+01:00", or a path to such a text, as "${$.send_at}".'
        when 'join' then 'Joins are "all" (everything that can come), "any", or {"at_least": 2}.'
        when 'condition' then 'Leave the condition out for an edge that is always taken, or the else beside other conditions.'
        when 'row_condition' then 'For instance "$.status == \"paid\""; "exists($)" is true once the row is there.'
        when 'retry' then 'For example {"max_attempts": 3, "initial_interval": "2 seconds"}.'
        when 'people' then 'For instance ["user:ann", "role:finance"].'
        when 'items' then 'For instance "${$.files}".'
        when 'tolerate' then 'For instance 1, or "10%".'
        when 'schema' then 'For instance {"type": "object", "properties": {"amount": {"type": "number"}}}.'
        when 'reducers' then 'For instance {"findings": "append"}.'
        else '' end
    $$;
