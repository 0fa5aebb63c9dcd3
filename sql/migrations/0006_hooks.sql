-- Webhooks: who is told of what, and what is on its way to them.

create table pgorch.hooks (
    id             uuid primary key,
    name           text not null unique,
    url            text not null,
    kinds          pgorch.event_kind[] not null,
    graph          text,
    allow_private  boolean not null,
    created_at     timestamptz not null,
    created_by     text not null,
    paused_at      timestamptz,
    paused_because text
);
comment on table pgorch.hooks is 'Addresses that are told of events. A definition table: everybody who writes history reads it, so it stays small.';
comment on column pgorch.hooks.kinds is 'Kinds of events that are delivered.';
comment on column pgorch.hooks.graph is 'Name of the graph whose runs it is about; null: of all.';
comment on column pgorch.hooks.allow_private is 'May its address be a private one, and plain http?';
comment on column pgorch.hooks.paused_at is 'Since when nothing is sent to it. What happens meanwhile is kept for a day, as if it did not answer.';
comment on column pgorch.hooks.paused_because is 'Who paused it, or that the receiver answered 410.';

-- A table of its own: whoever writes history must read the hooks, and nobody but those who deliver needs this. It has no
-- check either, since one that fails would show the row in the server's log.
create table pgorch._hook_secrets (
    hook_id uuid primary key references pgorch.hooks (id) on delete cascade,
    secrets text[] not null
);
comment on table pgorch._hook_secrets is
    'What deliveries are signed with, the newest first: two while one is being replaced. No view, answer or message shows them.';

create table pgorch.hook_deliveries (
    bucket     integer not null,
    id         uuid not null,
    hook_id    uuid not null,
    kind       text not null,
    run_id     uuid,
    seq        integer,
    created_at timestamptz not null,
    status     text not null check (status in ('pending', 'delivered', 'dead')),
    attempts   integer not null default 0,
    next_at    timestamptz,
    ended_at   timestamptz,
    primary key (bucket, id),
    constraint exactly_pending_ones_are_tried_again check ((status = 'pending') = (next_at is not null)),
    constraint ended_exactly_when_not_pending check ((status = 'pending') = (ended_at is null))
) with (autovacuum_vacuum_scale_factor = 0.0, autovacuum_vacuum_threshold = 5000);
comment on table pgorch.hook_deliveries is
    'Messages to hooks, each written in the transaction that wrote its event. What is sent is made from the event at each attempt, and is always the same.';
comment on column pgorch.hook_deliveries.id is 'The header webhook-id: the same at every attempt, so that a receiver knows a repetition.';
comment on column pgorch.hook_deliveries.kind is 'Kind of the event; test: of none.';
comment on column pgorch.hook_deliveries.seq is 'Number of the event in its run''s history.';
comment on column pgorch.hook_deliveries.attempts is 'Attempts so far, counted when they begin.';
comment on column pgorch.hook_deliveries.next_at is 'From when on a worker tries it. While one does, it is the time at which it is taken for dead.';
-- Serves the claim: hook by hook, so that one that does not answer holds up no other.
create index hook_deliveries_due on pgorch.hook_deliveries (bucket, hook_id, next_at) where next_at is not null;

create table pgorch.hook_attempts (
    bucket      integer not null,
    delivery_id uuid not null,
    attempt     integer not null,
    started_at  timestamptz not null,
    ended_at    timestamptz,
    http_status integer,
    problem     text,
    next_at     timestamptz,
    primary key (bucket, delivery_id, attempt)
);
comment on table pgorch.hook_attempts is 'Every attempt to deliver.';
comment on column pgorch.hook_attempts.ended_at is 'Null: it is under way, or its worker died.';
comment on column pgorch.hook_attempts.http_status is 'What the receiver answered.';
comment on column pgorch.hook_attempts.problem is 'Why there is no answer, or which answer is none that counts.';
comment on column pgorch.hook_attempts.next_at is 'When it is tried again; null: not any more.';
