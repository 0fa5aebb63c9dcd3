-- Waits for a row of one's own table. A trigger on the table wakes the run in the transaction that changes the row.
--
-- Nobody waits for anybody here: a user's update must not stand behind the work of runs, nor run into a deadlock with it.
-- Whoever changes a row and whoever begins to wait for one raise a flag each until their transactions end, and then look for the
-- other's: at least one of them sees the other. Flags are advisory locks, taken shared; there are 128 of each kind for all
-- rows, so that an update of a million rows does not fill the server's table of locks. Who begins to wait and sees a change
-- under way looks again later (a timer). Who changes a row and sees somebody begin to wait, or whose snapshot is too old to see
-- who waits, notes the change, and tick() compares it with the waits that had not seen it.

create or replace function pgorch._row_flag(p_kind text, p_table text, p_key text) returns bigint
    language sql immutable
    as $$ select hashtextextended('pgorch rows: ' || p_kind, hashtextextended(p_table || E'\n' || p_key, 0) & 127) $$;
comment on function pgorch._row_flag is 'Key of the advisory lock that is the flag of those who change a row, or of those who begin to wait for it.';

create or replace function pgorch._is_raised(p_flag bigint) returns boolean
    language plpgsql
    as $$
begin
    return not (pg_try_advisory_lock(p_flag) and pg_advisory_unlock(p_flag));
end
$$;
comment on function pgorch._is_raised is 'Does another transaction hold a flag?';

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
    v_table constant text := p_node.wait_row ->> 'table';
    v_column constant text := p_node.wait_row ->> 'key_column';
    v_condition constant jsonpath := (p_node.wait_row ->> 'condition')::jsonpath;
    v_key text;
    v_flagged boolean;
begin
    select k.key, k.problem into v_key, problem from pgorch._row_key(v_table, v_column, p_key) k;
    if problem is not null then
        return;
    end if;
    v_flagged := pg_try_advisory_xact_lock_shared(pgorch._row_flag('wait', v_table, v_key));
    insert into pgorch._row_waits (bucket, step_id, run_id, table_name, row_key, key_column, condition, seen)
    values (p_bucket, p_step_id, p_run.id, v_table, v_key, v_column, v_condition, pg_current_snapshot());
    if not v_flagged or pgorch._is_raised(pgorch._row_flag('change', v_table, v_key)) or not pgorch._sees_commits() then
        insert into pgorch.timers (bucket, run_id, step_id, due_at, kind)
        values (p_bucket, p_run.id, p_step_id, p_now + interval '50 milliseconds', 'recheck');
        return;
    end if;
    select r.output, r.problem into output, problem
    from pgorch._matching_row(p_graph.owner, v_table, v_column, v_key, v_condition) r;
end
$$;
comment on function pgorch._watch_row is 'Notes that a step waits for a row, and looks at the row: output, if it is as it should be.';

create or replace function pgorch._key_type(p_table text, p_key_column text) returns text
    language plpgsql stable
    as $$
begin
    -- -1: a type without length. A key is not cut to length, or a longer one would find the row as well.
    return (select format_type(a.atttypid, -1) from pg_attribute a where a.attrelid = p_table::regclass and a.attname = p_key_column);
end
$$;

create or replace function pgorch._row_key(p_table text, p_key_column text, p_key text, out key text, out problem jsonb)
    language plpgsql
    as $$
begin
    execute format('select to_jsonb($1::%s) #>> %L', pgorch._key_type(p_table, p_key_column), '{}') into key using p_key;
exception when others then
    problem := jsonb_build_object('type', 'BadWait', 'retryable', false,
        'message', format('%s has no row with the key %s: %s', p_table, left(p_key, 100), sqlerrm));
end
$$;
comment on function pgorch._row_key is 'A key as text, written as the row itself has it in JSON.';

create or replace function pgorch._matching_row(
    p_owner name, p_table text, p_key_column text, p_key text, p_condition jsonpath, out output jsonb, out problem jsonb)
    language plpgsql
    as $$
begin
    if not has_table_privilege(p_owner, p_table::regclass, 'select') then
        problem := jsonb_build_object('type', 'NotAllowed', 'retryable', false,
            'message', format('the graph''s owner %s may not read %s', p_owner, p_table), 'hint', format('grant select on %s to %I', p_table, p_owner));
        return;
    end if;
    -- The key has the column's type, so that an index on the column serves.
    execute format('select to_jsonb(t) from %s t where t.%I = $1::%s and pgorch._row_fits(to_jsonb(t), $2) limit 1',
        p_table::regclass, p_key_column, pgorch._key_type(p_table, p_key_column)) into output using p_key, p_condition;
exception when others then
    problem := jsonb_build_object('type', 'RowUnreadable', 'message', format('%s cannot be read: %s', p_table, sqlerrm));
end
$$;
comment on function pgorch._matching_row is 'The row with a key that fulfils the condition; null if there is none.';

create or replace function pgorch._row_fits(p_row jsonb, p_condition jsonpath) returns boolean
    language plpgsql immutable
    as $$
begin
    return jsonb_path_match(p_row, p_condition, '{}', true);
end
$$;
comment on function pgorch._row_fits is 'Does a row fulfil a condition? Unknown is no: the row may come to be so yet.';

create or replace function pgorch._row_changed() returns trigger
    language plpgsql security definer
    set search_path = pg_catalog, pgorch, pg_temp set jit = off set enable_seqscan = off
    as $$
declare
    v_row constant jsonb := to_jsonb(new);
    v_key constant text := v_row ->> tg_argv[0];
    v_table constant text := tg_argv[1];
    v_sees constant boolean := pgorch._sees_commits();
    v_bucket integer;
    v_noted boolean;
begin
    if v_key is null then
        return null;
    end if;
    perform pg_advisory_xact_lock_shared(pgorch._row_flag('change', v_table, v_key));
    v_noted := (not v_sees or pgorch._is_raised(pgorch._row_flag('wait', v_table, v_key)))
        and pgorch._may_be_waited_for(v_table, tg_argv[0], v_row);
    for v_bucket in 0 .. pgorch.bucket_count() - 1 loop
        -- With an old snapshot not even a run could be locked that has changed since.
        if v_sees then
            perform pgorch._wake_by_row(v_bucket, v_table, tg_argv[0], v_key, v_row);
        end if;
        if v_noted then
            perform pgorch._note_row_change(v_bucket, v_table, tg_argv[0], v_key, v_row);
        end if;
    end loop;
    return null;
end
$$;
comment on function pgorch._row_changed() is 'Trigger on tables that graphs wait for; its arguments are the column that holds the key, and the table''s name as graphs have it.';

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

create or replace function pgorch._note_row_change(p_bucket integer, p_table text, p_key_column text, p_key text, p_row jsonb) returns void
    language plpgsql
    as $$
begin
    insert into pgorch._row_changes (bucket, table_name, key_column, row_key, changed_by, changed_to)
    values (p_bucket, p_table, p_key_column, p_key, pg_current_xact_id(), p_row);
end
$$;

create or replace function pgorch._wake_by_row(
    p_bucket integer, p_table text, p_key_column text, p_key text, p_row jsonb, p_changed_by xid8 default null) returns void
    language plpgsql
    as $$
declare
    v_wait record;
    v_run pgorch.runs;
    v_step pgorch.steps;
    v_done boolean;
begin
    for v_wait in
        select w.step_id, w.run_id from pgorch._row_waits w
        where w.bucket = p_bucket and w.table_name = p_table and w.row_key = p_key and w.key_column = p_key_column
          and (p_changed_by is null or not pg_visible_in_snapshot(p_changed_by, w.seen))
          and pgorch._row_fits(p_row, w.condition)
        order by w.run_id, w.step_id
    loop
        v_done := false;
        begin
            select r.* into v_run from pgorch.runs r where r.bucket = p_bucket and r.id = v_wait.run_id for update skip locked;
            if found then
                select s.* into v_step from pgorch.steps s where s.bucket = p_bucket and s.id = v_wait.step_id and s.kind = 'wait';
                if found then
                    perform pgorch._end_wait(p_bucket, v_run, v_step, 'success', p_row, pgorch.clock_now());
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
            values (p_bucket, v_wait.run_id, v_wait.step_id, pgorch.clock_now(), 'recheck', jsonb_build_object('row', p_row));
        end if;
    end loop;
end
$$;
comment on function pgorch._wake_by_row is
    'Goes on with the runs that wait for a row to be like this; a timer does so for those that somebody works on. p_changed_by: only those that began to wait before that transaction''s changes could be seen.';

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
        -- Who is beginning to wait cannot be seen yet.
        continue when pgorch._is_raised(pgorch._row_flag('wait', v_change.table_name, v_change.row_key));
        perform pgorch._wake_by_row(p_bucket, v_change.table_name, v_change.key_column, v_change.row_key, v_change.changed_to, v_change.changed_by);
        delete from pgorch._row_changes c where c.bucket = p_bucket and c.id = v_change.id;
        v_fired := v_fired + 1;
    end loop;
    return v_fired;
end
$$;
comment on function pgorch._fire_row_changes is 'Wakes the runs that wait for what was changed without seeing them.';

create or replace function pgorch._recheck_row(
    p_bucket integer, p_run pgorch.runs, p_step pgorch.steps, p_row jsonb, p_now timestamptz) returns void
    language plpgsql
    as $$
declare
    v_wait pgorch._row_waits;
    v_found record;
    v_owner name;
begin
    if p_row is not null then
        perform pgorch._end_wait(p_bucket, p_run, p_step, 'success', p_row, p_now);
        return;
    end if;
    select w.* into v_wait from pgorch._row_waits w where w.bucket = p_bucket and w.step_id = p_step.id;
    if v_wait.step_id is null then
        return;
    end if;
    if not pg_try_advisory_xact_lock_shared(pgorch._row_flag('wait', v_wait.table_name, v_wait.row_key))
       or pgorch._is_raised(pgorch._row_flag('change', v_wait.table_name, v_wait.row_key)) then
        insert into pgorch.timers (bucket, run_id, step_id, due_at, kind)
        values (p_bucket, p_run.id, p_step.id, p_now + interval '200 milliseconds', 'recheck');
        return;
    end if;
    select g.owner into v_owner from pgorch.graphs g where g.id = p_run.graph_id;
    select r.* into v_found
    from pgorch._matching_row(v_owner, v_wait.table_name, v_wait.key_column, v_wait.row_key, v_wait.condition) r;
    if v_found.problem is not null then
        perform pgorch._end_wait(p_bucket, p_run, p_step, 'error', null, p_now, p_error => v_found.problem);
    elsif v_found.output is not null then
        perform pgorch._end_wait(p_bucket, p_run, p_step, 'success', v_found.output, p_now);
    end if;
end
$$;
comment on function pgorch._recheck_row is
    'Looks at the row of a wait once more, since somebody was changing it when the wait began. p_row: as it was when it should have woken the run.';
