"""How workers stop."""

import asyncio
import threading
from typing import Any
from uuid import UUID

from pgorch.tool import Context
from pgorch.worker import Worker
from pgorch.worker.identity import Timing
from tests.support.engine import chain
from tests.worker.conftest import Place


async def in_the_middle(place: Place, **options: Any) -> tuple[Worker, UUID, asyncio.Event]:
    """A worker that runs `a` of a run of `a` and `b`, until the event is set."""
    began, release = asyncio.Event(), asyncio.Event()

    @place.tool
    async def a() -> dict[str, int]:
        began.set()
        await release.wait()
        return {"a": 1}

    @place.tool
    def b() -> None: ...

    run_id = place.start(place.create(chain("a b")))
    worker = await place.work(**options)
    await began.wait()
    return worker, run_id, release


async def test_a_worker_that_drains_finishes_what_runs_and_takes_nothing_more(place: Place) -> None:
    worker, run_id, release = await in_the_middle(place)
    worker.drain()
    release.set()
    await place.stop()
    run = place.run(run_id)
    assert run["state"] == {"a": 1}
    assert [(n["node"], n["attempt"]) for n in run["current_nodes"]] == [("b", 0)]
    assert place.value("select count(*) from pgorch.worker_list") == 0


async def test_what_has_not_begun_is_given_back_uncounted(place: Place) -> None:
    holds = 8  # as many as there are connections for transactional tools; the others wait for one

    release = threading.Event()
    began = threading.Semaphore(0)

    @place.tool(transactional=True)
    def a(ctx: Context) -> None:
        began.release()
        release.wait(20)

    runs = place.start_many(place.graph("a"), [{}] * (holds + 3))
    worker = await place.work()
    for _ in range(holds):
        await asyncio.to_thread(began.acquire, timeout=20)
    worker.drain()
    release.set()
    await place.stop()
    unfinished = [run for run in map(place.run, runs) if run["finished_at"] is None]
    # Begun is a step when its tool is called: waiting for a connection is no attempt.
    assert all(run["current_nodes"][0]["attempt"] == 0 for run in unfinished)
    assert len(unfinished) <= 3


async def test_steps_that_wait_for_a_thread_are_given_back_at_once(place: Place) -> None:
    began, release = threading.Event(), threading.Event()

    @place.tool
    def a() -> None:
        began.set()
        release.wait(20)

    first = place.start(place.graph("a"))
    worker = await place.work(slots=1)
    await asyncio.to_thread(began.wait, 20)
    second = place.start(place.graph("a"))
    worker.drain()
    await place.until(lambda: place.run(second)["current_nodes"][0]["attempt"] == 0)
    release.set()
    await place.stop()
    assert place.run(first)["status"] == "completed"


async def test_after_the_grace_the_rest_is_stopped_and_given_back(place: Place) -> None:
    began = asyncio.Event()
    stopped = asyncio.Event()

    @place.tool
    async def a() -> None:
        began.set()
        try:
            await asyncio.sleep(60)
        finally:
            stopped.set()

    run_id = place.start(place.graph("a"))
    await place.work(timing=Timing(beat=0.1, grace=0.2, stall_exit=None))
    await began.wait()
    await place.stop()
    assert stopped.is_set()
    (node,) = place.run(run_id)["current_nodes"]
    assert (node["status"], node["worker_id"]) == ("ready", None)


async def test_stopping_before_start_and_twice_is_fine(place: Place) -> None:
    @place.tool
    def a() -> None: ...

    worker = await place.work()
    worker.drain()
    worker.drain()
    await place.stop()
    worker.drain()
    await asyncio.wait_for(worker.run(), 20)


async def test_a_worker_drains_when_it_is_asked_to(place: Place) -> None:
    worker, run_id, release = await in_the_middle(place, name="anna")
    place.value("select pgorch.drain_worker('anna', 'ann')")
    await place.until(lambda: worker._to_drain)
    release.set()
    await place.until(lambda: place.value("select count(*) from pgorch.worker_list") == 0)
    assert [(n["node"], n["attempt"]) for n in place.run(run_id)["current_nodes"]] == [("b", 0)]
    audited = "select actor from pgorch.audit where action = 'drain_worker'"
    assert place.value(audited) == "ann"
    await place.stop()
