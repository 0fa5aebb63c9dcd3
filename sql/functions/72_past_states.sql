-- The state of a run at any entry of its history, put together anew from the history.

create or replace function pgorch._lineage_history(p_bucket integer, p_run pgorch.runs, p_upto integer default 2147483647)
    returns setof pgorch.history
    language plpgsql stable
    as $$
begin
    return query
        select h.* from pgorch._sources(p_bucket, p_run) o
        cross join lateral (
            select h.* from pgorch.history h
            where h.bucket = p_bucket and h.run_id = o.run_id and h.seq <= least(o.upto, p_upto)
            order by h.seq) h;
end
$$;
comment on function pgorch._lineage_history(integer, pgorch.runs, integer) is
    'The history of a run, with what it shares with the runs that it was forked from: its own entries first, each part in order.';

create or replace function pgorch._seq_in(p_run pgorch.runs, p_seq integer) returns integer
    language plpgsql immutable
    as $$
begin
    if p_seq is null or p_seq not between 0 and p_run.seq then
        perform pgorch._raise('OR006', format('run %s has no entry %s: its history ends with %s', p_run.id, coalesce(p_seq::text, 'null'), p_run.seq),
            '0 is the time before the first entry; run_events() lists them.');
    end if;
    return p_seq;
end
$$;

create or replace function pgorch._outcome_of(p_entry pgorch.history) returns text
    language sql immutable
    as $$
    select case when p_entry.kind = 'step_expired' then 'expired'
                when p_entry.error is not null then 'error'
                when p_entry.kind = 'approval_decided' and p_entry.output ->> 'decision' = 'rejected' then 'rejected'
                else 'success' end
    $$;
comment on function pgorch._outcome_of(pgorch.history) is 'With which outcome an entry ended its node.';

create or replace function pgorch._written_by_entry(p_node pgorch.nodes, p_entry pgorch.history) returns jsonb
    language plpgsql immutable
    as $$
begin
    return case
        when p_entry.kind = 'state_edited' then coalesce(p_entry.output -> 'state', '{}')
        when p_entry.error is not null or p_entry.output is null then '{}'
        when p_entry.kind in ('step_completed', 'step_skipped') then pgorch._written(p_node.into_key, p_entry.output)
        when p_entry.kind = 'approval_decided' then pgorch._written_by_decision(p_node, pgorch._outcome_of(p_entry), p_entry.output)
        else '{}' end;
end
$$;
comment on function pgorch._written_by_entry(pgorch.nodes, pgorch.history) is 'What an entry of the history wrote into the state.';

create or replace function pgorch._writing_entries(p_bucket integer, p_run pgorch.runs, p_upto integer)
    returns table (entry pgorch.history, node pgorch.nodes)
    language plpgsql stable
    as $$
declare
    v_moved integer[];
    v_left pg_catalog.uuid[];
begin
    -- Of a run that was moved to another version of its graph, earlier entries belong to the version that it left.
    select array_agg(h.seq order by h.seq), array_agg((h.output ->> 'from')::uuid order by h.seq) into v_moved, v_left
    from pgorch._lineage_history(p_bucket, p_run) h where h.kind = 'run_moved';
    return query
        select h, n
        from pgorch._lineage_history(p_bucket, p_run, p_upto) h
        left join pgorch.nodes n
          on n.id = h.node
         and n.graph_id = coalesce((select m.graph_id from unnest(v_moved, v_left) m(seq, graph_id) where m.seq > h.seq order by m.seq limit 1),
                                   p_run.graph_id)
        where (h.kind = any (pgorch._visit_ends()) or h.kind = 'state_edited')
        order by h.seq;
end
$$;
comment on function pgorch._writing_entries is 'The entries up to a number that end visits of nodes or edit the state, in order, each with its node as the graph then had it.';

create or replace function pgorch._state_after(p_state jsonb, p_node pgorch.nodes, p_entry pgorch.history) returns jsonb
    language plpgsql stable
    as $$
declare
    v_written pg_catalog.jsonb := pgorch._written_by_entry(p_node, p_entry);
    v_reducers pg_catalog.jsonb;
begin
    if v_written <> '{}' and p_entry.kind <> 'state_edited' then
        select g.reducers into v_reducers from pgorch.graphs g where g.id = p_node.graph_id;
        if v_reducers is not null then
            select r.written into v_written from pgorch._reduced(v_reducers, p_state, v_written) r;
        end if;
    end if;
    return p_state || v_written;
end
$$;
comment on function pgorch._state_after(jsonb, pgorch.nodes, pgorch.history) is 'The state once an entry of the history has written into it.';

create or replace function pgorch._state_at(p_bucket integer, p_run pgorch.runs, p_seq integer) returns jsonb
    language plpgsql stable
    as $$
declare
    v_state pg_catalog.jsonb := p_run.input;
    v_each pg_catalog.record;
begin
    -- Without reducers the last writer of each key is all that counts, which costs no more than what was written.
    if not exists (select from pgorch.graphs g where g.name = (select o.name from pgorch.graphs o where o.id = p_run.graph_id) and g.reducers is not null) then
        return p_run.input || coalesce((
            select jsonb_object_agg(w.key, w.value order by (e.entry).seq)
            from pgorch._writing_entries(p_bucket, p_run, p_seq) e
            cross join lateral jsonb_each(pgorch._written_by_entry(e.node, e.entry)) w), '{}');
    end if;
    for v_each in select e.entry, e.node from pgorch._writing_entries(p_bucket, p_run, p_seq) e order by (e.entry).seq loop
        v_state := pgorch._state_after(v_state, v_each.node, v_each.entry);
    end loop;
    return v_state;
end
$$;

create or replace function pgorch.state_at(p_run_id uuid, p_seq integer) returns jsonb
    language plpgsql stable
    set jit = off set enable_seqscan = off
    as $$
declare
    v_bucket constant integer := pgorch.bucket_of(p_run_id);
    v_run constant pgorch.runs := pgorch._seen_run(p_run_id);
begin
    return pgorch._state_at(v_bucket, v_run, pgorch._seq_in(v_run, p_seq));
end
$$;
comment on function pgorch.state_at is 'The state of a run as it was after an entry of its history; 0: before the first.';

create or replace function pgorch.diff_states(p_run_id uuid, p_from integer, p_to integer)
    returns table (key text, before jsonb, after jsonb)
    language plpgsql stable
    set jit = off set enable_seqscan = off
    as $$
declare
    v_bucket constant integer := pgorch.bucket_of(p_run_id);
    v_run constant pgorch.runs := pgorch._seen_run(p_run_id);
    v_from constant pg_catalog.jsonb := pgorch._state_at(v_bucket, v_run, pgorch._seq_in(v_run, p_from));
    v_to constant pg_catalog.jsonb := pgorch._state_at(v_bucket, v_run, pgorch._seq_in(v_run, p_to));
begin
    return query
        select coalesce(f.key, t.key), f.value, t.value
        from jsonb_each(v_from) f full join jsonb_each(v_to) t on t.key = f.key
        where f.value is distinct from t.value
        order by 1;
end
$$;
comment on function pgorch.diff_states is
    'Keys of the state that differ between two entries of a run''s history: with what was there before and after; null: the key was not there.';
