-- A run as one document, complete enough to be kept after the run itself is gone.

create or replace function pgorch.export_run(p_run_id uuid) returns jsonb
    language plpgsql stable
    set jit = off set enable_seqscan = off
    as $$
declare
    v_bucket constant integer := pgorch.bucket_of(p_run_id);
    v_run constant pgorch.runs := pgorch._seen_run(p_run_id);
begin
    return jsonb_build_object(
        'format', 'pgorch.run.1',
        'exported_at', pgorch.clock_now(),
        'run', to_jsonb(v_run) - '{bucket,id,snapshot,delta,watched_until,watches_steps}'::text[] || jsonb_build_object('run_id', p_run_id),
        'graph', (select jsonb_build_object('graph_id', g.id, 'name', g.name, 'version', g.version, 'definition', g.definition)
                  from pgorch.graphs g where g.id = v_run.graph_id),
        'state', pgorch._state(v_run.input, v_run.snapshot, v_run.delta),
        'history', coalesce((
            select jsonb_agg(to_jsonb(h) - 'bucket' order by h.seq) from pgorch._lineage_history(v_bucket, v_run) h), '[]'),
        'approvals', coalesce((
            select jsonb_agg(to_jsonb(a) - '{bucket,id,run_id}'::text[] || jsonb_build_object('approval_id', a.id, 'votes', coalesce((
                       select jsonb_agg(to_jsonb(v) - '{bucket,approval_id}'::text[] order by v.voted_at, v.voter)
                       from pgorch.votes v where v.bucket = v_bucket and v.approval_id = a.id), '[]')) order by a.requested_at, a.id)
            from pgorch.approvals a where a.bucket = v_bucket and a.run_id = p_run_id), '[]'),
        'signals', coalesce((
            select jsonb_agg(to_jsonb(s) - '{bucket,id,run_id}'::text[] || jsonb_build_object('signal_id', s.id) order by s.id)
            from pgorch.signals s where s.bucket = v_bucket and s.run_id = p_run_id), '[]'),
        'audit', coalesce((
            select jsonb_agg(to_jsonb(u) - '{bucket,id,run_id}'::text[] order by u.id)
            from pgorch.audit u where u.bucket = v_bucket and u.run_id = p_run_id), '[]'),
        -- Without the token: who has it can hand in a result.
        'steps', coalesce((
            select jsonb_agg(to_jsonb(s) - '{bucket,id,run_id,lease_token}'::text[] || jsonb_build_object('step_id', s.id) order by s.id)
            from pgorch.steps s where s.bucket = v_bucket and s.run_id = p_run_id), '[]'),
        'children', coalesce((
            select jsonb_agg(r.id order by r.id) from pgorch.runs r where r.bucket = v_bucket and r.parent_run_id = p_run_id), '[]'),
        'forks', coalesce((
            select jsonb_agg(r.id order by r.id) from pgorch.runs r where r.bucket = v_bucket and r.forked_from = p_run_id), '[]'));
end
$$;
comment on function pgorch.export_run is
    'A run as one JSON document: the run, its graph, state, history (with what it shares with runs it was forked from), approvals with their votes, signals, audit, live steps, ids of its children and forks.';
