"""Connections come and go; work goes on."""

import asyncio
import logging
from typing import Any

import pytest

from pgorch.database.connection import connect
from pgorch.worker import connections
from pgorch.worker.connections import open_async
from pgorch.worker.identity import Timing
from pgorch.worker.schedules import Schedules
from pgorch.worker.worker import Worker
from tests.support.engine import chain, definition
from tests.support.proxy import Proxy, sessions
from tests.worker.conftest import Place


def declare_chain(place: Place) -> str:
    @place.tool
    async def a(n: int) -> dict[str, int]:
        await asyncio.sleep(0.005)
        return {"n": n + 1}

    @place.tool
    def b(n: int) -> dict[str, int]:
        return {"n": n + 1}

    return place.create(chain("a b"))


async def kill(place: Place, purpose: str = "") -> None:
    """Ends the sessions that serve this purpose, and waits until there are others in their place."""
    await place.until(lambda: sessions(place.connection, purpose))
    killed = set(sessions(place.connection, purpose))
    for pid in killed:
        place.value("select pg_terminate_backend(%s)", pid)
    await place.until(lambda: set(sessions(place.connection, purpose)) - killed)


@pytest.mark.sessions
@pytest.mark.parametrize("purpose", ["advance", "heartbeat", "listener"])
async def test_any_connection_can_be_lost_at_any_time(place: Place, purpose: str) -> None:
    graph = declare_chain(place)
    await place.work(slots=5)
    runs = place.start_many(graph, [{"n": i} for i in range(60)])
    for _ in range(3):
        await kill(place, purpose)
    await place.all_ended()
    assert [place.run(run)["state"] for run in runs] == [{"n": i + 2} for i in range(60)]


async def test_all_connections_can_be_lost_together(place: Place) -> None:
    graph = declare_chain(place)
    await place.work(slots=5)
    runs = place.start_many(graph, [{"n": i} for i in range(60)])
    await kill(place)
    await place.all_ended()
    assert {place.run(run)["status"] for run in runs} == {"completed"}


async def test_without_notifications_the_heartbeat_finds_work(place: Place) -> None:
    graph = declare_chain(place)
    await place.work()
    await place.until_asleep()
    # Nobody is told as long as nobody is known to sleep.
    place.connection.execute("update pgorch._worker_leases set asleep = false")
    await place.ended(place.start(graph, {"n": 0}))


async def test_without_notifications_and_heartbeats_polling_finds_work(place: Place) -> None:
    graph = declare_chain(place)
    await place.work(timing=Timing(beat=5, poll=0.3, stall_exit=None))
    await place.until_asleep()
    place.connection.execute("update pgorch._worker_leases set asleep = false")
    run_id = place.start(graph, {"n": 0})
    await place.until(lambda: place.run(run_id)["finished_at"] is not None, seconds=4.5)


@pytest.mark.sessions
async def test_what_was_notified_while_the_listener_was_away_is_found(place: Place) -> None:
    graph = declare_chain(place)
    await place.work(timing=Timing(beat=5, poll=60, stall_exit=None))
    for _ in range(3):
        await place.until_asleep()
        await kill(place, "listener")
        await place.ended(place.start(graph, {"n": 0}))


@pytest.mark.sessions
@pytest.mark.parametrize("payload", ["²", "9" * 5000, "-1", ""])
async def test_a_payload_that_is_no_bucket_makes_nobody_deaf(place: Place, payload: str) -> None:
    graph = declare_chain(place)
    await place.work(timing=Timing(beat=5, poll=60, stall_exit=None))
    await place.until_asleep()
    place.connection.execute("select pg_notify('pgorch_work', %s)", (payload,))
    unfinished = "select count(*) from pgorch.runs where finished_at is null"
    for _ in range(2):
        await place.until_asleep()
        place.start(graph, {"n": 0})
        await place.until(lambda: place.value(unfinished) == 0, seconds=4.0)


async def test_a_task_beside_the_loop_that_breaks_ends_the_worker(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken(self: Schedules) -> None:
        raise ZeroDivisionError("nobody thought of this")

    monkeypatch.setattr(Schedules, "run", broken)
    worker = Worker(place.dsn, {}, name="broken")
    with pytest.raises(ZeroDivisionError):
        await asyncio.wait_for(worker.run(), 20)


async def test_a_connection_that_does_not_answer_is_given_up(
    place: Place, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING, "pgorch.worker")
    graph = declare_chain(place)
    with Proxy(place.dsn) as proxy:
        await place.work(
            dsn=proxy.dsn, timing=Timing(beat=0.1, lease=2, answer=1, beat_answer=1, stall_exit=None)
        )
        runs = place.start_many(graph, [{"n": i} for i in range(300)])
        await place.until(lambda: place.value("select count(*) from pgorch.history") > 5)
        proxy.hold()
        await place.until(lambda: "the lease is lost" in caplog.text)
        proxy.cut_all()
        proxy.flow()
        await place.all_ended()
        assert {place.run(run)["state"]["n"] - i for i, run in enumerate(runs)} == {2}
        await place.stop()
    assert "has not answered" in caplog.text or "was not answered" in caplog.text


@pytest.mark.parametrize("asked", [b"s.lease_token", b"pgorch.tick"])
async def test_a_line_that_swallows_a_question_is_given_up(place: Place, asked: bytes) -> None:
    """Whatever a worker asks on its connection: what it holds, or that timers are to be fired."""

    @place.tool
    async def a() -> None: ...

    graph = place.create(definition([{"id": "w", "type": "wait", "for": "0.5 seconds"}, "a"], ["w>a"]))
    with Proxy(place.dsn) as proxy:
        fault = proxy.lose_line("worker advance", asked)
        await place.work(dsn=proxy.dsn, timing=Timing(answer=1, stall_exit=None))
        run_id = place.start(graph)
        await place.until(fault.happened.is_set)
        assert (await place.ended(run_id))["status"] == "completed"
        await place.stop()


async def test_a_worker_that_ends_while_it_connects_leaves_no_session(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = []

    async def slow(dsn: str, **options: Any) -> Any:
        opened.append(await connect(dsn, **options))
        await asyncio.sleep(0.1)
        return opened[0]

    monkeypatch.setattr(connections, "connect", slow)
    task = asyncio.create_task(open_async(place.dsn, purpose="hooks", statement_seconds=5))
    await place.until(lambda: opened)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await place.until(lambda: not sessions(place.connection, "hooks"), seconds=5)
