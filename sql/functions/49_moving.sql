-- Moving a run to another version of its graph.

create or replace function pgorch.move(p_run_id uuid, p_graph text, p_actor text default null) returns uuid
    language plpgsql
    set jit = off set enable_seqscan = off
    as $$
declare
    v_bucket constant integer := pgorch.bucket_of(p_run_id);
    v_actor constant pg_catalog.text := pgorch._actor(p_actor);
    v_run pgorch.runs := pgorch._locked_run(p_run_id);
    v_now constant pg_catalog.timestamptz := pgorch.clock_now();
    v_graph_id constant pg_catalog.uuid := pgorch.find_graph(p_graph);
    v_problems constant pg_catalog.text[] := pgorch._moving_problems(v_bucket, v_run, v_graph_id);
    v_ids bigint[];
begin
    if v_problems <> '{}' then
        perform pgorch._raise('OR002', format('run %s cannot be moved: %s', p_run_id, v_problems[1]),
            'check_move() lists everything that stands in the way.', to_jsonb(v_problems)::text);
    end if;
    -- delete_graph() has looked at the older runs before it locks the graphs.
    perform from pgorch.graphs g where g.id = v_graph_id for share skip locked;
    if not found then
        perform pgorch._raise('OR002', format('run %s cannot be moved: somebody deletes %s just now', p_run_id, p_graph),
            'Move it to another version, or try again.');
    end if;
    v_run := pgorch._append(v_bucket, v_run, 'run_moved', v_now, p_actor => v_actor,
        p_output => jsonb_build_object('from', v_run.graph_id, 'to', v_graph_id));
    perform pgorch._audit(v_bucket, v_actor, 'move', p_run_id, p_before => jsonb_build_object('graph_id', v_run.graph_id),
        p_after => jsonb_build_object('graph_id', v_graph_id));
    update pgorch.steps s set graph_id = v_graph_id, counts = pgorch._moved_counts(s.counts, v_run.graph_id, v_graph_id)
    where s.bucket = v_bucket and s.run_id = p_run_id;
    update pgorch.approvals a set graph_id = v_graph_id where a.bucket = v_bucket and a.run_id = p_run_id and a.status = 'open';
    update pgorch.runs r set graph_id = v_graph_id where r.bucket = v_bucket and r.id = p_run_id;
    v_run.graph_id := v_graph_id;
    perform pgorch._save_run(v_bucket, v_run, v_now);
    -- What nobody has begun waits for the tool and in the queue of the new version.
    v_ids := array(
        select s.id from pgorch.steps s
        where s.bucket = v_bucket and s.run_id = p_run_id and s.kind < 'approval' and s.worker_id is null order by s.id for update);
    perform pgorch._give_back(v_bucket, v_ids, null, 0, 0);
    return v_graph_id;
end
$$;
comment on function pgorch.move is
    'Lets a live run go on in another version of its graph, if everything that is live in it exists there in the same place; else OR002. Returns the version''s id.';

create or replace function pgorch.check_move(p_run_id uuid, p_graph text) returns text[]
    language plpgsql stable
    set jit = off set enable_seqscan = off
    as $$
declare
    v_bucket constant integer := pgorch.bucket_of(p_run_id);
    v_run constant pgorch.runs := pgorch._seen_run(p_run_id);
begin
    return pgorch._moving_problems(v_bucket, v_run, pgorch.find_graph(p_graph));
end
$$;
comment on function pgorch.check_move is 'Why a run cannot be moved to a version of its graph, in sentences; empty: it can.';

create or replace function pgorch._moving_problems(p_bucket integer, p_run pgorch.runs, p_graph_id uuid) returns text[]
    language plpgsql stable
    as $$
declare
    v_old pgorch.graphs;
    v_new pgorch.graphs;
begin
    if p_run.finished_at is not null then
        return array[format('it is %s since %s', p_run.status, p_run.finished_at)];
    elsif p_run.graph_id = p_graph_id then
        return array['it is of this version already'];
    elsif p_run.ending is not null then
        return array['what it has done is being undone'];
    end if;
    select g.* into v_old from pgorch.graphs g where g.id = p_run.graph_id;
    select g.* into v_new from pgorch.graphs g where g.id = p_graph_id;
    return array(
        select format('it is of the graph %s, and not of %s', v_old.name, v_new.name) where v_old.name <> v_new.name
        union all
        -- Who branches keeps account of it from its beginning.
        select 'one of the versions has parallel branches, and the other has none' where v_old.has_forks <> v_new.has_forks
        union all
        select distinct case
            when n.id is null then format('it is at %s, which version %s has not', s.node, v_new.version)
            when n.type <> o.type then format('%s is a node of type %s there, and of type %s here', s.node, n.type, o.type)
            when n.loops <> o.loops then format('%s is in other loops there: %s, and not %s', s.node, n.loops, o.loops)
            when n.joins <> o.joins then format('at %s branches come together in one of the versions only', s.node)
            else format('%s runs another graph there', s.node) end
        from pgorch.steps s
        join pgorch.nodes o on o.graph_id = p_run.graph_id and o.id = s.node
        left join pgorch.nodes n on n.graph_id = p_graph_id and n.id = s.node
        where s.bucket = p_bucket and s.run_id = p_run.id
          and (n.id is null or n.type <> o.type or n.loops <> o.loops or n.joins <> o.joins
               or n.child_graph_id is distinct from o.child_graph_id and s.kind = 'child')
        union all
        -- They are what those who are asked were told, and what keeps one person from doing all of it.
        select distinct format('the open question %s has another %s there', s.node, concat_ws(', ',
            case when n.form is distinct from o.form then 'form' end, case when n.quorum <> o.quorum then 'quorum' end,
            case when n.exclude_initiator <> o.exclude_initiator then 'exclude_initiator' end,
            case when n.assignees is distinct from o.assignees then 'assignees' end))
        from pgorch.steps s
        join pgorch.nodes o on o.graph_id = p_run.graph_id and o.id = s.node
        join pgorch.nodes n on n.graph_id = p_graph_id and n.id = s.node
        where s.bucket = p_bucket and s.run_id = p_run.id and s.kind = 'approval' and n.type = o.type
          and (n.form, n.quorum, n.exclude_initiator, n.assignees) is distinct from (o.form, o.quorum, o.exclude_initiator, o.assignees)
        union all
        select distinct format('it has used the limit of the edge from %s to %s, which version %s has not', e.source, e.target, v_new.version)
        from pgorch.steps s
        cross join lateral jsonb_object_keys(s.counts) c(ord)
        join pgorch.edges e on e.graph_id = p_run.graph_id and e.ord = c.ord::integer
        where s.bucket = p_bucket and s.run_id = p_run.id and pgorch._same_edge(e, p_graph_id) is null);
end
$$;
comment on function pgorch._moving_problems is 'What of a run has no place in another version.';

create or replace function pgorch._same_edge(p_edge pgorch.edges, p_graph_id uuid) returns integer
    language sql stable
    as $$
    select e.ord from pgorch.edges e
    where e.graph_id = p_graph_id and e.source = p_edge.source and e.target = p_edge.target and e.on_outcome = p_edge.on_outcome
      and e.max_traversals is not null
    order by e.condition::text is not distinct from p_edge.condition::text desc, e.ord limit 1
    $$;
comment on function pgorch._same_edge is 'The edge with a limit of another version that stands for one of this: its position.';

create or replace function pgorch._moved_counts(p_counts jsonb, p_from uuid, p_to uuid) returns jsonb
    language sql stable
    as $$
    select case when p_counts is null then null else (
        select coalesce(jsonb_object_agg(pgorch._same_edge(e, p_to)::text, c.value), '{}')
        from jsonb_each(p_counts) c
        join pgorch.edges e on e.graph_id = p_from and e.ord = c.key::integer) end
    $$;
