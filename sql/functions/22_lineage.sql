-- Which branches of which forks a step descends from, as [[fork, branches, [branch, ...]], ...], outermost first.
-- Two writes are concurrent if at some fork they descend from different branches.

create or replace function pgorch._are_concurrent(p_one jsonb, p_other jsonb) returns boolean
    language plpgsql immutable
    as $$
declare
    v_depth integer := 0;
begin
    loop
        if p_one -> v_depth is null or p_other -> v_depth is null
           or p_one -> v_depth -> 0 <> p_other -> v_depth -> 0 then
            return false;
        end if;
        if not exists (
            select from jsonb_array_elements(p_one -> v_depth -> 2) a(branch)
            where p_other -> v_depth -> 2 @> a.branch) then
            return true;
        end if;
        v_depth := v_depth + 1;
    end loop;
end
$$;

create or replace function pgorch._joined_lineage(p_bucket integer, p_step_ids bigint[]) returns jsonb
    language plpgsql stable
    as $$
declare
    v_first jsonb;
    v_result jsonb := '[]';
    v_depth integer := 0;
    v_branches jsonb;
    v_forks integer;
    v_missing integer;
    v_sets integer;
begin
    select s.lineage into v_first from pgorch.steps s where s.bucket = p_bucket and s.id = p_step_ids[1];
    if cardinality(p_step_ids) = 1 then
        return v_first;
    end if;
    loop
        exit when v_first -> v_depth is null;
        select count(distinct s.lineage -> v_depth -> 0), count(*) filter (where s.lineage -> v_depth is null),
               count(distinct s.lineage -> v_depth -> 2)
        into v_forks, v_missing, v_sets
        from pgorch.steps s where s.bucket = p_bucket and s.id = any (p_step_ids);
        exit when v_forks <> 1 or v_missing > 0;
        if v_sets = 1 then
            v_result := v_result || jsonb_build_array(v_first -> v_depth);
            v_depth := v_depth + 1;
            continue;
        end if;
        select jsonb_agg(distinct b.branch) into v_branches
        from pgorch.steps s, jsonb_array_elements(s.lineage -> v_depth -> 2) b(branch)
        where s.bucket = p_bucket and s.id = any (p_step_ids);
        -- All branches of the fork are here again: from now on nothing can be concurrent to them.
        if jsonb_array_length(v_branches) < (v_first -> v_depth -> 1)::integer then
            v_result := v_result || jsonb_build_array(jsonb_build_array(v_first -> v_depth -> 0, v_first -> v_depth -> 1, v_branches));
        end if;
        exit;
    end loop;
    return v_result;
end
$$;

create or replace function pgorch._conflicting_key(p_writers jsonb, p_written jsonb, p_lineage jsonb) returns text
    language sql immutable
    as $$
    select k.key from jsonb_object_keys(p_written) k(key)
    where p_writers ? k.key and pgorch._are_concurrent(p_writers -> k.key, p_lineage)
    limit 1
    $$;
