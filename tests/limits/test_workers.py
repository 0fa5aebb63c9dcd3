"""Limits with real workers: what they keep back comes in its time, though nobody tells."""

import asyncio
from itertools import pairwise

import pytest

from pgorch.worker.alarms import Alarms
from tests.support.engine import definition
from tests.support.fixtures import connection
from tests.worker.conftest import Place, place

__all__ = ["connection", "place"]


def most_at_once(place: Place) -> int:
    """How many steps were under way at once at most, as the history has it."""
    most = place.value(
        "select max(n) from (select (select count(*) from pgorch.history o where o.kind = 'step_completed'"
        " and o.started_at <= h.started_at and o.at > h.started_at) as n from pgorch.history h"
        " where h.kind = 'step_completed') t"
    )
    return int(most)


async def test_workers_keep_to_a_rate_and_reach_it(place: Place) -> None:
    @place.tool
    async def a() -> None:
        pass

    graph = place.graph("a")
    place.value(
        "select pgorch.set_limit('tool', 'a', p_rate => 10, p_per => '1 second', p_burst => 1) is null"
    )
    await place.work()
    await place.work()
    place.start_many(graph, [{}] * 20)
    await place.all_ended()
    rows = place.connection.execute(
        "select h.started_at from pgorch.history h where h.kind = 'step_completed' order by h.started_at"
    ).fetchall()
    begun = [row["started_at"] for row in rows]
    assert min((b - a).total_seconds() for a, b in pairwise(begun)) >= 0.049
    assert (begun[-1] - begun[0]).total_seconds() >= 1.8
    # Without being told when the next may begin, each would wait for the next heartbeat or poll.
    assert (begun[-1] - begun[0]).total_seconds() < 10


@pytest.mark.parametrize("how", ["key", "queue"])
async def test_what_a_limit_keeps_back_begins_as_soon_as_there_is_room(place: Place, how: str) -> None:
    @place.tool
    async def a() -> None:
        await asyncio.sleep(0.01)

    node = {"id": "a", "function": "a"}
    if how == "key":
        node |= {"concurrency_key": "x", "concurrency": 2}  # type: ignore[dict-item]
    else:
        place.value("select pgorch.set_limit('queue', 'default', p_concurrency => 2) is null")
    graph = place.create(definition([node]))
    await place.work()
    await place.work()
    place.start_many(graph, [{}] * 30)
    await place.all_ended()
    assert most_at_once(place) == 2


async def test_of_many_alarms_the_earliest_rings_once() -> None:
    rung: list[int] = []
    alarms = Alarms(rung.append)
    for _ in range(100):
        alarms.set(0, 0.02)
    alarms.set(0, 0.0)
    alarms.set(0, 5.0)
    alarms.set(1, 0.01)
    await asyncio.sleep(0.1)
    assert sorted(rung) == [0, 1]
    alarms.set(0, 0.0)
    await asyncio.sleep(0.01)
    assert sorted(rung) == [0, 0, 1]
