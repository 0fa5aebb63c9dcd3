-- Waits for a row of one's own table. A trigger on the table wakes the run in the transaction that changes the row.
--
-- A wait begins when the transaction that enters it commits, and sees every state that the row has from then on. Nobody waits
-- for anybody here, and an update that nobody waits for pays for one look into an index, no lock.
-- * A change made after that commit finds the wait: the trigger compares the new row, and the old one as well, which may be the
--   work of a transaction that could not find it.
-- * Such transactions, which made their change before that commit and commit later, are waited out: the row is looked at
--   again (a timer, 'recheck') until none is left that was under way at the first look.
-- * A transaction with an old snapshot (repeatable read, serializable) cannot see who waits, however late it is. It notes its
--   change, and tick() compares that with the waits that had not seen it.

create or replace function pgorch._sees_commits() returns boolean
    language plpgsql stable
    as $$ begin return current_setting('transaction_isolation') in ('read committed', 'read uncommitted'); end $$;
comment on function pgorch._sees_commits() is 'Does each statement of this transaction see what was committed before it? Above read committed it does not.';

create or replace function pgorch._watch_row(
    p_bucket integer, p_run pgorch.runs, p_graph pgorch.graphs, p_node pgorch.nodes, p_step_id bigint, p_key text, p_now timestamptz,
    out output jsonb, out problem jsonb)
    language plpgsql
    as $$
declare
    v_table constant pg_catalog.text := p_node.wait_row ->> 'table';
    v_column constant pg_catalog.text := p_node.wait_row ->> 'key_column';
    v_condition constant pg_catalog.jsonpath := (p_node.wait_row ->> 'condition')::jsonpath;
    v_key pg_catalog.text;
begin
    select k.key, k.problem into v_key, problem from pgorch._row_key(v_table, v_column, p_key) k;
    if problem is not null then
        return;
    end if;
    -- What an old snapshot shows may be long past.
    if pgorch._sees_commits() then
        begin
            select r.output, r.problem into output, problem
            from pgorch._matching_row(p_graph.owner, v_table, v_column, v_key, v_condition) r;
        exception when lock_not_available then
            -- The look of the timer is as good.
            null;
        end;
        if output is not null or problem is not null then
            return;
        end if;
    end if;
    insert into pgorch._row_waits (bucket, step_id, run_id, table_name, row_key, key_column, condition, seen)
    values (p_bucket, p_step_id, p_run.id, v_table, v_key, v_column, v_condition, pg_current_snapshot());
    insert into pgorch.timers (bucket, run_id, step_id, due_at, kind)
    values (p_bucket, p_run.id, p_step_id, p_now + interval '50 milliseconds', 'recheck');
end
$$;
comment on function pgorch._watch_row is 'Looks at a row: output, if it is as it should be. Otherwise notes that a step waits for it.';

create or replace function pgorch._key_type(p_table text, p_key_column text) returns text
    language plpgsql stable
    as $$
declare
    v_type pg_catalog.record;
begin
    -- -1: a type without length. A key is not cut to length, or a longer one would find the row as well.
    select format_type(a.atttypid, -1) as name, pgorch._is_key_type(a.atttypid) as is_key_type into v_type
    from pg_attribute a where a.attrelid = p_table::regclass and a.attname = p_key_column;
    if not v_type.is_key_type then
        perform pgorch._raise('OR006', format('the key %s is of the type %s, whose maker''s code would be run', p_key_column, v_type.name),
            'Use a key of a built-in type.');
    end if;
    return v_type.name;
end
$$;

create or replace function pgorch._is_key_type(p_type oid) returns boolean
    language plpgsql stable
    as $$
begin
    return exists (select from pg_type t where t.oid = p_type and t.typtype = 'b' and t.typnamespace = 'pg_catalog'::regnamespace);
end
$$;
comment on function pgorch._is_key_type(oid) is
    'May a value be cast to this type? It is done by whoever enters the wait, and a domain, say, would run its maker''s code with his rights.';

create or replace function pgorch._json_is_plain(p_table oid) returns boolean
    language plpgsql stable
    as $$
begin
    return not exists (
        with recursive parts(type) as (
            select a.atttypid from pg_attribute a where a.attrelid = p_table and a.attnum > 0 and not a.attisdropped
            union
            select x.type
            from parts p
            join pg_type t on t.oid = p.type
            cross join lateral (
                select t.typbasetype union all select t.typelem union all
                select a.atttypid from pg_attribute a
                where t.typrelid <> 0 and a.attrelid = t.typrelid and a.attnum > 0 and not a.attisdropped) x(type)
            where x.type <> 0)
        select from parts p
        join pg_cast c on c.castsource = p.type and c.casttarget = 'json'::regtype
        join pg_proc f on f.oid = c.castfunc
        join pg_language l on l.oid = f.prolang
        where l.lanname not in ('internal', 'c'));
end
$$;
comment on function pgorch._json_is_plain(oid) is
    'Does PostgreSQL alone make JSON of a table''s rows? For a type with a cast to json that somebody made, his function would, with the rights of whoever reads the row.';

create or replace function pgorch._row_key(p_table text, p_key_column text, p_key text, out key text, out problem jsonb)
    language plpgsql
    as $$
begin
    execute format('select to_jsonb($1::%s) #>> %L', pgorch._key_type(p_table, p_key_column), '{}') into key using p_key;
exception when others then
    if pgorch._passes(sqlstate) then
        raise;
    end if;
    problem := jsonb_build_object('type', 'BadWait', 'retryable', false,
        'message', format('%s has no row with the key %s: %s', p_table, left(p_key, 100), sqlerrm));
end
$$;
comment on function pgorch._row_key is 'A key as text, written as the row itself has it in JSON.';

create or replace function pgorch._matching_row(
    p_owner name, p_table text, p_key_column text, p_key text, p_condition jsonpath, out output jsonb, out problem jsonb)
    language plpgsql
    -- A batch may look at many rows of a table that somebody keeps locked.
    set lock_timeout = '5ms'
    as $$
begin
    if not has_table_privilege(p_owner, p_table::regclass, 'select') then
        problem := jsonb_build_object('type', 'NotAllowed', 'retryable', false,
            'message', format('the graph''s owner %s may not read %s', p_owner, p_table), 'hint', format('grant select on %s to %I', p_table, p_owner));
        return;
    end if;
    -- It may have been an ordinary table when the graph was created.
    if not exists (select from pg_class c where c.oid = p_table::regclass and c.relkind in ('r', 'p'))
       or row_security_active(p_table::regclass) or not pgorch._json_is_plain(p_table::regclass) then
        perform pgorch._raise('OR006', 'to read it would run code of others: it is no plain table, has row security, or a type that somebody has cast to json',
            'Wait for a table whose columns are of built-in types.');
    end if;
    -- The key has the column's type, so that an index on the column serves.
    execute format('select to_jsonb(t) from %s t where t.%I = $1::%s and pgorch._row_fits(to_jsonb(t), $2) limit 1',
        p_table::regclass, p_key_column, pgorch._key_type(p_table, p_key_column)) into output using p_key, p_condition;
exception when others then
    if pgorch._passes(sqlstate) then
        raise;
    end if;
    problem := jsonb_build_object('type', 'RowUnreadable', 'message', format('%s cannot be read: %s', p_table, sqlerrm));
end
$$;
comment on function pgorch._matching_row is 'The row with a key that fulfils the condition; null if there is none. Raises 55P03 while somebody keeps the table locked.';

create or replace function pgorch._row_fits(p_row jsonb, p_condition jsonpath) returns boolean
    language plpgsql immutable
    as $$
begin
    -- It runs in the transaction of whoever changes the row, whom nothing may hold up.
    return pgorch._too_costly(p_condition, p_row, '{}') is null and jsonb_path_match(p_row, p_condition, '{}', true);
end
$$;
comment on function pgorch._row_fits is 'Does a row fulfil a condition? Unknown is no: the row may come to be so yet.';

create or replace function pgorch._row_changed() returns trigger
    language plpgsql security definer
    set search_path = pg_catalog, pgorch, pg_temp set jit = off set enable_seqscan = off
    as $$
declare
    v_key pg_catalog.text;
begin
    -- No code of whoever made a type is run with the rights of pgorch. Numbers below this are PostgreSQL's own.
    -- A statement of its own: in one with what follows, the planner would run the cast to estimate rows.
    if exists (select from pg_cast c where c.oid >= 16384 and c.casttarget = 'json'::regtype) and not pgorch._json_is_plain(tg_relid) then
        return null;
    end if;
    v_key := to_jsonb(new) ->> tg_argv[0];
    -- One look into all buckets: this is all that most updates have to pay for.
    if exists (select from pgorch._row_waits w where w.table_name = tg_argv[1] and w.row_key = v_key)
       or current_setting('transaction_isolation') not in ('read committed', 'read uncommitted') then
        perform pgorch._tell_waits(tg_argv[1], tg_argv[0], v_key, to_jsonb(new),
            case when tg_op = 'UPDATE' and to_jsonb(old) ->> tg_argv[0] = v_key then to_jsonb(old) end);
    end if;
    return null;
end
$$;
comment on function pgorch._row_changed() is
    'Trigger for new and changed rows of tables that graphs wait for; its arguments are the column that holds the key, and the table''s name as graphs have it.';

create or replace function pgorch._row_left() returns trigger
    language plpgsql security definer
    set search_path = pg_catalog, pgorch, pg_temp set jit = off set enable_seqscan = off
    as $$
declare
    v_key pg_catalog.text;
begin
    if exists (select from pg_cast c where c.oid >= 16384 and c.casttarget = 'json'::regtype) and not pgorch._json_is_plain(tg_relid) then
        return null;
    end if;
    v_key := to_jsonb(old) ->> tg_argv[0];
    if tg_op = 'UPDATE' and to_jsonb(new) ->> tg_argv[0] = v_key then
        return null;
    end if;
    if exists (select from pgorch._row_waits w where w.table_name = tg_argv[1] and w.row_key = v_key)
       or current_setting('transaction_isolation') not in ('read committed', 'read uncommitted') then
        perform pgorch._tell_waits(tg_argv[1], tg_argv[0], v_key, to_jsonb(old), null);
    end if;
    return null;
end
$$;
comment on function pgorch._row_left() is
    'Trigger for rows that are deleted or get another key: their last state may be the work of a transaction that could not see who waits. Arguments as _row_changed() has them.';

create or replace function pgorch._tell_waits(p_table text, p_key_column text, p_key text, p_row jsonb, p_before jsonb) returns void
    language plpgsql
    as $$
declare
    v_sees constant boolean := pgorch._sees_commits();
    v_bucket integer;
begin
    if p_key is null
       or not v_sees and not pgorch._may_be_waited_for(p_table, p_key_column, p_row)
                     and (p_before is null or not pgorch._may_be_waited_for(p_table, p_key_column, p_before)) then
        return;
    end if;
    for v_bucket in 0 .. pgorch.bucket_count() - 1 loop
        if v_sees then
            perform pgorch._wake_by_row(v_bucket, p_table, p_key_column, p_key, p_row, p_before);
        else
            -- Not even a run could be locked that has changed since the snapshot.
            insert into pgorch._row_changes (bucket, table_name, key_column, row_key, changed_by, changed_to, changed_from)
            values (v_bucket, p_table, p_key_column, p_key, pg_current_xact_id(), p_row, p_before);
        end if;
    end loop;
end
$$;
comment on function pgorch._tell_waits is 'A row is like this now, and was like p_before: those who wait for it are told, or the change is noted for them.';

create or replace function pgorch._may_be_waited_for(p_table text, p_key_column text, p_row jsonb) returns boolean
    language plpgsql stable
    as $$
begin
    -- A graph that is younger than the snapshot cannot be seen.
    return coalesce((
        select bool_or(coalesce(pgorch._row_fits(p_row, (n.wait_row ->> 'condition')::jsonpath), false)) from pgorch.nodes n
        where n.wait_row is not null and n.wait_row ->> 'table' = p_table and n.wait_row ->> 'key_column' = p_key_column), true);
end
$$;
comment on function pgorch._may_be_waited_for is 'Is a row as some graph waits for it to be?';

create or replace function pgorch._wake_by_row(
    p_bucket integer, p_table text, p_key_column text, p_key text, p_row jsonb, p_before jsonb,
    p_changed_by xid8 default null) returns void
    language plpgsql
    as $$
declare
    v_wait pg_catalog.record;
    v_run pgorch.runs;
    v_step pgorch.steps;
    v_done boolean;
begin
    for v_wait in
        select w.step_id, w.run_id, case when pgorch._row_fits(p_row, w.condition) then p_row else p_before end as found
        from pgorch._row_waits w
        where w.bucket = p_bucket and w.table_name = p_table and w.row_key = p_key and w.key_column = p_key_column
          and (p_changed_by is null or not pg_visible_in_snapshot(p_changed_by, w.seen))
          and (pgorch._row_fits(p_row, w.condition) or pgorch._row_fits(p_before, w.condition))
        order by w.run_id, w.step_id
    loop
        v_done := false;
        begin
            select r.* into v_run from pgorch.runs r where r.bucket = p_bucket and r.id = v_wait.run_id for update skip locked;
            if found then
                select s.* into v_step from pgorch.steps s where s.bucket = p_bucket and s.id = v_wait.step_id and s.kind = 'wait';
                if found then
                    perform pgorch._end_wait(p_bucket, v_run, v_step, 'success', v_wait.found, pgorch.clock_now());
                end if;
                v_done := true;
            end if;
        exception when others then
            v_done := false;
            raise warning 'run % cannot be woken by the row, and is tried again: %', v_wait.run_id, sqlerrm;
        end;
        -- What is wrong with a run, or who works on it, must not keep anybody from changing his own row.
        if not v_done then
            insert into pgorch.timers (bucket, run_id, step_id, due_at, kind, data)
            values (p_bucket, v_wait.run_id, v_wait.step_id, pgorch.clock_now(), 'recheck', jsonb_build_object('row', v_wait.found));
        end if;
    end loop;
end
$$;
comment on function pgorch._wake_by_row is
    'Goes on with the runs that wait for a row to be like this, or as it was before; a timer does so for those that somebody works on. p_changed_by: only those that began to wait before that transaction''s changes could be seen.';

create or replace function pgorch._fire_row_changes(p_bucket integer) returns integer
    language plpgsql
    as $$
declare
    v_change pgorch._row_changes;
    v_fired integer := 0;
begin
    for v_change in
        select c.* from pgorch._row_changes c where c.bucket = p_bucket order by c.id limit 200 for update skip locked
    loop
        perform pgorch._wake_by_row(p_bucket, v_change.table_name, v_change.key_column, v_change.row_key,
            v_change.changed_to, v_change.changed_from, v_change.changed_by);
        delete from pgorch._row_changes c where c.bucket = p_bucket and c.id = v_change.id;
        v_fired := v_fired + 1;
    end loop;
    return v_fired;
end
$$;
comment on function pgorch._fire_row_changes is 'Wakes the runs that wait for what was changed without seeing them.';

create or replace function pgorch._recheck_row(
    p_bucket integer, p_run pgorch.runs, p_step pgorch.steps, p_data jsonb, p_now timestamptz) returns void
    language plpgsql
    as $$
declare
    v_wait pgorch._row_waits;
    v_snapshot constant pg_catalog.pg_snapshot := pg_current_snapshot();
    -- Whoever changed the row before the wait could be seen has a number below this.
    v_until constant pg_catalog.xid8 := coalesce((p_data ->> 'until')::xid8, pg_snapshot_xmax(v_snapshot));
    v_pause constant interval := coalesce((p_data ->> 'pause')::interval, interval '100 milliseconds');
    v_again boolean;
    v_output pg_catalog.jsonb;
    v_problem pg_catalog.jsonb;
    v_owner pg_catalog.name;
begin
    if p_data ? 'row' then
        perform pgorch._end_wait(p_bucket, p_run, p_step, 'success', p_data -> 'row', p_now);
        return;
    end if;
    select w.* into v_wait from pgorch._row_waits w where w.bucket = p_bucket and w.step_id = p_step.id;
    if v_wait.step_id is null then
        return;
    end if;
    -- Asked before the look: who has ended by now is seen by it.
    v_again := not pgorch._sees_commits() or pgorch._is_being_written(v_wait.table_name, v_snapshot, v_until);
    select g.owner into v_owner from pgorch.graphs g where g.id = p_run.graph_id;
    begin
        select r.output, r.problem into v_output, v_problem
        from pgorch._matching_row(v_owner, v_wait.table_name, v_wait.key_column, v_wait.row_key, v_wait.condition) r;
    exception when lock_not_available then
        v_again := true;
    end;
    if v_problem is not null then
        perform pgorch._end_wait(p_bucket, p_run, p_step, 'error', null, p_now, p_error => v_problem);
    elsif v_output is not null then
        perform pgorch._end_wait(p_bucket, p_run, p_step, 'success', v_output, p_now);
    elsif v_again then
        insert into pgorch.timers (bucket, run_id, step_id, due_at, kind, data)
        values (p_bucket, p_run.id, p_step.id, p_now + v_pause, 'recheck',
            jsonb_build_object('until', v_until::text, 'pause', least(v_pause * 2, interval '5 seconds')::text));
    end if;
end
$$;
comment on function pgorch._recheck_row is
    'Looks at the row of a wait once more, and again as long as a transaction is under way that may have changed it without seeing the wait, or keeps the table locked. p_data: the timer''s; "row" is the row as it was when it should have woken the run.';

create or replace function pgorch._is_being_written(p_table text, p_snapshot pg_snapshot, p_until xid8) returns boolean
    language plpgsql
    as $$
begin
    if not exists (select from pg_snapshot_xip(p_snapshot) x where x < p_until) then
        return false;
    end if;
    -- Whoever has changed a row holds a lock on its table until the end: that spares us the wait for all other transactions.
    return exists (
        select from pg_locks t
        join pg_locks o on o.virtualtransaction = t.virtualtransaction and o.locktype = 'transactionid' and o.mode = 'ExclusiveLock'
        join pg_snapshot_xip(p_snapshot) x on x < p_until and x::text::bigint & 4294967295 = o.transactionid::text::bigint
        where t.locktype = 'relation' and t.mode = 'RowExclusiveLock' and t.granted
          and t.relation in (select r.relid from pg_partition_tree(to_regclass(p_table)) r union all select to_regclass(p_table)));
end
$$;
comment on function pgorch._is_being_written is 'Does one of the transactions that a snapshot found under way write to a table, of those with a number below p_until?';
