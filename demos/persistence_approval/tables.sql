-- Where the demo leaves its traces and publishes. Idempotent.
create schema if not exists estimates;

create table if not exists estimates.attempts (
    run_id     uuid not null,
    attempt    integer not null,
    process    integer not null,
    started_at timestamptz not null default now(),
    primary key (run_id, attempt)
);
comment on table estimates.attempts is 'Which process began which attempt: written at once, not with the checkpoint.';

create table if not exists estimates.published (
    id         bigint generated always as identity primary key,
    run_id     uuid not null,
    species    text not null,
    mean_g     numeric not null,
    low_g      numeric not null,
    high_g     numeric not null,
    at         timestamptz not null default now()
);
comment on table estimates.published is 'Without a unique key, so that a step which counted twice would be seen.';
