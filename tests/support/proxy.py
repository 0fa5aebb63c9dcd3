"""A proxy between clients and the server that breaks connections at points that a test chooses.

Once, at a request that a test names: `lose_reply`, `lose_request`. For as long as it is so set (`Line`): the
share of commits whose reply or request is lost, a delay, a narrow line, a hole. At once: `cut_all`, `reset`.
`happened` counts what was really done.
"""

import asyncio
import contextlib
import random
import socket
import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Self, TypeVar

import psycopg
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from tests.support.wire import Wire, application_name

_T = TypeVar("_T")
_CHUNK_BYTES = 65536
_STOPPING_SECONDS = 10.0


class Fault:
    """Something that is done once to a connection whose name ends with `name`, when it sends `request`."""

    def __init__(self, name: str, request: bytes, *, reaches_server: bool, silent: bool = False) -> None:
        self.name = name
        self.request = request
        self.reaches_server = reaches_server
        self.silent = silent
        self.happened = threading.Event()

    def fits(self, wire: Wire, data: bytes) -> bool:
        return not self.happened.is_set() and wire.name.endswith(self.name) and self.request in data


@dataclass(frozen=True)
class Line:
    """How the line is. Seconds, bytes per second, and shares between 0 and 1."""

    eat_reply: float = 0.0
    """Share of the committing requests that are carried out, but whose answer is lost with the connection."""
    eat_request: float = 0.0
    """Share of the committing requests that never arrive; the connection is lost with them."""
    delay: float = 0.0
    """How much later whatever is sent arrives, each way."""
    bytes_per_second: float | None = None
    hole: bool = False
    """Nothing arrives, and nobody is told. Connections that were there, or are made meanwhile, stay dead when
    the hole is closed; the server is then told, the clients are not."""


class Proxy:
    """Listens on a port of its own and passes everything on, but for the faults.

    `hold` stops everything without closing anything, as a network does that lost a route. All methods may be
    called from any thread.
    """

    def __init__(self, dsn: str, *, port: int = 0, seed: int | None = None) -> None:
        target = conninfo_to_dict(dsn)
        self._target = (str(target.get("host", "localhost")), int(target.get("port") or 5432))
        self._listener = socket.create_server(("127.0.0.1", port), backlog=512)
        port = self._listener.getsockname()[1]
        # Without these the client's first bytes would ask for encryption.
        self.dsn = make_conninfo(dsn, host="127.0.0.1", port=port, sslmode="disable", gssencmode="disable")
        self.happened: Counter[str] = Counter()
        """What was done so often: reply eaten, request eaten, reset, swallowed, delayed, held, refused."""
        self._random = random.Random(seed)
        self._line = Line()
        self._wires: set[Wire] = set()
        self._faults: list[Fault] = []
        self._loop = asyncio.new_event_loop()
        self._flowing = asyncio.Event()
        self._flowing.set()
        self._thread = threading.Thread(target=self._run, daemon=True, name="proxy")
        self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(_STOPPING_SECONDS)

    # Once -----------------------------------------------------------------------------------------

    def lose_reply(self, name: str, request: bytes = b"") -> Fault:
        """The next request of such a connection is carried out, but its answer is lost, and the connection
        with it."""
        return self._add(Fault(name, request, reaches_server=True))

    def lose_request(self, name: str, request: bytes = b"") -> Fault:
        """The next request of such a connection never arrives, and the connection is lost."""
        return self._add(Fault(name, request, reaches_server=False))

    def lose_line(self, name: str, request: bytes = b"") -> Fault:
        """The next request of such a connection never arrives, nor anything after it, and nobody is told."""
        return self._add(Fault(name, request, reaches_server=False, silent=True))

    def cut_all(self) -> None:
        """Closes every connection."""

        def cut() -> None:
            for wire in self._wires:
                wire.cut()

        self._at_once(cut)

    def reset(self, share: float = 1.0) -> int:
        """Resets that share of the connections, chosen at random. Returns how many."""

        def reset() -> int:
            wires = [wire for wire in self._wires if self._random.random() < share]
            for wire in wires:
                wire.reset()
            self.happened["reset"] += len(wires)
            return len(wires)

        return self._at_once(reset)

    def strand(self) -> int:
        """Every connection that is open now is dead for ever, and nobody is told; new ones work. Returns how
        many there were."""

        def strand() -> int:
            for wire in self._wires:
                wire.dead = True
            return len(self._wires)

        return self._at_once(strand)

    # For a while ----------------------------------------------------------------------------------

    def hold(self) -> None:
        self._at_once(self._flowing.clear)

    def flow(self) -> None:
        self._at_once(self._flowing.set)

    def set(self, **changes: float | bool | None) -> None:
        """Changes the line, for connections that are there as well: see `Line`."""
        self._at_once(lambda: self._change(replace(self._line, **changes)))  # type: ignore[arg-type]

    def clear(self) -> None:
        """The line is good again."""
        self._at_once(lambda: self._change(Line()))

    def _change(self, line: Line) -> None:
        opened, closed = line.hole and not self._line.hole, self._line.hole and not line.hole
        self._line = line
        for wire in list(self._wires):
            if opened:
                wire.dead = True
            elif closed and wire.dead:
                # As the first packet does that finds its way to a server which knows the peer no more.
                wire.server.transport.abort()

    # Inside ---------------------------------------------------------------------------------------

    def _add(self, fault: Fault) -> Fault:
        self._faults.append(fault)
        return fault

    def _at_once(self, change: Callable[[], _T]) -> _T:
        async def perform() -> _T:
            return change()

        return asyncio.run_coroutine_threadsafe(perform(), self._loop).result(_STOPPING_SECONDS)

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        try:
            listening = asyncio.start_server(self._serve, sock=self._listener)
            server = self._loop.run_until_complete(listening)
            self._loop.run_forever()
            server.close()
        finally:
            for wire in list(self._wires):
                wire.cut()
            tasks = asyncio.all_tasks(self._loop)
            for task in tasks:
                task.cancel()
            self._loop.run_until_complete(asyncio.gather(*tasks, return_exceptions=True))
            self._loop.close()

    async def _serve(self, from_client: asyncio.StreamReader, to_client: asyncio.StreamWriter) -> None:
        try:
            from_server, to_server = await self._connect()
        except OSError:
            self.happened["refused"] += 1
            to_client.transport.abort()
            return
        wire = Wire(to_client, to_server, dead=self._line.hole)
        self._wires.add(wire)
        both = [
            asyncio.create_task(self._requests(wire, from_client)),
            asyncio.create_task(self._replies(wire, from_server)),
        ]
        # Not raised when the proxy is closed: streams would report it as an error.
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
        try:
            for pump in both:
                pump.cancel()
            await asyncio.gather(*both, return_exceptions=True)
        finally:
            self._wires.discard(wire)
            wire.end()

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        host, port = self._target
        if host.startswith("/"):
            return await asyncio.open_unix_connection(f"{host}/.s.PGSQL.{port}")
        return await asyncio.open_connection(host, port)

    async def _requests(self, wire: Wire, client: asyncio.StreamReader) -> None:
        with contextlib.suppress(OSError):
            while data := await client.read(_CHUNK_BYTES):
                if not await self._comes_through(wire, data):
                    continue
                fault = next((f for f in self._faults if f.fits(wire, data)), None)
                wire.name = wire.name or application_name(data)
                commits = wire.session.requested(data)
                if fault is not None:
                    fault.happened.set()
                    if fault.silent:
                        wire.dead = True
                        continue
                    if not fault.reaches_server:
                        wire.cut()
                        return
                    wire.reply_lost = True
                elif commits and self._line.eat_request and self._random.random() < self._line.eat_request:
                    self.happened["request eaten"] += 1
                    wire.cut()
                    return
                elif commits and self._line.eat_reply and self._random.random() < self._line.eat_reply:
                    wire.reply_lost = True
                wire.server.write(data)
                await wire.server.drain()
        if wire.reply_lost:
            # Who asked may have gone; but it is to be carried out.
            await asyncio.sleep(_STOPPING_SECONDS)
        await self._until_the_hole_is_closed(wire)

    async def _replies(self, wire: Wire, server: asyncio.StreamReader) -> None:
        with contextlib.suppress(OSError):
            while data := await server.read(_CHUNK_BYTES):
                if not await self._comes_through(wire, data):
                    continue
                ended, well = wire.session.replied(data)
                if wire.reply_lost:
                    if ended:
                        self.happened["reply eaten" if well else "refusal eaten"] += 1
                        wire.cut()
                        return
                    continue
                wire.client.write(data)
                await wire.client.drain()
        if wire.dead:
            await asyncio.Event().wait()

    async def _comes_through(self, wire: Wire, data: bytes) -> bool:
        """False: it is swallowed. Else returns when it may be passed on."""
        if not self._flowing.is_set():
            self.happened["held"] += 1
            await self._flowing.wait()
        line = self._line
        if line.delay or line.bytes_per_second:
            self.happened["delayed"] += 1
            await asyncio.sleep(line.delay + len(data) / (line.bytes_per_second or float("inf")))
        if wire.dead:
            self.happened["swallowed"] += 1
        return not wire.dead

    async def _until_the_hole_is_closed(self, wire: Wire) -> None:
        """The client has closed a connection that is dead: the server does not hear of it."""
        while wire.dead and self._line.hole:
            await asyncio.sleep(0.05)


def sessions(connection: psycopg.Connection[dict[str, object]], purpose: str) -> list[int]:
    """The process ids of the sessions that workers have in this database for a purpose ("": for any)."""
    rows = connection.execute(
        "select a.pid from pg_stat_activity a "
        "where a.datname = current_database() and a.application_name like %s"
        " order by a.pid",
        (f"pgorch worker {purpose}%",),
    ).fetchall()
    return [int(str(row["pid"])) for row in rows]
