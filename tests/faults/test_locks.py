"""Faults 16 and 18: short timeouts of the role, and a migration that has to wait. That a run which somebody
holds does not hold up the others of a worker is tested in tests/worker/test_handing_in.py."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

from pgorch.database.migrations import migrate
from pgorch.database.sql_files import SqlFile, sql_files
from tests.crash.conftest import Crew
from tests.faults.proof import injected
from tests.support.engine import value_of
from tests.support.races import open_connection

pytestmark = pytest.mark.long

NODES = ["step", "effect", "pay", {"id": "last", "function": "step"}]
EDGES = ["step>effect", "effect>pay", "pay>last"]
HELD_SECONDS = 5.0


def test_short_timeouts_of_the_role_make_it_slower_at_most(crew: Crew) -> None:
    database = crew.value("select current_database()")
    for setting in ("statement_timeout = '50ms'", "lock_timeout = '20ms'"):
        crew.connection.execute(f"alter database {database} set {setting}".encode())
    with open_connection(crew.dsn) as other:
        shown = [value_of(other, f"show {name}") for name in ("statement_timeout", "lock_timeout")]
        injected("timeouts of 50 ms and 20 ms by default", shown == ["50ms", "20ms"])
    graph = crew.graph(NODES, EDGES)
    crew.hire(2)
    # The branches of a run wait for each other's checkpoints.
    pays = [{"id": f"p{at}", "function": "pay", "into": f"p{at}"} for at in range(6)]
    ids = [pay["id"] for pay in pays]
    wide = crew.graph(["step", *pays, {"id": "end", "function": "step"}],
                      [*(f"step>{n}" for n in ids), *(f"{n}>end" for n in ids)])  # fmt: skip
    crew.start(graph, 60)
    crew.start(wide, 10)
    crew.all_ended()
    errors = "select array_agg(distinct error ->> 'message') from pgorch.runs where error is not null"
    assert crew.value(errors) is None
    assert crew.value("select count(*) from payments") == 60 + 60


def test_a_migration_that_waits_for_a_reader_gives_way_to_the_workers_and_tries_again(crew: Crew) -> None:
    files = sql_files()
    column = SqlFile("9999_column", "alter table pgorch.runs add column extra integer")
    changed = replace(files, migrations=(*files.migrations, column))
    crew.hire(2)
    graph = crew.graph("step")
    problems: list[BaseException] = []

    def upgrade() -> None:
        try:
            migrate(crew.dsn, files=changed)
        except BaseException as problem:
            problems.append(problem)

    with ThreadPoolExecutor() as pool, open_connection(crew.dsn, autocommit=False) as reader:
        reader.execute("select from pgorch.runs")
        began_at = time.monotonic()
        upgrading = threading.Thread(target=upgrade)
        upgrading.start()
        watching = pool.submit(times_seen_waiting, crew.dsn, HELD_SECONDS)
        gaps, last = [0.0], time.monotonic()
        while time.monotonic() < began_at + HELD_SECONDS:
            before = crew.value("select count(*) from pgorch.history")
            # Whoever waits behind the migration says so, and is not counted as stuck.
            crew.start(graph, 5)
            crew.until_done(before + 10)
            gaps.append(time.monotonic() - last)
            last = time.monotonic()
        waited = watching.result(20)
        injected(f"ACCESS EXCLUSIVE wanted while a reader has the table for {HELD_SECONDS:g} s",
                 waited, f"{waited} times seen waiting")  # fmt: skip
        print(f"{len(gaps)} rounds of 5 runs, the slowest took {max(gaps):.2f} s")
        assert max(gaps) < 2.5
        assert upgrading.is_alive(), problems
        reader.rollback()
    upgrading.join(30)
    assert problems == []
    assert crew.value("select count(extra) from pgorch.runs") == 0
    crew.all_ended()


def times_seen_waiting(dsn: str, seconds: float) -> int:
    """Looks every 20 ms whether somebody waits to have the table of runs for himself."""
    waiting = (
        "select count(*) from pg_locks where relation = 'pgorch.runs'::regclass"
        " and mode = 'AccessExclusiveLock' and not granted"
    )
    end, seen = time.monotonic() + seconds, 0
    with open_connection(dsn) as watcher:
        while time.monotonic() < end:
            seen += value_of(watcher, waiting)
            time.sleep(0.02)
    return seen
