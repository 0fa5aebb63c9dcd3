-- How far a run is, node by node, and the runs that belong to it: what pictures are drawn from.

create or replace function pgorch.run_progress(p_run_id uuid) returns table (node text, state text, visits integer)
    language plpgsql stable
    set jit = off set enable_seqscan = off
    as $$
declare
    v_bucket constant integer := pgorch.bucket_of(p_run_id);
    v_run constant pgorch.runs := pgorch._seen_run(p_run_id);
begin
    return query
        with ended as (
            select h.node, count(*)::integer as visits,
                   (array_agg(h.kind order by h.seq desc))[1] as last
            from pgorch._lineage_history(v_bucket, v_run) h
            where h.kind = any (pgorch._visit_ends())
            group by h.node),
        live as (
            select s.node, bool_or(s.status <> 'waiting') as works
            from pgorch.live_steps s where s.bucket = v_bucket and s.run_id = p_run_id
            group by s.node)
        select coalesce(l.node, e.node),
               case when l.works then 'live' when l.node is not null then 'waiting'
                    when e.last in ('step_completed', 'approval_decided') then 'done'
                    else substr(e.last::text, 6) end,
               coalesce(e.visits, 0)
        from ended e full join live l on l.node = e.node
        order by 1;
end
$$;
comment on function pgorch.run_progress is
    'The nodes that a run has reached: done, failed, skipped, expired (how the last visit ended), live or waiting; visits: how many have ended.';

create or replace function pgorch.run_tree(p_run_id uuid)
    returns table (run_id uuid, parent_run_id uuid, depth integer, graph text, version integer, status pgorch.run_status,
                   created_at timestamptz, finished_at timestamptz)
    language plpgsql stable
    set jit = off set enable_seqscan = off
    as $$
declare
    v_bucket constant integer := pgorch.bucket_of(p_run_id);
    v_run constant pgorch.runs := pgorch._seen_run(p_run_id);
begin
    return query
        with recursive family as (
            select v_run.id as id, 0 as below, array[v_run.id] as way
            union all
            select r.id, f.below + 1, f.way || r.id
            from family f join pgorch.runs r on r.bucket = v_bucket and r.parent_run_id = f.id)
        select r.id, r.parent_run_id, f.below, g.name, g.version, r.status, r.created_at, r.finished_at
        from family f
        join pgorch.runs r on r.bucket = v_bucket and r.id = f.id
        join pgorch.graphs g on g.id = r.graph_id
        order by f.way;
end
$$;
comment on function pgorch.run_tree is 'A run and those that its steps started, and theirs: each below the one that waits for it.';
