-- A heartbeat says whether the worker is to drain, and each lease keeps how long it is.

drop function if exists pgorch.beat(integer, uuid, double precision);
drop function if exists pgorch.is_to_drain(integer, uuid);

alter table pgorch._worker_leases add column lease_seconds double precision not null default 10;
comment on column pgorch._worker_leases.lease_seconds is 'For how long at least a heartbeat renews the lease.';
