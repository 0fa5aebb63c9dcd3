"""What may come as a body, and what is refused before it costs anything."""

import asyncio
from collections.abc import AsyncIterator

import httpx
import pytest
from starlette.applications import Starlette

from pgorch.api import bodies
from pgorch.strict_json import MAX_INPUT_BYTES
from tests.api.driving import assert_problem, plain, serving
from tests.support.engine import Engine

JSON = {"content-type": "application/json"}
MIB = 1024 * 1024


async def test_what_is_not_json_is_refused(client: httpx.AsyncClient) -> None:
    for body in (
        b"",
        b"{",
        b"graph_id=1",
        b"{'graph_id': 1}",
        b'{"a": NaN}',
        b'{"a": 1,}',
        b'{"a": Infinity}',
        b'{"a": 1e400}',
        b'{"a": "\xff"}',
        b'{"a": "\\ud800"}',
        b"\xef\xbb\xbf{}",
        "{}".encode("utf-16"),
    ):
        assert_problem(await client.post("/graph/run", content=body, headers=JSON), 400, "not-json")


async def test_values_that_cannot_be_kept_exactly_are_refused(
    client: httpx.AsyncClient, engine: Engine
) -> None:
    graph = engine.graph(plain()).encode()
    for value in (
        b'"a\\u0000b"',
        b"9007199254740993",
        b"1" + b"0" * 30 + b"1",
        b'{"k": 1, "k": 2}',
        b"[" * 70 + b"]" * 70,
    ):
        body = b'{"graph_id": "%b", "initial_state": {"x": %b}}' % (graph, value)
        response = await client.post("/graph/run", content=body, headers=JSON)
        problem = assert_problem(response, 422, "invalid-value")
        assert "The body" in problem["detail"]
    assert engine.value("select count(*) from pgorch.runs") == 0


async def test_values_at_the_edge_come_back_unchanged(client: httpx.AsyncClient, engine: Engine) -> None:
    state = {
        "largest": 2**53,
        "double": 1.7976931348623157e308,
        "tiny": 5e-324,
        "text": 'quotes " back\\slash \u2028 😀 ￿',
        "": None,
        "deep": [[[[{"a": []}]]]],
    }
    started = await client.post(
        "/graph/run", json={"graph_id": engine.graph(plain()), "initial_state": state}
    )
    assert started.status_code == 200, started.text
    run_id = started.json()["run_id"]
    kept = (await client.get(f"/v1/runs/{run_id}/state")).json()
    # Postgres writes it as an integer, which Python alone reads as such.
    assert float(kept.pop("double")) == state.pop("double")
    assert kept == state


async def test_other_media_types_are_refused(client: httpx.AsyncClient) -> None:
    for media_type in (
        "text/plain",
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=x",
        "application/json; charset=latin-1",
        "application/jsonl",
        "",
    ):
        response = await client.post("/graph/run", content=b"{}", headers={"content-type": media_type})
        assert_problem(response, 415, "unsupported-media-type")
    encoded = {**JSON, "content-encoding": "gzip"}
    assert_problem(
        await client.post("/graph/run", content=b"{}", headers=encoded), 415, "unsupported-media-type"
    )
    assert_problem(await client.post("/graph/run", content=b"{}"), 415, "unsupported-media-type")


async def test_json_goes_by_several_names(client: httpx.AsyncClient) -> None:
    for media_type in ("application/json; charset=UTF-8", "Application/JSON", "application/vnd.x+json"):
        response = await client.post("/graph/run", content=b"{}", headers={"content-type": media_type})
        assert_problem(response, 422, "invalid-value")


async def test_one_run_may_have_4_mib_and_many_together_more(
    client: httpx.AsyncClient, engine: Engine
) -> None:
    graph = engine.graph(plain())
    almost = {"x": "y" * (MAX_INPUT_BYTES - 100)}

    alone = await client.post("/graph/run", json={"graph_id": graph, "initial_state": almost})
    quarters = [{"x": "y" * MIB}] * 5
    together = await client.post("/graph/run", json={"graph_id": graph, "initial_states": quarters})
    more = {"x": "y" * MAX_INPUT_BYTES}
    over = await client.post("/graph/run", json={"graph_id": graph, "initial_state": more})
    one_over = await client.post("/graph/run", json={"graph_id": graph, "initial_states": [{}, more]})
    decision = await client.post(f"/graph/resume/{alone.json()['run_id']}", json=more)

    assert alone.status_code == together.status_code == 200
    assert_problem(over, 413, "too-large")
    assert_problem(one_over, 422, "invalid-value")
    assert_problem(decision, 413, "too-large")


class Counted:
    """A body without an announced length, of which it is known how much was taken."""

    def __init__(self, mebibytes: int) -> None:
        self.left = mebibytes

    async def __aiter__(self) -> AsyncIterator[bytes]:
        while self.left:
            self.left -= 1
            yield b" " * MIB


async def test_50_mb_are_refused_and_the_client_sees_the_answer(database: str) -> None:
    async with serving(database) as client:
        announced = await client.post("/graph/run", content=b" " * 50 * MIB, headers=JSON)
        assert_problem(announced, 413, "too-large")
        chunked = await client.post("/graph/run", content=Counted(50), headers=JSON)
        assert_problem(chunked, 413, "too-large")
        assert (await client.get("/livez")).status_code == 200


async def test_an_announced_length_is_enough_to_refuse_and_a_false_one_does_not_help(
    app: Starlette, key: str
) -> None:
    async def answer(headers: list[tuple[bytes, bytes]], chunks: int) -> tuple[int, int]:
        """The status, and how many chunks of 1 MiB were taken before the answer began."""
        taken = 0
        status = 0

        async def receive() -> dict[str, object]:
            nonlocal taken
            if not status:
                taken += 1
            if taken > chunks or status:
                return {"type": "http.request", "body": b"", "more_body": False}
            return {"type": "http.request", "body": b" " * MIB, "more_body": True}

        async def send(message: dict[str, object]) -> None:
            nonlocal status
            status = status or int(str(message.get("status", 0)))

        scope = {
            "type": "http",
            "method": "POST",
            "path": "/graph/run",
            "query_string": b"",
            "headers": [
                (b"authorization", f"Bearer {key}".encode()),
                (b"content-type", b"application/json"),
                *headers,
            ],
        }
        await app(scope, receive, send)  # type: ignore[arg-type]
        return status, taken

    assert await answer([(b"content-length", b"52428800")], 50) == (413, 0)
    assert await answer([(b"content-length", b"9" * 5000)], 50) == (413, 0)
    assert await answer([(b"content-length", b"10")], 50) == (413, 17)
    assert await answer([(b"transfer-encoding", b"chunked")], 50) == (413, 17)
    assert await answer([(b"content-length", b"-1")], 0) == (400, 0)


async def test_a_body_that_does_not_arrive_is_not_waited_for(
    database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bodies, "RECEIVE_SECONDS", 0.2)
    async with serving(database) as client:
        host, port = client.base_url.host, client.base_url.port
        reader, writer = await asyncio.open_connection(host, port)
        writer.write(
            b"POST /graph/run HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
            b"Content-Length: 100\r\nAuthorization: "
            + client.headers["authorization"].encode()
            + b"\r\n\r\n{"
        )
        status_line = await asyncio.wait_for(reader.readline(), 20)
        assert b" 408 " in status_line
        await asyncio.wait_for(reader.read(), 20)
        writer.close()
        await writer.wait_closed()
