-- What looking at runs and letting go of old ones needs.

insert into pgorch.settings (name, value) values ('retention', '"30 days"');

-- Serve children, forks and signals of a run. No run that has neither parent nor fork is in the first two.
create index runs_of_parent on pgorch.runs (bucket, parent_run_id) where parent_run_id is not null;
create index runs_of_fork on pgorch.runs (bucket, forked_from) where forked_from is not null;
create index signals_of_run on pgorch.signals (bucket, run_id);
