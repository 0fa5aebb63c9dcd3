"""What workers do all day."""

import asyncio
import threading
import time
from collections import Counter
from typing import Any

import pytest

from pgorch.errors import InvalidValue, SchemaMismatch
from pgorch.tool import Context, Registry
from pgorch.worker import Worker
from tests.support.engine import chain
from tests.worker.conftest import QUICK, Place


async def test_a_chain_of_async_and_sync_tools_is_worked_off(place: Place) -> None:
    @place.tool
    async def a(n: int) -> dict[str, int]:
        await asyncio.sleep(0)
        return {"n": n + 1}

    @place.tool
    def b(n: int) -> dict[str, int]:
        assert threading.current_thread() is not threading.main_thread()
        return {"n": n * 10}

    await place.work()
    run = await place.ended(place.start(place.create(chain("a b")), {"n": 1}))
    assert (run["status"], run["state"]) == ("completed", {"n": 20})


async def test_many_runs_are_shared_by_many_workers(place: Place) -> None:
    done: Counter[tuple[Any, str]] = Counter()

    @place.tool
    async def a(ctx: Context) -> None:
        done[ctx.run_id, ctx.node] += 1
        await asyncio.sleep(0.001)

    @place.tool
    def b(ctx: Context) -> None:
        done[ctx.run_id, ctx.node] += 1

    graph = place.create(chain("a b"))
    for _ in range(3):
        await place.work(slots=10)
    runs = place.start_many(graph, [{}] * 200)
    await place.all_ended()
    assert done == {(run, node): 1 for run in runs for node in "ab"}
    workers = place.value("select count(distinct worker_id) from pgorch.history where worker_id is not null")
    assert workers == 3


async def test_work_is_found_that_waited_before_the_worker_came(place: Place) -> None:
    @place.tool
    def a() -> None: ...

    run_id = place.start(place.graph("a"))
    await place.work()
    assert (await place.ended(run_id))["status"] == "completed"


async def test_a_sleeping_worker_is_woken(place: Place) -> None:
    @place.tool
    async def a() -> None: ...

    graph = place.graph("a")
    await place.work()
    for _ in range(5):
        await place.until_asleep()
        began = time.monotonic()
        await place.ended(place.start(graph))
        # Polling alone would take up to 10 s, and the heartbeat of this worker does not look.
        assert time.monotonic() - began < 5


async def test_a_worker_with_a_long_step_is_woken_for_another(place: Place) -> None:
    hold = asyncio.Event()

    @place.tool
    async def long() -> None:
        await hold.wait()

    @place.tool
    async def short() -> None: ...

    both = place.graph("long"), place.graph("short")
    await place.work()
    first = place.start(both[0])
    await place.until_asleep()
    assert (await place.ended(place.start(both[1])))["status"] == "completed"
    hold.set()
    await place.ended(first)


@pytest.mark.parametrize("kind", ["async", "sync"])
async def test_no_more_steps_run_at_once_than_there_are_slots(place: Place, kind: str) -> None:
    under_way, most = 0, 0
    lock = threading.Lock()

    def count(change: int) -> None:
        nonlocal under_way, most
        with lock:
            under_way += change
            most = max(most, under_way)

    if kind == "async":

        @place.tool
        async def a() -> None:
            count(1)
            await asyncio.sleep(0.01)
            count(-1)
    else:

        @place.tool(name="a")
        def b() -> None:
            count(1)
            time.sleep(0.01)
            count(-1)

    place.start_many(place.graph("a"), [{}] * 20)
    await place.work(slots=3)
    await place.all_ended()
    assert most == 3


async def test_a_worker_takes_from_its_queues_only(place: Place) -> None:
    @place.tool
    def a() -> None: ...

    graph = place.graph("a")
    ours, theirs = place.start(graph, queue="ours"), place.start(graph, queue="theirs")
    await place.work(queues=("ours",))
    await place.ended(ours)
    await place.until_asleep()
    assert place.run(theirs)["status"] == "running"
    await place.work(queues=("theirs", "others"))
    await place.ended(theirs)


async def test_a_worker_takes_only_what_it_has_the_tools_for(place: Place) -> None:
    @place.tool
    def a() -> None: ...

    other = Registry()

    @other.tool
    def b() -> None: ...

    place.value('select pgorch.register_tools(\'[{"name": "b"}]\')')
    run_id = place.start(place.create(chain("a b")))
    await place.work()
    await place.until(lambda: place.run(run_id)["current_nodes"][0]["node"] == "b")
    assert "no living worker serves the tool b" in place.run(run_id)["current_nodes"][0]["problem"]
    await place.work(registry=other)
    await place.ended(run_id)


async def test_runs_of_higher_priority_come_first(place: Place) -> None:
    order: list[int] = []

    @place.tool
    async def a(p: int) -> None:
        order.append(p)

    graph = place.graph("a")
    for priority in (1, 3, 2):
        place.start(graph, {"p": priority}, priority=priority, bucket=0)
    await place.work(slots=1)
    await place.all_ended()
    assert order == [3, 2, 1]


async def test_a_retry_is_made_when_it_is_due(place: Place) -> None:
    attempts: list[tuple[int, str]] = []

    @place.tool(retry={"max_attempts": 3, "initial_interval": "0.05s", "backoff_factor": 1, "jitter": 0})
    async def a(ctx: Context) -> None:
        attempts.append((ctx.attempt, ctx.idempotency_key))
        if ctx.attempt < 3:
            raise ConnectionError("not yet")

    await place.work()
    run_id = place.start(place.graph("a"))
    began = time.monotonic()
    await place.ended(run_id)
    assert place.kinds(run_id) == ["attempt_failed", "attempt_failed", "step_completed", "run_completed"]
    assert [attempt for attempt, _ in attempts] == [1, 2, 3]
    assert len({key for _, key in attempts}) == 1
    # Found by the alarm for it, not by the poll that comes after ten seconds.
    assert time.monotonic() - began < 8


async def test_two_workers_of_one_name_are_two(place: Place) -> None:
    @place.tool
    def a() -> None: ...

    await place.work(name="twin")
    await place.work(name="twin")
    assert place.value("select count(distinct worker_id) from pgorch.worker_list where name = 'twin'") == 2


async def test_a_queue_that_cannot_be_is_refused_at_the_start(place: Place) -> None:
    @place.tool
    def a() -> None: ...

    with pytest.raises(InvalidValue, match="queue"):
        await Worker(place.dsn, place.registry, queues=("!bad",), timing=QUICK).run()


async def test_a_database_without_the_schema_is_refused_at_the_start(empty_database: str) -> None:
    with pytest.raises(SchemaMismatch):
        await Worker(empty_database, Registry(), timing=QUICK).run()


async def test_a_step_that_nobody_can_begin_does_not_stop_the_others(place: Place) -> None:
    @place.tool
    async def a() -> None: ...

    graph = place.graph("a")
    spoilt, fine = place.start_many(graph, [{}, {}])
    # What no door lets in, but what a restored or hand-edited database may hold.
    place.connection.execute("update pgorch.steps set input = '[1]' where run_id = %s", (spoilt,))
    await place.work()
    assert (await place.ended(fine))["status"] == "completed"
    assert (await place.ended(spoilt))["error"]["type"] == "InvalidArguments"
