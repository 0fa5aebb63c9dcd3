"""The connection breaks while a batch is being handed in: did the engine take it?"""

import asyncio
import functools

import pytest

from tests.support.engine import chain
from tests.support.proxy import Fault, Proxy
from tests.worker.conftest import Place


@pytest.mark.parametrize("lost", ["request", "reply"])
async def test_a_result_handed_in_on_a_connection_that_breaks_counts_once(place: Place, lost: str) -> None:
    began, release = asyncio.Event(), asyncio.Event()
    calls: list[str] = []

    @place.tool
    async def a() -> dict[str, int]:
        calls.append("a")
        began.set()
        await release.wait()
        return {"a": 1}

    @place.tool
    async def b() -> dict[str, int]:
        calls.append("b")
        return {"b": 1}

    graph = place.create(chain("a b"))
    with Proxy(place.dsn) as proxy:
        await place.work(dsn=proxy.dsn)
        run_id = place.start(graph)
        await began.wait()
        await place.until_asleep()
        await asyncio.sleep(0.1)
        fault = (proxy.lose_reply if lost == "reply" else proxy.lose_request)("worker advance", b"success")
        release.set()
        run = await place.ended(run_id)
        assert fault.happened.is_set()
        assert run["state"] == {"a": 1, "b": 1}
        # The step that came with the lost answer was given back and claimed again; nothing ran twice.
        assert calls == ["a", "b"]
        assert place.kinds(run_id) == ["step_completed", "step_completed", "run_completed"]
        assert {entry["attempt"] for entry in run["history"] if "attempt" in entry} == {1}
        await place.stop()


async def test_a_claim_whose_answer_is_lost_strands_nothing(place: Place) -> None:
    @place.tool
    async def a() -> None: ...

    graph = place.graph("a")
    with Proxy(place.dsn) as proxy:
        await place.work(dsn=proxy.dsn)
        await place.until_asleep()
        await asyncio.sleep(0.1)
        fault = proxy.lose_reply("worker advance")
        runs = place.start_many(graph, [{}] * 5)
        await place.all_ended()
        assert fault.happened.is_set()
        assert {len(place.kinds(run)) for run in runs} == {2}
        await place.stop()


async def test_a_busy_worker_on_a_bad_line_loses_and_doubles_nothing(place: Place) -> None:
    @place.tool
    async def a(n: int) -> dict[str, int]:
        return {"n": n + 1}

    @place.tool
    def b(n: int) -> dict[str, int]:
        return {"n": n * 2}

    graph = place.create(chain("a b"))
    with Proxy(place.dsn) as proxy:
        await place.work(dsn=proxy.dsn, slots=10)
        runs = place.start_many(graph, [{"n": i} for i in range(300)])
        faults = 0

        def over(fault: Fault) -> bool:
            return fault.happened.is_set() or all_ended()

        def all_ended() -> bool:
            return not place.value("select count(*) from pgorch.runs where finished_at is null")

        while not all_ended() and faults < 10:
            lose = proxy.lose_reply if faults % 2 else proxy.lose_request
            fault = lose("worker advance", b"success")
            await place.until(functools.partial(over, fault))
            faults += fault.happened.is_set()
        await place.all_ended()
        assert faults >= 2
        assert [place.run(run)["state"]["n"] for run in runs] == [(i + 1) * 2 for i in range(300)]
        await place.stop()
