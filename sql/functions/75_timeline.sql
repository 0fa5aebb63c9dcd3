-- What happened in a run, as sentences: for people, and for looking at what a transaction would do before it is rolled back.

create or replace function pgorch._sentence(p_entry pgorch.history) returns text
    language sql immutable
    as $$
    select case p_entry.kind
        when 'step_completed' then p_entry.node || ' completed'
        when 'step_failed' then p_entry.node || ' failed'
        when 'step_expired' then p_entry.node || ' expired'
        when 'step_skipped' then p_entry.node || ' was skipped'
        when 'step_cancelled' then p_entry.node || ' was cancelled'
        when 'attempt_failed' then format('attempt %s of %s failed', p_entry.attempt, p_entry.node)
        when 'attempt_lost' then format('attempt %s of %s was lost with its worker', p_entry.attempt, p_entry.node)
        when 'item_completed' then format('item %s of %s completed', p_entry.item, p_entry.node)
        when 'item_failed' then format('item %s of %s failed', p_entry.item, p_entry.node)
        when 'wait_started' then p_entry.node || ' began to wait'
        when 'child_started' then p_entry.node || coalesce(' started the run ' || (p_entry.output ->> 'run_id'), ' started a run')
        when 'signal_received' then 'a signal was received' || coalesce(': ' || (p_entry.output ->> 'name'), '')
        when 'approval_requested' then p_entry.node || ' asks for a decision'
        when 'approval_voted' then p_entry.node || ' was approved by one of several'
        when 'approval_commented' then p_entry.node || ' was commented on'
        when 'approval_reassigned' then p_entry.node || ' was reassigned'
        when 'approval_reminded' then p_entry.node || ' was brought to mind'
        when 'approval_decided' then format('%s was %s', p_entry.node, coalesce(p_entry.output ->> 'decision', 'decided'))
        when 'compensation_started' then 'what was done is being undone'
        when 'step_undone' then p_entry.node || ' was undone'
        when 'undo_failed' then p_entry.node || ' could not be undone'
        when 'state_edited' then 'the state was edited'
        else 'the run ' || case when p_entry.kind in ('run_completed', 'run_failed') then '' else 'was ' end
             || substr(p_entry.kind::text, 5) end
        || case when p_entry.attempt > 1 and p_entry.kind not in ('attempt_failed', 'attempt_lost') then format(' at attempt %s', p_entry.attempt) else '' end
        || coalesce(': ' || nullif(concat_ws(': ', p_entry.error ->> 'type', left(p_entry.error ->> 'message', 500)), ''),
                    case when p_entry.kind::text like 'approval\_%' then ': ' || left(p_entry.output ->> 'comment', 500) end, '')
    $$;
comment on function pgorch._sentence(pgorch.history) is 'An entry of the history in words.';

create or replace function pgorch.timeline(p_run_id uuid)
    returns table (seq integer, at timestamptz, what text, who text, took interval)
    language plpgsql stable
    set jit = off set enable_seqscan = off
    as $$
declare
    v_bucket constant integer := pgorch.bucket_of(p_run_id);
    v_run constant pgorch.runs := pgorch._seen_run(p_run_id);
    v_now constant pg_catalog.timestamptz := pgorch.clock_now();
begin
    return query
        select 0, v_run.created_at,
               case when v_run.forked_from is null then 'the run of ' else format('forked from %s after its entry %s: a run of ', v_run.forked_from, v_run.forked_at) end
               || g.name || '@' || g.version || ' was started', v_run.initiator, null::interval
        from pgorch.graphs g where g.id = v_run.graph_id;
    return query
        select h.seq, h.at, pgorch._sentence(h),
               coalesce(h.actor, 'worker ' || coalesce((select l.name from pgorch._worker_leases l where l.bucket = v_bucket and l.worker_id = h.worker_id), h.worker_id::text)),
               h.at - h.started_at
        from pgorch._lineage_history(v_bucket, v_run) h order by h.seq;
    return query
        select null::integer, coalesce(s.started_at, s.created_at),
               s.node || case when s.kind = 'approval' then ' waits for a decision'
                              when s.kind = 'join' then ' waits for other branches'
                              when s.status = 'retrying' then format(' is made again at %s', s.ready_at)
                              when s.status = 'waiting' then ' waits'
                              else ' is ' || s.status end
                      || coalesce(': ' || s.problem, ''),
               'worker ' || s.worker, v_now - coalesce(s.started_at, s.created_at)
        from pgorch.live_steps s where s.bucket = v_bucket and s.run_id = p_run_id order by s.step_id;
end
$$;
comment on function pgorch.timeline is
    'What happened in a run, in words and in order, and last what is live in it now (without seq). To rehearse: begin; decide or signal; timeline; rollback.';
