-- Cron expressions: which ones are taken. When they are due is computed by workers (pgorch/cron.py).

create or replace function pgorch._cron_hint(p_field integer) returns text
    language sql immutable
    as $$
    select (array['Minutes are 0 to 59.', 'Hours are 0 to 23.',
                  'Days of the month are 1 to 31; L is the last one, LW the last from Monday to Friday.',
                  'Months are 1 to 12, or JAN to DEC.',
                  'Days of the week are 0 to 7 (Sunday is 0 and 7), or SUN to SAT; 5L is the last Friday of a month, MON#2 its second Monday.'])[p_field]
    $$;

create or replace function pgorch._cron_number(p_text text, p_field integer) returns integer
    language plpgsql immutable
    as $$
declare
    v_names constant pg_catalog.text[] := case p_field when 4 then '{JAN,FEB,MAR,APR,MAY,JUN,JUL,AUG,SEP,OCT,NOV,DEC}'
                                            when 5 then '{SUN,MON,TUE,WED,THU,FRI,SAT}' end;
    v_number integer := array_position(v_names, p_text) - case p_field when 5 then 1 else 0 end;
begin
    if v_number is null and p_text ~ '^[0-9]{1,4}$' then
        v_number := p_text::integer;
    end if;
    if v_number is null or v_number < ('{0,0,1,1,0}'::integer[])[p_field] or v_number > ('{59,23,31,12,7}'::integer[])[p_field] then
        perform pgorch._raise('OR006', format('%s is no %s of a cron expression', pgorch._quoted(p_text),
            ('{minute,hour,"day of the month",month,"day of the week"}'::text[])[p_field]), pgorch._cron_hint(p_field));
    end if;
    return v_number;
end
$$;
comment on function pgorch._cron_number(text, integer) is 'A number or name in a field of a cron expression; fields are 1 minute, 2 hour, 3 day of the month, 4 month, 5 day of the week.';

create or replace function pgorch._cron_items(p_term text, p_field integer) returns text[]
    language plpgsql immutable
    as $$
declare
    v_highest constant integer := ('{59,23,31,12,7}'::integer[])[p_field];
    v_span constant pg_catalog.text := split_part(p_term, '/', 1);
    v_step integer := 1;
    v_ends pg_catalog.text[];
    v_from integer;
    v_to integer;
begin
    if p_field = 3 and p_term in ('L', 'LW') then
        return array[p_term];
    elsif p_field = 5 and p_term ~ '^[0-9]+L$' then
        return array[pgorch._cron_number(rtrim(p_term, 'L'), 5) || 'L'];
    elsif p_field = 5 and p_term ~ '^[^#]*#[1-5]$' then
        return array[pgorch._cron_number(split_part(p_term, '#', 1), 5) || '#' || right(p_term, 1)];
    end if;
    if p_term like '%/%' then
        if substr(p_term, length(v_span) + 2) !~ '^0*[1-9][0-9]{0,3}$' then
            perform pgorch._raise('OR006', format('%s of a cron expression has no step that is a number from 1 up', pgorch._quoted(p_term)),
                'Every tenth minute is */10.');
        end if;
        v_step := substr(p_term, length(v_span) + 2)::integer;
    end if;
    if v_span = '*' then
        v_from := ('{0,0,1,1,0}'::integer[])[p_field];
        v_to := v_highest;
    else
        v_ends := regexp_match(v_span, '^([^-]*)-(.*)$');
        v_from := pgorch._cron_number(coalesce(v_ends[1], v_span), p_field);
        v_to := case when v_ends is null then v_from else pgorch._cron_number(v_ends[2], p_field) end;
        if v_to < v_from then
            perform pgorch._raise('OR006', format('the range %s of a cron expression runs backwards', pgorch._quoted(v_span)),
                'Write two ranges with a comma. ' || pgorch._cron_hint(p_field));
        end if;
        -- A step needs a range: from 5 on, every 15th.
        if p_term like '%/%' and v_to = v_from then
            v_to := v_highest;
        end if;
    end if;
    return array(select n::text from generate_series(v_from, v_to, v_step) n);
end
$$;
comment on function pgorch._cron_items(text, integer) is 'What a term of a field means: numbers, and for days L, LW, 5L (the last Friday) and 1#2 (the second Monday).';

create or replace function pgorch._cron_day(p_day date, p_days text[], p_weekdays text[], p_both boolean) returns boolean
    language plpgsql immutable
    as $$
declare
    v_month_end constant pg_catalog.date := (date_trunc('month', p_day::timestamp) + interval '1 month - 1 day')::date;
    v_day constant integer := extract(day from p_day);
    v_weekday constant integer := extract(dow from p_day);
    v_of_month boolean;
    v_of_week boolean;
begin
    v_of_month := v_day::text = any (p_days)
        or 'L' = any (p_days) and p_day = v_month_end
        or 'LW' = any (p_days) and p_day = v_month_end - greatest(extract(isodow from v_month_end)::integer - 5, 0);
    select bool_or(split_part(rtrim(w, 'L'), '#', 1)::integer % 7 = v_weekday
                   and case when w like '%L' then p_day + 7 > v_month_end
                            when w like '%#%' then right(w, 1)::integer = (v_day + 6) / 7
                            else true end)
    into v_of_week from unnest(p_weekdays) w;
    return case when p_both then v_of_month and v_of_week else v_of_month or v_of_week end;
end
$$;
comment on function pgorch._cron_day(date, text[], text[], boolean) is 'Is it a day of that cron expression? p_both: day of the month and day of the week, else either.';

create or replace function pgorch._checked_cron(p_cron text) returns text
    language plpgsql immutable
    as $$
declare
    v_fields constant pg_catalog.text[] := regexp_split_to_array(btrim(p_cron, E' \t\r\n'), '\s+');
    v_short constant pg_catalog.jsonb := '{"@yearly": "0 0 1 1 *", "@annually": "0 0 1 1 *", "@monthly": "0 0 1 * *", "@weekly": "0 0 * * 0",
                                "@daily": "0 0 * * *", "@midnight": "0 0 * * *", "@hourly": "0 * * * *"}';
    v_items pg_catalog.jsonb := '{}';
    v_values pg_catalog.text[];
begin
    if p_cron is null or length(p_cron) > 200 then
        perform pgorch._raise('OR006', 'a cron expression has up to 200 characters', 'Every day at 2 is 0 2 * * *.');
    end if;
    if cardinality(v_fields) <> 5 then
        perform pgorch._raise('OR006',
            format('a cron expression has five fields (minute, hour, day of the month, month, day of the week), and %s has %s',
                pgorch._quoted(p_cron), case when btrim(p_cron, E' \t\r\n') = '' then 0 else cardinality(v_fields) end),
            case when v_short ? lower(v_fields[1]) then format('Write it out: %s', v_short ->> lower(v_fields[1]))
                 when cardinality(v_fields) = 6 then 'There is no field for seconds: leave the first one out.'
                 else 'Every day at 2 is 0 2 * * *.' end);
    end if;
    for v_field in 1 .. 5 loop
        v_values := array(select i from regexp_split_to_table(upper(v_fields[v_field]), ',') t, unnest(pgorch._cron_items(t, v_field)) i);
        v_items := v_items || jsonb_build_object(v_field, v_values);
    end loop;
    -- The calendar repeats itself after 28 years, but for centuries.
    if not exists (
        select from generate_series(date '2000-01-01', date '2027-12-31', interval '1 day') d
        where v_items -> '4' ? extract(month from d)::text
          and pgorch._cron_day(d::date, array(select jsonb_array_elements_text(v_items -> '3')),
                               array(select jsonb_array_elements_text(v_items -> '5')),
                               v_fields[3] like '*%' or v_fields[5] like '*%'))
    then
        perform pgorch._raise('OR006', format('%s is never due: no date is such a day', pgorch._quoted(p_cron)),
            'Look at the day of the month, the month and the day of the week: the third to the fifth field.');
    end if;
    return array_to_string(v_fields, ' ');
end
$$;
comment on function pgorch._checked_cron(text) is 'The cron expression with single spaces; OR006 says what is wrong with it.';

create or replace function pgorch._checked_time_zone(p_name text) returns text
    language plpgsql stable
    as $$
declare
    v_names pg_catalog.text[];
begin
    select array_agg(z.name) into v_names from pg_timezone_names z
    where z.name !~ '^(posix|right)/' and z.name not in ('localtime', 'posixrules', 'Factory');
    if p_name = any (v_names) then
        return p_name;
    end if;
    perform pgorch._raise('OR006', format('there is no time zone %s', coalesce(pgorch._quoted(p_name), 'null')),
        coalesce(pgorch._near_names(p_name, v_names), 'Use a name of the IANA time zones, for instance Europe/Berlin or UTC.'));
end
$$;
comment on function pgorch._checked_time_zone(text) is 'The name of a time zone, if it is one; an offset or an abbreviation knows nothing of daylight saving time.';
