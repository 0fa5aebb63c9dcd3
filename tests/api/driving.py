"""What the tests of the API share: graphs, clients, servers, and problems as they must look."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import httpx
import psycopg
from starlette.applications import Starlette
from uvicorn import Server

from pgorch.api.problems import KINDS, TYPE_PREFIX
from pgorch.api.server import build_server
from pgorch.api.services import Services
from tests.support.engine import chain, definition

DEADLINE_SECONDS = 30.0
ASK: dict[str, Any] = {"id": "ask", "type": "approval", "title": "Go on?"}


def asking() -> dict[str, Any]:
    """begin, then a decision: end if approved, undo if rejected."""
    return definition(
        ["begin", ASK, "end", "undo"], ["begin>ask", "ask>end", ("ask>undo", {"on": "rejected"})]
    )


def plain() -> dict[str, Any]:
    return chain("a b")


def make_key(dsn: str, *roles: str, principal: str = "ada") -> str:
    """A key of the API; with all rights if no role is named."""
    with psycopg.connect(dsn, autocommit=True) as connection:
        row = connection.execute(
            "select k.key from pgorch.create_key(%s, %s) k", [principal, list(roles) or ["admin"]]
        ).fetchone()
    assert row is not None
    return str(row[0])


def bearing(key: str) -> dict[str, str]:
    return {"authorization": f"Bearer {key}"}


def client_of(app: Starlette, key: str | None = None) -> httpx.AsyncClient:
    """A client that calls the application directly. An exception that leaves it fails the test."""
    return httpx.AsyncClient(
        transport=httpx.ASGITransport(app),
        base_url="http://localhost",
        timeout=60,
        headers=bearing(key) if key else None,
    )


class LiveClient(httpx.AsyncClient):
    """A client of a server in this process, whose insides can be looked at."""

    services: Services
    server: Server

    @property
    def connections(self) -> int:
        """How many the server has."""
        return len(self.server.server_state.connections)


@asynccontextmanager
async def serving(dsn: str) -> AsyncIterator[LiveClient]:
    """A client, with all rights, of a real server on a socket, in the loop of the test. Leaving it shuts the
    server down."""
    server = build_server(dsn, port=0)
    running = asyncio.create_task(server.serve())
    async with LiveClient(timeout=60, headers=bearing(make_key(dsn))) as client:
        try:
            await until(lambda: server.started)
            port = server.servers[0].sockets[0].getsockname()[1]
            app = server.config.app
            assert isinstance(app, Starlette)
            client.services, client.server = app.state.services, server
            client.base_url = httpx.URL(f"http://127.0.0.1:{port}")
            yield client
        finally:
            server.should_exit = True
            await running


async def until(condition: Callable[[], Any], seconds: float = DEADLINE_SECONDS) -> Any:
    """The first true value of the condition."""
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < deadline, "it did not come true"
        await asyncio.sleep(0.01)
    return value


async def until_answered(call: Callable[[], Awaitable[httpx.Response]], status: int) -> httpx.Response:
    """The first answer with this status."""
    deadline = time.monotonic() + DEADLINE_SECONDS
    while (response := await call()).status_code != status:
        assert time.monotonic() < deadline, f"still {response.status_code}: {response.text}"
        await asyncio.sleep(0.05)
    return response


def assert_problem(response: httpx.Response, status: int, kind: str) -> dict[str, Any]:
    """The answer is this problem, whole and well formed; returns it."""
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/problem+json"
    problem: dict[str, Any] = response.json()
    assert problem["type"] == TYPE_PREFIX + kind
    assert problem["title"] == KINDS[kind][1]
    assert problem["status"] == status == KINDS[kind][0]
    assert problem["detail"]
    return problem
