-- Decisions by people: votes, where several must agree, and the audit.

create table pgorch.votes (
    bucket      integer not null,
    approval_id uuid not null,
    voter       text not null,
    voted_at    timestamptz not null,
    data        jsonb,
    comment     text,
    primary key (bucket, approval_id, voter)
);
comment on table pgorch.votes is 'Who has approved, where more than one must. A rejection needs no vote: the first one decides.';

create table pgorch.audit (
    bucket      integer not null,
    id          bigint generated always as identity,
    at          timestamptz not null,
    actor       text not null,
    source      text not null,
    action      text not null,
    run_id      uuid,
    approval_id uuid,
    before      jsonb,
    after       jsonb,
    comment     text,
    primary key (bucket, id)
);
comment on table pgorch.audit is 'What people did, written in the transaction that did it. Rows are only added.';
comment on column pgorch.audit.source is 'Database user of the session. It is the actor, unless the session may speak for others, as that of the HTTP API.';
create index audit_of_run on pgorch.audit (bucket, run_id, id);

-- There is no policy for update and delete, so nobody but the owner can, whatever is granted; and whoever adds a row cannot
-- say that another session did.
revoke all on pgorch.audit from public;
alter table pgorch.audit enable row level security;
create policy audit_is_read on pgorch.audit for select using (true);
create policy audit_is_written_under_ones_own_name on pgorch.audit for insert with check (source = session_user);
