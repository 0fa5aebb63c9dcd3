-- Why a run went where it went: the edges out of a node as they were when it ended, or as they would be now.

create or replace function pgorch._node_vars_at(p_bucket integer, p_run pgorch.runs, p_node_refs text[], p_seq integer) returns jsonb
    language plpgsql stable
    as $$
begin
    return (
        select coalesce(jsonb_object_agg(n.node, n.var), '{}')
        from (
            select distinct on (h.node) h.node,
                   pgorch._node_var(h.kind, h.output, h.error, h.attempt, count(*) over (partition by h.node)) as var
            from pgorch._lineage_history(p_bucket, p_run, p_seq) h
            where h.node = any (p_node_refs)
              and h.kind = any (pgorch._visit_ends())
            order by h.node, h.seq desc) n);
end
$$;
comment on function pgorch._node_vars_at is 'The variable $nodes as it was after an entry of the history.';

create or replace function pgorch._decision_of(p_entry pgorch.history) returns jsonb
    -- Not SQL: inlined, it would be computed for other entries as well, whose output may be no object.
    language plpgsql immutable
    as $$
begin
    if p_entry.kind = 'approval_decided' then
        return pgorch._decision_var(p_entry.output -> 'data', p_entry.output - '{data,approval_id,at}'::text[]);
    end if;
    return null;
end
$$;
comment on function pgorch._decision_of(pgorch.history) is 'The variable $decision after an entry of the history; null where nothing was decided.';

create or replace function pgorch._vars_at(
    p_bucket integer, p_run pgorch.runs, p_graph pgorch.graphs, p_node text, p_outcome text, p_seq integer, p_error jsonb, p_decision jsonb)
    returns jsonb
    language plpgsql stable
    as $$
declare
    v_roots pg_catalog.text[];
begin
    select array_agg(distinct t.root) into v_roots
    from pgorch.edges e cross join lateral unnest(e.roots) t(root)
    where e.graph_id = p_graph.id and e.source = p_node and e.on_outcome in (p_outcome, 'always');
    if v_roots is null then
        return '{}';
    end if;
    return pgorch._vars(p_bucket, p_run, p_graph, array_remove(v_roots, 'nodes'))
        || jsonb_build_object('error', p_error, 'decision', p_decision)
        || case when 'nodes' = any (v_roots)
                then jsonb_build_object('nodes', pgorch._node_vars_at(p_bucket, p_run, p_graph.node_refs, p_seq)) else '{}' end;
end
$$;

create or replace function pgorch._ended_nowhere(p_entry pgorch.history) returns boolean
    language sql immutable
    as $$ select p_entry.kind = 'step_skipped' and p_entry.output is null and p_entry.actor is null $$;
comment on function pgorch._ended_nowhere(pgorch.history) is 'Does the entry tell of a join that too few could reach any more? Nothing follows from it.';

create or replace function pgorch._counts_at(p_bucket integer, p_run pgorch.runs, p_graph pgorch.graphs, p_seq integer) returns jsonb
    language plpgsql stable
    as $$
declare
    v_state pg_catalog.jsonb := p_run.input;
    v_arrived pg_catalog.jsonb := '{}';
    v_each pg_catalog.record;
    v_next pg_catalog.record;
    v_entry pgorch.history;
    v_node pgorch.nodes;
    v_move pgorch._move;
    v_outcome pg_catalog.text;
    v_chosen pg_catalog.record;
    v_key pg_catalog.text;
begin
    -- Traversals are counted in live steps and not in the history, so the way is gone once more. Several branches that
    -- arrive at a join bring the highest count of each edge.
    for v_each in select e.entry, e.node from pgorch._writing_entries(p_bucket, p_run, p_seq) e order by (e.entry).seq loop
        v_entry := v_each.entry;
        v_node := v_each.node;
        v_state := pgorch._state_after(v_state, v_node, v_entry);
        continue when v_node.id is null or v_node.graph_id <> p_graph.id;
        v_key := v_entry.node || ' ' || coalesce(v_entry.visit::text, '');
        v_move.counts := nullif(v_arrived -> v_key, 'null');
        if v_entry.seq = p_seq then
            return v_move.counts;
        end if;
        v_arrived := v_arrived - v_key;
        v_move.visit := v_entry.visit;
        v_outcome := pgorch._outcome_of(v_entry);
        select * into v_chosen from pgorch._choose_edges(p_graph.id, v_node.id, v_node.branch_all, v_outcome, v_state,
            pgorch._vars_at(p_bucket, p_run, p_graph, v_node.id, v_outcome, v_entry.seq, v_entry.error, pgorch._decision_of(v_entry)),
            v_move.counts);
        continue when v_chosen.problem is not null or v_chosen.ranks = '{}' or pgorch._ended_nowhere(v_entry);
        for v_next in
            select m.node || ' ' || coalesce(m.visit::text, '') as key, m.counts
            from unnest(pgorch._moves_along(p_graph, v_entry.seq, v_node, v_chosen.ranks, v_move)) m
        loop
            v_arrived := v_arrived || jsonb_build_object(v_next.key, (
                select jsonb_object_agg(c.ord, c.most)
                from (select t.key as ord, max(t.value::integer) as most
                      from (values (v_next.counts), (nullif(v_arrived -> v_next.key, 'null'))) b(counts)
                      cross join lateral jsonb_each_text(b.counts) t group by t.key) c));
        end loop;
    end loop;
    return null;
end
$$;
comment on function pgorch._counts_at is 'How often edges with a limit had been taken on the way to the visit that ended with an entry of the history.';

create or replace function pgorch.explain(p_run_id uuid, p_node text, p_seq integer default null)
    returns table (ord integer, target text, on_outcome text, condition text, "limit" integer, used integer, found jsonb,
                   holds boolean, taken boolean, why text, as_of integer)
    language plpgsql stable
    set jit = off set enable_seqscan = off
    as $$
declare
    v_bucket constant integer := pgorch.bucket_of(p_run_id);
    v_run constant pgorch.runs := pgorch._seen_run(p_run_id);
    v_upto constant integer := pgorch._seq_in(v_run, coalesce(p_seq, v_run.seq));
    v_graph pgorch.graphs;
    v_node pgorch.nodes;
    v_end pgorch.history;
    v_each pg_catalog.record;
    v_counts pg_catalog.jsonb;
    v_state pg_catalog.jsonb;
    v_outcome pg_catalog.text := 'success';
    v_plain pg_catalog.text;
    v_decision pg_catalog.jsonb;
begin
    for v_each in select e.entry, e.node from pgorch._writing_entries(v_bucket, v_run, v_upto) e where (e.entry).node = p_node order by (e.entry).seq loop
        v_end := v_each.entry;
        v_node := v_each.node;
    end loop;
    select g.* into v_graph from pgorch.graphs g where g.id = coalesce(v_node.graph_id, v_run.graph_id);
    perform pgorch._known_node(v_graph.id, p_node);
    as_of := v_end.seq;
    if as_of is null then
        -- It has not ended yet: what would follow if it ended well, with the state as it is.
        v_state := pgorch._state_at(v_bucket, v_run, v_upto);
        select s.counts into v_counts from pgorch.steps s
        where s.bucket = v_bucket and s.run_id = p_run_id and s.node = p_node order by s.id desc limit 1;
        return query
            select x.*, as_of
            from pgorch._explained(v_graph.id, p_node, v_outcome, v_state,
                pgorch._vars_at(v_bucket, v_run, v_graph, p_node, v_outcome, v_upto, null, null), v_counts) x;
        return;
    end if;

    v_state := pgorch._state_at(v_bucket, v_run, v_end.seq);
    v_outcome := pgorch._outcome_of(v_end);
    v_decision := pgorch._decision_of(v_end);
    if exists (select from pgorch.edges e where e.graph_id = v_graph.id and e.source = p_node and e.max_traversals is not null) then
        v_counts := pgorch._counts_at(v_bucket, v_run, v_graph, v_end.seq);
    end if;
    if pgorch._ended_nowhere(v_end) then
        return query
            select x.ord, x.target, x.on_outcome, x.condition, x.most, x.used, x.finds, x.holds, false,
                   'the join was skipped, since too few could reach it any more: nothing follows from it', as_of
            from pgorch._explained(v_graph.id, p_node, v_outcome, v_state,
                pgorch._vars_at(v_bucket, v_run, v_graph, p_node, v_outcome, v_end.seq, null, null), v_counts) x;
        return;
    end if;
    if v_end.error ->> 'type' = 'ConditionUnknown' and v_end.error ? 'edge' then
        -- It ended well at first, and failed when its edges were asked: these are shown as they were asked then.
        v_each := v_end;
        v_end.error := null;
        v_plain := pgorch._outcome_of(v_end);
        return query
            select x.*, as_of
            from pgorch._explained(v_graph.id, p_node, v_plain,
                pgorch._state_after(v_state, v_node, case when v_end.kind = 'step_failed' then pgorch._as_completed(v_end) else v_end end),
                pgorch._vars_at(v_bucket, v_run, v_graph, p_node, v_plain, v_end.seq, null, v_decision), v_counts) x
            where x.on_outcome not in ('error', 'always');
        v_end := v_each;
        v_decision := null;
    end if;
    return query
        select x.*, as_of
        from pgorch._explained(v_graph.id, p_node, v_outcome, v_state,
            pgorch._vars_at(v_bucket, v_run, v_graph, p_node, v_outcome, v_end.seq, v_end.error, v_decision), v_counts) x
        where v_plain is null or x.on_outcome in ('error', 'always');
end
$$;
comment on function pgorch.explain is
    'Every edge out of a node of a run, with what its condition found and why it was taken or not when the node ended last (as_of: the entry of the history; '
    'p_seq: up to that entry). Of a node that has not ended (as_of null): what would be taken if it ended well now.';

create or replace function pgorch._as_completed(p_entry pgorch.history) returns pgorch.history
    language plpgsql immutable
    as $$
begin
    p_entry.kind := 'step_completed';
    return p_entry;
end
$$;
