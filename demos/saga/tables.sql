-- The world that trips are booked in. Idempotent.
create schema if not exists trips;

create table if not exists trips.flights (
    code  text primary key,
    seats integer not null check (seats >= 0)
);
create table if not exists trips.hotels (
    name  text primary key,
    rooms integer not null check (rooms >= 0)
);
create table if not exists trips.cards (
    number  text primary key,
    holder  text not null,
    balance numeric not null check (balance >= 0),
    blocked boolean not null default false
);
create table if not exists trips.passports (
    holder  text primary key,
    expired boolean not null
);
create table if not exists trips.tickets (
    id        bigint generated always as identity primary key,
    run_id    uuid not null,
    traveller text not null
);
comment on table trips.tickets is 'Without a unique key, so that a step which counted twice would be seen.';

create table if not exists trips.log (
    id     bigint generated always as identity primary key,
    run_id uuid not null,
    entry  text not null
);
comment on table trips.log is 'What was done and undone, in its order: each entry commits with the change that it tells of.';

insert into trips.flights values ('LH 4711', 9) on conflict do nothing;
insert into trips.hotels values ('Aurora', 5) on conflict do nothing;
insert into trips.passports values ('ada', false), ('bob', false), ('cleo', true) on conflict do nothing;
insert into trips.cards (number, holder, balance, blocked) values
    ('ada-1', 'ada', 100, false), ('ada-2', 'ada', 5000, false),
    ('bob-1', 'bob', 5000, true), ('cleo-1', 'cleo', 5000, false) on conflict do nothing;
