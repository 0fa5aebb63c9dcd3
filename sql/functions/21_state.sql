-- The state of a run: a snapshot (at first the input) and the keys written since.

create or replace function pgorch._state(p_input jsonb, p_snapshot jsonb, p_delta jsonb) returns jsonb
    language sql immutable parallel safe
    as $$ select coalesce(p_snapshot, p_input) || p_delta $$;

create or replace function pgorch._is_large(p_input jsonb, p_snapshot jsonb) returns boolean
    language sql stable parallel safe
    as $$ select pg_column_size(coalesce(p_snapshot, p_input)) > 2000 $$;
comment on function pgorch._is_large is 'Is a state stored out of its row? Tells it without reading it.';

create or replace function pgorch._written(p_into_key text, p_output jsonb) returns jsonb
    -- Stable as jsonb_build_object() is: declared immutable, it would not be inlined (4 us a call).
    language sql stable parallel safe
    as $$
    select case
        when p_into_key is not null then jsonb_build_object(p_into_key, p_output)
        when jsonb_typeof(p_output) = 'object' then p_output
        else '{}'::jsonb
    end
    $$;
comment on function pgorch._written(text, jsonb) is 'What an output writes into the state.';

create or replace function pgorch._form_values(p_form jsonb, p_data jsonb) returns jsonb
    language sql immutable
    as $$
    select coalesce(jsonb_object_agg(d.key, d.value), '{}')
    from jsonb_each(p_data) d where p_form -> 'properties' ? d.key
    $$;
comment on function pgorch._form_values(jsonb, jsonb) is 'Of the data of a decision the properties that its form names.';

create or replace function pgorch._written_by_decision(p_node pgorch.nodes, p_outcome text, p_output jsonb) returns jsonb
    language plpgsql immutable
    as $$
begin
    return case
        -- Without a form no property is named, so what was decided reaches the state only under the key that it asks for.
        when p_node.form is null and p_node.into_key is not null and p_outcome in ('success', 'rejected')
        then pgorch._written(p_node.into_key, p_output)
        when p_node.form is not null and p_outcome = 'success'
        then pgorch._written(p_node.into_key, pgorch._form_values(p_node.form, p_output -> 'data'))
        else '{}' end;
end
$$;
comment on function pgorch._written_by_decision is 'What the end of an approval writes into the state.';

create or replace function pgorch._is_due_to_fold(p_input jsonb, p_snapshot jsonb, p_delta jsonb) returns boolean
    language sql stable parallel safe
    as $$
    -- A step costs WAL for the delta (d on average d/2) and, each d/o steps of o bytes, for the state (s). The sum is
    -- least at d = sqrt(2*o*s); 14 is sqrt(2*100). Below 2,000 bytes the row stays within its page in any case.
    select pg_column_size(p_delta) > 2000
       and pg_column_size(p_delta) > 14 * sqrt(pg_column_size(coalesce(p_snapshot, p_input)))
    $$;

create or replace function pgorch._visit_ends() returns pgorch.event_kind[]
    language sql immutable parallel safe
    as $$ select '{step_completed,step_failed,step_expired,step_skipped,approval_decided}'::pgorch.event_kind[] $$;
comment on function pgorch._visit_ends() is 'Kinds of history entries that end the visit of a node.';

create or replace function pgorch._node_var(
    p_kind pgorch.event_kind, p_output jsonb, p_error jsonb, p_attempt integer, p_visits bigint) returns jsonb
    language sql stable
    as $$
    select jsonb_build_object('output', p_output, 'error', p_error, 'attempts', p_attempt, 'visits', p_visits,
               'status', case p_kind when 'step_completed' then 'completed' when 'step_failed' then 'failed'
                                     when 'step_expired' then 'expired' when 'step_skipped' then 'skipped'
                                     else p_output ->> 'decision' end)
    $$;
comment on function pgorch._node_var is 'What $nodes.<id> is after a visit.';

create or replace function pgorch._sources(p_bucket integer, p_run pgorch.runs) returns table (run_id uuid, upto integer)
    language plpgsql stable
    as $$
declare
    v_from pg_catalog.uuid := p_run.forked_from;
    v_at integer := p_run.forked_at;
begin
    run_id := p_run.id;
    upto := p_run.seq;
    return next;
    while v_from is not null loop
        run_id := v_from;
        upto := least(upto, v_at);
        return next;
        select r.forked_from, r.forked_at into v_from, v_at from pgorch.runs r where r.bucket = p_bucket and r.id = run_id;
    end loop;
end
$$;
comment on function pgorch._sources(integer, pgorch.runs) is 'Whose history is a run''s, and up to which entry: its own and, if it was forked, that of the run it was forked from, and so on.';

create or replace function pgorch._node_vars(p_bucket integer, p_run pgorch.runs, p_node_refs text[]) returns jsonb
    language plpgsql stable
    as $$
begin
    return (
        select coalesce(jsonb_object_agg(n.id, pgorch._node_var(h.kind, h.output, h.error, h.attempt, v.visits)), '{}')
        from unnest(p_node_refs) n(id)
        cross join lateral (
            select h.output, h.error, h.attempt, h.kind
            from pgorch._sources(p_bucket, p_run) o
            cross join lateral (
                select h.* from pgorch.history h
                where h.bucket = p_bucket and h.run_id = o.run_id and h.seq <= o.upto and h.node = n.id
                  and h.kind = any (pgorch._visit_ends())
                order by h.seq desc limit 1) h
            order by h.seq desc limit 1) h
        cross join lateral (
            select sum(c.visits)::bigint as visits
            from pgorch._sources(p_bucket, p_run) o
            cross join lateral (
                select count(*) as visits from pgorch.history h
                where h.bucket = p_bucket and h.run_id = o.run_id and h.seq <= o.upto and h.node = n.id
                  and h.kind = any (pgorch._visit_ends())) c) v);
end
$$;
comment on function pgorch._node_vars(integer, pgorch.runs, text[]) is 'The variable $nodes, of the nodes that a graph refers to and that have ended at least once.';

create or replace function pgorch._vars(p_bucket integer, p_run pgorch.runs, p_graph pgorch.graphs, p_roots text[]) returns jsonb
    language plpgsql stable
    as $$
declare
    v_vars pg_catalog.jsonb := '{}';
begin
    -- Only what is asked for: a large input is not copied for a condition that does not read it.
    if 'input' = any (p_roots) then
        v_vars := v_vars || jsonb_build_object('input', p_run.input);
    end if;
    if 'nodes' = any (p_roots) then
        v_vars := v_vars || jsonb_build_object('nodes', pgorch._node_vars(p_bucket, p_run, p_graph.node_refs));
    end if;
    if 'run' = any (p_roots) then
        v_vars := v_vars || jsonb_build_object('run', jsonb_build_object(
            'id', p_run.id, 'graph', p_graph.name, 'version', p_graph.version,
            'initiator', p_run.initiator, 'started_at', p_run.created_at));
    end if;
    return v_vars;
end
$$;

create or replace function pgorch._template_roots(p_template jsonb) returns text[]
    language sql immutable
    as $$ select array_agg(r.root) from unnest('{input,nodes,run}'::text[]) r(root) where strpos(p_template::text, '$' || r.root) > 0 $$;
