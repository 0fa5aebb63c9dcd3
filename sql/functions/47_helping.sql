-- Helping a live step: retry and skip in a run that goes on, of a step or of one item of a map.

create or replace function pgorch._help_step(
    p_bucket integer, p_run pgorch.runs, p_action text, p_node text, p_value jsonb, p_item integer, p_actor text, p_now timestamptz,
    p_nested boolean default false) returns pgorch.runs
    language plpgsql
    as $$
declare
    v_step pgorch.steps := pgorch._map_before_item(p_bucket, p_run, p_node, p_item);
    v_move pgorch._move;
    v_ended pg_catalog.record;
begin
    if v_step.id is not null then
        return pgorch._help_coming_item(p_bucket, p_run, v_step, p_action, p_item, p_value, p_actor, p_now);
    end if;
    v_step := pgorch._step_to_help(p_bucket, p_run, p_action, p_node, p_item);
    if p_action = 'retry' then
        update pgorch.steps s set failures = 0, deaths = 0, input = coalesce(p_value, s.input)
        where s.bucket = p_bucket and s.id = v_step.id;
        perform pgorch._give_back(p_bucket, array[v_step.id], p_now, 0, 0);
        return p_run;
    end if;
    v_move := pgorch._move_of(v_step);
    v_move.outcome := 'success';
    v_move.kind := 'step_skipped';
    v_move.output := p_value;
    v_move.actor := p_actor;
    v_move.started_at := coalesce(v_step.started_at, v_step.created_at);
    v_step.attempt := nullif(v_step.attempt, 0);
    p_run := pgorch._drop_steps(p_bucket, p_run, array[v_step.id], p_now, p_actor);
    if v_step.kind = 'item' then
        select t.* into v_ended from pgorch._item_ended(p_bucket, p_run, v_step, v_move, '{}', p_now) t;
        select m.* into v_ended from pgorch._go_on_with_maps(p_bucket, v_ended.run, v_ended.maps, '{}', p_now) m;
        return pgorch._proceed(p_bucket, v_ended.run, v_ended.moves, p_now, p_nested);
    elsif v_step.kind = 'undo' then
        p_run := pgorch._undone(p_bucket, p_run, v_step, v_move, p_now);
        perform pgorch._save_run(p_bucket, p_run, p_now);
        perform pgorch._tell_parent(p_bucket, p_run, p_now);
        return p_run;
    end if;
    return pgorch._proceed(p_bucket, p_run, array[v_move], p_now, p_nested);
end
$$;
comment on function pgorch._help_step is 'Retries or skips a live step. Nested: the run is a child whose parent is being taken up now.';

create or replace function pgorch._step_to_help(
    p_bucket integer, p_run pgorch.runs, p_action text, p_node text, p_item integer) returns pgorch.steps
    language plpgsql
    as $$
declare
    v_steps pgorch.steps[];
begin
    select array_agg(s order by s.id) into v_steps
    from (select s.* from pgorch.steps s
          where s.bucket = p_bucket and s.run_id = p_run.id and (p_node is null or s.node = p_node)
            and case when p_item is not null then s.kind = 'item' and s.item = p_item
                     when p_action = 'skip' then s.kind not in ('join', 'item')
                     else s.kind < 'approval' and s.worker_id is null end
          order by s.id for update) s;
    if cardinality(v_steps) = 1 then
        return v_steps[1];
    elsif cardinality(v_steps) > 1 then
        perform pgorch._raise('OR002', format('run %s has %s steps that could be meant, at %s', p_run.id, cardinality(v_steps),
            (select string_agg(distinct s.node, ', ') from unnest(v_steps) s)), 'Name the node, and of a map the item.');
    end if;
    perform pgorch._raise('OR002', format('run %s has no live step%s that could be %s: it is %s', p_run.id,
        coalesce(' at ' || p_node, '') || coalesce(' for item ' || p_item, ''),
        case p_action when 'skip' then 'skipped' else 'tried again' end, p_run.status),
        case p_action when 'skip' then 'See the view pgorch.live_steps.' else 'A step that a worker runs now is not tried again meanwhile; see the view pgorch.live_steps.' end);
end
$$;
