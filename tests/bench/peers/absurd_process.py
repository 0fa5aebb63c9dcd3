"""Absurd: its async client, twenty tasks at once. `python -m tests.bench.peers.absurd_process URL NUMBER`.

What begins when a worker polls is measured with a worker that polls every hundredth of a second.
"""

import asyncio
import sys
import threading
import time
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

from absurd_sdk import AsyncAbsurd
from psycopg import Connection

from tests.bench.peers.speaking import HUNDRED, OUTPUT, milliseconds, repeat, serve

_SECONDS = 30


class Peer:
    def __init__(self, url: str) -> None:
        self._url = url
        self._loop = asyncio.new_event_loop()
        self._ended = threading.Event()
        self._at = 0.0
        threading.Thread(target=self._loop.run_forever, daemon=True).start()
        self._client = AsyncAbsurd(url, queue_name="default")
        self._worker = AsyncAbsurd(url, queue_name="default")
        self._working: Any = None
        for name, task in (("chain", self._chain), ("large", self._large), ("asks", self._asks)):
            self._worker.register_task(name=name)(task)

    async def _chain(self, params: Any, ctx: Any) -> Any:
        return await self._steps(ctx, params.get("steps", 10), OUTPUT)

    async def _large(self, params: Any, ctx: Any) -> Any:
        return await self._steps(ctx, params.get("steps", 10), HUNDRED)

    async def _steps(self, ctx: Any, steps: int, value: dict[str, Any]) -> Any:
        async def step() -> dict[str, Any]:
            return value

        output: dict[str, Any] = {}
        for number in range(steps):
            output = await ctx.step(f"n{number}", step)
        self._ended.set()
        return output

    async def _asks(self, params: Any, ctx: Any) -> Any:
        async def now() -> float:
            self._at = time.time()
            self._ended.set()
            return self._at

        await ctx.await_event(params["event"])
        return await ctx.step("go", now)

    def _do(self, what: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(what, self._loop).result(_SECONDS)

    def work(self, poll: float) -> None:
        """Begins to work, polling every so many seconds."""
        working: Callable[..., Awaitable[None]] = self._worker.start_worker
        self._working = asyncio.run_coroutine_threadsafe(
            _run(working(concurrency=20, poll_interval=poll)), self._loop
        )

    def rest(self) -> None:
        self._worker.stop_worker()
        self._working.result(_SECONDS)

    def latency(self, samples: int, steps: int) -> list[float]:
        """From the call to the end of the last step, as its worker sees it."""

        def run() -> None:
            self._ended.clear()
            self._do(self._client.spawn("chain", {"steps": steps}, queue="default"))
            assert self._ended.wait(_SECONDS)

        return milliseconds(samples, run)

    def resumes(self, samples: int) -> list[float]:
        took = []
        for number in range(samples):
            self._ended.clear()
            self._do(self._client.spawn("asks", {"event": f"e{number}"}, queue="default"))
            time.sleep(0.1)
            sent = time.time()
            self._do(self._client.emit_event(f"e{number}"))
            assert self._ended.wait(_SECONDS)
            took.append((self._at - sent) * 1000)
        return took

    def starts(self, seconds: float) -> float:
        done = repeat(seconds, 1, lambda _: self._do(self._client.spawn("idle", {}, queue="default")))
        return done["count"] / done["seconds"]

    def bulk_starts(self, seconds: float) -> float:
        """A thousand to a transaction, by its SQL function."""
        spawn = "select absurd.spawn_task('default', 'idle', '{}', '{}') from generate_series(1, 1000)"
        with Connection.connect(self._url, autocommit=True) as connection:
            done = repeat(seconds, 1, lambda _: connection.execute(spawn).fetchall())
        return 1000 * done["count"] / done["seconds"]


async def _run(working: Awaitable[None]) -> None:
    await working


peer = Peer(sys.argv[1])
names = ("work", "rest", "latency", "resumes", "starts", "bulk_starts")
serve({name: getattr(peer, name) for name in names})
