"""Fault 28: no statistics, half of the planner's ways forbidden, and half a million runs that are over."""

import time
from collections.abc import Iterator

import pytest

from tests.engine.conftest import fresh_database
from tests.engine.test_plans import rows_read
from tests.faults.proof import injected
from tests.support.engine import Engine, chain
from tests.support.races import open_connection

__all__ = ["fresh_database"]

FINISHED = 500_000
GOAL_SECONDS = 0.05
WORSE = ("enable_indexscan = off", "enable_bitmapscan = off", "plan_cache_mode = force_generic_plan")


@pytest.fixture
def engine(fresh_database: str) -> Iterator[Engine]:
    with open_connection(fresh_database) as connection:
        yield Engine(connection)


@pytest.mark.long
@pytest.mark.timeout(600)
def test_a_claim_stays_quick_whatever_the_planner_believes(engine: Engine, fresh_database: str) -> None:
    graph = engine.graph(chain("a b"))
    engine.connection.execute(
        "insert into pgorch.runs"
        " (bucket, id, graph_id, initiator, created_at, input, status, finished_at, live, seq)"
        " select 0, pgorch.new_run_id(0), %s, 'x', now(), '{}', 'completed', now(), 0, 0"
        " from generate_series(1, %s)",
        [graph, FINISHED],
    )
    engine.value("select cardinality(pgorch.start_many(%s, array_fill('{}'::jsonb, array[2000])))", graph)
    engine.connection.execute(
        "delete from pg_statistic where starelid in"
        " (select oid from pg_class where relnamespace = 'pgorch'::regnamespace)"
    )
    database = engine.value("select current_database()")
    for setting in WORSE:
        engine.connection.execute(f"alter database {database} set {setting}".encode())
    with open_connection(fresh_database) as connection:
        worse = Engine(connection)
        left = worse.value("select count(*) from pg_stats where schemaname = 'pgorch'")
        shown = (left, worse.value("show enable_indexscan"))
        injected(f"{FINISHED} runs over, no statistics, index scans off", shown == (0, "off"))
        worker = worse.new_worker(tools=["a", "b"])
        before = rows_read(connection)
        took = []
        for _ in range(200):
            began_at = time.perf_counter()
            (step,) = worker.claim(1)
            worker.succeed(step)
            took.append((time.perf_counter() - began_at) / 2)
        scanned, by_index = (after - b for after, b in zip(rows_read(connection), before, strict=True))
    took.sort()
    print(
        f"claim and completion: median {took[100] * 1000:.1f} ms, p99 {took[197] * 1000:.1f} ms;"
        f" rows read by scanning {scanned}, by index {by_index}"
    )
    assert took[100] < GOAL_SECONDS
    assert scanned == 0
