-- Deleting a version of a graph that nothing depends on.

create or replace function pgorch.delete_graph(p_graph text, p_actor text default null)
    returns table (graph_id uuid, name text, version integer, watched text[])
    language plpgsql
    set search_path = pg_catalog, pgorch, pg_temp
    set jit = off set enable_seqscan = off
    as $$
declare
    v_actor constant pg_catalog.text := pgorch._actor(p_actor);
    -- An id is made later, but for what its clock may be set back meanwhile.
    v_since constant pg_catalog.uuid := pgorch._first_id_of(clock_timestamp() - interval '5 seconds');
    v_graph pgorch.graphs;
    v_waits pg_catalog.jsonb[];
begin
    perform pgorch._check_unused(pgorch.find_graph(p_graph));
    -- To look at all runs takes as long as there are many, and is done before everybody is kept out. What comes in the
    -- meantime is known by its id: no run is moved to a version that somebody has locked.
    select g.* into v_graph from pgorch.graphs g where g.id = pgorch.find_graph(p_graph) for no key update skip locked;
    if v_graph.id is null then
        perform pgorch._raise('OR002', format('%s is being deleted, or a run moved to it, by another transaction just now', p_graph),
            'Try again once that has ended; pg_stat_activity shows it.');
    end if;
    begin
        -- Whoever is starting a run by now, and has its id already, is waited out.
        perform pgorch._lock_graphs();
        raise exception using errcode = 'OR000';
    exception when sqlstate 'OR000' then
        null;
    end;
    perform pgorch._check_without_runs(v_graph, null);
    -- Whoever starts a run or creates a parent has read this table in the same transaction. So once it is locked, nobody
    -- does so with this graph, and what was done is seen.
    perform pgorch._lock_graphs();
    perform pgorch._check_unused(v_graph.id);
    perform pgorch._check_without_runs(v_graph, v_since);
    v_waits := array(select distinct n.wait_row - 'key' - 'condition' from pgorch.nodes n where n.graph_id = v_graph.id and n.wait_row is not null);
    delete from pgorch.graphs g where g.id = v_graph.id;
    graph_id := v_graph.id;
    name := v_graph.name;
    version := v_graph.version;
    watched := array(select distinct w.row ->> 'table' from unnest(v_waits) w("row")
                     where not pgorch._unwatch_table(w.row ->> 'table', w.row ->> 'key_column') order by 1);
    perform pgorch._audit(0, v_actor, 'delete_graph', null, p_before => to_jsonb(v_graph) - 'node_refs');
    return next;
end
$$;
comment on function pgorch.delete_graph(text, text) is
    'Deletes a version of a graph (an id, a name for its latest, or name@version) that no run, no schedule and no other graph uses, and the triggers of its waits on rows where no other graph needs them. watched: tables whose trigger could not be dropped; their owner can.';

create or replace function pgorch._lock_graphs() returns void
    language plpgsql
    -- While this waits, everybody else waits behind it: not for long, and then they have their turn.
    set lock_timeout = '300ms'
    as $$
declare
    v_until constant pg_catalog.timestamptz := clock_timestamp() + interval '5 seconds';
begin
    loop
        begin
            lock table pgorch.graphs in access exclusive mode;
            return;
        exception when lock_not_available then
            if clock_timestamp() > v_until then
                perform pgorch._raise('OR002', 'a transaction that uses graphs has been open for 5 seconds, so none can be deleted now',
                    'Try again once it has ended; pg_stat_activity shows it.');
            end if;
        end;
        perform pg_sleep(0.3);
    end loop;
end
$$;
comment on function pgorch._lock_graphs() is 'Keeps everybody from the graphs until the transaction ends; OR002 if somebody uses them for long.';

create or replace function pgorch._check_unused(p_graph_id uuid) returns void
    language plpgsql
    as $$
declare
    v_graph pgorch.graphs;
    v_parent pg_catalog.record;
    v_schedule pg_catalog.text;
begin
    select g.* into v_graph from pgorch.graphs g where g.id = p_graph_id;
    select p.name, p.version into v_parent
    from pgorch.nodes n join pgorch.graphs p on p.id = n.graph_id
    where n.child_graph_id = p_graph_id order by p.name, p.version limit 1;
    if found then
        perform pgorch._raise('OR002', format('%s@%s is run by the graph %s@%s', v_graph.name, v_graph.version, v_parent.name, v_parent.version),
            'Delete that one first.');
    end if;
    select s.name into v_schedule from pgorch.schedules s
    where s.graph in (v_graph.id::text, format('%s@%s', v_graph.name, v_graph.version))
       or s.graph = v_graph.name and not exists (select from pgorch.graphs g where g.name = v_graph.name and g.version > v_graph.version)
    order by s.name limit 1;
    if v_schedule is not null then
        perform pgorch._raise('OR002', format('%s@%s is started by the schedule %s', v_graph.name, v_graph.version, v_schedule),
            'Let it start another version, or delete it first.');
    end if;
end
$$;
comment on function pgorch._check_unused(uuid) is 'Raises OR002 if a schedule or another graph names a version.';

create or replace function pgorch._check_without_runs(p_graph pgorch.graphs, p_since uuid) returns void
    language plpgsql
    as $$
begin
    -- A run can be in any bucket, and there are 256 at most.
    for v_bucket in 0 .. 255 loop
        if p_since is null and pgorch._has_runs(v_bucket, p_graph.id) or pgorch._has_runs_since(v_bucket, p_graph.id, p_since) then
            perform pgorch._raise('OR002', format('%s@%s has runs', p_graph.name, p_graph.version),
                'A version is kept as long as its runs, also the finished ones: their history is read by it.');
        end if;
    end loop;
end
$$;
comment on function pgorch._check_without_runs(pgorch.graphs, uuid) is
    'Raises OR002 if a version has runs, from this id on; null: any, for which all runs are read if there are none.';

create or replace function pgorch._has_runs(p_bucket integer, p_graph_id uuid) returns boolean
    language plpgsql stable
    as $$ begin return exists (select from pgorch.runs r where r.bucket = p_bucket and r.graph_id = p_graph_id); end $$;

create or replace function pgorch._has_runs_since(p_bucket integer, p_graph_id uuid, p_since uuid) returns boolean
    language plpgsql stable
    as $$ begin return exists (select from pgorch.runs r where r.bucket = p_bucket and r.id >= p_since and r.graph_id = p_graph_id); end $$;
