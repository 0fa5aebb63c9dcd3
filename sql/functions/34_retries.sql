-- Whether and when a failed attempt is made again.

create or replace function pgorch._retry_policy(p_graph_id uuid, p_node text, p_kind pgorch.step_kind) returns jsonb
    language sql stable
    as $$
    -- What undoes a step has its own policy, that of its tool.
    select coalesce(case when p_kind <> 'undo' then n.retry end, t.retry, g.retry)
    from pgorch.nodes n
    join pgorch.graphs g on g.id = n.graph_id
    left join pgorch.tools t on t.name = case when p_kind = 'undo' then n.compensate else n.function end
    where n.graph_id = p_graph_id and n.id = p_node
    $$;
comment on function pgorch._retry_policy(uuid, text, pgorch.step_kind) is 'The node''s own policy, else the tool''s, else the graph''s; null: one attempt.';

create or replace function pgorch._retry_delay(p_policy jsonb, p_error jsonb, p_failures integer, p_random double precision)
    returns double precision
    language plpgsql immutable
    as $$
declare
    v_type constant pg_catalog.text := p_error ->> 'type';
    v_delay double precision;
begin
    if p_policy is null or p_error -> 'retryable' = 'false' or p_failures >= (p_policy ->> 'max_attempts')::integer
       or p_policy -> 'non_retryable' ? v_type
       or (p_policy ? 'retry_on' and not p_policy -> 'retry_on' ? v_type) then
        return null;
    end if;
    if jsonb_typeof(p_error -> 'retry_after') = 'number' then
        return least(greatest((p_error ->> 'retry_after')::numeric, 0), 31536000);
    end if;
    -- The power is capped before it can overflow.
    v_delay := least(
        (p_policy ->> 'initial_seconds')::double precision
            * power((p_policy ->> 'backoff_factor')::double precision,
                    least(p_failures - 1, 300 / greatest(log(greatest((p_policy ->> 'backoff_factor')::numeric, 1.0000001)), 1)::integer)),
        (p_policy ->> 'max_seconds')::double precision);
    return v_delay * (1 + coalesce((p_policy ->> 'jitter')::double precision, 0) * (2 * p_random - 1));
end
$$;
comment on function pgorch._retry_delay is 'Seconds until the next attempt after so many failures; null: no further attempt.';
