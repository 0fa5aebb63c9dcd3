"""Results that the engine does not take at once."""

import asyncio
import logging
from typing import Any

import psycopg
import pytest

from pgorch.database.worker_queries import Result
from pgorch.worker.bell import Bell
from pgorch.worker.handing_in import HandingIn
from pgorch.worker.identity import Timing
from tests.support.engine import chain, definition
from tests.support.races import open_connection
from tests.worker.conftest import Place


async def test_a_run_that_somebody_holds_does_not_hold_up_the_others(
    place: Place, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING, "pgorch.worker")
    began, release = asyncio.Event(), asyncio.Event()

    @place.tool
    async def a() -> None:
        began.set()
        await release.wait()

    @place.tool
    async def b() -> None: ...

    graph, other = place.create(chain("a b")), place.graph("b")
    await place.work()
    run_id = place.start(graph)
    await began.wait()
    with open_connection(place.dsn, autocommit=False) as holder:
        holder.execute("select from pgorch.runs where id = %s for update", (run_id,))
        release.set()
        others = [place.start(other) for _ in range(5)]
        await place.until(lambda: all(place.run(run)["finished_at"] for run in others))
        await place.until(lambda: "handed in again" in caplog.text)
        assert place.run(run_id)["status"] == "running"
        holder.rollback()
    assert (await place.ended(run_id))["status"] == "completed"


async def test_a_result_can_be_put_off_for_as_long_as_somebody_holds_its_run() -> None:
    handing_in, result = HandingIn(1, Bell(), 9.0), Result(0, 1, "token", "success", "{}")
    for _ in range(1100):
        handing_in._put_off(result, "somebody holds its run")
        (timer,) = handing_in._later.values()
        assert timer.when() - asyncio.get_running_loop().time() <= 10
        timer.cancel()
        handing_in._hand_in_again(result)
        handing_in._alone.clear()


async def test_a_result_that_the_engine_refuses_to_store_fails_its_step_alone(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the worker's own checks let through, the database's may still refuse."""
    monkeypatch.setattr("pgorch.strict_json.dumps", lambda value, **_: f'{{"text": "{value}"}}')

    @place.tool
    async def a(i: int) -> str:
        return "\\u0000" if i == 3 else str(i)

    graph = place.graph("a")
    runs = place.start_many(graph, [{"i": i} for i in range(10)])
    await place.work()
    await place.all_ended()
    found = [place.run(run) for run in runs]
    assert [run["status"] for run in found] == ["completed"] * 3 + ["failed"] + ["completed"] * 6
    assert found[3]["error"]["type"] == "ResultRefused"
    assert "u0000" in found[3]["error"]["message"]


async def test_a_failing_look_is_not_repeated_without_a_pause(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = 0

    async def fails(*arguments: Any) -> Any:
        nonlocal calls
        calls += 1
        raise psycopg.errors.InsufficientPrivilege("permission denied for function advance")

    @place.tool
    async def a() -> None: ...

    with monkeypatch.context() as patch:
        patch.setattr("pgorch.worker.handing_in.advance", fails)
        await place.work()
        await asyncio.sleep(1)
    assert 0 < calls <= 10
    assert (await place.ended(place.start(place.graph("a"))))["status"] == "completed"


async def test_a_condition_that_takes_too_long_again_and_again_fails_its_step_alone(place: Place) -> None:
    """Nested filters are the slow ones: each level goes through the list for each element of the last."""
    slow = "@.x == 1"
    for _ in range(4):
        slow = f"exists($.items[*] ? ({slow}))"

    @place.tool
    async def a(n: int) -> dict[str, Any]:
        return {"items": [{"x": 0}] * n}

    @place.tool
    async def b() -> None: ...

    graph = place.create(definition("a b", [("a>b", {"condition": slow})]))
    fast, stuck = place.start_many(graph, [{"n": 1}, {"n": 500}])
    await place.work(timing=Timing(beat=0.1, answer=0.5, stall_exit=None))
    error = (await place.ended(stuck))["error"]
    assert (error["type"], error["node"]) == ("ResultRefused", "a")
    assert "timeout" in error["message"]
    assert (await place.ended(fast))["error"]["type"] == "NoMatchingEdge"


async def test_a_result_whose_statement_is_cancelled_again_and_again_counts(
    place: Place, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING, "pgorch.worker")
    # A sequence goes on although the transaction is rolled back.
    place.connection.execute(
        "create sequence cancelled;"
        "create function cancel_some() returns trigger language plpgsql as $$ begin"
        "  if nextval('cancelled') <= 4 then"
        "    perform pg_cancel_backend(pg_backend_pid()), pg_sleep(1);"
        "  end if;"
        "  return new;"
        "end $$;"
        "create trigger cancel_some before insert on pgorch.history"
        " for each row execute function cancel_some()"
    )

    @place.tool
    async def a() -> None: ...

    graph = place.graph("a")
    await place.work()
    run = await place.ended(place.start(graph))
    place.connection.execute("drop trigger cancel_some on pgorch.history")
    assert "canceling statement due to user request" in caplog.text
    assert run["status"] == "completed"
