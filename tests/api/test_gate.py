"""Keys over time: looked up once, believed for a moment, revoked, expired, and told to nobody."""

import asyncio
import logging
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest
from psycopg import Connection
from psycopg.rows import DictRow
from starlette.applications import Starlette

from pgorch.api import gate
from pgorch.api.app import create_app
from pgorch.api.gate import KeyGate
from pgorch.api.server import build_server
from pgorch.database.migrations import migrate
from pgorch.database.queries import Queries
from pgorch.database.rows import ApiPrincipal
from pgorch.errors import ConfigError
from tests.api.driving import (
    asking,
    assert_problem,
    bearing,
    client_of,
    make_key,
    plain,
    serving,
    until,
    until_answered,
)
from tests.support.engine import Engine
from tests.support.fixtures import database
from tests.support.races import open_connection

# Functions of pgorch are replaced here, so no database is shared.
__all__ = ["database"]

# What TECHNICAL_DOCS.md promises.
REVOKED_WITHIN_SECONDS = 5.0


@pytest.fixture
def long_belief(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gate, "BELIEVED_SECONDS", 300.0)


@pytest.fixture
def look_ups(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The id of each key that the database was asked about."""
    asked: list[str] = []
    look_up = Queries.api_principal

    async def counted(queries: Queries, id: str, hash: bytes) -> ApiPrincipal | None:
        asked.append(id)
        return await look_up(queries, id, hash)

    monkeypatch.setattr(Queries, "api_principal", counted)
    return asked


@asynccontextmanager
async def started(app: Starlette) -> AsyncIterator[httpx.AsyncClient]:
    async with app.router.lifespan_context(app), client_of(app) as client:
        yield client


@pytest.mark.usefixtures("long_belief")
async def test_a_key_in_use_costs_no_round_trip(
    client: httpx.AsyncClient, key: str, database: str, look_ups: list[str]
) -> None:
    await asyncio.gather(*(client.get("/v1/runs") for _ in range(30)))
    # Of thirty that came at once, one asked for all.
    assert look_ups == [key.split("_")[1]]
    with open_connection(database, autocommit=False) as locker:
        locker.execute("lock table pgorch.api_keys in access exclusive mode")
        for _ in range(30):
            assert (await client.get("/v1/runs")).status_code == 200
    assert len(look_ups) == 1


@pytest.mark.usefixtures("long_belief")
async def test_what_is_no_key_is_refused_without_asking_the_database(
    app: Starlette, look_ups: list[str], key: str
) -> None:
    async with client_of(app) as client:
        for text in ("", "Bearer", "Bearer x", f"Bearer {key}x", f"Basic {key}"):
            assert (await client.get("/v1/runs", headers={"authorization": text})).status_code == 401
    assert look_ups == []


@pytest.mark.usefixtures("long_belief")
async def test_who_tries_secrets_neither_gets_in_nor_throws_the_bearer_out(
    client: httpx.AsyncClient, key: str
) -> None:
    wrong = bearing(key[:-43] + "x" * 43)
    assert (await client.get("/v1/runs", headers=wrong)).status_code == 401
    assert (await client.get("/v1/runs")).status_code == 200
    # Also while the right secret is remembered.
    assert (await client.get("/v1/runs", headers=wrong)).status_code == 401
    assert (await client.get("/v1/runs")).status_code == 200


@pytest.mark.usefixtures("long_belief")
async def test_who_tries_keys_takes_no_connection_from_the_others(database: str, key: str) -> None:
    app = create_app(database, connections=1, connection_wait_seconds=20)
    async with started(app) as client:
        assert (await client.get("/v1/runs", headers=bearing(key))).status_code == 200
        with open_connection(database, autocommit=False) as locker:
            locker.execute("lock table pgorch.api_keys in access exclusive mode")
            tried = [
                asyncio.create_task(client.get("/v1/runs", headers=bearing(f"pgo_{n:012x}_{'x' * 43}")))
                for n in range(20)
            ]
            await asyncio.sleep(0)
            for _ in range(5):
                assert (await client.get("/v1/runs", headers=bearing(key))).status_code == 200
            assert not any(task.done() for task in tried)
            locker.rollback()
        assert {(await task).status_code for task in tried} == {401}


async def test_a_revoked_key_stops_working_within_five_seconds(
    client: httpx.AsyncClient, key: str, connection: Connection[DictRow]
) -> None:
    other = make_key(connection.info.dsn)
    assert (await client.get("/v1/runs")).status_code == 200
    connection.execute("select pgorch.revoke_key(%s)", [key])
    revoked_at = time.monotonic()
    while (await client.get("/v1/runs")).status_code == 200:
        assert time.monotonic() - revoked_at < REVOKED_WITHIN_SECONDS
        await asyncio.sleep(0.02)
    assert_problem(await client.get("/v1/runs"), 401, "unauthenticated")
    # The other key of the same principal is none the worse for it.
    assert (await client.get("/v1/runs", headers=bearing(other))).status_code == 200


@pytest.mark.usefixtures("long_belief")
async def test_a_key_that_expires_is_not_believed_longer(app: Starlette, engine: Engine) -> None:
    key = engine.value("select key from pgorch.create_key('ada', '{viewer}', '1.5 seconds')")
    async with client_of(app, key) as client:
        assert (await client.get("/v1/runs")).status_code == 200
        await until_answered(lambda: client.get("/v1/runs"), 401)
    expired_for = engine.value("select clock_timestamp() - expires_at from pgorch.key_list")
    assert 0 <= expired_for.total_seconds() < REVOKED_WITHIN_SECONDS


@pytest.mark.parametrize("accept", ["text/event-stream", "application/x-ndjson"])
async def test_a_stream_ends_within_five_seconds_after_its_key_was_revoked(
    database: str, engine: Engine, accept: str
) -> None:
    run_id = engine.start(asking())
    engine.run()
    async with serving(database) as client:
        key = make_key(database, "viewer")
        headers = {**bearing(key), "accept": accept}
        async with client.stream("GET", f"/v1/runs/{run_id}/events", headers=headers) as stream:
            lines = stream.aiter_lines()
            async for line in lines:
                if '"seq":2' in line.replace(" ", ""):
                    break
            engine.value("select pgorch.revoke_key(%s)", key)
            async with asyncio.timeout(REVOKED_WITHIN_SECONDS):
                assert not [line async for line in lines if "seq" in line]
        # What happens from now on is not for this client.
        again = await client.get(f"/v1/runs/{run_id}/events", headers=headers)
        assert_problem(again, 401, "unauthenticated")


async def test_a_stream_goes_on_while_its_key_works(
    database: str, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pgorch.api import events

    monkeypatch.setattr(events, "BELIEVED_SECONDS", 0.05)
    monkeypatch.setattr(gate, "BELIEVED_SECONDS", 0.05)
    run_id = engine.start(asking())
    engine.run()
    async with serving(database) as client:
        seen: list[str] = []

        async def read() -> None:
            async with client.stream("GET", f"/v1/runs/{run_id}/events") as stream:
                seen.extend([line async for line in stream.aiter_lines() if line.startswith("id: ")])

        reading = asyncio.create_task(read())
        await until(lambda: client.services.changes.waiting == 1)
        # Long enough for the key to have been asked about again and again.
        await asyncio.sleep(0.5)
        engine.reject(run_id)
        engine.run()
        await asyncio.wait_for(reading, 20)
    assert seen == [f"id: {number}" for number in range(1, len(seen) + 1)]
    assert len(seen) > 3


async def test_who_waits_with_a_key_that_is_revoked_meanwhile_sees_nothing(
    app: Starlette, key: str, database: str, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gate, "BELIEVED_SECONDS", 0.01)
    run_id = engine.start(plain())
    async with client_of(app, key) as client:
        answer = asyncio.create_task(client.get(f"/graph/state/{run_id}?wait=60"))
        await until(lambda: app.state.services.changes.waiting == 1)
        engine.value("select pgorch.revoke_key(%s)", key)
        engine.run()
        assert_problem(await answer, 401, "unauthenticated")


async def test_while_the_database_is_away_nobody_is_taken_for_a_stranger() -> None:
    app = create_app("postgresql://somebody:secret@127.0.0.1:1/nowhere")
    async with started(app) as client:
        response = await client.get("/v1/runs", headers=bearing(f"pgo_{'0' * 12}_{'x' * 43}"))
        assert_problem(response, 503, "database-unavailable")
        assert int(response.headers["retry-after"]) >= 1
        assert_problem(await client.get("/v1/runs"), 401, "unauthenticated")
        assert (await client.get("/livez")).status_code == 200


async def test_keys_work_as_soon_as_the_schema_is_there(empty_database: str) -> None:
    app = create_app(empty_database)
    async with started(app) as client:
        response = await client.get("/v1/runs", headers=bearing(f"pgo_{'0' * 12}_{'x' * 43}"))
        assert_problem(response, 503, "schema-mismatch")
        await asyncio.to_thread(migrate, empty_database)
        key = make_key(empty_database)
        assert (await client.get("/v1/runs", headers=bearing(key))).status_code == 200


async def test_a_server_without_any_key_says_how_to_make_one(
    database: str, caplog: pytest.LogCaptureFixture, connection: Connection[DictRow]
) -> None:
    async def said_at_start() -> str:
        caplog.clear()
        app = create_app(database)
        async with started(app) as client:
            assert (await client.get("/livez")).status_code == 200
            assert_problem(await client.get("/v1/runs"), 401, "unauthenticated")
            assert isinstance(app.state.services.gate, KeyGate)
            looking = app.state.services.gate._looking
            assert looking is not None
            await looking
        return caplog.text

    with caplog.at_level(logging.WARNING):
        assert "pgorch keys create NAME --role admin" in await said_at_start()
        key = make_key(database)
        assert await said_at_start() == ""
        connection.execute("select pgorch.revoke_key(%s)", [key])
        assert "pgorch keys create NAME --role admin" in await said_at_start()


async def test_a_secret_is_in_no_answer_and_no_log(
    database: str, engine: Engine, caplog: pytest.LogCaptureFixture
) -> None:
    keys = [make_key(database, role) for role in ("viewer", "admin")]
    expired = make_key(database)
    engine.value("select pgorch.revoke_key(%s)", expired)
    graph = engine.graph(plain())
    engine.connection.execute(
        "create or replace function pgorch.cancel(p_run_id uuid, p_reason text default null,"
        " p_actor text default null, p_compensate boolean default false) returns text language plpgsql"
        " as $$ begin raise exception 'unexpected'; end $$"
    )
    run_id = engine.start(graph)
    said: list[Any] = []
    with caplog.at_level(logging.DEBUG):
        async with serving(database) as client:
            for text in (*keys, expired, f"{keys[0]}x", f"pgo_{'0' * 12}_{keys[0][-43:]}"):
                headers = bearing(text)
                for method, path, body in (
                    ("GET", "/v1/runs", None),
                    ("GET", f"/v1/runs/{text}", None),
                    ("POST", "/graph/run", {"graph_id": graph}),
                    ("POST", f"/v1/runs/{run_id}/cancel", {}),
                    ("POST", "/graph/create", {}),
                    ("TRACE", "/v1/runs", None),
                ):
                    answer = await client.request(method, path, json=body, headers=headers)
                    if path != f"/v1/runs/{text}" or answer.status_code in (401, 403):
                        said.append((answer.text, answer.headers))
    # Of this process: the client's own log would name what it asks for.
    logged = [r for r in caplog.records if not r.name.startswith(("httpx", "httpcore"))]
    logged_text = "\n".join(logging.Formatter().format(record) for record in logged)
    assert "unexpected" in logged_text
    for secret in (keys[0][-43:], keys[1][-43:], expired[-43:]):
        assert secret not in str(said)
        assert secret not in logged_text
        assert engine.value("select count(*) from pg_stat_activity where query like %s", f"%{secret}%") == 0


@pytest.mark.parametrize(
    "host", ["0.0.0.0", "::", "", "10.0.0.1", "example.com", "127.0.0.1.example.com", "localhost.example.com"]
)
def test_without_keys_a_server_listens_on_loopback_addresses_only(database: str, host: str) -> None:
    with pytest.raises(ConfigError, match="loopback") as refused:
        build_server(database, host, no_auth=True)
    assert "pgorch keys create" in str(refused.value.hint)


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.2", "localhost", "::1"])
async def test_without_keys_no_page_of_another_name_reaches_the_server(database: str, host: str) -> None:
    app = build_server(database, host, no_auth=True).config.app
    assert isinstance(app, Starlette)
    async with started(app) as client:
        assert (await client.get("/v1/runs", headers={"host": f"{host}:8000"})).status_code == 200
        evil = await client.get("/v1/runs", headers={"host": "evil.example:8000"})
        assert_problem(evil, 421, "misdirected")
