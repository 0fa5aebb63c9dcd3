"""Requests that are oversized or slow, and answers that nobody reads: they end, and others notice little."""

import asyncio
import os
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import pytest

from pgorch.api.protocol import MOST_HEAD_BYTES, Protocol
from tests.api.driving import LiveClient, plain, serving
from tests.doors.ground import resident_mib
from tests.support.engine import Engine, definition

DEADLINE = 20.0


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("head_seconds", "body_seconds", "unread_seconds"):
        monkeypatch.setattr(Protocol, name, 0.3)


@asynccontextmanager
async def connected(
    client: LiveClient, **options: Any
) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    host, port = client.base_url.host, client.base_url.port
    reader, writer = await asyncio.open_connection(host, port, **options)
    try:
        yield reader, writer
    finally:
        writer.transport.abort()


async def answer_of(reader: asyncio.StreamReader) -> bytes:
    """Everything until the server closes the connection."""
    said = b""
    with suppress(ConnectionError):
        async with asyncio.timeout(DEADLINE):
            while piece := await reader.read(65536):
                said += piece
    return said


async def test_a_head_that_is_too_large_is_refused(database: str) -> None:
    async with serving(database) as client:
        for head in (
            b"GET /livez HTTP/1.1\r\nhost: localhost\r\n" + b"a:b\r\n" * 100_000,
            b"GET /livez HTTP/1.1\r\nhost: localhost\r\nx: " + b"y" * 1_000_000,
            b"GET /" + b"x" * 1_000_000,
        ):
            async with connected(client) as (reader, writer):
                with suppress(ConnectionError):
                    writer.write(head)
                    await asyncio.wait_for(writer.drain(), DEADLINE)
                assert b" 431 " in (await answer_of(reader)).partition(b"\r\n")[0]
        large = {"x-large": "y" * (MOST_HEAD_BYTES - 1000)}
        assert (await client.get("/livez", headers=large)).status_code == 200
        assert (await client.get("/livez", headers={"x-large": "y" * MOST_HEAD_BYTES})).status_code == 431


@pytest.mark.parametrize("begin", [b"", b"GET /livez HTTP/1.1\r\nhost: loc"])
async def test_a_head_that_does_not_arrive_is_not_waited_for(
    database: str, impatient: None, begin: bytes
) -> None:
    async with serving(database) as client, connected(client) as (reader, writer):
        writer.write(begin)
        answer = asyncio.create_task(answer_of(reader))
        # A byte now and then gives no more time.
        while not answer.done():
            with suppress(ConnectionError):
                writer.write(b"x" if begin else b"")
                await writer.drain()
            await asyncio.sleep(0.1)
        assert b" 408 " in answer.result().partition(b"\r\n")[0]


async def test_a_body_that_nobody_reads_does_not_hold_the_connection(database: str, impatient: None) -> None:
    async with serving(database) as client, connected(client) as (reader, writer):
        writer.write(b"POST /graph/run HTTP/1.1\r\nhost: localhost\r\ncontent-length: 100000\r\n\r\n")
        ended = asyncio.create_task(answer_of(reader))
        deadline = time.monotonic() + DEADLINE
        while not ended.done():
            assert time.monotonic() < deadline
            with suppress(ConnectionError):
                writer.write(b" ")
                await writer.drain()
            await asyncio.sleep(0.1)
        assert b" 401 " in ended.result().partition(b"\r\n")[0]


async def test_an_answer_that_nobody_takes_is_given_up(
    database: str, engine: Engine, impatient: None
) -> None:
    """A stream of large events, of which nothing is read after the first."""
    graph = engine.graph(definition(["a"]))
    run_id = engine.start(graph, {"x": 1})
    engine.run({"a": {"large": ["y" * 1000] * 900}})
    async with serving(database) as client, connected(client, limit=1024) as (reader, writer):
        path, key = f"/v1/runs/{run_id}/state", client.headers["authorization"]
        request = f"GET {path} HTTP/1.1\r\nhost: localhost\r\nauthorization: {key}\r\n\r\n"
        # Until what the kernel takes for both sides is full.
        for _ in range(30):
            writer.write(request.encode())
        assert b" 200 " in await asyncio.wait_for(reader.readline(), DEADLINE)
        deadline = time.monotonic() + DEADLINE
        while client.connections:
            assert time.monotonic() < deadline, "the connection is still held"
            await asyncio.sleep(0.05)


@pytest.mark.long
async def test_others_hardly_notice_500_slow_sockets(database: str, engine: Engine) -> None:
    graph = engine.graph(plain())
    run_id = engine.start(graph)
    async with serving(database) as client:

        async def p99() -> float:
            times = []
            for _ in range(400):
                began = time.perf_counter()
                assert (await client.get(f"/v1/runs/{run_id}")).status_code == 200
                times.append(time.perf_counter() - began)
            return sorted(times)[-5]

        await p99()
        quiet = min([await p99(), await p99()])
        before = resident_mib(os.getpid())
        stop = asyncio.Event()

        async def slow() -> None:
            while not stop.is_set():
                with suppress(OSError):
                    async with connected(client) as (_, writer):
                        writer.write(b"POST /graph/run HTTP/1.1\r\nhost: localhost\r\nx: ")
                        while not stop.is_set():
                            writer.write(b"y")
                            await writer.drain()
                            with suppress(TimeoutError):
                                await asyncio.wait_for(stop.wait(), 5)

        sockets = [asyncio.create_task(slow()) for _ in range(500)]
        await asyncio.sleep(3)
        busy = min([await p99(), await p99()])
        growth = resident_mib(os.getpid()) - before
        stop.set()
        await asyncio.gather(*sockets)
    print(f"p99 {quiet * 1000:.1f} ms alone, {busy * 1000:.1f} ms beside 500 slow sockets; {growth:+.0f} MiB")
    assert busy <= 2 * quiet + 0.005
    assert growth < 50
