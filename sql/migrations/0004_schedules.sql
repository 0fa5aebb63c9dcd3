-- Schedules: graphs that are started by the clock. Definition tables: written when a schedule fires or somebody changes
-- it, never on the path of a run.

create table pgorch.schedules (
    name       text primary key,
    graph      text not null,
    cron       text not null,
    time_zone  text not null,
    input      jsonb not null,
    queue      text,
    priority   integer not null,
    labels     jsonb,
    overlap    text not null check (overlap in ('skip', 'buffer_one', 'cancel_other', 'allow')),
    catch_up   text not null check (catch_up in ('one', 'all', 'none')),
    catch_up_window interval not null,
    paused     boolean not null,
    turn       bigint not null default 0,
    due_after  timestamptz not null,
    next_due   timestamptz,
    buffered   timestamptz,
    last_due   timestamptz,
    last_run_id uuid,
    last_error jsonb,
    created_at timestamptz not null,
    created_by text not null,
    updated_at timestamptz not null,
    updated_by text not null
);
comment on table pgorch.schedules is 'What starts runs by the clock: a graph, a cron expression in a time zone, and what to do when runs overlap or were missed.';
comment on column pgorch.schedules.graph is 'A name (the version that is the latest when it fires), name@version, or an id.';
comment on column pgorch.schedules.input is 'Input of the runs; a template that reads $.name and $.due.';
comment on column pgorch.schedules.overlap is 'When it is due while a run of it is unfinished: skip, buffer_one (start when that has ended), cancel_other, or allow.';
comment on column pgorch.schedules.catch_up is 'Of due times that passed while no worker was there: one (the last), all, or none (within the minute it counts as in time).';
comment on column pgorch.schedules.catch_up_window is 'Due times older than this are not caught up.';
comment on column pgorch.schedules.turn is 'Grows with each write, so that who computed from an earlier state changes nothing.';
comment on column pgorch.schedules.due_after is 'What was due until then is dealt with.';
comment on column pgorch.schedules.next_due is 'The first due time after due_after; null until a worker has computed it, within seconds.';
comment on column pgorch.schedules.buffered is 'With buffer_one: the due time whose run starts when the runs before it have ended.';
comment on column pgorch.schedules.last_error is 'Why it could not start its last run, or cannot be computed: {"code", "message"}.';
comment on column pgorch.schedules.updated_by is 'Who described it last: initiator of its runs, so that exclude_initiator holds for who wrote the input.';
-- Serves due_schedules(), which every worker asks every few seconds.
create index schedules_due on pgorch.schedules (next_due) where not paused;

create table pgorch.schedule_firings (
    schedule text not null references pgorch.schedules (name) on delete cascade,
    id       bigint generated always as identity,
    at       timestamptz not null,
    due      timestamptz not null,
    outcome  text not null check (outcome in ('started', 'triggered', 'skipped', 'buffered', 'missed', 'failed')),
    run_id   uuid,
    actor    text,
    detail   text,
    primary key (schedule, id)
);
comment on table pgorch.schedule_firings is 'What became of the last 100 due times of each schedule.';
comment on column pgorch.schedule_firings.due is 'The due time; of those that were missed in a row, the first.';
comment on column pgorch.schedule_firings.run_id is 'Run that was started, or for which it was skipped.';
comment on column pgorch.schedule_firings.actor is 'Who triggered it.';
