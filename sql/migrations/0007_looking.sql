-- What looking at runs and letting go of old ones needs.

insert into pgorch.settings (name, value) values ('retention', '"30 days"');

-- Serve the forks and the signals of a run.
create index runs_of_fork on pgorch.runs (bucket, forked_from) where forked_from is not null;
create index signals_of_run on pgorch.signals (bucket, run_id);
