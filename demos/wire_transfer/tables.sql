-- Invoices, what was sent for them, and the treasury's own book. Idempotent.
create schema if not exists transfers;

create table if not exists transfers.invoices (
    number integer primary key,
    payee  text not null,
    amount numeric not null
);
comment on table transfers.invoices is 'As they were typed in. In 4711 the comma slipped: it is about 4120.55.';
insert into transfers.invoices values (4711, 'Nordlicht GmbH', 41205.50), (4712, 'Ahoi AG', 900) on conflict do nothing;

create table if not exists transfers.sent (
    id     bigint generated always as identity primary key,
    run_id uuid not null,
    payee  text not null,
    amount numeric not null,
    note   text not null
);
comment on table transfers.sent is 'Without a unique key, so that a step which counted twice would be seen.';

create table if not exists transfers.book (
    run_id uuid not null,
    who    text not null default session_user,
    amount numeric not null
);
comment on table transfers.book is 'What treasurers write themselves, in the transaction in which they decide.';
