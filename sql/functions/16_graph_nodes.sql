-- Errors of nodes of single types: maps, child graphs, waits, approvals.

create or replace function pgorch._work_errors(p_node jsonb, p_path text, p_type text) returns setof jsonb
    language plpgsql stable
    as $$
declare
    v_waits_for pg_catalog.text[];
begin
    if p_node -> 'cancel_rest' = 'true' and coalesce(p_node -> 'join', '"all"') in ('"all"', 'null') then
        return next pgorch._graph_error(p_path || '/cancel_rest', 'bad_value', 'a join of all that can come has no rest to cancel',
            'Set "join" to "any" or {"at_least": n}, or leave cancel_rest out.');
    end if;
    if p_type in ('task', 'map') and p_node ->> 'sql' is not null and coalesce(jsonb_typeof(p_node -> 'input'), 'null') not in ('array', 'null') then
        return next pgorch._graph_error(p_path || '/input', 'bad_value',
            format('the input of an sql statement is the list of its parameters, and is %s', pgorch._kind(p_node -> 'input')), 'For instance ["${$.table}"] for $1.');
    end if;
    if p_type = 'task' and p_node ->> 'concurrency' is not null and p_node ->> 'concurrency_key' is null then
        return next pgorch._graph_error(p_path || '/concurrency', 'missing_key', 'concurrency without a concurrency_key limits nothing',
            'Say which steps count together: "concurrency_key": "${$.customer}".');
    end if;
    if p_type = 'map' and jsonb_typeof(coalesce(p_node -> 'items', 'null')) = 'null' then
        return next pgorch._graph_error(p_path, 'missing_key', '"items" is missing', 'A map runs its function for each item of a list: "items": "${$.files}".');
    end if;
    if p_type = 'graph' and jsonb_typeof(coalesce(p_node -> 'graph', 'null')) = 'null' then
        return next pgorch._graph_error(p_path, 'missing_key', '"graph" is missing', 'Name the graph that is to be run: "graph": "name" or "name@version".');
    end if;
    if p_type = 'wait' then
        v_waits_for := array(select k.key from unnest('{for,until,signal,row}'::text[]) k(key) where jsonb_typeof(p_node -> k.key) <> 'null');
        if cardinality(v_waits_for) <> 1 then
            return next pgorch._graph_error(p_path, case when v_waits_for = '{}' then 'missing_key' else 'bad_value' end,
                format('a wait has one of for, until, signal and row, and this one has %s',
                       case when v_waits_for = '{}' then 'none' else array_to_string(v_waits_for, ' and ') end),
                'To go on after a time if nothing came, give the wait for the signal or the row a "deadline".');
        end if;
        if pgorch._interval_problem(p_node -> 'for') is null and pgorch._interval_problem(p_node -> 'deadline') is null
           and pgorch._seconds(p_node -> 'for') > pgorch._seconds(p_node -> 'deadline') then
            return next pgorch._graph_error(p_path || '/for', 'bad_interval', 'the wait takes longer than its deadline, and would always expire',
                'Leave the deadline out, or let it come later.');
        end if;
        if jsonb_typeof(p_node -> 'row') <> 'null' then
            return query select e from pgorch._row_errors(p_node -> 'row', p_path || '/row') e;
        end if;
    end if;
end
$$;
comment on function pgorch._work_errors(jsonb, text, text) is 'What does not go together in a node that does something.';

create or replace function pgorch._approval_errors(p_node jsonb, p_path text) returns setof jsonb
    language plpgsql immutable
    as $$
declare
    v_asked pg_catalog.jsonb := p_node -> 'assignees';
    v_remind constant pg_catalog.jsonb := p_node -> 'remind';
begin
    if jsonb_typeof(p_node -> 'form') = 'object' then
        return query select e from pgorch._object_schema_errors(p_node -> 'form', p_path || '/form', 'the data of an approval') e;
    end if;
    if jsonb_typeof(v_remind) <> 'null' then
        return query select e from pgorch._key_errors('remind', array[p_path || '/remind'], array[v_remind], null) e;
        if pgorch._interval_problem(v_remind -> 'after') is null and jsonb_typeof(p_node -> 'deadline') = 'string'
           and pgorch._interval_problem(p_node -> 'deadline') is null
           and pgorch._seconds(v_remind -> 'after') >= pgorch._seconds(p_node -> 'deadline') then
            return next pgorch._graph_error(p_path || '/remind/after', 'bad_interval', 'the reminder comes no sooner than the deadline',
                'Let it come before.');
        end if;
        v_asked := v_asked || case when jsonb_typeof(v_remind -> 'to') = 'array' then v_remind -> 'to' else '[]' end;
    end if;
    if jsonb_typeof(v_asked) = 'array' and pgorch._people_problem(v_asked) is null and pgorch._field_problem('quorum', p_node -> 'quorum') is null
       and not exists (select from jsonb_array_elements_text(v_asked) a where a not like 'user:%')
       and (select count(distinct a) from jsonb_array_elements_text(v_asked) a) < (p_node ->> 'quorum')::numeric then
        return next pgorch._graph_error(p_path || '/quorum', 'bad_value',
            format('%s people must approve, and fewer are asked', p_node ->> 'quorum'), 'Ask more, or a role.');
    end if;
end
$$;
comment on function pgorch._approval_errors(jsonb, text) is 'Errors in the form, the reminder and the quorum of an approval.';

create or replace function pgorch._object_schema_errors(p_schema jsonb, p_path text, p_what text) returns setof jsonb
    language plpgsql immutable
    as $$
begin
    return query select e from pgorch._schema_problems(p_schema, p_path) e;
    if not found and p_schema ? 'type' and not pgorch._is_of_type('{}', p_schema -> 'type') then
        return next pgorch._graph_error(p_path || '/type', 'bad_schema', format('%s is an object, and this schema never takes one', p_what),
            'Describe its keys: {"type": "object", "properties": {...}}.');
    end if;
end
$$;

create or replace function pgorch._whole_graph_errors(p_definition jsonb) returns setof jsonb
    language plpgsql stable
    as $$
begin
    return query select e from pgorch._key_errors('graph', array[''], array[p_definition], null) e;
    if jsonb_typeof(p_definition -> 'retry') <> 'null' then
        return query select e from pgorch._retry_errors(array['/retry'], array[p_definition -> 'retry']) e;
    end if;
    if jsonb_typeof(p_definition -> 'input_schema') = 'object' then
        return query select e from pgorch._object_schema_errors(p_definition -> 'input_schema', '/input_schema', 'the input of a run') e;
    end if;
    if jsonb_typeof(p_definition -> 'output') <> 'null' then
        return query select e from pgorch._template_errors(p_definition -> 'output', '/output', null) e;
    end if;
    if jsonb_typeof(p_definition -> 'reducers') = 'object' then
        return query
        select pgorch._graph_error(pgorch._pointer('/reducers', r.key), 'bad_value', format('the reducer of %s %s', pgorch._quoted(r.key), c.problem),
            case when jsonb_typeof(r.value) = 'string' then '' else 'It is the name of one.' end, case when jsonb_typeof(r.value) = 'string' then r.value #>> '{}' end,
            case when jsonb_typeof(r.value) = 'string' then '["append", "sum", "min", "max", "merge", "last"]'::jsonb end)
        from jsonb_each(p_definition -> 'reducers') r
        cross join lateral (select pgorch._choice_problem(r.value, '{append,sum,min,max,merge,last}') as problem) c
        where c.problem is not null and r.value <> 'null';
    end if;
end
$$;
comment on function pgorch._whole_graph_errors(jsonb) is 'Errors of the keys of a graph other than its nodes and edges.';
