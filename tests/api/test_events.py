"""Events as they happen, over real sockets."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID

import httpx
import pytest

from pgorch.api import events
from tests.api.driving import asking, assert_problem, plain, serving, until
from tests.support.engine import Engine

NDJSON = {"accept": "application/x-ndjson"}


class Stream:
    """What arrives on a stream of server-sent events."""

    def __init__(self) -> None:
        self.ids: list[int] = []
        self.events: list[Any] = []
        self.pings = 0
        self.ended = False

    async def read(self, client: httpx.AsyncClient, run_id: UUID, **options: Any) -> None:
        async with client.stream("GET", f"/v1/runs/{run_id}/events", **options) as response:
            assert response.status_code == 200
            assert response.headers["content-type"] == "text/event-stream"
            async for line in response.aiter_lines():
                if line.startswith("id: "):
                    self.ids.append(int(line[4:]))
                elif line.startswith("data: "):
                    self.events.append(json.loads(line[6:]))
                elif line.startswith(":"):
                    self.pings += 1
        self.ended = True


@pytest.fixture
async def live(database: str) -> AsyncIterator[httpx.AsyncClient]:
    async with serving(database) as client:
        yield client


async def test_events_come_as_they_happen_and_the_stream_ends_with_the_run(
    live: httpx.AsyncClient, engine: Engine
) -> None:
    run_id = engine.start(asking())
    stream = Stream()
    reading = asyncio.create_task(stream.read(live, run_id))

    engine.run()
    await until(lambda: stream.ids == [1, 2])
    assert not stream.ended
    engine.approve(run_id)
    # Sooner than the next ping: it was woken.
    await until(lambda: stream.ids == [1, 2, 3], seconds=10)
    engine.run()
    await reading

    assert stream.ids == [event["seq"] for event in stream.events] == [1, 2, 3, 4, 5]
    assert [event["kind"] for event in stream.events] == engine.kinds(run_id)
    assert stream.events[-1]["kind"] == "run_completed"


async def test_a_client_goes_on_after_the_last_event_that_it_saw(
    live: httpx.AsyncClient, engine: Engine
) -> None:
    run_id = engine.start(asking())
    engine.run()
    engine.approve(run_id)
    engine.run()

    async def ids(**options: Any) -> list[int]:
        stream = Stream()
        await stream.read(live, run_id, **options)
        return stream.ids

    assert await ids() == [1, 2, 3, 4, 5]
    assert await ids(headers={"Last-Event-ID": "3"}) == [4, 5]
    assert await ids(params={"after": 4}) == [5]
    assert await ids(params={"after": 1}, headers={"Last-Event-ID": "2"}) == [3, 4, 5]
    # Nothing comes any more: 204 keeps an EventSource from connecting again.
    over = await live.get(f"/v1/runs/{run_id}/events", headers={"Last-Event-ID": "5"})
    assert over.status_code == 204


async def test_scripts_get_a_line_of_json_per_event(live: httpx.AsyncClient, engine: Engine) -> None:
    run_id = engine.start(plain())
    engine.run()

    response = await live.get(f"/v1/runs/{run_id}/events", headers=NDJSON)

    assert response.headers["content-type"] == "application/x-ndjson"
    lines = [json.loads(line) for line in response.text.splitlines()]
    assert [line["kind"] for line in lines] == engine.kinds(run_id)


async def test_a_long_history_comes_whole_in_batches(
    live: httpx.AsyncClient, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(events, "BATCH", 2)
    run_id = engine.start(asking())
    engine.run()
    engine.reject(run_id)
    engine.run()

    response = await live.get(f"/v1/runs/{run_id}/events", headers=NDJSON)

    assert [json.loads(line)["seq"] for line in response.text.splitlines()] == [1, 2, 3, 4, 5]


async def test_a_quiet_stream_is_kept_open_by_pings(
    live: httpx.AsyncClient, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert events.PING_SECONDS == 15
    monkeypatch.setattr(events, "PING_SECONDS", 0.05)
    run_id = engine.start(plain())
    stream = Stream()
    reading = asyncio.create_task(stream.read(live, run_id))

    await until(lambda: stream.pings >= 3)
    assert stream.ids == []
    engine.run()
    await reading

    assert stream.ids == [1, 2, 3]


async def test_many_may_follow_one_run(live: httpx.AsyncClient, engine: Engine) -> None:
    run_id = engine.start(asking())
    engine.run()
    streams = [Stream() for _ in range(25)]
    reading = [asyncio.create_task(stream.read(live, run_id)) for stream in streams]
    await until(lambda: all(stream.ids == [1, 2] for stream in streams))

    # More than there are connections to the database, and requests are still served.
    assert (await live.get(f"/v1/runs/{run_id}")).status_code == 200
    engine.cancel(run_id)
    await asyncio.gather(*reading)

    assert all(stream.ids == [1, 2, 3] for stream in streams)


async def test_a_stream_outlives_an_outage_of_the_database(
    live: httpx.AsyncClient, engine: Engine, database: str
) -> None:
    run_id = engine.start(asking())
    engine.run()
    stream = Stream()
    reading = asyncio.create_task(stream.read(live, run_id))
    await until(lambda: stream.ids == [1, 2])

    ended = engine.value(
        "select count(pg_terminate_backend(pid, 10000)) from pg_stat_activity"
        " where application_name like 'pgorch api%%' and datname = current_database()"
    )
    assert ended >= 2
    engine.approve(run_id)
    engine.run()
    await asyncio.wait_for(reading, 30)

    assert stream.ids == [1, 2, 3, 4, 5]


async def test_streams_end_when_the_server_stops(database: str, engine: Engine) -> None:
    run_id = engine.start(asking())
    engine.run()
    stream = Stream()
    async with serving(database) as client:
        reading = asyncio.create_task(stream.read(client, run_id))
        await until(lambda: stream.ids == [1, 2])
    # Ended as it should, not broken off: the client can tell that it may connect again.
    await reading
    assert stream.ended


async def test_a_client_that_goes_away_leaves_nothing_behind(database: str, engine: Engine) -> None:
    run_id = engine.start(asking())
    stream = Stream()
    async with serving(database) as client:
        reading = asyncio.create_task(stream.read(client, run_id))
        engine.run()
        await until(lambda: stream.ids == [1, 2])
        assert client.services.changes.waiting == 1
        reading.cancel()
        await until(lambda: client.services.changes.waiting == 0, seconds=10)


async def test_places_in_history_that_cannot_be_are_refused(
    client: httpx.AsyncClient, engine: Engine
) -> None:
    run_id = engine.start(plain())
    path = f"/v1/runs/{run_id}/events"
    for text in ("x", "-1", "1.5", "99999999999", "²", ""):
        response = await client.get(path, headers={b"Last-Event-ID": text.encode()})
        assert_problem(response, 422, "invalid-value")
        assert_problem(await client.get(path, params={"after": text}), 422, "invalid-value")
    assert_problem(await client.get(path, params={"after": 1}), 422, "invalid-value")
