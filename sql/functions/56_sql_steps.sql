-- SQL as a step: exactly once, in the transaction that records it.
--
-- A statement runs with the rights of the graph's owner: GRANT is the sandbox. To set the owner's role would not do, since
-- a statement can set it back (set_config('role', ...)). So it runs in a SECURITY DEFINER function that the owner owns, in
-- which the role cannot be set; create_graph() makes that function when a role has its first SQL step.

create or replace function pgorch._make_sql_runner(p_graph pgorch.graphs) returns void
    language plpgsql
    as $$
declare
    v_owner name;
begin
    select f.proowner::regrole::text into v_owner
    from pg_proc f where f.pronamespace = 'pgorch_sql'::regnamespace and f.proname = p_graph.owner;
    if v_owner is not null or not exists (select from pgorch.nodes n where n.graph_id = p_graph.id and n.sql is not null) then
        return;
    elsif current_user <> pgorch._user() then
        perform pgorch._raise('OR007', format('SQL steps run as the user of the session, %s, but the role is set to %s', pgorch._user(), current_user),
            'reset role, and create the graph then.');
    elsif not has_schema_privilege('pgorch_sql', 'create') then
        perform pgorch._raise('OR007', format('%s may not create graphs with SQL steps', pgorch._user()),
            format('grant create on schema pgorch_sql to %I', pgorch._user()));
    end if;
    execute format('create function pgorch_sql.%I(p_sql text, p_parameters jsonb) returns jsonb language plpgsql security definer '
        || 'as $body$ begin return pgorch._run_statement(p_sql, p_parameters); end $body$', p_graph.owner);
    execute format('revoke all on function pgorch_sql.%I(text, jsonb) from public', p_graph.owner);
    execute format('grant execute on function pgorch_sql.%I(text, jsonb) to %s', p_graph.owner,
        (select n.nspowner::regrole from pg_namespace n where n.nspname = 'pgorch'));
end
$$;
comment on function pgorch._make_sql_runner is 'Makes the function in which the SQL steps of a graph''s owner run.';

create or replace function pgorch._run_statement(p_sql text, p_parameters jsonb) returns jsonb
    language plpgsql
    as $$
declare
    v_types regtype[];
    v_call text;
    v_row record;
    v_rows jsonb[] := '{}';
begin
    if exists (select from pg_prepared_statements s where s.name = 'pgorch_sql_step') then
        deallocate pgorch_sql_step;
    end if;
    -- A cursor takes one statement: that it refuses PREPARE, and not the number of statements, shows that there is one.
    begin
        for v_row in execute 'prepare pgorch_sql_step as ' || p_sql loop
            exit;
        end loop;
    exception when invalid_cursor_definition then
        if strpos(sqlerrm, 'PREPARE') = 0 then
            perform pgorch._raise('OR006', 'an SQL step is one statement', 'Make a function of several, and call that.');
        end if;
    end;
    execute 'prepare pgorch_sql_step as ' || p_sql;
    select s.parameter_types into v_types from pg_prepared_statements s where s.name = 'pgorch_sql_step';
    v_call := 'execute pgorch_sql_step' || pgorch._literals(v_types, p_parameters);
    begin
        for v_row in execute v_call loop
            v_rows := v_rows || to_jsonb(v_row);
            if cardinality(v_rows) > 10000 then
                perform pgorch._raise('OR006', 'the statement gives more than 10,000 rows', 'Keep them in a table.');
            end if;
        end loop;
    exception when invalid_cursor_definition then
        -- It returns no rows, and so has not been run.
        execute v_call;
    end;
    deallocate pgorch_sql_step;
    -- What is deferred would run when the transaction ends, before PostgreSQL 18 with the rights of whoever ends it.
    set constraints all immediate;
    return pgorch._sql_output(v_rows);
end
$$;
comment on function pgorch._run_statement is 'Runs one statement with these parameters, with the rights of whoever owns the function around it.';

create or replace function pgorch._literals(p_types regtype[], p_parameters jsonb) returns text
    language plpgsql stable
    as $$
begin
    if cardinality(p_types) <> jsonb_array_length(p_parameters) then
        perform pgorch._raise('OR006', format('the statement has %s parameters, and the input %s values', cardinality(p_types), jsonb_array_length(p_parameters)),
            'Give one value for each of $1, $2, ...');
    end if;
    return coalesce((
        select '(' || string_agg(case
                   when p.value = 'null' and t.type not in ('jsonb'::regtype, 'json'::regtype) then 'null'
                   when t.type in ('jsonb'::regtype, 'json'::regtype) then quote_literal(p.value::text)
                   when jsonb_typeof(p.value) = 'array' and t.type::text like '%[]'
                   then quote_literal(array(select e.value from jsonb_array_elements_text(p.value) with ordinality e(value, at) order by e.at)::text)
                   else quote_literal(p.value #>> '{}') end, ', ' order by p.at) || ')'
        from jsonb_array_elements(p_parameters) with ordinality p(value, at)
        join unnest(p_types) with ordinality t(type, at) on t.at = p.at), '');
end
$$;
comment on function pgorch._literals is 'JSON values as literals of the types that a statement has for its parameters: (1, ''{"a": 1}'', ''{x,y}'').';

create or replace function pgorch._sql_output(p_rows jsonb[]) returns jsonb
    language sql immutable
    as $$
    -- A row of one column is its value.
    select case cardinality(p_rows) when 0 then 'null' when 1 then r.rows -> 0 else r.rows end
    from (select coalesce(jsonb_agg(case when (select count(*) from jsonb_object_keys(t.row)) = 1
                                         then (select v.value from jsonb_each(t.row) v) else t.row end order by t.at), '[]') as rows
          from unnest(p_rows) with ordinality t(row, at)) r
    $$;
comment on function pgorch._sql_output is 'The output of an SQL step: null for no row, the row for one, else a list.';

create or replace function pgorch.perform_sql(p_bucket integer, p_step_id bigint, p_lease_token uuid) returns jsonb
    language plpgsql
    set jit = off set enable_seqscan = off
    as $$
declare
    v_step record;
    v_output jsonb;
begin
    select s.input, s.kind, n.sql, n.input as template, g.owner into v_step
    from pgorch.steps s
    join pgorch.nodes n on n.graph_id = s.graph_id and n.id = s.node
    join pgorch.graphs g on g.id = s.graph_id
    where s.bucket = p_bucket and s.id = p_step_id and s.lease_token = p_lease_token;
    if not found then
        perform pgorch._raise('OR001', 'the lease on this step is lost', 'Nothing needs to be done: it is not performed.');
    end if;
    execute format('select pgorch_sql.%I($1, $2)', v_step.owner) into v_output using v_step.sql,
        case when v_step.template is not null then v_step.input
             -- An item without a template is the one parameter.
             when v_step.kind = 'item' then jsonb_build_array(v_step.input -> 'item') else '[]' end;
    return v_output;
end
$$;
comment on function pgorch.perform_sql is
    'Performs an SQL step that is leased with this token, with the rights of its graph''s owner, and returns its output. To be called in the transaction that then hands in the result.';

create or replace function pgorch.run_sql_steps(p_bucket integer default 0, p_limit integer default 1000) returns integer
    language plpgsql
    set jit = off set enable_seqscan = off
    as $$
declare
    v_worker constant uuid := gen_random_uuid();
    v_step record;
    v_outcome text;
    v_output jsonb;
    v_done integer := 0;
begin
    perform pgorch.enlist_worker(p_bucket, v_worker, 'psql', coalesce(nullif(array(
        select distinct ltrim(s.lane_queue, '!') from pgorch.steps s
        where s.bucket = p_bucket and s.lane_tool = 'pgorch.sql' and ltrim(s.lane_queue, '!') <> ''), '{}'), '{default}'), '{pgorch.sql}', 1, 60);
    while v_done < p_limit loop
        select a.step_id, a.lease_token, a.kind, a.message into v_step
        from pgorch.advance(p_bucket, v_worker, '{}', '{}', '{}', '{}', 1) a where a.kind in ('step', 'quarantined');
        exit when not found;
        begin
            v_outcome := case v_step.kind when 'step' then 'success' else 'error' end;
            v_output := case v_step.kind when 'step' then pgorch.perform_sql(p_bucket, v_step.step_id, v_step.lease_token)
                                         else jsonb_build_object('type', 'WorkerLost', 'message', v_step.message, 'retryable', false) end;
        exception when others then
            v_outcome := 'error';
            v_output := jsonb_build_object('type', 'SqlError', 'code', sqlstate, 'message', sqlerrm);
        end;
        perform pgorch.advance(p_bucket, v_worker, array[v_step.step_id], array[v_step.lease_token], array[v_outcome], array[v_output], 0, false);
        v_done := v_done + 1;
    end loop;
    perform pgorch.leave(p_bucket, v_worker);
    return v_done;
end
$$;
comment on function pgorch.run_sql_steps is
    'Performs SQL steps without any worker, in the caller''s transaction, until none is left or p_limit is reached. Returns how many.';
