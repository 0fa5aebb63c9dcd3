-- The trigger of a row wait looks for waits of all buckets at once; and a change that is noted says what the row was before.

drop index pgorch.row_waits_of_row;
create index row_waits_of_row on pgorch._row_waits (table_name, row_key, bucket);
alter table pgorch._row_changes add column changed_from jsonb;
