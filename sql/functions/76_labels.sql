-- Labels: what people call a run, to find it by.

create or replace function pgorch._checked_labels(p_labels jsonb) returns jsonb
    language plpgsql immutable
    as $$
declare
    v_label record;
begin
    if p_labels is null or p_labels = '{}' then
        return null;
    elsif jsonb_typeof(p_labels) <> 'object' then
        perform pgorch._raise('OR006', format('labels are a JSON object, not %s', jsonb_typeof(p_labels)), 'Write {"customer": "42"}.');
    elsif (select count(*) from jsonb_object_keys(p_labels)) > 50 then
        perform pgorch._raise('OR006', format('%s labels are more than 50', (select count(*) from jsonb_object_keys(p_labels))), 'Put what is long into the input.');
    end if;
    for v_label in select l.key, l.value from jsonb_each(p_labels) l loop
        if length(v_label.key) not between 1 and 100 then
            perform pgorch._raise('OR006', format('the name of the label %s has not 1 to 100 characters', pgorch._quoted(left(v_label.key, 120))), 'Choose a shorter one.');
        elsif jsonb_typeof(v_label.value) <> 'string' or length(v_label.value #>> '{}') > 1000 then
            perform pgorch._raise('OR006', format('the label %s is no text of at most 1,000 characters', pgorch._quoted(v_label.key)), 'Write numbers as text: "42".');
        end if;
    end loop;
    return p_labels;
end
$$;
comment on function pgorch._checked_labels(jsonb) is 'Labels as they are stored; none at all are null. OR006 for what is not {name: text}.';

create or replace function pgorch.set_labels(p_run_id uuid, p_labels jsonb, p_actor text default null) returns jsonb
    language plpgsql
    set jit = off set enable_seqscan = off
    as $$
declare
    v_bucket constant integer := pgorch.bucket_of(p_run_id);
    v_actor constant text := pgorch._actor(p_actor);
    v_labels constant jsonb := pgorch._checked_labels(p_labels);
    v_run constant pgorch.runs := pgorch._locked_run(p_run_id);
begin
    if v_labels is distinct from v_run.labels then
        update pgorch.runs r set labels = v_labels where r.bucket = v_bucket and r.id = p_run_id;
    end if;
    return coalesce(v_labels, '{}');
end
$$;
comment on function pgorch.set_labels is 'Sets the labels of a run, {name: text}, in place of those it had; they can be changed when it has ended, too.';
