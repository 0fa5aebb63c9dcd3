"""The database away, and back; the schema missing; too much at once."""

import asyncio
import time

import httpx
import psycopg
import pytest
from psycopg import sql

from pgorch.api.app import create_app
from pgorch.database.migrations import migrate
from tests.api.driving import asking, assert_problem, client_of, plain, until_answered
from tests.support.databases import Databases
from tests.support.engine import Engine
from tests.support.races import open_connection


def assert_unavailable(response: httpx.Response) -> None:
    problem = assert_problem(response, 503, "database-unavailable")
    assert int(response.headers["retry-after"]) >= 1
    assert "idempotency key" in problem["hint"]
    # Where the database is, and as whom one is connected, is nobody's business.
    assert "postgres" not in response.text
    assert "host" not in response.text


async def test_while_nothing_listens_everything_is_503_at_once() -> None:
    app = create_app("postgresql://somebody:secret@127.0.0.1:1/nowhere", no_auth=True)
    async with app.router.lifespan_context(app), client_of(app) as client:
        began = time.monotonic()
        for path in ("/readyz", "/tools", "/v1/runs", "/v1/approvals"):
            assert_unavailable(await client.get(path))
        assert_unavailable(await client.post("/graph/run", json={"graph": "x"}))
        assert time.monotonic() - began < 10
        assert (await client.get("/livez")).status_code == 200
        assert (await client.get("/openapi.json")).status_code == 200


# A pooler has an opinion of its own about when the database is back.
@pytest.mark.sessions
async def test_requests_succeed_again_as_soon_as_the_database_is_back(
    client: httpx.AsyncClient, engine: Engine, databases: Databases
) -> None:
    graph = engine.graph(plain())
    # Several connections in the pool, all of which will die.
    await asyncio.gather(*(client.post("/graph/run", json={"graph_id": graph}) for _ in range(20)))
    assert (await client.get("/readyz")).status_code == 200
    name = sql.Identifier(engine.value("select current_database()"))

    databases.admin.execute(sql.SQL("alter database {} allow_connections false").format(name))
    try:
        engine.connection.execute(
            "select pg_terminate_backend(pid, 10000) from pg_stat_activity"
            " where datname = current_database() and pid <> pg_backend_pid()"
        )
        assert_unavailable(await client.post("/graph/run", json={"graph_id": graph}))
        assert_unavailable(await client.get("/readyz"))
    finally:
        databases.admin.execute(sql.SQL("alter database {} allow_connections true").format(name))

    answers = await asyncio.gather(*(client.post("/graph/run", json={"graph_id": graph}) for _ in range(20)))
    assert [answer.status_code for answer in answers] == [200] * 20
    assert (await client.get("/readyz")).status_code == 200
    assert engine.value("select count(*) from pgorch.runs") == 40


async def test_connections_that_died_unnoticed_cost_no_request(
    client: httpx.AsyncClient, engine: Engine
) -> None:
    graph = engine.graph(plain())
    await asyncio.gather(*(client.get("/v1/runs") for _ in range(10)))
    engine.connection.execute(
        "select pg_terminate_backend(pid, 10000) from pg_stat_activity"
        " where datname = current_database() and application_name = 'pgorch api'"
    )

    answers = await asyncio.gather(*(client.post("/graph/run", json={"graph_id": graph}) for _ in range(10)))

    assert [answer.status_code for answer in answers] == [200] * 10


async def test_a_database_without_schema_is_not_ready_until_it_is_migrated(empty_database: str) -> None:
    app = create_app(empty_database, no_auth=True)
    async with app.router.lifespan_context(app), client_of(app) as client:
        problem = assert_problem(await client.get("/readyz"), 503, "schema-mismatch")
        assert "pgorch migrate" in problem["hint"]
        assert_problem(await client.get("/tools"), 503, "schema-mismatch")
        assert_problem(await client.post("/graph/run", json={"graph": "x"}), 503, "schema-mismatch")

        await asyncio.to_thread(migrate, empty_database)

        assert (await client.get("/readyz")).status_code == 200
        assert (await client.get("/tools")).json() == {"tools": []}


async def test_when_all_connections_are_busy_the_client_is_told_to_come_back(
    database: str, key: str, engine: Engine
) -> None:
    run_id = engine.start(asking())
    engine.run()
    app = create_app(database, connections=2, connection_wait_seconds=0.1)
    async with app.router.lifespan_context(app), client_of(app, key) as client:
        # The key is known then, and whoever looks it up keeps nobody waiting.
        await until_answered(lambda: client.get("/v1/runs"), 200)
        with open_connection(database, autocommit=False) as holder:
            holder.execute("select from pgorch.runs where id = %s for update", [run_id])
            stuck = [asyncio.create_task(client.post(f"/graph/resume/{run_id}")) for _ in range(2)]
            refused = await until_answered(lambda: client.get("/v1/runs"), 503)
            assert_unavailable(refused)
            holder.rollback()
        statuses = sorted([(await task).status_code for task in stuck])
        # Both were served once the lock was gone; the second came too late.
        assert statuses == [200, 409]
        assert (await client.get("/v1/runs")).status_code == 200


async def test_a_statement_that_hangs_is_broken_off_and_answered(
    database: str, key: str, engine: Engine
) -> None:
    run_id = engine.start(asking())
    engine.run()
    name = engine.value("select current_database()")
    app = create_app(database)
    async with app.router.lifespan_context(app), client_of(app, key) as client:
        await client.get("/v1/runs")
        with open_connection(database, autocommit=False) as holder:
            holder.execute("select from pgorch.runs where id = %s for update", [run_id])
            answer = asyncio.create_task(client.post(f"/graph/resume/{run_id}"))
            with psycopg.connect(database, autocommit=True) as admin:
                # As statement_timeout would.
                await until_cancelled(admin, name)
            assert_unavailable(await answer)
    assert engine.status(run_id) == "awaiting_approval"


async def until_cancelled(admin: psycopg.Connection, database: str) -> None:
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        row = admin.execute(
            "select count(pg_cancel_backend(pid)) from pg_stat_activity where datname = %s"
            " and application_name = 'pgorch api' and wait_event_type = 'Lock'",
            [database],
        ).fetchone()
        if row and row[0]:
            return
        await asyncio.sleep(0.01)
    raise AssertionError("nothing waited for the lock")
