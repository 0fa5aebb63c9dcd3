-- Skipping an approval asks who may decide it, so it is said which roles the actor has; and workers are told to drain.

drop function if exists pgorch.skip(uuid, text, jsonb, integer, text);
drop function if exists pgorch._take_up(uuid, text, text, jsonb, integer, text);
drop function if exists pgorch.bulk(text, jsonb, jsonb, boolean, integer, text);
drop function if exists pgorch._bulk_act(integer, uuid, text, jsonb, jsonb, uuid[], boolean, text);

alter table pgorch._worker_leases add column to_drain boolean not null default false;
comment on column pgorch._worker_leases.to_drain is 'Was it asked to end what it has begun, to begin nothing more, and to go?';
