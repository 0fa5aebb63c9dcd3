-- Limits: how many steps are under way at once, by queue, tool and key, and how many begin in a time.

create table pgorch.limits (
    kind        text not null check (kind in ('queue', 'tool')),
    name        text not null,
    concurrency integer check (concurrency >= 0),
    rate        integer check (rate >= 1),
    per         interval,
    burst       integer check (burst >= 1),
    set_at      timestamptz not null,
    set_by      text not null,
    primary key (kind, name),
    constraint a_limit_limits_something check (concurrency is not null or rate is not null),
    constraint a_rate_has_a_time_and_a_burst check (num_nulls(rate, per, burst) in (0, 3))
);
comment on table pgorch.limits is 'Limits of queues and tools, as set_limit() has set them.';
comment on column pgorch.limits.concurrency is 'So many steps are under way at once at most; 0: none is begun. Null: no such limit.';
comment on column pgorch.limits.rate is 'So many attempts begin in each `per`. Null: no such limit.';
comment on column pgorch.limits.burst is 'So many of them may begin at once, after a pause.';

create table pgorch._limit_state (
    bucket  integer not null,
    kind    text not null,
    name    text not null,
    next_at timestamptz not null default '-infinity',
    primary key (bucket, kind, name)
) with (fillfactor = 50);
comment on table pgorch._limit_state is
    'A row for each limit that was ever asked, locked by who claims under it: what one has taken, the next one sees. The row of kind ''keys'' is locked by who gives places to concurrency keys.';
comment on column pgorch._limit_state.next_at is 'With a rate: when the next attempt would begin if all were spread evenly. The further ahead, the less is left of the burst.';

create table pgorch._key_changes (
    bucket  integer not null,
    id      bigint generated always as identity,
    limiter text not null,
    due_at  timestamptz not null,
    primary key (bucket, id)
);
comment on table pgorch._key_changes is
    'Concurrency keys of which a step has come, ended or will be due again: who looks for steps next gives their places anew. Rows of their own, so that whoever enters or ends a step waits for nobody.';
-- Serves the look: what is due since the last one.
create index key_changes_due on pgorch._key_changes (bucket, due_at);

alter table pgorch.steps add column queue_limit text, add column tool_limit text;
comment on column pgorch.steps.queue_limit is 'Queue whose limit counts this leased step.';
comment on column pgorch.steps.tool_limit is 'Tool whose limit counts this leased step.';
-- These serve the counts at a claim. They are empty where there are no limits.
create index steps_counted_by_queue on pgorch.steps (bucket, queue_limit) where queue_limit is not null;
create index steps_counted_by_tool on pgorch.steps (bucket, tool_limit) where tool_limit is not null;
-- Serves the places of concurrency keys: who has one, and who waits, in the order in which they get one. One index for
-- both: each index of this table costs every statement that writes to it.
create index steps_with_keys on pgorch.steps (bucket, limiter, held, priority desc, id) where limiter is not null;
