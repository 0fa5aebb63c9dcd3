-- SQL as a step: exactly once, in the transaction that records it.
--
-- A statement runs with the rights of the graph's owner: GRANT is the sandbox. To set the owner's role would not do, since
-- a statement can set it back (set_config('role', ...)). So it runs in a SECURITY DEFINER function that the owner owns, in
-- which the role cannot be set; create_graph() makes that function when a role has its first SQL step.

create or replace function pgorch._sql_runner_body() returns text
    language sql immutable
    as $$ select ' begin return pgorch._run_statement(p_sql, p_parameters); end ' $$;

create or replace function pgorch._sql_runner(p_owner name, p_seen text default null) returns text
    language plpgsql
    set search_path = pg_catalog, pg_temp
    as $$
declare
    v_end constant pg_catalog.text := E'\n LANGUAGE plpgsql\n SECURITY DEFINER\nAS $function$' || pgorch._sql_runner_body() || E'$function$\n';
    v_version pg_catalog.text;
    v_is_true boolean;
begin
    -- Its owner may alter it at any time, and whoever has CREATE on the schema may have made it for another.
    if p_seen is null and (select r.rolsuper from pg_roles r where r.rolname = current_user) then
        -- Who may lock it keeps it as it is until the transaction ends; others find out afterwards that it was altered.
        perform from pg_proc f
        where f.pronamespace = 'pgorch_sql'::regnamespace and f.proname = p_owner and f.proargtypes = '25 3802' for share;
    end if;
    select format('%s %s %s', f.oid, f.xmin, f.ctid),
           f.prosecdef and f.prosrc = pgorch._sql_runner_body() and f.proconfig is null
           and f.proowner = (select r.oid from pg_roles r where r.rolname = p_owner)
           -- The server calls functions as it has them in its cache. So does this show them, and the row may be newer.
           and right(pg_get_functiondef(f.oid), length(v_end)) = v_end
    into v_version, v_is_true
    from pg_proc f
    where f.pronamespace = 'pgorch_sql'::regnamespace and f.proname = p_owner and f.proargtypes = '25 3802';
    if v_version is not null and not v_is_true or v_version is distinct from p_seen and p_seen is not null then
        perform pgorch._raise('OR007', format('pgorch_sql.%I(text, jsonb) is not the function that create_graph() makes for %I', p_owner, p_owner),
            format('drop function pgorch_sql.%I(text, jsonb), and let %I create a graph with an SQL step again.', p_owner, p_owner));
    end if;
    return v_version;
end
$$;
comment on function pgorch._sql_runner is
    'Which version of the function of an owner''s SQL steps there is: null for none, OR007 for one that is not his or was altered, or that is no longer the one seen before.';

create or replace function pgorch._make_sql_runner(p_graph pgorch.graphs) returns void
    language plpgsql
    as $$
begin
    if not exists (select from pgorch.nodes n where n.graph_id = p_graph.id and n.sql is not null)
       or pgorch._sql_runner(p_graph.owner) is not null then
        return;
    elsif current_user <> pgorch._user() then
        perform pgorch._raise('OR007', format('SQL steps run as the user of the session, %s, but the role is set to %s', pgorch._user(), current_user),
            'reset role, and create the graph then.');
    elsif current_user <> p_graph.owner then
        perform pgorch._raise('OR007', format('the SQL steps of this graph run as %s, who has no function in pgorch_sql', p_graph.owner),
            format('Let %s create it again.', p_graph.owner));
    elsif not has_schema_privilege('pgorch_sql', 'create') then
        perform pgorch._raise('OR007', format('%s may not create graphs with SQL steps', pgorch._user()),
            format('grant create on schema pgorch_sql to %I', pgorch._user()));
    end if;
    execute format('create function pgorch_sql.%I(p_sql text, p_parameters jsonb) returns jsonb language plpgsql security definer '
        || 'as %L', p_graph.owner, pgorch._sql_runner_body());
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
    v_types pg_catalog.regtype[];
    v_call pg_catalog.text;
    v_row pg_catalog.record;
    v_rows pg_catalog.jsonb[] := '{}';
    v_output pg_catalog.jsonb;
    v_deferred pg_catalog.text := '';
    v_temporary constant pg_catalog.oid[] := array(select c.oid from pg_class c where c.relnamespace = pg_my_temp_schema()
                                        union all select t.oid from pg_type t where t.typnamespace = pg_my_temp_schema());
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
    -- After that nothing of the statement's runs: what it left in the session is taken away.
    v_output := pgorch._sql_output(v_rows);
    set constraints all immediate;
    for i in 1 .. 10 loop
        exit when v_deferred operator(pg_catalog.=) pgorch._deferred_writes();
        -- A trigger wrote, and what it wrote may have been deferred again.
        v_deferred := pgorch._deferred_writes();
        set constraints all immediate;
        if i operator(pg_catalog.=) 10 then
            perform pgorch._raise('OR007', 'the triggers of an SQL step defer others without end', 'Let no deferred trigger write what defers another.');
        end if;
    end loop;
    perform pgorch._drop_temporary(v_temporary);
    return v_output;
end
$$;
comment on function pgorch._run_statement is 'Runs one statement with these parameters, with the rights of whoever owns the function around it.';

create or replace function pgorch._deferred_writes() returns text
    language plpgsql
    set search_path = pg_catalog, pg_temp
    as $$
declare
    v_tables pg_catalog.oid[];
begin
    if current_setting('server_version_num')::integer >= 180000 then
        -- Triggers run with the rights of whoever they were deferred by.
        return '';
    end if;
    -- Whoever writes to a table has a lock on it until the transaction ends.
    v_tables := array(select distinct l.relation from pg_locks l
                      where l.pid = pg_backend_pid() and l.locktype = 'relation' and l.mode in ('RowExclusiveLock', 'AccessExclusiveLock')
                        and l.database = (select d.oid from pg_database d where d.datname = current_database())
                        and exists (select from pg_trigger t where t.tgrelid = l.relation and t.tgdeferrable));
    if v_tables = '{}' then
        return '';
    elsif current_setting('track_counts') = 'off' then
        perform pgorch._raise('OR007', 'an SQL step writes to a table with deferred triggers, and the server does not count writes',
            'Set track_counts = on, or use PostgreSQL 18.');
    elsif exists (select from pg_locks l where l.pid = pg_backend_pid() and l.relation = any (v_tables) and l.mode = 'AccessExclusiveLock') then
        -- That sets the counters back.
        perform pgorch._raise('OR007', 'an SQL step truncates or alters a table with deferred triggers', 'Do that elsewhere, or use PostgreSQL 18.');
    end if;
    return (select coalesce(string_agg(format('%s %s %s %s', t.relid, t.n_tup_ins, t.n_tup_upd, t.n_tup_del), ',' order by t.relid), '')
            from pg_stat_xact_all_tables t where t.relid = any (v_tables));
end
$$;
comment on function pgorch._deferred_writes is
    'What this transaction has written so far to tables with triggers that can be deferred: as long as it grows, some may be.';

create or replace function pgorch._drop_temporary(p_before oid[]) returns void
    language plpgsql
    set search_path = pg_catalog, pg_temp
    as $$
declare
    v_drop pg_catalog.record;
begin
    if pg_my_temp_schema() = 0 then
        return;
    end if;
    -- Names of tables and types are looked up among the temporary ones first: the checkpoint would find these.
    for v_drop in
        select format('drop %s if exists pg_temp.%I cascade', case c.relkind when 'v' then 'view' when 'S' then 'sequence' when 'c' then 'type'
                          when 'f' then 'foreign table' else 'table' end, c.relname) as it
        from pg_class c
        where c.relnamespace = pg_my_temp_schema() and c.relkind in ('r', 'p', 'v', 'S', 'c', 'f') and c.oid <> all (p_before)
        union all
        select format('drop %s if exists pg_temp.%I cascade', case t.typtype when 'd' then 'domain' else 'type' end, t.typname)
        from pg_type t
        where t.typnamespace = pg_my_temp_schema() and t.typtype in ('b', 'd', 'e', 'r') and t.typelem = 0 and t.oid <> all (p_before)
    loop
        execute v_drop.it;
    end loop;
end
$$;
comment on function pgorch._drop_temporary is 'Drops the temporary tables and types of this session but those with these oids.';

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

create or replace function pgorch._leased_sql(p_bucket integer, p_step_id bigint, p_lease_token uuid)
    returns table (owner name, sql text, parameters jsonb)
    language plpgsql
    set search_path = pg_catalog, pg_temp set jit = off set enable_seqscan = off
    as $$
begin
    return query
        select g.owner, n.sql,
               case when n.input is not null then s.input
                    -- An item without a template is the one parameter.
                    when s.kind = 'item' then jsonb_build_array(s.input -> 'item') else '[]' end
        from pgorch.steps s
        join pgorch.nodes n on n.graph_id = s.graph_id and n.id = s.node
        join pgorch.graphs g on g.id = s.graph_id
        where s.bucket = p_bucket and s.id = p_step_id and s.lease_token = p_lease_token;
    if not found then
        perform pgorch._raise('OR001', 'the lease on this step is lost', 'Nothing needs to be done: it is not performed.');
    end if;
end
$$;
comment on function pgorch._leased_sql is 'The statement of an SQL step that is leased with this token, whose it is, and its parameters.';

create or replace function pgorch._session_marks() returns jsonb
    language sql
    as $$
    select jsonb_build_object(
        'settings', (select coalesce(jsonb_object_agg(s.name, s.setting), '{}') from pg_settings s where s.source = 'session'),
        'prepared', array(select row(p.name, p.prepare_time, p.from_sql)::text from pg_prepared_statements p),
        'cursors', array(select row(c.name, c.creation_time)::text from pg_cursors c))
    $$;
comment on function pgorch._session_marks is 'What is set, prepared and open in this session.';

create or replace function pgorch._put_back(p_marks jsonb) returns void
    language plpgsql
    as $$
declare
    v_do pg_catalog.record;
begin
    for v_do in
        -- What was prepared under the name of another's statement would be run by him, and the rest of a cursor when the
        -- transaction ends: both with his rights.
        select format('deallocate %I', p.name) as it from pg_prepared_statements p
        where p.from_sql and not p_marks -> 'prepared' ? row(p.name, p.prepare_time, p.from_sql)::text
        union all
        select format('close %I', c.name) from pg_cursors c
        where c.is_holdable and not p_marks -> 'cursors' ? row(c.name, c.creation_time)::text
        union all
        select case when p_marks -> 'settings' ? s.name then format('select pg_catalog.set_config(%L, %L, false)', s.name, p_marks -> 'settings' ->> s.name)
                    else 'reset ' || (select string_agg(quote_ident(n.part), '.' order by n.at)
                                      from unnest(string_to_array(s.name, '.')) with ordinality n(part, at)) end
        from pg_settings s
        where case when p_marks -> 'settings' ? s.name then s.setting <> p_marks -> 'settings' ->> s.name else s.source = 'session' end
    loop
        execute v_do.it;
    end loop;
end
$$;
comment on function pgorch._put_back is 'Makes the session what it was when it had these marks.';

create or replace function pgorch.perform_sql(p_bucket integer, p_step_id bigint, p_lease_token uuid) returns jsonb
    language plpgsql
    -- It sets nothing: the statement finds the search_path of the session, and what it sets can be told from the rest.
    as $$
declare
    v_marks constant pg_catalog.jsonb := pgorch._session_marks();
    v_path constant pg_catalog.text := current_setting('search_path');
    v_path_was_set constant boolean := v_marks -> 'settings' ? 'search_path';
    v_step pg_catalog.record;
    v_runner pg_catalog.text;
    v_output pg_catalog.jsonb;
begin
    select l.* into v_step from pgorch._leased_sql(p_bucket, p_step_id, p_lease_token) l;
    perform pgorch._check_performer(v_step.owner);
    v_runner := pgorch._sql_runner(v_step.owner);
    if v_runner is null then
        perform pgorch._raise('OR007', format('%s has no function in pgorch_sql', v_step.owner), format('Let %s create the graph again.', v_step.owner));
    end if;
    begin
        execute format('select pgorch_sql.%I($1, $2)', v_step.owner) into v_output using v_step.sql, v_step.parameters;
    exception when query_canceled or assert_failure or others then
        perform pgorch._put_back(v_marks);
        perform pgorch._sql_runner(v_step.owner, v_runner);
        raise;
    end;
    -- As long as the statement's search_path holds, every name below says its schema, operators too.
    if pg_catalog.current_setting('search_path') operator(pg_catalog.<>) v_path then
        if v_path_was_set then
            perform pg_catalog.set_config('search_path', v_path, false);
        else
            reset search_path;
        end if;
    end if;
    perform pgorch._put_back(v_marks);
    perform pgorch._sql_runner(v_step.owner, v_runner);
    return v_output;
end
$$;
comment on function pgorch.perform_sql is
    'Performs an SQL step that is leased with this token, with the rights of its graph''s owner, and returns its output. To be called in the transaction that then hands in the result.';

create or replace function pgorch._check_performer(p_owner name) returns void
    language plpgsql
    set search_path = pg_catalog, pg_temp
    as $$
declare
    v_stack pg_catalog.text;
begin
    get diagnostics v_stack = pg_context;
    if strpos(v_stack, '_run_statement(text,jsonb)') > 0 then
        perform pgorch._raise('OR007', 'an SQL step performs no other SQL steps', 'Call run_sql_steps() from a session of your own.');
    end if;
    if session_user <> p_owner and not pgorch._may_perform_for_others() then
        perform pgorch._raise('OR007', format('%s may not perform the SQL steps of %s', session_user, p_owner),
            'The owner of the schema pgorch may, its members, and the graph''s owner.');
    end if;
end
$$;
comment on function pgorch._check_performer is 'OR007 unless this session may perform the SQL steps of this owner, and _user() can tell that it does.';

create or replace function pgorch._sql_queues(p_bucket integer) returns text[]
    language plpgsql
    set jit = off set enable_seqscan = off
    as $$
begin
    return array(select distinct ltrim(s.lane_queue, '!') from pgorch.steps s
                 where s.bucket = p_bucket and s.lane_tool = 'pgorch.sql' and ltrim(s.lane_queue, '!') <> '');
end
$$;

create or replace function pgorch.run_sql_steps(p_bucket integer default 0, p_limit integer default 1000) returns integer
    language plpgsql
    as $$
declare
    v_worker constant pg_catalog.uuid := gen_random_uuid();
    v_step pg_catalog.record;
    v_outcome pg_catalog.text;
    v_output pg_catalog.jsonb;
    v_done integer := 0;
begin
    perform pgorch.enlist_worker(p_bucket, v_worker, 'psql', coalesce(nullif(pgorch._sql_queues(p_bucket), '{}'), '{default}'), '{pgorch.sql}', 1, 60);
    while v_done < p_limit loop
        select a.step_id, a.lease_token, a.kind, a.message into v_step
        from pgorch.advance(p_bucket, v_worker, '{}', '{}', '{}', '{}', 1) a where a.kind in ('step', 'quarantined');
        exit when not found;
        begin
            v_outcome := case v_step.kind when 'step' then 'success' else 'error' end;
            v_output := case v_step.kind when 'step' then pgorch.perform_sql(p_bucket, v_step.step_id, v_step.lease_token)
                                         else jsonb_build_object('type', 'WorkerLost', 'message', v_step.message, 'retryable', false) end;
        exception when others then
            -- A deadlock, a lock that was not to be had, no room: that is not the statement's doing, and no attempt.
            v_outcome := case when sqlstate in ('40001', '40P01', '53100', '53200', '53300', '55P03') then 'release' else 'error' end;
            v_output := case v_outcome when 'error' then jsonb_build_object('type', 'SqlError', 'code', sqlstate, 'message', sqlerrm) end;
        end;
        perform pgorch.advance(p_bucket, v_worker, array[v_step.step_id], array[v_step.lease_token], array[v_outcome], array[v_output], 0, false);
        -- It would be next, and meet the same.
        exit when v_outcome = 'release';
        v_done := v_done + 1;
    end loop;
    perform pgorch.leave(p_bucket, v_worker);
    return v_done;
end
$$;
comment on function pgorch.run_sql_steps is
    'Performs SQL steps without any worker, in the caller''s transaction, until none is left, p_limit is reached, or one meets another transaction and is given back. Returns how many.';
