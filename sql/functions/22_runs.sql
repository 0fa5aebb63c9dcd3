-- One run: looked at, or locked.

create or replace function pgorch._seen_run(p_run_id uuid) returns pgorch.runs
    language plpgsql stable
    as $$
declare
    v_bucket constant integer := pgorch.bucket_of(p_run_id);
    v_run pgorch.runs;
begin
    select r.* into v_run from pgorch.runs r where r.bucket = v_bucket and r.id = p_run_id;
    if v_run.id is null then
        perform pgorch._no_run(p_run_id);
    end if;
    return v_run;
end
$$;
comment on function pgorch._seen_run(uuid) is 'A run, looked at without a lock.';

create or replace function pgorch._locked_run(p_run_id uuid) returns pgorch.runs
    language plpgsql
    as $$
declare
    v_run pgorch.runs;
    v_bucket constant integer := pgorch.bucket_of(p_run_id);
begin
    -- Lock order: the run, then its steps and approvals by id. Everything that changes a run begins here or in advance().
    select r.* into v_run from pgorch.runs r where r.bucket = v_bucket and r.id = p_run_id for update;
    if v_run.id is null then
        perform pgorch._no_run(p_run_id);
    end if;
    return v_run;
end
$$;

create or replace function pgorch._no_run(p_run_id uuid) returns void
    language plpgsql
    as $$
begin
    perform pgorch._raise('OR003', format('there is no run %s', coalesce(p_run_id::text, 'null')), 'See the view pgorch.run_list for those there are.');
end
$$;
