-- Most who watch a run wait for its end, and need not be told of each step.

drop function if exists pgorch.watch_run(uuid, integer);

alter table pgorch.runs add column watches_steps boolean not null default false;
comment on column pgorch.runs.watches_steps is 'Is NOTIFY sent for each step while the run is watched, or only once it does not run any more?';
