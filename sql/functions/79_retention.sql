-- Letting go of finished runs. Their rows are deleted in batches; their history goes as a whole, with the partition of its
-- week, once no run of that week is left.

create or replace function pgorch.retention() returns interval
    language plpgsql stable
    as $$ begin return (select (s.value #>> '{}')::interval from pgorch.settings s where s.name = 'retention'); end $$;
comment on function pgorch.retention() is 'How long finished runs are kept; null: for ever.';

create or replace function pgorch.set_retention(p_keep interval, p_actor text default null) returns void
    language plpgsql
    set intervalstyle = 'postgres'
    as $$
declare
    v_actor constant pg_catalog.text := pgorch._actor(p_actor);
    v_before constant pg_catalog.text := pgorch.retention();
begin
    if p_keep < interval '1 hour' then
        perform pgorch._raise('OR006', format('finished runs are kept for an hour at least, not for %s', p_keep), 'Null keeps them for ever.');
    end if;
    insert into pgorch.settings (name, value) values ('retention', coalesce(to_jsonb(p_keep::text), 'null'))
    on conflict (name) do update set value = excluded.value;
    perform pgorch._audit(0, v_actor, 'set_retention', null, p_before => to_jsonb(v_before), p_after => to_jsonb(p_keep::text));
end
$$;
comment on function pgorch.set_retention is 'Says how long finished runs are kept (30 days unless said otherwise); null: for ever. maintain() lets go of the others.';

create or replace function pgorch._forget_runs(p_bucket integer, p_before timestamptz, p_limit integer) returns integer
    language plpgsql
    set jit = off set enable_seqscan = off
    as $$
declare
    v_ids pg_catalog.uuid[];
    v_keys pg_catalog.text[];
    v_approvals pg_catalog.uuid[];
begin
    -- What its parent may still read stays with the parent; what a fork shares the history of stays with the fork.
    select array_agg(d.id), array_agg(d.idempotency_key) filter (where d.idempotency_key is not null) into v_ids, v_keys
    from (
        select r.id, r.idempotency_key
        from pgorch.runs r
        where r.bucket = p_bucket and r.id < pgorch._first_id_of(p_before) and r.finished_at < p_before
          and not exists (select from pgorch.runs p where p.bucket = p_bucket and p.id = r.parent_run_id)
          and not exists (select from pgorch.runs f where f.bucket = p_bucket and f.forked_from = r.id)
        order by r.id limit p_limit
        for update of r skip locked) d;
    if v_ids is null then
        return 0;
    end if;
    with gone as (
        delete from pgorch.approvals a where a.bucket = p_bucket and a.run_id = any (v_ids) returning a.id)
    select array_agg(g.id) into v_approvals from gone g;
    delete from pgorch.votes v where v.bucket = p_bucket and v.approval_id = any (v_approvals);
    delete from pgorch.signals s where s.bucket = p_bucket and s.run_id = any (v_ids);
    -- A failed run keeps them, since it may be taken up again.
    delete from pgorch._writes w where w.bucket = p_bucket and w.run_id = any (v_ids);
    delete from pgorch._idempotency_keys k where k.bucket = p_bucket and k.key = any (v_keys) and k.run_id = any (v_ids);
    delete from pgorch.runs r where r.bucket = p_bucket and r.id = any (v_ids);
    return cardinality(v_ids);
end
$$;
comment on function pgorch._forget_runs is 'Deletes finished runs that ended before a time, oldest first, at most so many, and all that is theirs but history and audit; how many.';

create or replace function pgorch._forget_history(p_bucket integer, p_before uuid, p_limit integer) returns integer
    language plpgsql
    set jit = off set enable_seqscan = off
    as $$
declare
    v_ids pg_catalog.uuid[];
    v_id pg_catalog.uuid;
    v_last integer;
    v_count integer;
    v_left integer := 20000;
    v_runs integer := 0;
begin
    -- From one run's first entry to the next one's: a run costs a look, however long its history is.
    with recursive known as (
        (select h.run_id from pgorch.history h where h.bucket = p_bucket and h.run_id < p_before order by h.run_id limit 1)
        union all
        select (select h.run_id from pgorch.history h
                where h.bucket = p_bucket and h.run_id > k.run_id and h.run_id < p_before order by h.run_id limit 1)
        from known k where k.run_id is not null)
    select array_agg(d.run_id) into v_ids
    from (
        select k.run_id from known k
        where k.run_id is not null and not exists (select from pgorch.runs r where r.bucket = p_bucket and r.id = k.run_id)
        limit p_limit) d;
    foreach v_id in array coalesce(v_ids, '{}') loop
        -- One that is long goes in parts.
        select h.seq into v_last from pgorch.history h
        where h.bucket = p_bucket and h.run_id = v_id order by h.seq offset v_left - 1 limit 1;
        delete from pgorch.history h where h.bucket = p_bucket and h.run_id = v_id and h.seq <= coalesce(v_last, 2147483647);
        get diagnostics v_count = row_count;
        v_left := v_left - v_count;
        v_runs := v_runs + 1;
        exit when v_left <= 0;
    end loop;
    return v_runs;
end
$$;
comment on function pgorch._forget_history is
    'Deletes the history of runs that are gone, of those with a smaller id: for weeks whose partition has to stay because of a run that is left. At most so many runs and 20,000 entries; how many runs.';

create or replace function pgorch._has_runs_between(p_bucket integer, p_from uuid, p_to uuid) returns boolean
    language plpgsql stable
    set jit = off set enable_seqscan = off
    as $$ begin return exists (select from pgorch.runs r where r.bucket = p_bucket and r.id >= p_from and r.id < p_to); end $$;

create or replace function pgorch._history_to_drop(p_before timestamptz) returns text[]
    language plpgsql stable
    as $$
begin
    return array(
        select w.name
        from (select c.relname as name, to_date(substr(c.relname, 10), 'IYYY"w"IW')::timestamp at time zone 'UTC' as week
              from pg_inherits i join pg_class c on c.oid = i.inhrelid
              where i.inhparent = 'pgorch.history'::regclass and c.relname ~ '^_history_\d{4}w\d\d$') w
        where w.week + interval '7 days' <= p_before and not exists (
            select from generate_series(0, 255) b(bucket)
            where pgorch._has_runs_between(b.bucket, pgorch._first_id_of(w.week), pgorch._first_id_of(w.week + interval '7 days')))
        order by w.week);
end
$$;
comment on function pgorch._history_to_drop(timestamptz) is 'The partitions of the history that end before a time and to which no run belongs any more.';

create or replace function pgorch._drop_history(p_before timestamptz) returns void
    language plpgsql
    -- Dropping a partition locks the history, and while that waits everybody else waits behind it.
    set lock_timeout = '200ms'
    as $$
declare
    v_name pg_catalog.text;
begin
    foreach v_name in array coalesce(pgorch._history_to_drop(p_before), '{}') loop
        execute format('drop table pgorch.%I', v_name);
    end loop;
end
$$;
comment on function pgorch._drop_history(timestamptz) is 'Drops the partitions of the history that end before a time and to which no run belongs any more.';

create or replace function pgorch._forgotten_until() returns timestamptz
    language plpgsql stable
    as $$
declare
    v_before constant pg_catalog.timestamptz := pgorch.clock_now() - pgorch.retention();
begin
    -- No later than the server's time: a test's clock may be ahead, and the partitions to come are empty.
    return case when v_before is not null then date_trunc('week', least(v_before, clock_timestamp()), 'UTC') end;
end
$$;
comment on function pgorch._forgotten_until() is 'The beginning of the first week of which finished runs are kept; null: all are kept.';

create or replace function pgorch._forget() returns integer
    language plpgsql
    as $$
declare
    v_before constant pg_catalog.timestamptz := pgorch.clock_now() - pgorch.retention();
    v_whole_weeks constant pg_catalog.timestamptz := pgorch._forgotten_until();
    v_forgotten integer := 0;
    v_histories integer := 0;
begin
    if v_before is null then
        return 0;
    end if;
    for v_bucket in 0..255 loop
        exit when v_forgotten >= 5000;
        v_forgotten := v_forgotten + pgorch._forget_runs(v_bucket, v_before, 5000 - v_forgotten);
    end loop;
    -- What goes with its partition is not deleted row by row.
    if v_forgotten < 5000 and cardinality(pgorch._history_to_drop(v_whole_weeks)) = 0 then
        for v_bucket in 0..255 loop
            v_histories := pgorch._forget_history(v_bucket, pgorch._first_id_of(v_whole_weeks), 1000);
            exit when v_histories > 0;
        end loop;
    end if;
    return v_forgotten + v_histories;
end
$$;
comment on function pgorch._forget() is 'One batch of letting go: how many runs and histories went. Zero: there is no more to do, but for partitions.';
