-- Votes: an approval with a quorum is approved when so many different people have approved it. One rejection decides.

create or replace function pgorch._voters(p_bucket integer, p_approval_id uuid) returns text[]
    language plpgsql stable
    as $$
begin
    return (
        select array_agg(v.voter order by v.number) from pgorch.votes v
        where v.bucket = p_bucket and v.approval_id = p_approval_id);
end
$$;
comment on function pgorch._voters(integer, uuid) is 'Who has approved so far, where several must; null: nobody, or one is enough.';

create or replace function pgorch._voted_data(p_bucket integer, p_approval_id uuid) returns jsonb
    language plpgsql stable
    as $$
begin
    return (
        -- Of a name that comes twice the last value stays.
        select jsonb_object_agg(d.key, d.value order by v.number)
        from pgorch.votes v cross join lateral jsonb_each(v.data) d
        where v.bucket = p_bucket and v.approval_id = p_approval_id);
end
$$;
comment on function pgorch._voted_data(integer, uuid) is 'The data of all who approved: what a later one gave goes over what an earlier one gave, property by property.';

create or replace function pgorch._vote(
    p_bucket integer, p_run pgorch.runs, p_node pgorch.nodes, p_approval pgorch.approvals, p_actor text, p_data jsonb,
    p_comment text, p_now timestamptz) returns integer
    language plpgsql
    as $$
declare
    v_run pgorch.runs := p_run;
    v_voters constant pg_catalog.text[] := coalesce(pgorch._voters(p_bucket, p_approval.id), '{}');
    v_votes constant integer := cardinality(v_voters) + 1;
begin
    if p_actor = any (v_voters) then
        perform pgorch._raise('OR002', format('%s has approved %s already: %s of %s approvals are there, by %s',
            p_actor, p_approval.node, v_votes - 1, p_node.quorum, array_to_string(v_voters, ', ')), 'Somebody else has to approve it as well.');
    end if;
    insert into pgorch.votes (bucket, approval_id, number, voter, voted_at, data, comment)
    values (p_bucket, p_approval.id, v_votes, p_actor, p_now, p_data, p_comment);
    if v_votes < p_node.quorum then
        perform pgorch._audit(p_bucket, p_actor, 'vote', p_run.id, p_approval.id,
            jsonb_build_object('votes', v_votes - 1),
            jsonb_build_object('votes', v_votes, 'quorum', p_node.quorum) || case when p_data is null then '{}' else jsonb_build_object('data', p_data) end,
            p_comment);
        v_run := pgorch._append(p_bucket, v_run, 'approval_voted', p_now, p_node => p_approval.node, p_actor => p_actor,
            p_output => jsonb_strip_nulls(jsonb_build_object('approval_id', p_approval.id, 'decision', 'approved', 'by', p_actor,
                'votes', v_votes, 'quorum', p_node.quorum, 'comment', p_comment))
                || case when p_data is null then '{}' else jsonb_build_object('data', p_data) end);
        perform pgorch._save_run(p_bucket, v_run, p_now);
    end if;
    return v_votes;
end
$$;
comment on function pgorch._vote is 'Counts an approval where several people must approve; how many have. Only the last one ends the approval.';
