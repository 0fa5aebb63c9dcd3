-- Steering many runs at once: those that a filter finds. Unless told otherwise it only says which.

create or replace function pgorch.bulk(
    p_action text, p_filter jsonb, p_arguments jsonb default '{}', p_dry_run boolean default true, p_limit integer default 1000,
    p_actor text default null, p_roles text[] default null) returns table (run_id uuid, status text, problem text)
    language plpgsql
    set jit = off set enable_seqscan = off
    -- What somebody holds is not waited for long: the other runs are held meanwhile, and he may wait for one of them.
    set lock_timeout = '500ms'
    as $$
declare
    v_actor constant pg_catalog.text := pgorch._actor(p_actor);
    v_filter constant pg_catalog.jsonb := pgorch._bulk_filter(p_action, p_filter, p_arguments, p_limit);
    v_found integer := 0;
    v_problems integer := 0;
    v_locked integer := 0;
    v_touched pg_catalog.uuid[] := '{}';
begin
    -- A run can be in any bucket, and there are 256 at most.
    for v_bucket in 0 .. 255 loop
        exit when v_found = p_limit;
        foreach run_id in array pgorch._bulk_ids(v_bucket, v_filter, p_limit - v_found) loop
            if p_dry_run is not false then
                problem := pgorch._bulk_obstacle(v_bucket, run_id, p_action, v_filter);
            else
                begin
                    problem := null;
                    v_touched := v_touched
                        || pgorch._bulk_act(v_bucket, run_id, p_action, v_filter, p_arguments, v_touched, v_locked < 10, v_actor, p_roles);
                exception
                    when lock_not_available then
                        v_locked := v_locked + 1;
                        problem := 'somebody else works on it just now';
                    when others then
                        problem := sqlerrm;
                end;
            end if;
            status := (select r.status from pgorch.runs r where r.bucket = v_bucket and r.id = run_id);
            v_found := v_found + 1;
            v_problems := v_problems + num_nonnulls(problem);
            return next;
        end loop;
    end loop;
    if p_dry_run is false then
        perform pgorch._audit(0, v_actor, 'bulk_' || p_action, null, p_before => p_filter,
            p_after => jsonb_build_object('arguments', p_arguments, 'runs', v_found - v_problems, 'problems', v_problems));
    end if;
end
$$;
comment on function pgorch.bulk is
    'Does cancel, pause, resume, retry, skip or move with every run that a filter finds: {graph, version, status, labels, state, initiator, created_before, created_after, error_type}. p_arguments: those of the verb, without p_. A dry run, which it is by default, only lists them. Else each run is an attempt of its own: what is refused is told as its problem, and the others go on.';

create or replace function pgorch._bulk_filter(p_action text, p_filter jsonb, p_arguments jsonb, p_limit integer) returns jsonb
    language plpgsql stable
    as $$
declare
    v_arguments constant pg_catalog.jsonb := '{"cancel": {"reason": "string", "compensate": "boolean"}, "pause": {}, "resume": {},
        "retry": {"node": "string", "input": "any", "item": "integer"}, "skip": {"node": "string", "output": "any", "item": "integer"},
        "move": {"graph": "string"}}';
    v_to pg_catalog.uuid;
    v_graphs pg_catalog.uuid[];
    v_filter pg_catalog.jsonb := p_filter;
begin
    if not coalesce(v_arguments ? p_action, false) then
        perform pgorch._raise('OR006', format('there is no action %s for many runs', coalesce(pgorch._quoted(p_action), 'null')),
            'There are cancel, pause, resume, retry, skip and move.');
    elsif p_limit is null or p_limit not between 1 and 100000 then
        perform pgorch._raise('OR006', format('at most 1 to 100,000 runs can be meant, not %s', coalesce(p_limit::text, 'null')),
            'Call it again for those that are left.');
    end if;
    perform pgorch._check_members('the arguments of ' || p_action, p_arguments, v_arguments -> p_action);
    perform pgorch._check_members('the filter', p_filter,
        '{"graph": "string", "version": "integer", "status": "any", "labels": "object", "state": "object", "initiator": "string",
          "created_before": "string", "created_after": "string", "error_type": "string"}');
    perform pgorch._check_labels(p_filter -> 'labels');
    if p_action = 'move' then
        if not p_arguments ? 'graph' then
            perform pgorch._raise('OR006', 'move needs the version to which the runs are moved', 'Give it as the argument graph.');
        end if;
        v_to := pgorch.find_graph(p_arguments ->> 'graph');
        v_filter := v_filter || jsonb_build_object('to', v_to);
    end if;
    v_graphs := pgorch._bulk_graphs(p_filter, v_to);
    if v_graphs is not null then
        v_filter := v_filter || jsonb_build_object('graphs', to_jsonb(array_remove(v_graphs, v_to)));
    end if;
    if p_action = 'cancel' and coalesce((p_arguments ->> 'compensate')::boolean, false) then
        v_filter := v_filter || '{"not_ending": true}';
    end if;
    return v_filter || pgorch._bulk_times(p_filter) || jsonb_build_object('statuses', pgorch._bulk_statuses(p_action, p_filter -> 'status'));
end
$$;
comment on function pgorch._bulk_filter is 'A filter that is in order, with what its words stand for: graphs, statuses, to.';

create or replace function pgorch._check_members(p_what text, p_value jsonb, p_known jsonb) returns void
    language plpgsql stable
    as $$
declare
    v_member pg_catalog.record;
    v_names constant pg_catalog.text[] := array(select k from jsonb_object_keys(p_known) k order by 1);
begin
    if jsonb_typeof(p_value) is distinct from 'object' then
        perform pgorch._raise('OR006', format('%s: an object is needed, not %s', p_what, coalesce(jsonb_typeof(p_value), 'null')),
            coalesce('It may have ' || nullif(array_to_string(v_names, ', '), '') || '.', 'It is empty: {}.'));
    end if;
    for v_member in
        select m.key, p_known ->> m.key as type,
               case when jsonb_typeof(m.value) = 'number' and m.value #>> '{}' ~ '^[0-9]{1,9}$' then 'integer' else jsonb_typeof(m.value) end as found
        from jsonb_each(p_value) m order by m.key
    loop
        -- One that is misspelt must not find all runs.
        if v_member.type is null then
            perform pgorch._raise('OR006', format('%s: there is no %s', p_what, pgorch._quoted(v_member.key)), coalesce(
                pgorch._near_names(v_member.key, v_names), 'There are ' || nullif(array_to_string(v_names, ', '), '') || '.', 'There are none.'));
        elsif v_member.type not in ('any', v_member.found) then
            perform pgorch._raise('OR006', format('%s: %s is of type %s, not %s', p_what, v_member.key, v_member.type, v_member.found),
                'See the comment of pgorch.bulk().');
        end if;
    end loop;
    perform pgorch._checked_json(p_value, p_what, 1048576);
end
$$;
comment on function pgorch._check_members is 'Raises OR006 unless a value is an object with no other members than those known, {name: type}.';

create or replace function pgorch._bulk_graphs(p_filter jsonb, p_to uuid) returns uuid[]
    language plpgsql stable
    as $$
declare
    v_graphs pg_catalog.uuid[];
begin
    if p_filter ? 'version' then
        if not p_filter ? 'graph' then
            perform pgorch._raise('OR006', 'a version is that of a graph', 'Name the graph as well.');
        end if;
        return array[pgorch.find_graph(format('%s@%s', p_filter ->> 'graph', p_filter ->> 'version'))];
    elsif p_filter ? 'graph' then
        v_graphs := array(select g.id from pgorch.graphs g where g.name = p_filter ->> 'graph');
        return case when v_graphs = '{}' then array[pgorch.find_graph(p_filter ->> 'graph')] else v_graphs end;
    elsif p_to is not null then
        return array(select g.id from pgorch.graphs g where g.name = (select t.name from pgorch.graphs t where t.id = p_to));
    end if;
    return null;
end
$$;
comment on function pgorch._bulk_graphs is 'The versions of graphs that a filter names; if it names none, for a move those of the same graph; else null: all.';

create or replace function pgorch._bulk_times(p_filter jsonb) returns jsonb
    language plpgsql stable
    as $$
begin
    return jsonb_strip_nulls(jsonb_build_object(
        'created_before', (p_filter ->> 'created_before')::timestamptz, 'created_after', (p_filter ->> 'created_after')::timestamptz));
exception when data_exception then
    perform pgorch._raise('OR006', 'the filter: created_before and created_after are times', 'For instance 2026-03-01T12:00:00Z.');
end
$$;

create or replace function pgorch._bulk_statuses(p_action text, p_given jsonb) returns text[]
    language plpgsql stable
    as $$
declare
    v_possible constant pg_catalog.text[] := case p_action
        when 'resume' then '{paused}'
        when 'pause' then '{running,awaiting_approval,waiting}'
        when 'retry' then '{running,awaiting_approval,waiting,paused,failed}'
        when 'skip' then '{running,awaiting_approval,waiting,paused,failed}'
        else '{running,awaiting_approval,waiting,paused}' end;
    v_given pg_catalog.text[];
begin
    if p_given is null then
        -- Steps that are live are helped only if that is asked for.
        return case when p_action in ('retry', 'skip') then '{failed}' else v_possible end;
    end if;
    v_given := array(select s from jsonb_path_query(p_given, 'lax $[*]') v, lateral (select v #>> '{}') t(s));
    if v_given = '{}' or not v_given <@ v_possible then
        perform pgorch._raise('OR006', format('the filter: %s is for runs that are %s, not %s', p_action, array_to_string(v_possible, ', '), p_given),
            'Name one of these, or a list of them, or leave the status out.');
    end if;
    return v_given;
end
$$;
comment on function pgorch._bulk_statuses is 'In which status a run must be for an action.';

create or replace function pgorch._bulk_ids(p_bucket integer, p_filter jsonb, p_limit integer, p_only uuid default null) returns uuid[]
    language plpgsql stable
    as $$
declare
    v_statuses constant pgorch.run_status[] := array(select s::pgorch.run_status from jsonb_array_elements_text(p_filter -> 'statuses') s);
begin
    if p_only is not null then
        return array(select r.id from pgorch.runs r
                     where r.bucket = p_bucket and r.id = p_only and r.status = any (v_statuses) and pgorch._bulk_fits(r, p_filter));
    elsif 'failed' = any (v_statuses) then
        return array(select r.id from pgorch.runs r
                     where r.bucket = p_bucket and r.status = any (v_statuses) and pgorch._bulk_fits(r, p_filter)
                     order by r.id limit p_limit);
    end if;
    -- The index of runs that have not ended serves only who says so.
    return array(select r.id from pgorch.runs r
                 where r.bucket = p_bucket and r.finished_at is null and r.status = any (v_statuses) and pgorch._bulk_fits(r, p_filter)
                 order by r.id limit p_limit);
end
$$;
comment on function pgorch._bulk_ids is 'The first runs of a bucket that a filter finds; or p_only, if it finds that.';

create or replace function pgorch._bulk_fits(p_run pgorch.runs, p_filter jsonb) returns boolean
    language sql stable
    as $$
    select (not p_filter ? 'graphs' or p_filter -> 'graphs' ? p_run.graph_id::text)
       and (not p_filter ? 'to' or p_run.graph_id <> (p_filter ->> 'to')::uuid)
       and (not p_filter ? 'not_ending' or p_run.ending is null)
       and (not p_filter ? 'labels' or coalesce(p_run.labels, '{}') @> (p_filter -> 'labels'))
       and (not p_filter ? 'initiator' or p_run.initiator = p_filter ->> 'initiator')
       and (not p_filter ? 'created_before' or p_run.created_at < (p_filter ->> 'created_before')::timestamptz)
       and (not p_filter ? 'created_after' or p_run.created_at >= (p_filter ->> 'created_after')::timestamptz)
       and (not p_filter ? 'error_type' or coalesce(p_run.error ->> 'type' = p_filter ->> 'error_type', false))
       and (not p_filter ? 'state' or pgorch._state(p_run.input, p_run.snapshot, p_run.delta) @> (p_filter -> 'state'))
    $$;

create or replace function pgorch._bulk_obstacle(p_bucket integer, p_run_id uuid, p_action text, p_filter jsonb) returns text
    language plpgsql
    as $$
declare
    v_run pgorch.runs;
begin
    select r.* into v_run from pgorch.runs r where r.bucket = p_bucket and r.id = p_run_id;
    if p_action = 'move' then
        return (pgorch._moving_problems(p_bucket, v_run, (p_filter ->> 'to')::uuid))[1];
    elsif v_run.status = 'failed' then
        perform pgorch._check_can_be_taken_up(p_bucket, v_run, pgorch._failed_line(p_bucket, p_run_id));
    end if;
    return null;
exception when sqlstate 'OR002' then
    return sqlerrm;
end
$$;
comment on function pgorch._bulk_obstacle is 'What would stand in the way of an action, as far as it is seen without trying.';

create or replace function pgorch._bulk_act(
    p_bucket integer, p_run_id uuid, p_action text, p_filter jsonb, p_arguments jsonb, p_touched uuid[], p_patient boolean, p_actor text,
    p_roles text[])
    returns uuid[]
    language plpgsql
    as $$
declare
    v_line constant pg_catalog.uuid[] := case when p_action in ('retry', 'skip') then pgorch._failed_line(p_bucket, p_run_id) else array[p_run_id] end;
    v_locks pg_catalog.uuid[] := v_line;
    v_run pgorch.runs;
    v_node constant pg_catalog.text := p_arguments ->> 'node';
    v_item constant integer := p_arguments ->> 'item';
begin
    if p_action in ('retry', 'skip') then
        -- From the top: whoever locks a parent and its child locks the parent first.
        select r.* into v_run from pgorch.runs r where r.bucket = p_bucket and r.id = v_line[1];
        v_locks := array_remove(v_run.parent_run_id || v_line, null);
    end if;
    for v_at in 1 .. cardinality(v_locks) loop
        if p_patient then
            v_run := pgorch._locked_run(v_locks[v_at]);
        else
            -- Ten have been waited for in vain: somebody holds many, and half a second for each of them is too long.
            select r.* into v_run from pgorch.runs r where r.bucket = p_bucket and r.id = v_locks[v_at] for update nowait;
        end if;
    end loop;
    -- It may have changed since it was found.
    if pgorch._bulk_ids(p_bucket, p_filter, 1, p_run_id) = '{}' then
        if not (p_run_id = any (p_touched) or coalesce(v_run.parent_run_id = any (p_touched), false)) then
            perform pgorch._raise('OR002', format('run %s has changed meanwhile, and the filter does not find it any more', p_run_id), 'Look at it.');
        end if;
        -- What is done to a parent is done to its child runs as well.
        return v_line;
    end if;
    case p_action
        when 'cancel' then
            perform pgorch.cancel(p_run_id, p_arguments ->> 'reason', p_actor, coalesce((p_arguments ->> 'compensate')::boolean, false));
        when 'pause' then
            perform pgorch.pause(p_run_id, p_actor);
        when 'resume' then
            perform pgorch.resume(p_run_id, p_actor);
        when 'retry' then
            perform pgorch.retry(p_run_id, v_node, nullif(p_arguments -> 'input', 'null'), v_item, p_actor);
        when 'skip' then
            perform pgorch.skip(p_run_id, v_node, coalesce(p_arguments -> 'output', '{}'), v_item, p_actor, p_roles);
        when 'move' then
            perform pgorch.move(p_run_id, p_filter ->> 'to', p_actor);
    end case;
    return v_line;
end
$$;
comment on function pgorch._bulk_act is 'Does an action to one run, if the filter still finds it. Returns the runs that were touched.';
