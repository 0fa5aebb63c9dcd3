-- Labels: what people call a run, to find it by.

create or replace function pgorch.set_labels(p_run_id uuid, p_labels jsonb, p_actor text default null) returns jsonb
    language plpgsql
    set jit = off set enable_seqscan = off
    as $$
declare
    v_bucket constant integer := pgorch.bucket_of(p_run_id);
    v_actor constant pg_catalog.text := pgorch._actor(p_actor);
    v_labels constant pg_catalog.jsonb := nullif(p_labels, '{}');
    v_run pgorch.runs;
begin
    perform pgorch._check_labels(p_labels);
    v_run := pgorch._locked_run(p_run_id);
    if v_labels is distinct from v_run.labels then
        update pgorch.runs r set labels = v_labels where r.bucket = v_bucket and r.id = p_run_id;
        perform pgorch._audit(v_bucket, v_actor, 'set_labels', p_run_id, p_before => v_run.labels, p_after => v_labels);
    end if;
    return coalesce(v_labels, '{}');
end
$$;
comment on function pgorch.set_labels is 'Sets the labels of a run, {name: text}, in place of those it had; they can be changed when it has ended, too.';
