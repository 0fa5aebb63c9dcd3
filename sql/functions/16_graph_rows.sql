-- Waits on rows of users' own tables: which table and column are meant, and who may wait for them.
--
-- Waiting for a row puts a trigger on its table and shows whether and when a row fulfils a condition. So whoever creates
-- the graph, the user of the session, must be able to do both without pgorch: select from the table, and put triggers
-- on it. Graphs that come by HTTP are created by the role as which the API connects: what is granted to that role is what
-- its graphs may wait for. Tables of pgorch and of the system are never watched, nor those whose rows are hidden from
-- their creator by row security.

create or replace function pgorch._row_table(p_table text, out oid oid, out name text, out key_column text, out problem text, out hint text)
    language plpgsql stable
    as $$
declare
    v_parts pg_catalog.text[];
    v_class pg_catalog.record;
begin
    begin
        v_parts := parse_ident(p_table);
    exception when invalid_parameter_value then
        null;
    end;
    if cardinality(v_parts) is distinct from 2 then
        problem := format('%s is no name of a table with its schema', pgorch._quoted(p_table));
        hint := 'Write schema.table, as in "shop.orders", with double quotes around what is no plain word.';
        return;
    end if;
    select c.oid, c.relkind, c.relpersistence, n.oid as schema_oid, n.nspname, format('%I.%I', n.nspname, c.relname) as name into v_class
    from pg_class c join pg_namespace n on n.oid = c.relnamespace
    where n.nspname = v_parts[1] and c.relname = v_parts[2];
    if v_class.oid is null or not has_schema_privilege(pgorch._user(), v_class.schema_oid, 'usage') then
        problem := format('there is no table %s', pgorch._quoted(p_table));
    elsif v_class.relkind not in ('r', 'p') or v_class.relpersistence = 't' then
        problem := format('%s is no ordinary table, and changes of its rows cannot be seen', pgorch._quoted(p_table));
        hint := 'Name the table below it.';
    elsif v_class.nspname in ('pgorch', 'information_schema') or v_class.nspname like 'pg\_%' then
        problem := format('%s is a table of pgorch or of the system, and these cannot be waited for', pgorch._quoted(p_table));
        hint := 'To wait for another run, use a node of type graph, or a signal.';
    elsif not has_table_privilege(pgorch._user(), v_class.oid, 'select') or not has_table_privilege(v_class.oid, 'select')
          or not has_table_privilege(pgorch._user(), v_class.oid, 'trigger') or not has_table_privilege(v_class.oid, 'trigger') then
        problem := format('%s may not wait for rows of %s', pgorch._user(), v_class.name);
        hint := format('Its owner can allow it: grant select, trigger on %s to %I.', v_class.name, pgorch._user());
    elsif row_security_active(v_class.oid) then
        problem := format('row security hides rows of %s from %s', v_class.name, pgorch._user());
        hint := 'Let a role create the graph that sees all rows, or wait for a signal.';
    end if;
    if problem is null then
        oid := v_class.oid;
        name := v_class.name;
        select a.attname into key_column
        from pg_index i join pg_attribute a on a.attrelid = i.indrelid and a.attnum = i.indkey[0]
        where i.indrelid = v_class.oid and i.indisprimary and i.indnkeyatts = 1;
    end if;
end
$$;
comment on function pgorch._row_table(text) is
    'The table that a wait on a row names: its oid, its name as format(''%I.%I'') has it, and its primary key if that is one column; or why it cannot be waited for. Allowed: who may select from it and put triggers on it.';

create or replace function pgorch._row_errors(p_row jsonb, p_path text) returns setof jsonb
    language plpgsql stable
    as $$
declare
    v_table pg_catalog.record;
    v_condition constant pg_catalog.jsonb := p_row -> 'condition';
    v_column pg_catalog.text;
begin
    return query select e from pgorch._key_errors('row', array[p_path], array[p_row], null) e;
    if pgorch._name_problem(p_row -> 'table', 200) is null and jsonb_typeof(p_row -> 'table') = 'string' then
        select t.* into v_table from pgorch._row_table(p_row ->> 'table') t;
        if v_table.problem is not null then
            return next pgorch._graph_error(p_path || '/table', 'unknown_table', v_table.problem, coalesce(v_table.hint, ''),
                case when v_table.hint is null then p_row ->> 'table' end, case when v_table.hint is null then '"tables"'::jsonb end);
        else
            v_column := p_row ->> 'key_column';
            if coalesce(v_column, v_table.key_column) is null then
                return next pgorch._graph_error(p_path, 'missing_key', format('"key_column" is missing: %s has no primary key of one column', v_table.name),
                    'Name the column that tells its rows apart.');
            elsif jsonb_typeof(p_row -> 'key_column') = 'string' and not exists (
                    select from pg_attribute a where a.attrelid = v_table.oid and a.attname = v_column and a.attnum > 0 and not a.attisdropped) then
                return next pgorch._graph_error(p_path || '/key_column', 'unknown_column', format('%s has no column %s', v_table.name, pgorch._quoted(v_column)),
                    'Name the column that tells its rows apart.', v_column,
                    (select to_jsonb(array_agg(a.attname)) from pg_attribute a where a.attrelid = v_table.oid and a.attnum > 0 and not a.attisdropped));
            elsif exists (
                    select from pg_attribute a
                    where a.attrelid = v_table.oid and a.attname = coalesce(v_column, v_table.key_column) and not pgorch._is_key_type(a.atttypid)) then
                return next pgorch._graph_error(p_path || case when v_column is null then '' else '/key_column' end, 'bad_value',
                    format('%s.%s is of the type %s, which is no built-in one', v_table.name, pgorch._quoted(coalesce(v_column, v_table.key_column)),
                        (select format_type(a.atttypid, a.atttypmod) from pg_attribute a
                         where a.attrelid = v_table.oid and a.attname = coalesce(v_column, v_table.key_column))),
                    'Name a column of a built-in type, such as text, bigint or uuid: to compare with another runs its maker''s code.');
            elsif not pgorch._json_is_plain(v_table.oid) then
                return next pgorch._graph_error(p_path || '/table', 'bad_value',
                    format('%s has a column whose type somebody has cast to json: to read it runs his code', v_table.name), 'Drop that cast, or wait for a signal.');
            end if;
        end if;
    end if;
    if jsonb_typeof(v_condition) = 'string' then
        return query select e from pgorch._condition_errors(v_condition #>> '{}', p_path || '/condition', null, 'row') e;
    elsif jsonb_typeof(v_condition) = 'object' and v_condition <> '{}' and pgorch._containment_path(v_condition) is null then
        return next pgorch._graph_error(p_path || '/condition', 'bad_condition', 'the condition on a row holds a list or an empty object',
            'Write it as a path: "$.tags[*] == \"new\"".');
    end if;
end
$$;
comment on function pgorch._row_errors(jsonb, text) is 'Errors of what a wait on a row waits for.';

create or replace function pgorch._containment_path(p_object jsonb, p_parent text default '$') returns text
    language plpgsql immutable
    as $$
declare
    v_key pg_catalog.text;
    v_value pg_catalog.jsonb;
    v_path pg_catalog.text;
    v_paths pg_catalog.text[] := '{}';
begin
    for v_key, v_value in select o.key, o.value from jsonb_each(p_object) o order by o.key loop
        v_path := p_parent || '.' || to_json(v_key)::text;
        v_path := case jsonb_typeof(v_value) when 'object' then pgorch._containment_path(v_value, v_path)
                                             when 'array' then null else format('%s == %s', v_path, v_value) end;
        if v_path is null then
            return null;
        end if;
        v_paths := v_paths || v_path;
    end loop;
    return nullif(array_to_string(v_paths, ' && '), '');
end
$$;
comment on function pgorch._containment_path(jsonb, text) is 'The predicate that says the same as containment of an object; null if it holds lists or empty objects.';

create or replace function pgorch._normal_row(p_row jsonb) returns jsonb
    language sql stable
    as $$
    select jsonb_build_object('table', t.name, 'key', p_row -> 'key', 'key_column', coalesce(p_row ->> 'key_column', t.key_column),
        'condition', coalesce(pgorch._containment_path(case jsonb_typeof(p_row -> 'condition') when 'object' then p_row -> 'condition' else '{}' end),
                              p_row ->> 'condition'))
    from pgorch._row_table(p_row ->> 'table') t
    where jsonb_typeof(p_row) = 'object'
    $$;
comment on function pgorch._normal_row(jsonb) is 'What a wait on a row waits for, with nothing left out; null for null.';

create or replace function pgorch._waitable_tables() returns text[]
    language sql stable
    as $$
    select array_agg(format('%I.%I', n.nspname, c.relname))
    from pg_class c join pg_namespace n on n.oid = c.relnamespace
    where c.relkind in ('r', 'p') and c.relpersistence <> 't' and n.nspname not in ('pgorch', 'information_schema') and n.nspname not like 'pg\_%'
      and has_schema_privilege(pgorch._user(), n.oid, 'usage') and has_table_privilege(pgorch._user(), c.oid, 'select')
    $$;
comment on function pgorch._waitable_tables() is 'Tables that the user of the session may see, for hints.';
