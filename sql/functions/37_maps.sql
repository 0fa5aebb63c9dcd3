-- Maps: one item after the other or side by side, each with its own checkpoint. The map's step holds the list and three
-- counts: item (how many items have been started), attempt (how many have ended), failures (how many of those failed).

create or replace function pgorch._enter_map(
    p_bucket integer, p_run pgorch.runs, p_graph pgorch.graphs, p_node pgorch.nodes, p_move pgorch._move, p_items jsonb, p_now timestamptz,
    out run pgorch.runs, out outcome text, out output jsonb, out problem jsonb)
    language plpgsql
    as $$
declare
    v_map pgorch.steps;
    v_input pg_catalog.jsonb := jsonb_build_object('items', p_items);
    v_pending pg_catalog.jsonb;
    v_step_id bigint;
    v_started pg_catalog.record;
begin
    run := p_run;
    if jsonb_typeof(p_items) <> 'array' then
        problem := jsonb_build_object('type', 'InvalidItems', 'retryable', false,
            'message', format('the items of %s are %s, and no list', p_node.id, pgorch._kind(p_items)));
    elsif jsonb_array_length(p_items) > 100000 then
        problem := jsonb_build_object('type', 'InvalidItems', 'retryable', false,
            'message', format('%s has %s items, more than 100,000', p_node.id, jsonb_array_length(p_items)),
            'hint', 'Divide the list into parts, and let each be an item.');
    end if;
    if problem is not null then
        outcome := 'error';
        return;
    end if;
    if p_move.born is not null then
        -- Taken up again: what has been done in this visit is done.
        v_pending := pgorch._pending_items(p_bucket, run, p_node.id, p_move, jsonb_array_length(p_items));
        v_input := v_input || jsonb_build_object('pending', v_pending);
    end if;
    if jsonb_array_length(coalesce(v_pending, p_items)) = 0 then
        outcome := 'success';
        output := pgorch._map_output(p_bucket, run, p_node.id, p_move.visit, coalesce(p_move.born, run.seq));
        return;
    end if;
    v_step_id := pgorch._enter_waiting(p_bucket, run, 'map', p_move, v_input, p_now);
    run.live := run.live + 1;
    select s.* into v_map from pgorch.steps s where s.bucket = p_bucket and s.id = v_step_id;
    v_map.item := 0;
    select i.* into v_started from pgorch._start_items(p_bucket, run, p_graph, p_node, v_map, p_now) i;
    run.live := run.live + v_started.started;
    problem := v_started.problem;
    if problem is not null then
        outcome := 'error';
        run := pgorch._drop_steps(p_bucket, run, array[v_step_id], p_now);
    end if;
end
$$;

create or replace function pgorch._pending_items(
    p_bucket integer, p_run pgorch.runs, p_node text, p_move pgorch._move, p_count integer) returns jsonb
    language plpgsql stable
    as $$
declare
    v_done constant pg_catalog.jsonb := (
        select coalesce(jsonb_object_agg(h.item::text, true), '{}')
        from pgorch._sources(p_bucket, p_run) o
        cross join lateral (
            select h.item from pgorch.history h
            where h.bucket = p_bucket and h.run_id = o.run_id and h.seq > p_move.born and h.seq <= o.upto and h.node = p_node
              and h.visit is not distinct from p_move.visit and h.kind = 'item_completed') h);
begin
    return (select coalesce(jsonb_agg(i order by i), '[]') from generate_series(0, p_count - 1) i where not v_done ? i::text);
end
$$;
comment on function pgorch._pending_items is 'Indexes of the items of a visit that have not been completed.';

create or replace function pgorch._start_items(
    p_bucket integer, p_run pgorch.runs, p_graph pgorch.graphs, p_node pgorch.nodes, p_map pgorch.steps, p_now timestamptz,
    p_rows pgorch._ended_step[] default '{}', p_keep integer default 0, p_token uuid default null,
    out problem jsonb, out started integer, out used integer, out done boolean)
    language plpgsql
    as $$
declare
    v_held constant pg_catalog.text := case when p_run.status = 'paused' then 'paused' end;
    v_queue constant pg_catalog.text := case when v_held is null then pgorch._lane_queue(p_node.queue, p_run.queue) end;
    v_tool constant pg_catalog.text := case when v_held is null then p_node.function end;
    v_list pg_catalog.record;
    v_total integer;
    v_until integer;
    v_items integer[];
    v_inputs pg_catalog.jsonb[];
begin
    started := 0;
    used := 0;
    -- The list may be long: it is read once.
    select l.* into v_list from jsonb_to_record(p_map.input) l(items jsonb, pending jsonb, given jsonb);
    v_total := jsonb_array_length(coalesce(v_list.pending, v_list.items));
    done := p_map.attempt >= v_total;
    v_until := least(v_total, coalesce(p_map.attempt + p_node.concurrency, v_total));
    if v_until <= p_map.item then
        return;
    end if;
    select i.items, i.inputs, i.problem into v_items, v_inputs, problem
    from pgorch._item_inputs(p_bucket, p_run, p_graph, p_node, v_list.items, v_list.pending, v_list.given, p_map.item, v_until) i;
    if problem is not null then
        return;
    end if;
    started := cardinality(v_items);
    used := least(cardinality(p_rows), started);
    if used > 0 then
        perform pgorch._reuse_rows(p_bucket, p_rows[1:used], v_items[1:used], v_inputs[1:used], v_queue, v_tool, p_keep, p_token, p_now);
    end if;
    if used < started then
        insert into pgorch.steps (bucket, run_id, graph_id, kind, priority, created_at, lane_queue, lane_tool, held, ready_at, input,
                                  parent, item, visit, born, node)
        select p_bucket, p_run.id, p_run.graph_id, 'item', coalesce(p_node.priority, p_run.priority), p_now, v_queue, v_tool, v_held, p_now, t.input,
               p_map.id, t.item, p_map.visit, p_map.born, p_node.id
        from unnest(v_items[used + 1:], v_inputs[used + 1:]) t(item, input);
    end if;
    update pgorch.steps s set item = v_until where s.bucket = p_bucket and s.id = p_map.id;
    if least(p_keep, used) < started then
        perform pgorch._wake_workers(p_bucket);
    end if;
end
$$;
comment on function pgorch._start_items is
    'Starts as many items of a map as may be under way at once, and says how many (started): the first `used` of them in the rows of those that just ended (p_rows), where p_keep of them stay with the worker that had these. Done: all items have ended.';

create or replace function pgorch._item_inputs(
    p_bucket integer, p_run pgorch.runs, p_graph pgorch.graphs, p_node pgorch.nodes, p_items jsonb, p_pending jsonb, p_given jsonb,
    p_from integer, p_until integer, out items integer[], out inputs jsonb[], out problem jsonb)
    language plpgsql
    as $$
declare
    v_state pg_catalog.jsonb;
    v_vars pg_catalog.jsonb;
begin
    items := case when p_pending is null then array(select i from generate_series(p_from, p_until - 1) i)
                  else array(select (p_pending -> i)::integer from generate_series(p_from, p_until - 1) i) end;
    if p_node.input is null then
        -- The keys of an item that is an object can be arguments by themselves.
        inputs := array(
            select case when jsonb_typeof(c.value) = 'object' then c.value else '{}' end
                || jsonb_build_object('item', c.value, 'index', c.item)
            from (select i.item, i.at, p_items -> i.item as value from unnest(items) with ordinality i(item, at) offset 0) c order by c.at);
    else
        v_state := pgorch._state(p_run.input, p_run.snapshot, p_run.delta);
        v_vars := pgorch._vars(p_bucket, p_run, p_graph, pgorch._template_roots(p_node.input));
        perform pgorch._check_rendered_size(p_node.input, v_state, v_vars);
        inputs := array(
            select pgorch._render(p_node.input, v_state, v_vars || jsonb_build_object('item', p_items -> i.item, 'index', i.item))
            from unnest(items) with ordinality i(item, at) order by i.at);
    end if;
    if p_given is not null then
        inputs := array(select coalesce(p_given -> i.item::text, i.input)
                        from unnest(items, inputs) with ordinality i(item, input, at) order by i.at);
    end if;
exception when data_exception or undefined_object or syntax_error_or_access_rule_violation or sqlstate 'OR006' then
    problem := jsonb_build_object('type', 'TemplateError', 'message', sqlerrm, 'retryable', false);
end
$$;
comment on function pgorch._item_inputs is
    'The items that stand at places p_from up to p_until - 1 of what a map has to do, by index, and their arguments.';

create or replace function pgorch._go_on_with_map(
    p_bucket integer, p_run pgorch.runs, p_map_id bigint, p_ended integer, p_failed integer, p_now timestamptz,
    p_rows pgorch._ended_step[] default '{}', p_keep integer default 0, p_token uuid default null,
    out run pgorch.runs, out move pgorch._move, out used integer)
    language plpgsql
    as $$
declare
    v_map pgorch.steps;
    v_node pgorch.nodes;
    v_graph pgorch.graphs;
    v_borne integer;
    v_problem pg_catalog.jsonb;
    v_started pg_catalog.record;
begin
    run := p_run;
    used := 0;
    update pgorch.steps s set attempt = s.attempt + p_ended, failures = s.failures + p_failed
    where s.bucket = p_bucket and s.id = p_map_id returning s.* into v_map;
    select n.* into v_node from pgorch.nodes n where n.graph_id = v_map.graph_id and n.id = v_map.node;
    if v_map.failures > 0 then
        v_borne := coalesce(v_node.tolerate, floor(v_node.tolerate_percent * jsonb_array_length(v_map.input -> 'items') / 100)::integer, 0);
        if v_map.failures > v_borne then
            v_problem := pgorch._map_error(p_bucket, run, v_map, v_borne);
        end if;
    end if;
    if v_problem is null then
        select g.* into v_graph from pgorch.graphs g where g.id = run.graph_id;
        select i.* into v_started from pgorch._start_items(p_bucket, run, v_graph, v_node, v_map, p_now, p_rows, p_keep, p_token) i;
        run.live := run.live + v_started.started;
        v_problem := v_started.problem;
        used := v_started.used;
    end if;
    if used < cardinality(p_rows) then
        perform pgorch._delete_rows(p_bucket, p_rows[used + 1:]);
    end if;
    if v_problem is null and not v_started.done then
        return;
    end if;
    run := pgorch._drop_steps(p_bucket, run, array[p_map_id], p_now);
    move := pgorch._move_of(v_map);
    move.started_at := v_map.created_at;
    if v_problem is not null then
        move.outcome := 'error';
        move.error := v_problem;
        move.input := v_map.input -> 'items';
    else
        move.outcome := 'success';
        move.output := pgorch._map_output(p_bucket, run, v_map.node, v_map.visit, v_map.born);
    end if;
end
$$;
comment on function pgorch._go_on_with_map is
    'Counts items that have ended; more are started, or the map ends: move says with what. Without a node in move it goes on. p_rows, p_keep, used: as in _start_items(); what is left of these rows goes.';

create or replace function pgorch._map_error(p_bucket integer, p_run pgorch.runs, p_map pgorch.steps, p_borne integer) returns jsonb
    language plpgsql stable
    as $$
declare
    v_first pg_catalog.record;
begin
    select h.item, h.error into v_first from pgorch.history h
    where h.bucket = p_bucket and h.run_id = p_run.id and h.seq > p_map.born and h.node = p_map.node
      and h.visit is not distinct from p_map.visit and h.kind = 'item_failed'
    order by h.seq desc limit 1;
    return jsonb_build_object('type', 'MapFailed', 'failed', p_map.failures, 'item', v_first.item, 'cause', v_first.error,
        'message', format('%s of %s items failed, and %s are borne; the last was item %s: %s', p_map.failures,
            jsonb_array_length(p_map.input -> 'items'), p_borne, v_first.item, v_first.error ->> 'message'));
end
$$;

create or replace function pgorch._map_output(p_bucket integer, p_run pgorch.runs, p_node text, p_visit integer[], p_born integer) returns jsonb
    language plpgsql stable
    as $$
begin
    return (
        -- An item that failed and was tried again by an operator has two entries; the last counts.
        select coalesce(jsonb_agg(e.output order by e.item), '[]')
        from (select distinct on (h.item) h.item, case h.kind when 'item_completed' then h.output else 'null' end as output
              from pgorch._sources(p_bucket, p_run) o
              cross join lateral (
                  select h.item, h.kind, h.output, h.seq from pgorch.history h
                  where h.bucket = p_bucket and h.run_id = o.run_id and h.seq > p_born and h.seq <= o.upto and h.node = p_node
                    and h.visit is not distinct from p_visit and h.kind in ('item_completed', 'item_failed')) h
              order by h.item, h.seq desc) e);
end
$$;
comment on function pgorch._map_output is 'The outputs of a map''s items in the order of the list; null for one whose failure was borne.';

create or replace function pgorch._map_before_item(p_bucket integer, p_run pgorch.runs, p_node text, p_item integer) returns pgorch.steps
    language plpgsql stable
    as $$
declare
    v_map pgorch.steps;
begin
    if p_item is null then
        return null;
    end if;
    select s.* into v_map from pgorch.steps s
    where s.bucket = p_bucket and s.run_id = p_run.id and s.kind = 'map' and (p_node is null or s.node = p_node)
      and case when s.input ? 'pending'
               then exists (select from jsonb_array_elements(s.input -> 'pending') with ordinality i(index, at)
                            where i.index = to_jsonb(p_item) and i.at > s.item)
               else p_item between s.item and jsonb_array_length(s.input -> 'items') - 1 end
    order by s.id limit 1;
    return v_map;
end
$$;
comment on function pgorch._map_before_item is 'The map that has yet to start an item with this index, since so many others are under way; null if there is none.';

create or replace function pgorch._help_coming_item(
    p_bucket integer, p_run pgorch.runs, p_map pgorch.steps, p_action text, p_item integer, p_value jsonb, p_actor text, p_now timestamptz)
    returns pgorch.runs
    language plpgsql
    as $$
declare
    v_input pg_catalog.jsonb := p_map.input;
begin
    if p_action = 'retry' then
        if p_value is not null then
            v_input := v_input || jsonb_build_object('given', coalesce(v_input -> 'given', '{}') || jsonb_build_object(p_item::text, p_value));
        end if;
    else
        v_input := v_input || jsonb_build_object('pending', (
            select jsonb_agg(i.index order by i.at)
            from jsonb_array_elements(coalesce(v_input -> 'pending', (
                select jsonb_agg(n order by n) from generate_series(0, jsonb_array_length(v_input -> 'items') - 1) n))) with ordinality i(index, at)
            where i.index <> to_jsonb(p_item)));
        p_run := pgorch._append(p_bucket, p_run, 'item_completed', p_now, p_node => p_map.node, p_actor => p_actor, p_visit => p_map.visit,
            p_output => p_value, p_item => p_item);
        perform pgorch._save_run(p_bucket, p_run, p_now);
    end if;
    update pgorch.steps s set input = v_input where s.bucket = p_bucket and s.id = p_map.id;
    return p_run;
end
$$;
comment on function pgorch._help_coming_item is 'Gives an item that has not been started its arguments, or its output, so that it need not be.';
