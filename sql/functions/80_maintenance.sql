-- Partitions of the history: one for each week of run ids, made ahead and dropped when its runs are gone.

create or replace function pgorch._first_id_of(p_at timestamptz) returns uuid
    language sql immutable
    as $$ select (lpad(to_hex((extract(epoch from p_at) * 1000)::bigint), 12, '0') || repeat('0', 20))::uuid $$;
comment on function pgorch._first_id_of(timestamptz) is 'The smallest id that a run started at this time can have.';

create or replace function pgorch._make_history() returns void
    language plpgsql
    -- A new partition locks the history: while that waits for a long transaction, everybody else waits behind it.
    set lock_timeout = '1s'
    as $$
declare
    v_week pg_catalog.timestamptz;
    v_name pg_catalog.text;
begin
    for v_week in
        select date_trunc('week', now(), 'UTC') + make_interval(weeks => w) from generate_series(0, 8) w
    loop
        v_name := '_history_' || to_char(v_week at time zone 'UTC', 'IYYY"w"IW');
        continue when to_regclass('pgorch.' || quote_ident(v_name)) is not null;
        -- The rest partition can hold rows of a week only if nobody maintained anything for two months; they stay there.
        continue when exists (
            select from pgorch._history_rest h
            where h.run_id >= pgorch._first_id_of(v_week) and h.run_id < pgorch._first_id_of(v_week + interval '7 days'));
        execute format('create table pgorch.%I partition of pgorch.history for values from (%L) to (%L)',
            v_name, pgorch._first_id_of(v_week), pgorch._first_id_of(v_week + interval '7 days'));
    end loop;
end
$$;

create or replace function pgorch.maintain() returns integer
    language plpgsql
    as $$
declare
    v_forgotten integer;
begin
    -- Another process at it is as good.
    if not pg_try_advisory_xact_lock(hashtext('pgorch.maintain')) then
        return 0;
    end if;
    v_forgotten := pgorch._forget();
    -- Last, since each partition that is made or dropped keeps everybody from the history until the transaction ends.
    begin
        perform pgorch._make_history();
    exception when lock_not_available then
        raise warning 'the history is in use by a long transaction: its partitions for the coming weeks are made another time';
    end;
    -- While batches follow each other, one after the last of them is soon enough.
    if v_forgotten < 5000 then
        begin
            perform pgorch._drop_history(pgorch._forgotten_until());
        exception when lock_not_available then
            raise warning 'the history is in use by a long transaction: its oldest partitions are dropped another time';
        end;
    end if;
    return v_forgotten;
end
$$;
comment on function pgorch.maintain is
    'Makes the partitions of the history for the coming weeks, and lets go of finished runs that are older than retention() says: one batch. '
    'Returns how many went; call it again until that is 0. Called by migrate and, every hour, by workers.';
