-- A run fails when all that came with the failure has been taken: these have other parameters now.

drop function if exists pgorch._fail_run(integer, pgorch.runs, jsonb, timestamptz, pgorch._move);
drop function if exists pgorch._live_now(integer, pgorch.runs, pgorch._move);
