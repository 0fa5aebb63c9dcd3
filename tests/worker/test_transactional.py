"""Tools whose writes commit with the checkpoint of their step, or not at all."""

import asyncio
import threading
from typing import Any

import psycopg
import pytest

from pgorch.tool import Context
from pgorch.worker.identity import Timing
from tests.support.databases import direct
from tests.support.engine import chain
from tests.support.proxy import Proxy, sessions
from tests.worker.conftest import Place

KINDS = pytest.mark.parametrize("kind", ["async", "sync"])
INSERT = "insert into paid (run_id) values (%s)"


@pytest.fixture(autouse=True)
def paid(place: Place) -> None:
    place.connection.execute("create table paid (run_id uuid not null, id int generated always as identity)")


def declare(place: Place, kind: str, after: Any = lambda ctx: None, **options: Any) -> None:
    """The tool `a`, which writes a row and then does something else."""
    if kind == "sync":

        @place.tool(name="a", transactional=True, **options)
        def plain(ctx: Context) -> Any:
            ctx.connection.execute(INSERT, (ctx.run_id,))
            return after(ctx)

        return

    @place.tool(name="a", transactional=True, **options)
    async def coroutine(ctx: Context) -> Any:
        await ctx.connection.execute(INSERT, (ctx.run_id,))
        return after(ctx)


def rows(place: Place) -> Any:
    return place.value("select count(*) from paid")


@KINDS
async def test_what_it_writes_is_there_once_for_each_run(place: Place, kind: str) -> None:
    declare(place, kind, lambda ctx: {"done": True})

    @place.tool
    def b() -> None: ...

    graph = place.create(chain("a b"))
    for _ in range(2):
        await place.work(slots=10)
    runs = place.start_many(graph, [{}] * 20)
    await place.all_ended()
    assert place.value("select array_agg(run_id order by run_id) from paid") == sorted(runs)
    assert place.run(runs[0])["state"] == {"done": True}


@KINDS
async def test_a_tool_that_raises_has_written_nothing(place: Place, kind: str) -> None:
    def after(ctx: Context) -> dict[str, int]:
        if ctx.attempt == 1:
            raise LookupError("no")
        return {"attempt": ctx.attempt}

    declare(place, kind, after, retry={"max_attempts": 2, "initial_interval": "0.01s"})
    await place.work()
    run_id = place.start(place.graph("a"))
    assert (await place.ended(run_id))["state"] == {"attempt": 2}
    assert place.kinds(run_id) == ["attempt_failed", "step_completed", "run_completed"]
    assert rows(place) == 1


@KINDS
async def test_what_is_no_result_undoes_what_was_written(place: Place, kind: str) -> None:
    declare(place, kind, lambda ctx: object())
    await place.work()
    assert (await place.ended(place.start(place.graph("a"))))["error"]["type"] == "InvalidResult"
    assert rows(place) == 0


@KINDS
async def test_a_lost_lease_undoes_what_was_written(place: Place, kind: str) -> None:
    times = 0

    def after(ctx: Context) -> None:
        nonlocal times
        times += 1
        if times == 1:
            with psycopg.connect(direct(place.dsn), autocommit=True) as other:
                other.execute("update pgorch.steps set lease_token = gen_random_uuid()")

    declare(place, kind, after)
    # A step that is leased to a worker which does not know of it is given back when the worker compares.
    await place.work(timing=Timing(beat=0.1, poll=0.2, stall_exit=None))
    await place.ended(place.start(place.graph("a")))
    assert (times, rows(place)) == (2, 1)


@KINDS
async def test_a_cancelled_run_undoes_what_was_written(place: Place, kind: str) -> None:
    def after(ctx: Context) -> None:
        with psycopg.connect(direct(place.dsn), autocommit=True) as other:
            other.execute("select pgorch.cancel(%s)", (ctx.run_id,))

    declare(place, kind, after)
    await place.work()
    run_id = place.start(place.graph("a"))
    assert (await place.ended(run_id))["status"] == "cancelled"
    await place.stop()
    assert rows(place) == 0


@KINDS
async def test_an_error_at_commit_is_an_error_of_the_step(place: Place, kind: str) -> None:
    place.connection.execute(
        "alter table paid add constraint paid_once unique (run_id) deferrable initially deferred"
    )
    place.connection.execute("create function twice() returns trigger language plpgsql as $$ begin "
                             "if pg_trigger_depth() = 1 then insert into paid (run_id) values (new.run_id); "
                             "end if; return new; end $$")  # fmt: skip
    place.connection.execute(
        "create trigger twice after insert on paid for each row execute function twice()"
    )
    declare(place, kind)
    await place.work()
    assert (await place.ended(place.start(place.graph("a"))))["error"]["type"] == "UniqueViolation"
    assert rows(place) == 0


@KINDS
async def test_a_tool_cannot_commit_on_its_own(place: Place, kind: str) -> None:
    def after(ctx: Context) -> None:
        if kind == "sync":
            ctx.connection.commit()
        else:
            ctx.connection.commit().send(None)

    declare(place, kind, after)
    await place.work()
    assert (await place.ended(place.start(place.graph("a"))))["error"]["type"] == "ProgrammingError"
    assert rows(place) == 0


@KINDS
@pytest.mark.parametrize("lost", ["request", "reply"])
async def test_a_commit_whose_outcome_is_unknown_counts_once(place: Place, kind: str, lost: str) -> None:
    declare(place, kind, lambda ctx: {"done": True})
    graph = place.graph("a")
    with Proxy(place.dsn) as proxy:
        await place.work(dsn=proxy.dsn)
        lose = proxy.lose_reply if lost == "reply" else proxy.lose_request
        fault = lose("worker transaction", b"COMMIT")
        run_id = place.start(graph)
        assert (await place.ended(run_id))["status"] == "completed"
        assert fault.happened.is_set()
        assert place.kinds(run_id) == ["step_completed", "run_completed"]
        assert rows(place) == 1
        await place.stop()


@KINDS
async def test_a_session_that_ends_under_the_tool_costs_no_attempt(place: Place, kind: str) -> None:
    times = 0

    def after(ctx: Context) -> dict[str, int]:
        nonlocal times
        times += 1
        if times == 1:
            for pid in sessions(place.connection, "transaction"):
                place.value("select pg_terminate_backend(%s)", pid)
        return {"attempt": ctx.attempt}

    declare(place, kind, after)
    await place.work()
    run_id = place.start(place.graph("a"))
    assert (await place.ended(run_id))["state"] == {"attempt": 1}
    assert (times, rows(place)) == (2, 1)


@pytest.mark.parametrize("state", ["57014", "40P01", "40001"])
async def test_a_statement_that_the_server_breaks_off_costs_no_attempt(place: Place, state: str) -> None:
    times = 0

    def after(ctx: Context) -> dict[str, int]:
        nonlocal times
        times += 1
        if times == 1:
            ctx.connection.execute(
                f"do $$ begin raise exception 'broken off' using errcode = '{state}'; end $$".encode()
            )
        return {"attempt": ctx.attempt}

    declare(place, "sync", after)
    await place.work()
    run_id = place.start(place.graph("a"))
    assert (await place.ended(run_id))["state"] == {"attempt": 1}
    assert (times, rows(place)) == (2, 1)
    assert place.kinds(run_id) == ["step_completed", "run_completed"]


@KINDS
async def test_a_session_that_always_ends_fails_the_step_in_the_end(place: Place, kind: str) -> None:
    def after(ctx: Context) -> None:
        with psycopg.connect(direct(place.dsn), autocommit=True) as other:
            other.execute(
                "select pg_terminate_backend(pid) from pg_stat_activity "
                "where application_name = 'pgorch worker transaction' and datname = current_database()"
            )

    declare(place, kind, after)
    await place.work()
    assert (await place.ended(place.start(place.graph("a"))))["error"]["type"] == "TransactionLost"
    assert rows(place) == 0


async def test_more_transactions_than_connections_wait_for_their_turn(place: Place) -> None:
    @place.tool(name="a", transactional=True)
    async def coroutine(ctx: Context) -> None:
        await ctx.connection.execute(INSERT, (ctx.run_id,))
        await asyncio.sleep(0.01)

    runs = place.start_many(place.graph("a"), [{}] * 50)
    await place.work()
    await place.all_ended()
    assert rows(place) == len(runs)
    assert len(sessions(place.connection, "transaction")) <= 8


@KINDS
async def test_what_times_out_while_it_waits_for_a_connection_is_not_begun(place: Place, kind: str) -> None:
    held, release, begun = 0, threading.Event(), []

    @place.tool(transactional=True)
    def hold() -> None:
        nonlocal held
        held += 1
        release.wait(30)

    @place.tool(name="hold_async", transactional=True)
    async def hold_async() -> None:
        nonlocal held
        held += 1
        await asyncio.to_thread(release.wait, 30)

    declare(place, kind, lambda ctx: begun.append(ctx.run_id), timeout=0.3)
    holders = place.graph("hold" if kind == "sync" else "hold_async")
    waiter = place.graph("a")
    await place.work(slots=20)
    holding = place.start_many(holders, [{}] * 8)
    try:
        await place.until(lambda: held == 8)
        late = place.start(waiter)
        assert (await place.ended(late))["error"]["type"] == "Timeout"
    finally:
        release.set()
    await place.all_ended()
    assert {place.run(run)["status"] for run in holding} == {"completed"}
    # Whoever still waited for a connection has had one since.
    next_one = place.start(holders)
    assert (await place.ended(next_one))["status"] == "completed"
    assert (begun, rows(place)) == ([], 0)


async def test_an_ordinary_tool_has_no_connection(place: Place) -> None:
    @place.tool
    async def a(ctx: Context) -> None:
        await ctx.connection.execute("select 1")

    await place.work()
    error = (await place.ended(place.start(place.graph("a"))))["error"]
    assert error["type"] == "ConfigError"
    assert "transactional" in place.value(
        "select h.error ->> 'hint' from pgorch.history h where h.error is not null"
    )
