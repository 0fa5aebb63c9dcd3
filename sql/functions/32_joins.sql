-- Joins (rule R4), decided under the run's lock: asking "are all siblings done?" without it loses the last one.

create or replace function pgorch._can_reach(
    p_visit integer[], p_loops text[], p_join_visit integer[], p_join_loops text[], p_via_back boolean) returns boolean
    language plpgsql immutable
    as $$
declare
    v_depth integer;
begin
    if p_join_loops = '{}' then
        return true;
    end if;
    if p_via_back then
        v_depth := cardinality(p_join_loops);
        return p_visit[1:v_depth - 1] = p_join_visit[1:v_depth - 1] and p_visit[v_depth] + 1 = p_join_visit[v_depth];
    end if;
    v_depth := pgorch._common_depth(p_loops, p_join_loops);
    -- A loop that has yet to be entered begins with its visit 0.
    return p_visit[1:v_depth] = p_join_visit[1:v_depth]
       and 0 = all (p_join_visit[v_depth + 1:cardinality(p_join_loops)]);
end
$$;
comment on function pgorch._can_reach is 'Can a live step still arrive in this visit of a join, if the graph has a way from its node?';

create or replace function pgorch._next_join(p_bucket integer, p_run pgorch.runs) returns pgorch._move
    language plpgsql
    as $$
declare
    v_join record;
    v_loops text[];
    v_ids bigint[];
    v_move pgorch._move;
begin
    for v_join in
        select s.node, s.visit, min(s.id) as first_id
        from pgorch.steps s
        where s.bucket = p_bucket and s.run_id = p_run.id and s.kind = 'join'
        group by s.node, s.visit order by min(s.id)
    loop
        select n.loops into v_loops from pgorch.nodes n where n.graph_id = p_run.graph_id and n.id = v_join.node;
        -- `offset 0` keeps the inner question a question about one live step, asked until one can still arrive; made a
        -- join of, it was answered for all of them (280 ms instead of 1 at 1,000 branches).
        continue when exists (
            select from pgorch.steps s
            where s.bucket = p_bucket and s.run_id = p_run.id and not (s.kind = 'join' and s.node = v_join.node)
              and exists (
                select from pgorch._reach w
                where w.graph_id = p_run.graph_id and w.target = v_join.node and w.source = s.node
                  and pgorch._can_reach(
                      s.visit, (select n.loops from pgorch.nodes n where n.graph_id = p_run.graph_id and n.id = s.node),
                      v_join.visit, v_loops, w.via_back)
                offset 0));
        select array_agg(s.id order by s.id) into v_ids
        from pgorch.steps s
        where s.bucket = p_bucket and s.run_id = p_run.id and s.kind = 'join'
          and s.node = v_join.node and s.visit is not distinct from v_join.visit;
        v_move.node := v_join.node;
        v_move.visit := v_join.visit;
        v_move.joined := true;
        v_move.attempt := cardinality(v_ids);
        v_move.lineage := pgorch._joined_lineage(p_bucket, p_run.id, v_ids);
        v_move.counts := (
            select jsonb_object_agg(c.ord, c.most)
            from (select t.key as ord, max(t.value::integer) as most
                  from pgorch.steps s, jsonb_each_text(s.counts) t
                  where s.bucket = p_bucket and s.id = any (v_ids)
                  group by t.key) c);
        delete from pgorch.steps s where s.bucket = p_bucket and s.id = any (v_ids);
        return v_move;
    end loop;
    return null;
end
$$;
comment on function pgorch._next_join is
    'The first join of the run at which nothing live can arrive any more, taken out of the live steps; `attempt` holds the number of its arrivals.';
