-- Which branches of which forks a step descends from, as [[fork, branches, [branch, ...]], ...]. A fork is named by the
-- number of the history entry that it came after. A write comes before a step, unless at some fork that both know it
-- descends from a branch that the step does not: then the two are concurrent.

create or replace function pgorch._are_concurrent(p_one jsonb, p_other jsonb) returns boolean
    language sql immutable
    as $$
    select exists (
        select from jsonb_array_elements(p_one) w(fork)
        join jsonb_array_elements(p_other) s(fork) on s.fork -> 0 = w.fork -> 0
        where not (s.fork -> 2) @> (w.fork -> 2))
    $$;

create or replace function pgorch._joined_lineage(p_bucket integer, p_run_id uuid, p_step_ids bigint[]) returns jsonb
    language plpgsql stable
    as $$
begin
    return (
        -- A fork is forgotten once nothing that it tells apart is left: no other live step descends from it, and either
        -- all its branches are here again or nobody who descends from it was the last to write a key.
        select coalesce(jsonb_agg(jsonb_build_array(f.fork, f.branches, f.joined) order by f.fork), '[]')
        from (
            select l.fork -> 0 as fork, l.fork -> 1 as branches, jsonb_agg(distinct b.branch) as joined
            from pgorch.steps s
            cross join lateral jsonb_array_elements(s.lineage) l(fork)
            cross join lateral jsonb_array_elements(l.fork -> 2) b(branch)
            where s.bucket = p_bucket and s.id = any (p_step_ids)
            group by l.fork -> 0, l.fork -> 1) f
        where exists (
                select from pgorch.steps s
                cross join lateral jsonb_array_elements(s.lineage) l(fork)
                where s.bucket = p_bucket and s.run_id = p_run_id and s.id <> all (p_step_ids) and l.fork -> 0 = f.fork)
           or (jsonb_array_length(f.joined) < f.branches::integer and exists (
                select from pgorch._writes w
                cross join lateral jsonb_array_elements(w.lineage) l(fork)
                where w.bucket = p_bucket and w.run_id = p_run_id and l.fork -> 0 = f.fork)));
end
$$;
comment on function pgorch._joined_lineage(integer, uuid, bigint[]) is 'The lineage of a join: everything that its arrivals descend from.';

create or replace function pgorch._conflicting_key(p_bucket integer, p_run_id uuid, p_written jsonb, p_lineage jsonb) returns text
    language plpgsql stable
    as $$
begin
    return (
        select w.key
        from pgorch._writes w
        where w.bucket = p_bucket and w.run_id = p_run_id and w.key = any (array(select jsonb_object_keys(p_written)))
          and pgorch._are_concurrent(w.lineage, p_lineage)
        limit 1);
end
$$;
comment on function pgorch._conflicting_key is 'A key that is to be written and that a parallel branch has written, if there is one.';

create or replace function pgorch._note_writes(p_bucket integer, p_run_id uuid, p_written jsonb, p_lineage jsonb) returns void
    language plpgsql
    as $$
begin
    insert into pgorch._writes (bucket, run_id, key, lineage)
    select p_bucket, p_run_id, k.key, p_lineage from jsonb_object_keys(p_written) k(key)
    on conflict (bucket, run_id, key) do update set lineage = excluded.lineage;
end
$$;
