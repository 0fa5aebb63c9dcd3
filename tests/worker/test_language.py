"""What the language asks of a worker: timers, SQL steps, signs of life, items and what undoes."""

import asyncio
import threading
import time

import pytest

from pgorch.tool import Context
from tests.worker.conftest import Place

WAIT = {"id": "w", "type": "wait", "for": "300 ms"}


async def test_workers_fire_timers_when_they_are_due(place: Place) -> None:
    place.tool(name="after")(lambda: {"done": True})
    graph = place.graph([WAIT, {"id": "after", "function": "after"}], ["w>after"])
    await place.work()
    await place.until_asleep()
    began = time.monotonic()
    run = await place.ended(place.start(graph))
    assert run["status"] == "completed"
    assert 0.3 <= time.monotonic() - began < 3


async def test_a_timer_is_fired_once_by_whichever_worker(place: Place) -> None:
    graph = place.graph([WAIT])
    for _ in range(3):
        await place.work()
    runs = place.start_many(graph, [{} for _ in range(30)])
    await place.all_ended()
    assert [place.kinds(r) for r in runs] == [["wait_started", "step_completed", "run_completed"]] * 30


async def test_every_worker_performs_sql_steps(place: Place) -> None:
    place.connection.execute("create table noted (n int)")
    node = {
        "id": "s",
        "sql": "insert into noted values ($1) returning n",
        "input": ["${$.n}"],
        "into": "noted",
    }
    try:
        graph = place.graph([node])
        await place.work()
        run = await place.ended(place.start(graph, {"n": 7}))
        assert (run["status"], run["state"]["noted"]) == ("completed", 7)
        assert place.value("select array_agg(n) from noted") == [7]
    finally:
        place.connection.execute("drop table noted")


async def test_an_sql_step_that_takes_too_long_fails_and_writes_nothing(place: Place) -> None:
    place.connection.execute("create table noted (n int)")
    sql = "with x as (insert into noted values (1)) select pg_sleep(20)"
    try:
        graph = place.graph([{"id": "s", "sql": sql, "timeout": "300 ms"}])
        await place.work()
        run = await place.ended(place.start(graph))
        assert run["error"]["type"] in ("Timeout", "QueryCanceled")
        await place.stop()
        assert place.value("select count(*) from noted") == 0
    finally:
        place.connection.execute("drop table noted")


async def test_what_an_sql_step_does_wrong_is_its_error(place: Place) -> None:
    graph = place.graph([{"id": "s", "sql": "select 1 / $1::int", "input": [0]}])
    await place.work()
    run = await place.ended(place.start(graph))
    assert run["error"]["type"] == "DivisionByZero"


@pytest.mark.parametrize("kind", ["async", "sync"])
async def test_a_tool_that_gives_no_sign_of_life_has_failed(place: Place, kind: str) -> None:
    release = threading.Event()

    async def silent(ctx: Context) -> None:
        await asyncio.sleep(20)

    def still(ctx: Context) -> None:
        release.wait(20)

    place.tool(name="f")(silent if kind == "async" else still)
    graph = place.graph([{"id": "f", "function": "f", "heartbeat": "200 ms"}])
    await place.work()
    run = await place.ended(place.start(graph))
    release.set()
    assert run["error"]["type"] == "HeartbeatTimeout"


async def test_a_tool_that_gives_signs_of_life_goes_on(place: Place) -> None:
    async def lively(ctx: Context) -> dict[str, bool]:
        for _ in range(8):
            await asyncio.sleep(0.1)
            ctx.heartbeat()
        return {"done": True}

    place.tool(name="f")(lively)
    graph = place.graph([{"id": "f", "function": "f", "heartbeat": "400 ms"}])
    await place.work()
    run = await place.ended(place.start(graph))
    assert (run["status"], run["state"]) == ("completed", {"done": True})


async def test_items_are_given_by_name_and_know_which_they_are(place: Place) -> None:
    keys: list[str] = []

    def square(item: int, index: int, base: int, ctx: Context) -> int:
        keys.append(ctx.idempotency_key)
        assert ctx.item == index
        return item * item + base

    place.tool(square)
    graph = place.graph(
        [{"id": "m", "type": "map", "function": "square", "items": "${$.list}", "into": "out"}]
    )
    await place.work()
    run = await place.ended(place.start(graph, {"list": [1, 2, 3], "base": 10}))
    assert run["state"]["out"] == [11, 14, 19]
    assert len(set(keys)) == 3


async def test_what_undoes_a_step_is_given_its_input_and_output(place: Place) -> None:
    given: list[object] = []

    def book(order: int) -> dict[str, str]:
        return {"ref": f"R{order}"}

    def cancel(ref: str, input: dict[str, int], output: dict[str, str], ctx: Context) -> None:
        given.append((ref, input["order"], output, ctx.idempotency_key.endswith("/undo")))

    def broken() -> None:
        raise ValueError("no")

    place.tool(book)
    place.tool(cancel)
    place.tool(broken)
    nodes = [
        {"id": "book", "function": "book", "compensate": "cancel", "input": {"order": "${$.order}"}},
        {"id": "broken", "function": "broken"},
    ]
    graph = place.graph(nodes, ["book>broken"])
    await place.work()
    run = await place.ended(place.start(graph, {"order": 5}))
    assert run["status"] == "failed"
    assert given == [("R5", 5, {"ref": "R5"}, True)]


async def test_the_names_of_the_engines_own_tools_are_taken(place: Place) -> None:
    place.tool(name="pgorch.sql")(lambda: None)
    with pytest.raises(Exception, match="begin with pgorch"):
        place.graph([{"id": "a", "type": "pass"}])
