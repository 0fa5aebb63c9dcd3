"""Row 40: the schema goes to the next version while workers and API of the former one are under load."""

import time
from dataclasses import replace

import pytest

from pgorch.database.migrations import migrate
from pgorch.database.sql_files import SqlFile, SqlFiles, sql_files
from tests.outages.calls import calling
from tests.outages.ground import Ground

pytestmark = [pytest.mark.long, pytest.mark.timeout(300)]

NEXT = """
alter table pgorch.runs add column later_on text not null default 'new';
alter table pgorch.steps add column later_on text;
alter table pgorch.history add column later_on text;
create index on pgorch.runs (bucket, later_on, id) where finished_at is null;
"""


def next_version() -> SqlFiles:
    """The files of this version, a migration of the hot tables, and functions that were all changed."""
    now = sql_files()
    number = max(file.number for file in now.migrations) + 1
    functions = tuple(replace(file, text=file.text + "\n-- the next version\n") for file in now.functions)
    return SqlFiles((*now.migrations, SqlFile(f"{number:04}_next", NEXT)), functions)


def test_the_schema_is_upgraded_under_load(ground: Ground) -> None:
    graph = ground.prepare()
    api = ground.api()
    workers = [ground.worker(), ground.worker()]
    ground.value(
        'select pgorch.register_tools(\'[{"name": "novel", "parameters": {"type": "object"},'
        ' "description": ""}]\')'
    )
    novel = ground.graph(["step", "novel"], ["step>novel"])
    with calling([api], graph, clients=4) as callers:
        ground.until(lambda: len(callers.acknowledged) > 100, what="100 starts")
        began = time.monotonic()
        applied = migrate(ground.dsn, files=next_version())
        took = time.monotonic() - began
        over = time.monotonic()
        # What only the next version can perform is left alone by the former one.
        (left_alone,) = ground.start(novel)
        ground.until(lambda: len(callers.since(over)) > 100, what="calls go on")
        done = ground.done()
        ground.until(lambda: ground.done() > done + 100, what="steps go on")
    statuses = {call.status for call in callers.calls}
    longest = max(call.took for call in callers.since(began - 1))
    print(f"injected: a migration of the hot tables and {len(applied) - 1} function files under load, in"
          f" {took:.1f} s; answers {sorted(statuses)}, the longest took {longest:.1f} s")  # fmt: skip
    assert applied[0].startswith("migrations/")
    assert ground.value("select count(*) from pgorch.runs where later_on = 'new'") > 100
    assert statuses <= {200, 503}
    ground.all_ended_but(left_alone)
    assert all(worker.poll() is None for worker in workers)
    assert (
        ground.value("select count(*) from pgorch.history where kind in ('step_failed', 'attempt_failed')")
        == 0
    )
    lost = ground.lost_attempts()
    print(f"{lost} attempts were lost meanwhile")
    # A migration that holds the tables for longer than a heartbeat may take costs leases, and no more.
    assert lost == 0 or took > 3
    assert [step["node"] for step in ground.rows(
        "select node from pgorch.steps where run_id = %s", left_alone)] == ["novel"]  # fmt: skip

    # One that starts now does not work on a schema that it does not know; it says so.
    late = ground.worker(wait=False)
    assert late.wait(60) != 0
    assert ground.log_lines("newer than this pgorch") >= 1
    callers.check(ground.db)
    ground.check()


def test_a_step_waits_for_a_worker_that_has_its_tool(ground: Ground) -> None:
    ground.prepare()
    ground.worker()
    ground.value(
        'select pgorch.register_tools(\'[{"name": "novel", "parameters": {"type": "object"},'
        ' "description": ""}]\')'
    )
    novel = ground.graph(["step", "novel"], ["step>novel"])
    runs = ground.start(novel, 20)
    ground.until(lambda: ground.done() >= 20, what="the first steps")
    time.sleep(2)
    assert ground.unfinished() == 20
    assert ground.value("select count(*) from pgorch.history where kind <> 'step_completed'") == 0
    ground.worker(novel=True)
    ground.all_ended()
    assert {ground.run(run)["state"]["novel"] for run in runs} == {"done"}
    ground.check()
