-- What heartbeats look through must not grow while the vacuum horizon stands still: each worker keeps how far it has looked.

alter table pgorch._worker_leases
    add column lanes_from timestamptz not null default '-infinity',
    add column lanes_due_at timestamptz not null default '-infinity',
    add column look_at timestamptz not null default '-infinity',
    drop constraint _worker_leases_status_check,
    add constraint _worker_leases_status_check check (status in ('alive', 'dead', 'left'));
comment on column pgorch._worker_leases.status is 'alive; dead: its lease or session was over; left: it went by itself.';
comment on column pgorch._worker_leases.lanes_from is 'Of what became claimable before this, its last heartbeat saw nothing wait.';
comment on column pgorch._worker_leases.lanes_due_at is 'When a heartbeat looks through its lanes from their beginning again.';
comment on column pgorch._worker_leases.look_at is 'Of one that is gone: when to look again for what it left.';
