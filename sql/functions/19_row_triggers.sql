-- Triggers on users' own tables, for waits on their rows: on a table as long as a graph names it, and no longer.
--
-- They are put there with the rights of whoever creates the graph (_row_table() says who may), by dynamic SQL, which has
-- no part in the path of a run. A trigger's argument is the table's name as nodes.wait_row and _row_waits have it: in a
-- partition, or after the table was renamed, TG_TABLE_NAME is another.

create or replace function pgorch._watch_tables(p_graph_id uuid) returns void
    language plpgsql
    set lock_timeout = '5s'
    as $$
declare
    v_table record;
begin
    for v_table in
        select distinct n.wait_row ->> 'table' as name, t.oid
        from pgorch.nodes n
        cross join lateral pgorch._row_table(n.wait_row ->> 'table') t
        where n.graph_id = p_graph_id and n.wait_row is not null and t.oid is not null
        order by 1
    loop
        continue when exists (select from pgorch._row_triggers(v_table.name) w(on_table) where w.on_table = v_table.oid);
        execute format('create or replace trigger pgorch_row_wait after insert or update on %s for each row execute function pgorch._row_changed(%L)',
                       v_table.oid::regclass, v_table.name);
    end loop;
exception when lock_not_available then
    perform pgorch._raise('OR002', format('%s has been written to by another transaction for 5 seconds, so no trigger could be put on it', v_table.name),
        'Try again once that transaction has ended; pg_stat_activity shows it.');
end
$$;
comment on function pgorch._watch_tables(uuid) is 'Puts the trigger pgorch_row_wait on the tables whose rows a graph waits for, where it is missing.';

create or replace function pgorch._row_triggers(p_table text) returns setof regclass
    language sql stable
    as $$
    select t.tgrelid::regclass
    from pg_trigger t join pg_proc p on p.oid = t.tgfoid
    where t.tgname = 'pgorch_row_wait' and t.tgparentid = 0 and p.proname = '_row_changed' and p.pronamespace = 'pgorch'::regnamespace
      and t.tgargs = convert_to(p_table, getdatabaseencoding()) || '\x00'
    $$;
comment on function pgorch._row_triggers(text) is 'The tables with a trigger for waits on a table of this name: none or one, but after a renaming.';

create or replace function pgorch._unwatch_table(p_table text) returns boolean
    language plpgsql
    set lock_timeout = '5s'
    as $$
declare
    v_table regclass;
begin
    if exists (select from pgorch.nodes n where n.wait_row ->> 'table' = p_table) then
        return true;
    end if;
    for v_table in select w.on_table from pgorch._row_triggers(p_table) w(on_table) loop
        execute format('drop trigger pgorch_row_wait on %s', v_table);
    end loop;
    return true;
exception when insufficient_privilege or lock_not_available then
    return false;
end
$$;
comment on function pgorch._unwatch_table(text) is
    'Takes the trigger off a table that no graph names any more. False: it is still there, since only the table''s owner may drop it, or the table is in use.';
