"""Fault 41, figure G14: fifty who decide at once, over HTTP and in SQL. What is too late, or not for the
decider to say, is tested in tests/people."""

import asyncio
from collections.abc import Iterator
from uuid import UUID

import pytest
from psycopg import Connection
from psycopg.rows import DictRow

from tests.api.driving import asking
from tests.api.test_processes import ApiProcess
from tests.faults.deciders import Deciders
from tests.faults.proof import injected
from tests.support.engine import Engine, definition
from tests.support.invariants import violations
from tests.support.races import open_connection

pytestmark = pytest.mark.long


@pytest.fixture
def engine(connection: Connection[DictRow]) -> Iterator[Engine]:
    yield Engine(connection)
    assert violations(connection) == {}


@pytest.fixture
def apis(database: str) -> Iterator[list[ApiProcess]]:
    processes = [ApiProcess(database), ApiProcess(database)]
    yield processes
    for process in processes:
        process.kill()


async def test_of_fifty_at_once_one_is_told_that_it_decided(
    apis: list[ApiProcess], engine: Engine, database: str
) -> None:
    graph = engine.graph(asking())
    runs = [engine.start(graph) for _ in range(10)]
    engine.run()
    for api in apis:
        await api.wait_until_it_answers()
    deciders = Deciders(database, [api.url for api in apis], over_http=40, in_sql=10)
    try:
        for run_id in runs:
            await deciders.decide(run_id)
    finally:
        await deciders.close()
    seen = deciders.seen
    injected("50 deciders at one gate, 40 over HTTP on two processes, 10 in SQL", seen.refusals)
    assert len(seen.winners) == 10
    assert set(seen.refusals) == {"409", "OR002"}
    assert (sum(seen.refusals.values()), seen.unnamed) == (10 * 49, 0)
    engine.run()
    assert {engine.status(run) for run in runs} == {"completed"}


async def test_two_questions_of_one_run_are_answered_at_once(engine: Engine, database: str) -> None:
    def decide(approval: UUID) -> None:
        with open_connection(database) as session:
            session.execute("select pgorch.approve(p_approval_id => %s)", [approval])

    graph = definition(
        ["a", {"id": "x", "type": "approval"}, {"id": "y", "type": "approval"}, "end"],
        ["a>x", "a>y", "x>end", "y>end"],
    )
    for _ in range(10):
        run_id = engine.start(graph)
        engine.run()
        approvals = [approval["id"] for approval in engine.approvals(run_id)]
        await asyncio.gather(*(asyncio.to_thread(decide, approval) for approval in approvals))
        engine.run()
        assert engine.order(run_id).split()[-1] == "end"
        assert engine.status(run_id) == "completed"
