-- Starting runs.
-- Public functions here set enable_seqscan off: a plan made while a table was tiny would read all of it later.

create or replace function pgorch._checked_start(
    p_graph_id uuid, p_inputs jsonb[], p_priority integer, p_queue text, p_bucket integer, p_labels jsonb) returns void
    language plpgsql stable
    as $$
declare
    v_input pg_catalog.jsonb;
    v_graph pgorch.graphs;
    v_problem pg_catalog.text;
begin
    select g.* into v_graph from pgorch.graphs g where g.id = p_graph_id;
    foreach v_input in array p_inputs loop
        if jsonb_typeof(v_input) is distinct from 'object' then
            perform pgorch._raise('OR006', format('the input of a run is a JSON object, not %s', coalesce(jsonb_typeof(v_input), 'null')),
                'Put the value under a key, for instance {"value": ...}.');
        end if;
        perform pgorch._checked_json(v_input, 'the input', 4194304);
        if v_graph.input_schema is not null then
            v_problem := pgorch._input_problems(v_graph, v_input);
            if v_problem is not null then
                perform pgorch._raise('OR006', format('the input does not fit %s: %s', v_graph.name, v_problem),
                    'The graph''s input_schema says what it takes.');
            end if;
        end if;
    end loop;
    perform pgorch._check_labels(p_labels);
    if p_priority is null or abs(p_priority) > 1000 then
        perform pgorch._raise('OR006', format('priority %s is outside -1000 to 1000', coalesce(p_priority::text, 'null')), 'Higher runs first; 0 is usual.');
    end if;
    if p_queue is not null and (p_queue = '' or length(p_queue) > 100 or p_queue like '!%') then
        perform pgorch._raise('OR006', format('%L is no name of a queue', left(p_queue, 120)), 'Use 1 to 100 characters; the first must not be "!".');
    end if;
    if p_bucket not between 0 and 255 then
        perform pgorch._raise('OR006', format('bucket %s is outside 0 to 255', p_bucket), 'Leave it out.');
    end if;
end
$$;

create or replace function pgorch._check_labels(p_labels jsonb) returns void
    language plpgsql immutable
    as $$
begin
    if p_labels is null then
        return;
    elsif jsonb_typeof(p_labels) <> 'object' then
        perform pgorch._raise('OR006', format('labels are an object of texts, not %s', jsonb_typeof(p_labels)), 'For instance {"customer": "acme"}.');
    elsif (select count(*) > 50 or coalesce(bool_or(jsonb_typeof(l.value) <> 'string' or length(l.value #>> '{}') > 1000
                                                    or length(l.key) not between 1 and 200), false)
           from jsonb_each(p_labels) l) then
        perform pgorch._raise('OR006', 'labels are at most 50 texts of at most 1,000 characters, their names have 1 to 200', 'Shorten them.');
    end if;
end
$$;

create or replace function pgorch._key_bucket(p_key text) returns integer
    language sql stable
    as $$ select abs(hashtext(p_key)::bigint % pgorch.bucket_count())::integer $$;
comment on function pgorch._key_bucket(text) is 'Runs with an idempotency key live where the key does, so that a local primary key keeps it unique.';

create or replace function pgorch.start(
    p_graph text, p_input jsonb default '{}', p_idempotency_key text default null, p_priority integer default 0,
    p_queue text default null, p_actor text default null, p_bucket integer default null, p_labels jsonb default null) returns uuid
    language plpgsql
    set jit = off set enable_seqscan = off
    as $$
declare
    v_actor constant pg_catalog.text := pgorch._actor(p_actor);
    v_graph_id constant pg_catalog.uuid := pgorch.find_graph(p_graph);
begin
    perform pgorch._checked_start(v_graph_id, array[p_input], p_priority, p_queue, p_bucket, p_labels);
    if p_idempotency_key is null then
        return (pgorch._start(coalesce(p_bucket, floor(random() * pgorch.bucket_count())::integer), v_graph_id, array[p_input], null,
                              p_priority, p_queue, v_actor, p_labels => p_labels))[1];
    end if;
    if p_bucket <> pgorch._key_bucket(p_idempotency_key) then
        -- There the same key would be another one.
        perform pgorch._raise('OR006', format('a run with the idempotency key %s lives in bucket %s, where the key does, and not in %s',
            pgorch._quoted(p_idempotency_key), pgorch._key_bucket(p_idempotency_key), p_bucket), 'Leave the bucket out.');
    end if;
    return pgorch._start_once(pgorch._key_bucket(p_idempotency_key), p_graph, v_graph_id, p_input, p_idempotency_key, p_priority, p_queue,
                              v_actor, p_labels);
end
$$;
comment on function pgorch.start is
    'Starts a run of a graph (an id, a name, or name@version) and returns its id. With an idempotency key the same request gives the same run. It exists when the caller''s transaction commits.';

create or replace function pgorch._start_once(
    p_bucket integer, p_graph text, p_graph_id uuid, p_input jsonb, p_key text, p_priority integer, p_queue text, p_actor text, p_labels jsonb)
    returns uuid
    language plpgsql
    as $$
declare
    -- Over the graph as it was named: the same request after a new version of the graph is still the same request.
    v_digest constant pg_catalog.text := encode(sha256(convert_to(concat_ws(E'\n', p_graph, p_input, nullif(jsonb_strip_nulls(jsonb_build_object(
        'labels', nullif(p_labels, '{}'), 'priority', nullif(p_priority, 0), 'queue', p_queue)), '{}')), 'UTF8')), 'hex');
    v_ids constant pg_catalog.uuid[] := array[pgorch.new_run_id(p_bucket)];
    v_earlier pg_catalog.record;
begin
    if p_key = '' or length(p_key) > 200 then
        perform pgorch._raise('OR006', 'an idempotency key has 1 to 200 characters', 'Send a shorter one, for instance a UUID.');
    end if;
    loop
        insert into pgorch._idempotency_keys (bucket, key, run_id, digest, created_at)
        values (p_bucket, p_key, v_ids[1], v_digest, pgorch.clock_now())
        on conflict (bucket, key) do nothing;
        if found then
            return (pgorch._start(p_bucket, p_graph_id, array[p_input], v_ids, p_priority, p_queue, p_actor, p_key, p_labels))[1];
        end if;
        select k.run_id, k.digest into v_earlier from pgorch._idempotency_keys k where k.bucket = p_bucket and k.key = p_key;
        -- Unless retention has let go of it in between.
        exit when found;
    end loop;
    if v_earlier.digest <> v_digest then
        perform pgorch._raise('OR005',
            format('the idempotency key %s belongs to run %s, which was started with another graph, input, labels, priority or queue', p_key, v_earlier.run_id),
            'Use a new key for a new request.');
    end if;
    return v_earlier.run_id;
end
$$;
comment on function pgorch._start_once is 'Starts a run in a bucket, unless the key is known there: then it gives the run that was started with it.';

create or replace function pgorch.start_many(
    p_graph text, p_inputs jsonb[], p_priority integer default 0, p_queue text default null,
    p_actor text default null, p_bucket integer default null, p_labels jsonb default null) returns uuid[]
    language plpgsql
    set jit = off set enable_seqscan = off
    as $$
declare
    v_graph_id constant pg_catalog.uuid := pgorch.find_graph(p_graph);
begin
    if cardinality(p_inputs) > 100000 then
        perform pgorch._raise('OR006', format('%s runs are too many for one call', cardinality(p_inputs)), 'Start at most 100,000 at once.');
    end if;
    perform pgorch._checked_start(v_graph_id, coalesce(p_inputs, '{}'), p_priority, p_queue, p_bucket, p_labels);
    return pgorch._start(coalesce(p_bucket, floor(random() * pgorch.bucket_count())::integer), v_graph_id,
                         coalesce(p_inputs, '{}'), null, p_priority, p_queue, pgorch._actor(p_actor), p_labels => p_labels);
end
$$;
comment on function pgorch.start_many is 'Starts many runs of one graph, one per input, in one go; returns their ids in the order of the inputs. All or none.';

create or replace function pgorch._start(
    p_bucket integer, p_graph_id uuid, p_inputs jsonb[], p_ids uuid[], p_priority integer, p_queue text, p_actor text,
    p_idempotency_key text default null, p_labels jsonb default null, p_parent_run_id uuid default null,
    p_parent_step_id bigint default null, p_depth integer default null, p_paused boolean default false) returns uuid[]
    language plpgsql
    as $$
declare
    v_now constant pg_catalog.timestamptz := pgorch.clock_now();
    v_graph pgorch.graphs;
    v_node pgorch.nodes;
    v_ids pg_catalog.uuid[] := p_ids;
    v_run pgorch.runs;
    v_move pgorch._move;
    v_id pg_catalog.uuid;
begin
    select g.* into strict v_graph from pgorch.graphs g where g.id = p_graph_id;
    select n.* into strict v_node from pgorch.nodes n where n.graph_id = p_graph_id and n.id = v_graph.start_node;
    if v_ids is null then
        select coalesce(array_agg(pgorch.new_run_id(p_bucket)), '{}') into v_ids from generate_series(1, cardinality(p_inputs));
    end if;
    insert into pgorch.runs (bucket, id, graph_id, initiator, created_at, idempotency_key, priority, queue, input, status, live,
                             labels, parent_run_id, parent_step_id, depth)
    select p_bucket, t.id, p_graph_id, p_actor, v_now, p_idempotency_key, p_priority, p_queue, t.input,
           case when p_paused then 'paused' else 'running' end::pgorch.run_status, 1, p_labels, p_parent_run_id, p_parent_step_id, p_depth
    from unnest(v_ids, p_inputs) t(id, input);
    if v_graph.timeout is not null then
        insert into pgorch.timers (bucket, run_id, due_at, kind)
        select p_bucket, t.id, pgorch._after(v_now, v_graph.timeout), 'run_timeout' from unnest(v_ids) t(id);
    end if;

    if v_node.fast_in and not p_paused then
        insert into pgorch.steps (bucket, run_id, graph_id, kind, priority, created_at, lane_queue, lane_tool, ready_at,
                                  visit, lineage, born, node)
        select p_bucket, t.id, p_graph_id, 'task', coalesce(v_node.priority, p_priority), v_now,
               pgorch._lane_queue(v_node.queue, p_queue), v_node.function, v_now,
               case when v_graph.has_forks then array_fill(0, array[cardinality(v_node.loops)]) end,
               case when v_graph.has_forks then '[]'::jsonb end, 0, v_node.id
        from unnest(v_ids) t(id);
        perform pgorch._wake_workers(p_bucket);
        return v_ids;
    end if;

    foreach v_id in array v_ids loop
        select r.* into v_run from pgorch.runs r where r.bucket = p_bucket and r.id = v_id;
        v_run.live := 0;
        v_move := null;
        v_move.node := v_graph.start_node;
        if v_graph.has_forks then
            v_move.visit := array_fill(0, array[cardinality(v_node.loops)]);
            v_move.lineage := '[]';
        end if;
        perform pgorch._proceed(p_bucket, v_run, array[v_move], v_now, p_nested => true);
    end loop;
    return v_ids;
end
$$;
