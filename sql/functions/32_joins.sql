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

create or replace function pgorch._marks(p_bucket integer, p_run_id uuid, p_but text) returns text[]
    language plpgsql stable
    as $$
begin
    return (
        select array_agg(distinct s.node) from pgorch.steps s
        where s.bucket = p_bucket and s.run_id = p_run_id and s.kind = 'join' and s.attempt = 1 and s.node <> p_but);
end
$$;
comment on function pgorch._marks is 'Joins of the run that have run and let nothing more through, but for one; null if there are none.';

create or replace function pgorch._gets_past(p_graph_id uuid, p_from text, p_to text, p_marks text[]) returns boolean
    language sql stable
    as $$
    with recursive way(node, back) as (
        select p_from, false
        union
        select e.target, e.back and exists (
            select from pgorch.nodes n where n.graph_id = p_graph_id and n.id = any (p_marks) and e.target = any (n.loops))
        from way w
        join pgorch.edges e on e.graph_id = p_graph_id and e.source = w.node
        where not w.back and e.target <> all (p_marks))
    -- Round a loop in which it stands, a join that has run is another one.
    select exists (select from way w where w.node = p_to or w.back)
    $$;
comment on function pgorch._gets_past is 'Is there a way between two nodes that does not lead through one of the marks in the same visit?';

create or replace function pgorch._on_the_way(
    p_bucket integer, p_run pgorch.runs, p_node pgorch.nodes, p_visit integer[], p_most integer default null) returns bigint[]
    language plpgsql stable
    as $$
declare
    v_marks constant pg_catalog.text[] := pgorch._marks(p_bucket, p_run.id, p_node.id);
begin
    -- `offset 0` keeps the inner question a question about one live step, asked until enough are found; made a join of, it
    -- was answered for all of them (280 ms instead of 1 at 1,000 branches). For the same reason nothing is sorted here.
    return array(
        select s.id from pgorch.steps s
        where s.bucket = p_bucket and s.run_id = p_run.id and not (s.kind = 'join' and (s.node = p_node.id or s.attempt = 1))
          and exists (
            select from pgorch._reach w
            where w.graph_id = p_run.graph_id and w.target = p_node.id and w.source = s.node
              and pgorch._can_reach(
                  s.visit, (select n.loops from pgorch.nodes n where n.graph_id = p_run.graph_id and n.id = s.node),
                  p_visit, p_node.loops, w.via_back)
            offset 0)
          and (v_marks is null or pgorch._gets_past(p_run.graph_id, s.node, p_node.id, v_marks))
        limit p_most);
end
$$;
comment on function pgorch._on_the_way is 'The live steps that can still arrive in this visit of a join: up to p_most of them, null for all.';

create or replace function pgorch._next_join(
    p_bucket integer, p_run pgorch.runs, p_now timestamptz, p_replay boolean, out run pgorch.runs, out move pgorch._move)
    language plpgsql
    as $$
declare
    v_join pg_catalog.record;
    v_node pgorch.nodes;
    v_open boolean;
    v_gone integer;
    v_changed boolean;
begin
    run := p_run;
    loop
        v_changed := false;
        for v_join in
            select s.node, s.visit, array_agg(s.id order by s.id) filter (where s.attempt = 0) as ids, bool_or(s.attempt = 1) as fired
            from pgorch.steps s
            where s.bucket = p_bucket and s.run_id = run.id and s.kind = 'join'
            group by s.node, s.visit order by min(s.id)
        loop
            select n.* into v_node from pgorch.nodes n where n.graph_id = run.graph_id and n.id = v_join.node;
            v_open := pgorch._on_the_way(p_bucket, run, v_node, v_join.visit, 1) <> '{}';
            if v_join.fired then
                -- The node has run. What comes late goes no further, and with the last of it the mark goes.
                delete from pgorch.steps s
                where s.bucket = p_bucket and s.run_id = run.id and s.kind = 'join' and s.node = v_join.node
                  and s.visit is not distinct from v_join.visit and (s.attempt = 0 or not v_open);
                get diagnostics v_gone = row_count;
                run.live := run.live - v_gone;
                v_changed := v_changed or v_gone > 0;
                continue;
            end if;
            if cardinality(v_join.ids) < coalesce(v_node.join_least, 2147483647) then
                continue when v_open;
                if v_node.join_least is not null then
                    run := pgorch._without_arrivals(p_bucket, run, v_join.ids);
                    if not p_replay then
                        run := pgorch._append(p_bucket, run, 'step_skipped', p_now, p_node => v_node.id, p_visit => v_join.visit);
                    end if;
                    v_changed := true;
                    continue;
                end if;
            end if;
            move := pgorch._arrived(p_bucket, run, v_join.node, v_join.visit, v_join.ids);
            if v_open and v_node.cancel_rest then
                run := pgorch._cancel_steps(p_bucket, run, pgorch._on_the_way(p_bucket, run, v_node, v_join.visit), p_now, p_replay);
            elsif v_open then
                update pgorch.steps s set attempt = 1, lineage = '[]' where s.bucket = p_bucket and s.id = v_join.ids[1];
                v_join.ids := v_join.ids[2:];
            end if;
            run := pgorch._without_arrivals(p_bucket, run, v_join.ids);
            return;
        end loop;
        exit when not v_changed;
    end loop;
end
$$;
comment on function pgorch._next_join is
    'The first join of the run that can go on (rules R4 and R6), its arrivals taken out of the live steps; without a node if there is none. A join of any or at_least that others can still reach leaves a mark (attempt 1), so that it runs once.';

create or replace function pgorch._arrived(
    p_bucket integer, p_run pgorch.runs, p_node text, p_visit integer[], p_ids bigint[]) returns pgorch._move
    language plpgsql
    as $$
declare
    v_move pgorch._move;
begin
    v_move.node := p_node;
    v_move.visit := p_visit;
    v_move.joined := true;
    v_move.lineage := pgorch._joined_lineage(p_bucket, p_run.id, p_ids);
    v_move.counts := (
        select jsonb_object_agg(c.ord, c.most)
        from (select t.key as ord, max(t.value::integer) as most
              from pgorch.steps s, jsonb_each_text(s.counts) t
              where s.bucket = p_bucket and s.id = any (p_ids)
              group by t.key) c);
    return v_move;
end
$$;
comment on function pgorch._arrived is 'The one move that the arrivals at a join make together.';

create or replace function pgorch._without_arrivals(p_bucket integer, p_run pgorch.runs, p_ids bigint[]) returns pgorch.runs
    language plpgsql
    as $$
begin
    delete from pgorch.steps s where s.bucket = p_bucket and s.id = any (p_ids);
    p_run.live := p_run.live - cardinality(p_ids);
    return p_run;
end
$$;
