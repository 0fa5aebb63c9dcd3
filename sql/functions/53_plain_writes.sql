-- Writing what the plain path has decided. Each update is bounded by an array of keys, and joined by hashing: whatever
-- the statistics say, or if there are none, exactly the rows of the batch are read. (Nested loops were seen to read
-- all live steps of a bucket when the table had looked small at planning time.) Hash joins are set on because the
-- caller, advance(), sets them off.

create or replace function pgorch._write_plain(
    p_bucket integer, p_worker_id uuid, v pgorch._plain_batch, p_token uuid, p_now timestamptz) returns void
    language plpgsql
    set jit = off set enable_hashjoin = on set enable_seqscan = off set enable_nestloop = off set enable_mergejoin = off set enable_bitmapscan = off
    as $$
declare
    v_hit integer;
begin
    insert into pgorch.history (bucket, run_id, seq, kind, attempt, at, started_at, worker_id, node, output)
    select p_bucket, t.run_id, t.seq + 1, 'step_completed', t.attempt, p_now, t.started_at, p_worker_id, t.node, t.output
    from unnest((select v.runs), (select v.seqs), (select v.attempts), (select v.started), (select v.nodes), (select v.outputs))
        t(run_id, seq, attempt, started_at, node, output);

    update pgorch.runs r set delta = t.delta, seq = r.seq + 1
    from unnest((select v.runs), (select v.deltas), (select v.folds), (select v.targets)) t(run_id, delta, folds, target)
    where r.bucket = p_bucket and r.id = any ((select v.runs)::uuid[]) and r.id = t.run_id and t.target is not null and not t.folds;
    if true = any (v.folds) then
        update pgorch.runs r set snapshot = t.state, delta = '{}', seq = r.seq + 1
        from unnest((select v.runs), (select v.states), (select v.folds), (select v.targets)) t(run_id, state, folds, target)
        where r.bucket = p_bucket and r.id = any ((select v.runs)::uuid[]) and r.id = t.run_id and t.target is not null and t.folds;
    end if;

    update pgorch.steps s
    set node = t.node, lease_token = p_token, attempt = 1, deaths = 0, failures = 0, started_at = p_now, born = t.seq + 1, input = null
    from unnest((select v.ids), (select v.tokens), (select v.targets), (select v.seqs), (select v.stays)) t(id, token, node, seq, stays)
    where s.bucket = p_bucket and s.id = any ((select v.ids)::bigint[]) and s.id = t.id and s.lease_token = t.token and t.stays;
    get diagnostics v_hit = row_count;
    if false = any (v.stays) then
        v_hit := v_hit + pgorch._hand_over(p_bucket, v, p_now);
    end if;
    if array_position(v.targets, null) is not null then
        v_hit := v_hit + pgorch._end_plain(p_bucket, v, p_now);
    end if;
    -- Between the look and the write a lease can have been taken away; then the whole batch is looked at again.
    if v_hit <> cardinality(v.ids) then
        raise exception using errcode = '40001', message = 'a lease was lost while its result was being written',
            hint = 'Hand the batch in again: what is lost is refused then.';
    end if;
end
$$;
comment on function pgorch._write_plain is 'Writes history, state and next steps of a batch of plain results: all of it, or nothing with SQLSTATE 40001.';

create or replace function pgorch._hand_over(p_bucket integer, v pgorch._plain_batch, p_now timestamptz) returns integer
    language plpgsql
    set jit = off set enable_hashjoin = on set enable_seqscan = off set enable_nestloop = off set enable_mergejoin = off set enable_bitmapscan = off
    as $$
declare
    v_hit integer;
begin
    update pgorch.steps s
    set node = t.node, lane_queue = t.queue, lane_tool = t.tool, priority = t.priority, worker_id = null, lease_token = null,
        attempt = 0, deaths = 0, failures = 0, started_at = null, ready_at = p_now, created_at = p_now, born = t.seq + 1, input = null
    from unnest((select v.ids), (select v.tokens), (select v.targets), (select v.seqs), (select v.stays),
                (select v.queues), (select v.tools), (select v.priorities)) t(id, token, node, seq, stays, queue, tool, priority)
    where s.bucket = p_bucket and s.id = any ((select v.ids)::bigint[]) and s.id = t.id and s.lease_token = t.token
      and t.node is not null and not t.stays;
    get diagnostics v_hit = row_count;
    if v_hit > 0 then
        perform pgorch._wake_workers(p_bucket);
    end if;
    return v_hit;
end
$$;
comment on function pgorch._hand_over is 'Next steps that this worker cannot run wait in their lanes for another.';

create or replace function pgorch._end_plain(p_bucket integer, v pgorch._plain_batch, p_now timestamptz) returns integer
    language plpgsql
    set jit = off set enable_hashjoin = on set enable_seqscan = off set enable_nestloop = off set enable_mergejoin = off set enable_bitmapscan = off
    as $$
declare
    v_hit integer;
    v_ids bigint[];
begin
    insert into pgorch.history (bucket, run_id, seq, kind, at)
    select p_bucket, t.run_id, t.seq + 2, 'run_completed', p_now
    from unnest((select v.runs), (select v.seqs), (select v.targets)) t(run_id, seq, target) where t.target is null;
    update pgorch.runs r set delta = t.delta, seq = r.seq + 2, live = 0, status = 'completed', finished_at = p_now
    from unnest((select v.runs), (select v.deltas), (select v.targets)) t(run_id, delta, target)
    where r.bucket = p_bucket and r.id = any ((select v.runs)::uuid[]) and r.id = t.run_id and t.target is null;
    select array_agg(t.id) into v_ids from unnest(v.ids, v.targets) t(id, target) where t.target is null;
    delete from pgorch.steps s
    where s.bucket = p_bucket and s.id = any ((select v_ids)::bigint[]) and s.lease_token = any ((select v.tokens)::uuid[]);
    get diagnostics v_hit = row_count;
    return v_hit;
end
$$;
comment on function pgorch._end_plain is 'Runs whose path ended complete; their steps go.';
