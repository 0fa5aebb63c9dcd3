-- Writing what the plain path has decided. Rows are reached by the places (ctid) at which advance() has just read them: the
-- only plan there is, whatever the statistics say, with no second walk through an index, and none along the dead versions
-- that a pinned vacuum horizon keeps. The runs are locked, so they stay where they are; a step that has moved or gone
-- since is not hit, which shows in the number of rows.

create or replace function pgorch._raise_lost() returns void
    language plpgsql
    as $$
begin
    raise exception using errcode = '40001', message = 'a lease was lost while its result was being written',
        hint = 'Hand the batch in again: what is lost is refused then.';
end
$$;

create or replace function pgorch._write_plain(
    p_bucket integer, p_worker_id uuid, p_steps pgorch._plain_step[], p_folds boolean, p_leaves boolean, p_ends boolean,
    p_watched boolean, p_token uuid, p_now timestamptz) returns void
    language plpgsql
    -- Beyond what advance() forbids: planned while a table was tiny, an index scan would read the whole bucket.
    set jit = off set enable_indexscan = off
    as $$
declare
    v_hit integer;
begin
    insert into pgorch.history (bucket, run_id, seq, kind, attempt, at, started_at, worker_id, node, output)
    select p_bucket, t.run_id, t.seq + 1, 'step_completed', t.attempt, p_now, t.started_at, p_worker_id, t.node, t.output
    from unnest((select p_steps)) t;

    update pgorch.runs r set delta = t.delta, seq = r.seq + 1
    from unnest((select p_steps)) t
    where r.bucket = p_bucket and r.ctid = t.run_at and t.target is not null and not t.folds;
    if p_folds then
        update pgorch.runs r set snapshot = pgorch._state(r.input, r.snapshot, t.delta), delta = '{}', seq = r.seq + 1
        from unnest((select p_steps)) t
        where r.bucket = p_bucket and r.ctid = t.run_at and t.target is not null and t.folds;
    end if;

    update pgorch.steps s
    set node = t.target, lease_token = p_token, attempt = 1, deaths = 0, failures = 0, started_at = p_now, born = t.seq + 1, input = null
    from unnest((select p_steps)) t
    where s.bucket = p_bucket and s.ctid = t.step_at and s.id = t.id and s.lease_token = t.token and t.stays;
    get diagnostics v_hit = row_count;
    if p_leaves then
        v_hit := v_hit + pgorch._hand_over(p_bucket, p_steps, p_now);
    end if;
    if p_ends then
        v_hit := v_hit + pgorch._end_plain(p_bucket, p_steps, p_now);
    end if;
    -- Between the look and the write a lease can have been taken away; then the whole batch is looked at again.
    if v_hit <> cardinality(p_steps) then
        perform pgorch._raise_lost();
    end if;
    if p_watched then
        perform pgorch._notify('pgorch_runs', t.run_id::text) from unnest(p_steps) t where t.watched;
    end if;
end
$$;
comment on function pgorch._write_plain is
    'Writes history, state and next steps of a batch of plain results: all of it, or nothing with SQLSTATE 40001. p_folds, p_leaves, p_ends, p_watched: is there a step of this kind in the batch?';

create or replace function pgorch._hand_over(p_bucket integer, p_steps pgorch._plain_step[], p_now timestamptz) returns integer
    language plpgsql
    as $$
declare
    v_hit integer;
begin
    update pgorch.steps s
    set node = t.target, lane_queue = t.queue, lane_tool = t.tool, priority = t.priority, worker_id = null, lease_token = null,
        attempt = 0, deaths = 0, failures = 0, started_at = null, ready_at = p_now, created_at = p_now, born = t.seq + 1, input = null
    from unnest((select p_steps)) t
    where s.bucket = p_bucket and s.ctid = t.step_at and s.id = t.id and s.lease_token = t.token
      and t.target is not null and not t.stays;
    get diagnostics v_hit = row_count;
    if v_hit > 0 then
        perform pgorch._wake_workers(p_bucket);
    end if;
    return v_hit;
end
$$;
comment on function pgorch._hand_over is 'Next steps that this worker cannot run wait in their lanes for another.';

create or replace function pgorch._end_plain(p_bucket integer, p_steps pgorch._plain_step[], p_now timestamptz) returns integer
    language plpgsql
    as $$
declare
    v_hit integer;
begin
    insert into pgorch.history (bucket, run_id, seq, kind, at)
    select p_bucket, t.run_id, t.seq + 2, 'run_completed', p_now
    from unnest((select p_steps)) t where t.target is null;
    if exists (select from pgorch.hooks h where 'run_completed' = any (h.kinds)) then
        perform pgorch._queue_completed(p_bucket, array_agg(t.run_id), array_agg(t.seq + 2), p_now) from unnest(p_steps) t where t.target is null;
    end if;
    update pgorch.runs r set delta = t.delta, seq = r.seq + 2, live = 0, status = 'completed', finished_at = p_now
    from unnest((select p_steps)) t
    where r.bucket = p_bucket and r.ctid = t.run_at and t.target is null;
    delete from pgorch.steps s
    using unnest((select p_steps)) t
    where s.bucket = p_bucket and s.ctid = t.step_at and s.id = t.id and s.lease_token = t.token and t.target is null;
    get diagnostics v_hit = row_count;
    return v_hit;
end
$$;
comment on function pgorch._end_plain is 'Runs whose path ended complete; their steps go.';

create or replace function pgorch._write_ended(
    p_bucket integer, p_worker_id uuid, p_run_id uuid, p_seq integer, p_steps pgorch._ended_step[], p_now timestamptz) returns boolean
    language plpgsql
    set jit = off set enable_indexscan = off
    as $$
declare
    v_hit integer;
begin
    -- Before anything is written: whoever waited for the run may find some of its steps gone.
    select count(*) into v_hit
    from unnest((select p_steps)) t
    join pgorch.steps s on s.bucket = p_bucket and s.ctid = t.place and s.id = t.id and s.lease_token = t.token;
    if v_hit < cardinality(p_steps) then
        return false;
    end if;
    insert into pgorch.history (bucket, run_id, seq, kind, attempt, at, started_at, worker_id, node, visit, item, output)
    select p_bucket, p_run_id, p_seq + t.at, case when t.map is null then 'step_completed' else 'item_completed' end::pgorch.event_kind, t.attempt, p_now, t.started_at, p_worker_id, t.node, t.visit, t.item, t.output
    from unnest((select p_steps)) with ordinality t(id, token, place, map, node, visit, item, attempt, started_at, output, at);
    return true;
end
$$;
comment on function pgorch._write_ended is
    'Writes the history of tasks or items of one run that ended well, in the order given; false, and nothing is written, if a lease on one is lost.';

create or replace function pgorch._reuse_rows(
    p_bucket integer, p_rows pgorch._ended_step[], p_items integer[], p_inputs jsonb[], p_queue text, p_tool text, p_keep integer,
    p_token uuid, p_now timestamptz) returns void
    language plpgsql
    set jit = off set enable_indexscan = off
    as $$
declare
    v_hit integer;
begin
    -- What stays with its worker is in no lane, so no index changes.
    update pgorch.steps s
    set item = t.item, input = t.input, created_at = p_now, deaths = 0, failures = 0, attempt = (t.at <= p_keep)::integer,
        worker_id = case when t.at <= p_keep then s.worker_id end,
        lease_token = case when t.at <= p_keep then p_token end,
        started_at = case when t.at <= p_keep then p_now end,
        ready_at = case when t.at <= p_keep then s.ready_at else p_now end,
        lane_queue = case when t.at > p_keep then p_queue end,
        lane_tool = case when t.at > p_keep then p_tool end
    from rows from (unnest((select p_rows)), unnest((select p_items)), unnest((select p_inputs)))
             with ordinality t(id, token, place, map, node, visit, old, attempt, started_at, output, item, input, at)
    where s.bucket = p_bucket and s.ctid = t.place and s.id = t.id and s.lease_token = t.token;
    get diagnostics v_hit = row_count;
    if v_hit <> cardinality(p_rows) then
        perform pgorch._raise_lost();
    end if;
end
$$;
comment on function pgorch._reuse_rows is
    'The next items of a map begin in the rows of those that ended: p_keep of them go straight back to the worker, the others wait in their lane.';

create or replace function pgorch._delete_rows(p_bucket integer, p_rows pgorch._ended_step[]) returns void
    language plpgsql
    set jit = off set enable_indexscan = off
    as $$
declare
    v_hit integer;
begin
    delete from pgorch.steps s
    using unnest((select p_rows)) t
    where s.bucket = p_bucket and s.ctid = t.place and s.id = t.id and s.lease_token = t.token;
    get diagnostics v_hit = row_count;
    if v_hit <> cardinality(p_rows) then
        perform pgorch._raise_lost();
    end if;
end
$$;
