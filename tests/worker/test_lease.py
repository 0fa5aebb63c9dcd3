"""What happens when a worker's lease is lost, or a run is taken from it."""

import asyncio
import logging
import threading
from datetime import datetime

import psycopg
import pytest

from pgorch.tool import Context
from pgorch.worker.identity import Timing
from tests.support.proxy import Proxy, sessions
from tests.worker.conftest import Place


@pytest.mark.parametrize("kind", ["async", "sync"])
async def test_the_steps_of_a_cancelled_run_are_stopped(place: Place, kind: str) -> None:
    began, stopped = threading.Event(), threading.Event()

    if kind == "async":

        @place.tool
        async def a() -> None:
            began.set()
            try:
                await asyncio.sleep(60)
            finally:
                stopped.set()
    else:

        @place.tool(name="a")
        def b(ctx: Context) -> None:
            began.set()
            if ctx.cancelled.wait(20):
                stopped.set()

    @place.tool
    def other() -> None: ...

    next_graph = place.graph("other")
    run_id = place.start(place.graph("a"))
    await place.work(slots=1)
    await place.until(began.is_set)
    assert place.value("select pgorch.cancel(%s)", run_id) == "cancelled"
    await place.until(stopped.is_set)
    # Its slot is free again.
    assert (await place.ended(place.start(next_graph)))["status"] == "completed"
    assert place.kinds(run_id) == ["run_cancelled"]


async def test_a_worker_declared_dead_stops_and_comes_back_as_another(
    place: Place, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "pgorch.worker")
    stopped = 0
    began = asyncio.Event()

    @place.tool
    async def a(ctx: Context) -> dict[str, int]:
        nonlocal stopped
        if ctx.attempt > 1:
            return {"attempt": ctx.attempt}
        began.set()
        try:
            await asyncio.sleep(60)
        finally:
            stopped += 1
        return {}

    run_id = place.start(place.graph("a"))
    await place.work()
    await began.wait()
    former = place.value("select worker_id from pgorch._worker_leases")
    place.connection.execute("update pgorch._worker_leases set status = 'dead'")
    run = await place.ended(run_id)
    assert run["state"] == {"attempt": 2}
    assert stopped == 1
    assert place.value("select worker_id from pgorch._worker_leases where status = 'alive'") != former
    assert "declared this worker dead" in caplog.text


async def test_a_lease_that_cannot_be_renewed_is_given_up_in_time(place: Place) -> None:
    """The database is gone without a word: nothing may run on once others may have taken over."""
    began, stopped = asyncio.Event(), asyncio.Event()

    @place.tool
    async def a(ctx: Context) -> dict[str, int]:
        if ctx.attempt == 1:
            began.set()
            try:
                await asyncio.sleep(60)
            finally:
                stopped.set()
        return {"attempt": ctx.attempt}

    run_id = place.start(place.graph("a"))
    with Proxy(place.dsn) as proxy:
        await place.work(dsn=proxy.dsn, timing=Timing(beat=0.1, lease=1, stall_exit=None))
        await began.wait()
        proxy.hold()
        await asyncio.wait_for(stopped.wait(), 20)
        proxy.cut_all()
        proxy.flow()
        assert (await place.ended(run_id))["state"] == {"attempt": 2}
        await place.stop()


async def test_a_result_that_comes_after_the_lease_does_not_count(place: Place) -> None:
    began, release = threading.Event(), threading.Event()

    @place.tool
    def a(ctx: Context) -> dict[str, int]:
        if ctx.attempt == 1:
            began.set()
            release.wait(20)
        return {"attempt": ctx.attempt}

    run_id = place.start(place.graph("a"))
    await place.work()
    await place.until(began.is_set)
    place.connection.execute("update pgorch._worker_leases set status = 'dead'")
    assert (await place.ended(run_id))["state"] == {"attempt": 2}
    release.set()
    await place.stop()
    assert place.kinds(run_id) == ["step_completed", "run_completed"] or place.kinds(run_id) == [
        "attempt_lost",
        "step_completed",
        "run_completed",
    ]


@pytest.mark.sessions
async def test_the_end_of_the_session_shows_the_death_of_a_worker(place: Place) -> None:
    """Its heartbeat's session holds the marker: other workers need not wait for the lease to end."""

    @place.tool
    def a() -> None: ...

    await place.work()
    marker = place.value("select marker from pgorch._worker_leases")
    assert marker is not None
    assert place.value("select pg_try_advisory_xact_lock_shared(%s)", marker) is False
    await place.stop()
    await place.until(lambda: place.value("select pg_try_advisory_xact_lock_shared(%s)", marker))


@pytest.mark.sessions
async def test_a_heartbeat_with_a_new_session_has_a_new_marker(place: Place) -> None:
    @place.tool
    def a() -> None: ...

    await place.work()
    before = place.value("select marker from pgorch._worker_leases")
    (session,) = sessions(place.connection, "heartbeat")
    place.value("select pg_terminate_backend(%s)", session)

    def renewed() -> bool:
        found = place.connection.execute(
            "select marker from pgorch._worker_leases where status = 'alive' and marker <> %s", (before,)
        ).fetchone()
        return found is not None and not place.value(
            "select pg_try_advisory_xact_lock_shared(%s)", found["marker"]
        )

    await place.until(renewed)


async def test_a_heartbeat_that_waits_for_its_row_keeps_its_session(place: Place) -> None:
    """A long call of advance() holds the lease's row. With another session the marker would be free in
    between, and the next worker that looks would declare this one dead."""
    await place.work()
    leases = "select l.bucket, l.worker_id, l.marker, l.status from pgorch._worker_leases l order by 1, 2"
    before = place.connection.execute(leases).fetchall()
    waiting = (
        "select a.query_start from pg_stat_activity a where a.datname = current_database()"
        " and a.wait_event_type = 'Lock' and a.query like '%pgorch.beat(%'"
    )
    seen: set[datetime] = set()
    with psycopg.connect(place.dsn) as holder:
        holder.execute("select from pgorch._worker_leases for update")

        def tried_three_times() -> bool:
            seen.update(row["query_start"] for row in place.connection.execute(waiting.encode()).fetchall())
            return len(seen) >= 3

        await place.until(tried_three_times)
    await place.work()
    assert [row for row in place.connection.execute(leases).fetchall() if row in before] == before
