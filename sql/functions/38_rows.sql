-- Waits for a row of one's own table. A trigger on the table wakes the run in the transaction that changes the row.
-- Whoever changes a row and whoever begins to wait for it meet at an advisory lock on (table, key): a change that came
-- before is seen by the one who waits, and one that comes later sees that somebody waits. Who begins to wait holds the lock
-- of a run, so he never stands in line for that lock; if he cannot have it, a timer looks once more.

create or replace function pgorch._row_lock(p_table text, p_key text) returns bigint
    language sql immutable
    as $$ select hashtextextended(p_table || E'\n' || p_key, 7) $$;

create or replace function pgorch._watch_row(
    p_bucket integer, p_run pgorch.runs, p_graph pgorch.graphs, p_node pgorch.nodes, p_step_id bigint, p_key text, p_now timestamptz,
    out output jsonb, out problem jsonb)
    language plpgsql
    as $$
declare
    v_table constant text := p_node.wait_row ->> 'table';
    v_condition constant jsonpath := (p_node.wait_row ->> 'condition')::jsonpath;
begin
    insert into pgorch._row_waits (bucket, step_id, run_id, table_name, row_key, key_column, condition)
    values (p_bucket, p_step_id, p_run.id, v_table, p_key, p_node.wait_row ->> 'key_column', v_condition);
    if not pg_try_advisory_xact_lock(pgorch._row_lock(v_table, p_key)) then
        insert into pgorch.timers (bucket, run_id, step_id, due_at, kind)
        values (p_bucket, p_run.id, p_step_id, p_now + interval '50 milliseconds', 'recheck');
        return;
    end if;
    select r.output, r.problem into output, problem
    from pgorch._matching_row(p_graph.owner, v_table, p_node.wait_row ->> 'key_column', p_key, v_condition) r;
end
$$;
comment on function pgorch._watch_row is 'Notes that a step waits for a row, and looks at the row: output, if it is as it should be.';

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
    execute format('select to_jsonb(t) from %s t where t.%I::text = $1', p_table::regclass, p_key_column) into output using p_key;
    if output is not null and not coalesce(pgorch._row_fits(output, p_condition), false) then
        output := null;
    end if;
exception when others then
    problem := jsonb_build_object('type', 'RowUnreadable', 'message', format('%s cannot be read: %s', p_table, sqlerrm));
end
$$;
comment on function pgorch._matching_row is 'The row with a key, if it fulfils the condition; null if not, or if there is none.';

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
    set search_path = pg_catalog, pgorch, pg_temp
    as $$
declare
    v_row constant jsonb := to_jsonb(new);
    v_key constant text := v_row ->> tg_argv[0];
    v_table constant text := tg_argv[1];
    v_bucket integer;
begin
    if v_key is null then
        return null;
    end if;
    perform pg_advisory_xact_lock_shared(pgorch._row_lock(v_table, v_key));
    for v_bucket in 0 .. pgorch.bucket_count() - 1 loop
        perform pgorch._wake_by_row(v_bucket, v_table, tg_argv[0], v_key, v_row);
    end loop;
    return null;
end
$$;
comment on function pgorch._row_changed() is 'Trigger on tables that graphs wait for; its arguments are the column that holds the key, and the table''s name as graphs have it.';

create or replace function pgorch._wake_by_row(p_bucket integer, p_table text, p_key_column text, p_key text, p_row jsonb) returns void
    language plpgsql
    set jit = off set enable_seqscan = off
    as $$
declare
    v_wait record;
    v_run pgorch.runs;
    v_step pgorch.steps;
begin
    for v_wait in
        select w.step_id, w.run_id from pgorch._row_waits w
        where w.bucket = p_bucket and w.table_name = p_table and w.row_key = p_key and w.key_column = p_key_column
          and pgorch._row_fits(p_row, w.condition)
        order by w.run_id, w.step_id
    loop
        select r.* into v_run from pgorch.runs r where r.bucket = p_bucket and r.id = v_wait.run_id for update;
        select s.* into v_step from pgorch.steps s where s.bucket = p_bucket and s.id = v_wait.step_id and s.kind = 'wait';
        continue when v_step.id is null;
        begin
            perform pgorch._end_wait(p_bucket, v_run, v_step, 'success', p_row, pgorch.clock_now());
        exception when others then
            -- What is wrong with a run must not keep anybody from changing his own row.
            raise warning 'run % cannot be woken by the row, and is tried again: %', v_wait.run_id, sqlerrm;
            insert into pgorch.timers (bucket, run_id, step_id, due_at, kind)
            values (p_bucket, v_wait.run_id, v_wait.step_id, pgorch.clock_now(), 'recheck');
        end;
    end loop;
end
$$;
comment on function pgorch._wake_by_row is 'Goes on with the runs that wait for a row to be like this.';

create or replace function pgorch._recheck_row(p_bucket integer, p_run pgorch.runs, p_step pgorch.steps, p_now timestamptz) returns void
    language plpgsql
    as $$
declare
    v_wait pgorch._row_waits;
    v_found record;
    v_owner name;
begin
    select w.* into v_wait from pgorch._row_waits w where w.bucket = p_bucket and w.step_id = p_step.id;
    if v_wait.step_id is null then
        return;
    end if;
    if not pg_try_advisory_xact_lock(pgorch._row_lock(v_wait.table_name, v_wait.row_key)) then
        insert into pgorch.timers (bucket, run_id, step_id, due_at, kind)
        values (p_bucket, p_run.id, p_step.id, p_now + interval '200 milliseconds', 'recheck');
        return;
    end if;
    select g.owner into v_owner from pgorch.graphs g where g.id = p_run.graph_id;
    select r.* into v_found
    from pgorch._matching_row(v_owner, v_wait.table_name, v_wait.key_column, v_wait.row_key, v_wait.condition) r;
    if v_found.output is not null then
        perform pgorch._end_wait(p_bucket, p_run, p_step, 'success', v_found.output, p_now);
    end if;
end
$$;
comment on function pgorch._recheck_row is 'Looks at the row of a wait once more, since somebody was changing it when the wait began.';
