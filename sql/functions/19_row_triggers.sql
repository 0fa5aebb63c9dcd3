-- Triggers on users' own tables, for waits on their rows: on a table as long as a graph names it, and no longer.
--
-- They are put there with the rights of whoever creates the graph (_row_table() says who may), by dynamic SQL, which has
-- no part in the path of a run. There are two for each column by which rows are found, one for what rows become, one for
-- rows that are deleted or get another key. Their arguments are that column, and the table's name as nodes.wait_row and
-- _row_waits have it: in a partition, or after the table was renamed, the name of the table on which the trigger fires is
-- another.

create or replace function pgorch._row_triggers(p_table text, p_key_column text)
    returns table (on_table regclass, name name)
    language sql stable
    as $$
    select t.tgrelid::regclass, t.tgname
    from pg_trigger t join pg_proc p on p.oid = t.tgfoid
    where t.tgparentid = 0 and p.proname in ('_row_changed', '_row_left') and p.pronamespace = 'pgorch'::regnamespace
      and t.tgargs = convert_to(p_key_column, getdatabaseencoding()) || '\x00' || convert_to(p_table, getdatabaseencoding()) || '\x00'
    $$;
comment on function pgorch._row_triggers(text, text) is 'The triggers for waits on a table of this name by this column: none or two, but after a renaming.';

create or replace function pgorch._watch_tables(p_graph_id uuid) returns void
    language plpgsql
    set lock_timeout = '5s'
    as $$
declare
    v_wait pg_catalog.record;
    v_suffix pg_catalog.text;
begin
    for v_wait in
        select distinct n.wait_row ->> 'table' as table_name, n.wait_row ->> 'key_column' as key_column, t.oid
        from pgorch.nodes n
        cross join lateral pgorch._row_table(n.wait_row ->> 'table') t
        where n.graph_id = p_graph_id and n.wait_row is not null and t.oid is not null
        order by 1, 2
    loop
        continue when exists (select from pgorch._row_triggers(v_wait.table_name, v_wait.key_column) t where t.on_table = v_wait.oid);
        v_suffix := case when octet_length(v_wait.key_column) <= 47 then v_wait.key_column else md5(v_wait.key_column) end;
        execute format('create or replace trigger %I after insert or update on %s for each row execute function pgorch._row_changed(%L, %L)',
            'pgorch_row_wait_' || v_suffix, v_wait.oid::regclass, v_wait.key_column, v_wait.table_name);
        execute format('create or replace trigger %I after delete or update of %I on %s for each row execute function pgorch._row_left(%L, %L)',
            'pgorch_row_left_' || v_suffix, v_wait.key_column, v_wait.oid::regclass, v_wait.key_column, v_wait.table_name);
    end loop;
exception when lock_not_available then
    perform pgorch._raise('OR002', format('%s has been written to by another transaction for 5 seconds, so no trigger could be put on it', v_wait.table_name),
        'Try again once that transaction has ended; pg_stat_activity shows it.');
end
$$;
comment on function pgorch._watch_tables(uuid) is 'Puts triggers pgorch_row_wait_<column> and pgorch_row_left_<column> on the tables whose rows a graph waits for, where they are missing.';

create or replace function pgorch._unwatch_table(p_table text, p_key_column text) returns boolean
    language plpgsql
    -- Nobody can use graphs meanwhile, and whoever writes to the table waits behind this.
    set lock_timeout = '200ms'
    as $$
declare
    v_trigger pg_catalog.record;
begin
    if exists (select from pgorch.nodes n where n.wait_row ->> 'table' = p_table and n.wait_row ->> 'key_column' = p_key_column) then
        return true;
    end if;
    for v_trigger in select t.* from pgorch._row_triggers(p_table, p_key_column) t loop
        execute format('drop trigger %I on %s', v_trigger.name, v_trigger.on_table);
    end loop;
    return true;
exception when insufficient_privilege or lock_not_available then
    return false;
end
$$;
comment on function pgorch._unwatch_table(text, text) is
    'Takes the triggers off a table that no graph names any more. False: it is still there, since only the table''s owner may drop it, or the table is in use.';
