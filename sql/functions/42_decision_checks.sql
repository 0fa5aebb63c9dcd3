-- What a decision must be: checked alike whoever asks, through whatever door.

create or replace function pgorch._check_decision(p_decision text, p_data jsonb, p_comment text) returns void
    language plpgsql immutable
    as $$
begin
    if p_decision is null or p_decision not in ('approved', 'rejected') then
        perform pgorch._raise('OR006', format('%s is no decision', coalesce(quote_literal(left(p_decision, 100)), 'null')), 'Say approved or rejected.');
    end if;
    if p_data is not null and jsonb_typeof(p_data) <> 'object' then
        perform pgorch._raise('OR006', format('the data of a decision is a JSON object, not %s', jsonb_typeof(p_data)), 'Put the value under a key.');
    end if;
    perform pgorch._checked_json(p_data, 'the data of the decision', 1048576);
    perform pgorch._check_comment(p_comment);
end
$$;

create or replace function pgorch._check_comment(p_comment text) returns void
    language plpgsql immutable
    as $$
begin
    if length(p_comment) > 10000 then
        perform pgorch._raise('OR006', 'a comment has at most 10,000 characters', 'Shorten it.');
    end if;
end
$$;

create or replace function pgorch._check_form(p_node pgorch.nodes, p_data jsonb) returns void
    language plpgsql
    as $$
declare
    v_problems pg_catalog.jsonb;
begin
    if p_node.form is null then
        return;
    end if;
    select jsonb_agg(p) into v_problems from pgorch._value_problems(p_node.form, coalesce(p_data, '{}'), '/data') p;
    if v_problems is not null then
        perform pgorch._raise('OR006', format('the data does not fit the form of %s: %s', p_node.id, v_problems -> 0 ->> 'message')
            || case when jsonb_array_length(v_problems) > 1 then format(' (and %s more)', jsonb_array_length(v_problems) - 1) else '' end,
            'The form is a JSON Schema: see approval_document(id), or pgorch approvals show.', v_problems::text);
    end if;
end
$$;
comment on function pgorch._check_form is 'Refuses data that does not fit the form of an approval; DETAIL holds all problems: path, code, message, hint.';
