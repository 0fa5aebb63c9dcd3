"""Clients that wait: woken by the listener, and by polling when a notification is lost."""

import asyncio
from typing import Any
from uuid import UUID

import httpx
import pytest
from starlette.applications import Starlette

from pgorch.api import waiting
from tests.api.driving import asking, assert_problem, plain, serving, until
from tests.support.engine import Engine


def watched(engine: Engine, run_id: UUID) -> Any:
    return engine.value("select watched_until is not null from pgorch.runs where id = %s", run_id)


# A waiting client looks by itself every 20 seconds; what comes sooner was woken.
SOON_SECONDS = 12.0


@pytest.fixture
def no_polling(monkeypatch: pytest.MonkeyPatch) -> None:
    """From now on only the listener can wake a client."""
    monkeypatch.setattr(waiting.RunChanges, "_poll", lambda self: asyncio.sleep(0))


@pytest.mark.sessions
@pytest.mark.usefixtures("no_polling")
async def test_waiting_ends_when_the_run_ends(
    client: httpx.AsyncClient, app: Starlette, engine: Engine
) -> None:
    await until(app.state.services.changes.listening.is_set)
    run_id = engine.start(plain())
    answer = asyncio.create_task(client.get(f"/graph/state/{run_id}?wait=60"))
    await until(lambda: watched(engine, run_id))

    engine.run()

    assert (await asyncio.wait_for(answer, SOON_SECONDS)).json()["status"] == "completed"


async def test_waiting_ends_when_the_run_awaits_an_approval(
    client: httpx.AsyncClient, engine: Engine
) -> None:
    run_id = engine.start(asking())
    answer = asyncio.create_task(client.get(f"/v1/runs/{run_id}", headers={"Prefer": "wait=60"}))
    await until(lambda: watched(engine, run_id))

    engine.run()

    assert (await asyncio.wait_for(answer, SOON_SECONDS)).json()["status"] == "awaiting_approval"
    # And what is so already is answered at once.
    again = await client.get(f"/graph/state/{run_id}?wait=60")
    assert again.json()["status"] == "awaiting_approval"


async def test_when_the_time_is_over_the_run_is_shown_as_it_is(
    client: httpx.AsyncClient, engine: Engine
) -> None:
    run_id = engine.start(plain())

    response = await client.get(f"/graph/state/{run_id}?wait=1")

    assert response.json()["status"] == "running"


async def test_a_lost_notification_is_made_up_for_by_polling(
    client: httpx.AsyncClient, engine: Engine
) -> None:
    run_id = engine.start(plain())
    answer = asyncio.create_task(client.get(f"/graph/state/{run_id}?wait=60"))
    await until(lambda: watched(engine, run_id))
    # As if nobody watched: then no notification is sent.
    engine.connection.execute("update pgorch.runs set watched_until = null")

    engine.run()

    assert (await asyncio.wait_for(answer, SOON_SECONDS)).json()["status"] == "completed"


@pytest.mark.sessions
@pytest.mark.usefixtures("no_polling")
async def test_the_listener_comes_back_and_wakes_those_who_waited(
    client: httpx.AsyncClient, app: Starlette, engine: Engine
) -> None:
    changes = app.state.services.changes
    await until(changes.listening.is_set)
    run_id = engine.start(plain())
    answer = asyncio.create_task(client.get(f"/graph/state/{run_id}?wait=60"))
    await until(lambda: watched(engine, run_id))

    ended = engine.value(
        "select count(pg_terminate_backend(pid, 10000)) from pg_stat_activity"
        " where application_name = 'pgorch api listener' and datname = current_database()"
    )
    assert ended == 1
    engine.run()

    assert (await asyncio.wait_for(answer, SOON_SECONDS)).json()["status"] == "completed"
    await until(changes.listening.is_set)


async def test_a_client_that_goes_away_is_not_waited_for(database: str, engine: Engine) -> None:
    run_id = engine.start(plain())
    async with serving(database) as client:
        answer = asyncio.create_task(client.get(f"/graph/state/{run_id}?wait=300"))
        await until(lambda: watched(engine, run_id))
        assert client.services.changes.waiting == 1
        answer.cancel()
        await until(lambda: client.services.changes.waiting == 0, SOON_SECONDS)
    assert engine.status(run_id) == "running"


async def test_when_the_server_stops_waiting_clients_are_answered(database: str, engine: Engine) -> None:
    run_id = engine.start(plain())
    async with serving(database) as client:
        answer = asyncio.create_task(client.get(f"/graph/state/{run_id}?wait=300"))
        await until(lambda: watched(engine, run_id))
    response = await answer
    assert response.json()["status"] == "running"


async def test_a_wait_is_a_number_of_seconds(client: httpx.AsyncClient, engine: Engine) -> None:
    run_id = engine.start(plain())
    for text in ("-1", "301", "x", "1.5", "", "99999999999999999999", "%C2%B2", "1&wait=2"):
        assert_problem(await client.get(f"/graph/state/{run_id}?wait={text}"), 422, "invalid-value")
