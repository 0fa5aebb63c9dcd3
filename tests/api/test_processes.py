"""Real API processes: several on one database, killed under load, stopped with work at hand."""

import asyncio
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from uuid import UUID

import httpx
import pytest

from pgorch.api.server import listen, serve
from pgorch.errors import ConfigError
from tests.api.driving import DEADLINE_SECONDS, asking, plain, until
from tests.support.engine import Engine

ROOT = Path(__file__).parents[2]
SERVE = (
    "import sys; from pgorch.api.server import serve; serve(sys.argv[1], port=int(sys.argv[2]), no_auth=True)"
)


class ApiProcess:
    """`pgorch.api.server.serve` in a process of its own, on a port that stays the same over restarts."""

    def __init__(self, dsn: str) -> None:
        self._dsn = dsn
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port: int = probe.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self.start()

    def start(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", SERVE, self._dsn, str(self.port)], cwd=ROOT, stdin=subprocess.DEVNULL
        )

    async def wait_until_it_answers(self) -> None:
        async with httpx.AsyncClient() as client:
            deadline = time.monotonic() + DEADLINE_SECONDS
            while True:
                assert self.process.poll() is None, "the server ended"
                assert time.monotonic() < deadline
                try:
                    if (await client.get(f"{self.url}/livez", timeout=10)).status_code == 200:
                        return
                except httpx.TransportError:
                    pass
                await asyncio.sleep(0.05)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def stop(self) -> int:
        self.process.terminate()
        return self.process.wait(DEADLINE_SECONDS)


@pytest.fixture
def api(database: str) -> Iterator[ApiProcess]:
    process = ApiProcess(database)
    yield process
    process.kill()


@pytest.fixture
def second_api(database: str) -> Iterator[ApiProcess]:
    process = ApiProcess(database)
    yield process
    process.kill()


async def test_killed_under_load_nothing_is_lost_and_repeated_requests_start_no_second_run(
    api: ApiProcess, engine: Engine
) -> None:
    graph = engine.graph(plain())
    await api.wait_until_it_answers()
    answered: dict[str, UUID] = {}
    repeated = 0

    async def start_until_answered(client: httpx.AsyncClient, key: str) -> None:
        nonlocal repeated
        deadline = time.monotonic() + DEADLINE_SECONDS
        while True:
            assert time.monotonic() < deadline
            try:
                response = await client.post(
                    "/graph/run", json={"graph_id": graph}, headers={"Idempotency-Key": key}
                )
            except httpx.TransportError:
                repeated += 1
                await asyncio.sleep(0.05)
                continue
            assert response.status_code == 200, response.text
            answered[key] = UUID(response.json()["run_id"])
            return

    async def one_after_the_other(client: httpx.AsyncClient, name: str) -> None:
        for number in range(15):
            await start_until_answered(client, f"{name}-{number}")

    async with httpx.AsyncClient(base_url=api.url, timeout=20) as client:
        clients = [asyncio.create_task(one_after_the_other(client, f"client{n}")) for n in range(8)]
        await until(lambda: len(answered) >= 40)
        api.kill()
        api.start()
        await asyncio.gather(*clients)

    assert repeated > 0
    assert len(answered) == 120
    kept = {
        row["idempotency_key"]: row["id"]
        for row in engine.rows("select id, idempotency_key from pgorch.runs")
    }
    # Whatever was answered is there, once; and nothing else is.
    assert kept == answered
    engine.run(batch=100)
    assert engine.value("select count(*) from pgorch.runs where status = 'completed'") == 120


async def test_two_processes_serve_one_run(api: ApiProcess, second_api: ApiProcess, engine: Engine) -> None:
    graph = engine.graph(asking())
    await asyncio.gather(api.wait_until_it_answers(), second_api.wait_until_it_answers())
    async with (
        httpx.AsyncClient(base_url=api.url, timeout=60) as one,
        httpx.AsyncClient(base_url=second_api.url, timeout=60) as other,
    ):
        key = {"Idempotency-Key": "the-same"}
        body = {"graph_id": graph}
        started = await asyncio.gather(
            *(client.post("/graph/run", json=body, headers=key) for client in (one, other) * 5)
        )
        assert len({response.json()["run_id"] for response in started}) == 1
        run_id = started[0].json()["run_id"]

        # One waits and the other decides; of two decisions at once one counts.
        engine.run()
        await until(lambda: engine.status(UUID(run_id)) == "awaiting_approval")
        decisions = await asyncio.gather(
            one.post(f"/graph/resume/{run_id}"), other.post(f"/graph/resume/{run_id}")
        )
        assert sorted(response.status_code for response in decisions) == [200, 409]
        waiting = asyncio.create_task(one.get(f"/graph/state/{run_id}?wait=60"))
        engine.run()
        assert (await waiting).json()["status"] == "completed"
        api.kill()
        assert (await other.get(f"/graph/state/{run_id}")).json()["status"] == "completed"


@pytest.mark.parametrize("sign", [signal.SIGTERM, signal.SIGINT])
async def test_a_stopped_server_ends_its_streams_and_leaves_with_success(
    api: ApiProcess, engine: Engine, sign: signal.Signals
) -> None:
    run_id = engine.start(asking())
    engine.run()
    await api.wait_until_it_answers()
    async with httpx.AsyncClient(base_url=api.url, timeout=60) as client:
        idle = await client.get("/livez")
        assert idle.status_code == 200
        async with client.stream("GET", f"/v1/runs/{run_id}/events") as stream:
            lines = stream.aiter_lines()
            async for line in lines:
                if line == "id: 2":
                    break
            os.kill(api.process.pid, sign)
            rest = [line async for line in lines]
    assert not any(line.startswith("id: ") for line in rest)
    code = await asyncio.to_thread(api.process.wait, DEADLINE_SECONDS)
    assert code == 0


def test_a_server_that_cannot_serve_says_so_at_once(database: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(ConfigError, match=f"port {port} .*already in use"):
            serve(database, port=port)
    with pytest.raises(ConfigError, match="DSN"):
        serve("not a dsn")


async def test_answers_are_not_held_back_to_be_sent_together() -> None:
    accepted: list[int] = []

    def look(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = writer.get_extra_info("socket")
        accepted.append(connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))
        writer.close()

    listener = listen("127.0.0.1", 0)
    async with await asyncio.start_server(look, sock=listener):
        _, writer = await asyncio.open_connection("127.0.0.1", listener.getsockname()[1])
        await until(lambda: accepted)
        writer.close()
    assert accepted == [1]
