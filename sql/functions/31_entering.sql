-- Entering a node: what a step is made of, and where it stands.

create or replace function pgorch._lane_queue(p_node_queue text, p_run_queue text) returns text
    language sql immutable parallel safe
    as $$ select case when p_node_queue = 'default' then coalesce(p_run_queue, 'default') else p_node_queue end $$;
comment on function pgorch._lane_queue(text, text) is 'A queue named by the node goes before the run''s.';

create or replace function pgorch._enter_task(
    p_bucket integer, p_run pgorch.runs, p_node pgorch.nodes, p_move pgorch._move, p_input jsonb, p_limiter text, p_now timestamptz,
    p_undoes integer default null) returns void
    language plpgsql
    as $$
declare
    v_held constant pg_catalog.text := case when p_run.status = 'paused' then 'paused' when p_limiter is not null then 'limit' end;
begin
    -- With a concurrency key it waits outside the lanes for a place.
    insert into pgorch.steps (bucket, run_id, graph_id, kind, priority, created_at, lane_queue, lane_tool, held, limiter, ready_at,
                              input, item, visit, counts, lineage, born, node)
    values (p_bucket, p_run.id, p_run.graph_id, case when p_undoes is null then 'task' else 'undo' end::pgorch.step_kind, coalesce(p_node.priority, p_run.priority), p_now,
            case when v_held is null then pgorch._lane_queue(p_node.queue, p_run.queue) end,
            case when v_held is not null then null when p_undoes is null then p_node.function else p_node.compensate end, v_held, p_limiter, p_now,
            p_input, p_undoes, p_move.visit, p_move.counts, p_move.lineage, coalesce(p_move.born, p_run.seq), p_node.id);
    if v_held = 'limit' then
        perform pgorch._key_changed(p_bucket, array[p_limiter], p_now);
    end if;
end
$$;
comment on function pgorch._enter_task is 'A step that workers perform; with p_undoes the one that undoes what that history entry says.';

create or replace function pgorch._enter_waiting(
    p_bucket integer, p_run pgorch.runs, p_kind pgorch.step_kind, p_move pgorch._move, p_input jsonb, p_now timestamptz) returns bigint
    language plpgsql
    as $$
declare
    v_id bigint;
begin
    insert into pgorch.steps (bucket, run_id, graph_id, kind, created_at, ready_at, input, visit, counts, lineage, born, node)
    values (p_bucket, p_run.id, p_run.graph_id, p_kind, p_now, p_now, p_input, p_move.visit, p_move.counts, p_move.lineage,
            coalesce(p_move.born, p_run.seq), p_move.node)
    returning id into v_id;
    return v_id;
end
$$;
comment on function pgorch._enter_waiting is
    'A step that no worker performs: it waits for something. Of a join there is one for each arrival, so that an arrival costs the same however many came before.';

create or replace function pgorch._move_of(p_step pgorch.steps) returns pgorch._move
    language plpgsql immutable
    as $$
declare
    v_move pgorch._move;
begin
    v_move.node := p_step.node;
    v_move.visit := p_step.visit;
    v_move.counts := p_step.counts;
    v_move.lineage := p_step.lineage;
    v_move.born := p_step.born;
    return v_move;
end
$$;
comment on function pgorch._move_of(pgorch.steps) is 'A move from where a step is.';

create or replace function pgorch._rendered(
    p_bucket integer, p_run pgorch.runs, p_graph pgorch.graphs, p_template jsonb,
    out value jsonb, out problem jsonb)
    language plpgsql stable
    as $$
declare
    v_state pg_catalog.jsonb;
    v_vars pg_catalog.jsonb;
begin
    if p_template is null then
        return;
    end if;
    v_state := pgorch._state(p_run.input, p_run.snapshot, p_run.delta);
    v_vars := pgorch._vars(p_bucket, p_run, p_graph, pgorch._template_roots(p_template));
    perform pgorch._check_rendered_size(p_template, v_state, v_vars);
    value := pgorch._render(p_template, v_state, v_vars);
exception when data_exception or undefined_object or syntax_error_or_access_rule_violation or sqlstate 'OR006' then
    problem := jsonb_build_object('type', 'TemplateError', 'message', sqlerrm, 'retryable', false);
end
$$;
