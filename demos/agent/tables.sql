-- The shop whose agent this is. Idempotent.
create schema if not exists agent;

create table if not exists agent.orders (
    number integer primary key,
    item   text not null,
    price  numeric not null,
    status text not null
);
insert into agent.orders values
    (1042, 'lamp', 89.50, 'delivered'), (1043, 'kettle', 39, 'on its way') on conflict do nothing;

create table if not exists agent.refunds (
    id     bigint generated always as identity primary key,
    run_id uuid not null,
    number integer not null,
    amount numeric not null
);
comment on table agent.refunds is 'Without a unique key, so that a call which counted twice would be seen.';

create table if not exists agent.calls (
    run_id  uuid not null,
    call_id text not null,
    tool    text not null,
    process integer not null,
    at      timestamptz not null default clock_timestamp()
);
comment on table agent.calls is 'Each time that a tool began: written at once, not with the checkpoint.';
