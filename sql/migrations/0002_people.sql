-- Decisions by people: votes, where several must agree, and the audit.

create table pgorch.votes (
    bucket      integer not null,
    approval_id uuid not null,
    number      integer not null,
    voter       text not null,
    voted_at    timestamptz not null,
    data        jsonb,
    comment     text,
    primary key (bucket, approval_id, number),
    unique (bucket, approval_id, voter)
);
comment on table pgorch.votes is 'Who has approved, where more than one must. A rejection needs no vote: the first one decides.';
comment on column pgorch.votes.number is 'In which order they approved: 1, 2, 3, ...';

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
comment on column pgorch.audit.actor is 'Who did it.';
comment on column pgorch.audit.source is 'Database user of the session. It is the actor, unless the session may speak for others, as that of the HTTP API.';
comment on column pgorch.audit.action is 'approve, vote, reject, reassign, comment, cancel, ...';
comment on column pgorch.audit.before is 'What was, of that which was changed.';
comment on column pgorch.audit.after is 'What it became.';
create index audit_of_run on pgorch.audit (bucket, run_id, id);

-- Nobody may change or remove a row, whatever he is granted (there is no policy for it), and the owner neither unless he
-- first grants it to himself. Whoever adds a row cannot say that it came from another session.
revoke all on pgorch.audit from public;
revoke update, delete, truncate on pgorch.audit from current_user;
alter table pgorch.audit enable row level security;
create policy audit_is_read on pgorch.audit for select using (true);
create policy audit_is_written_under_ones_own_name on pgorch.audit for insert with check (source = session_user);
