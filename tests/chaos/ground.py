"""What the harness runs on: a server of its own, workers and API processes behind proxies, and the sink."""

import contextlib
import os
import shutil
import socket
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
from psycopg import Connection
from psycopg.rows import DictRow, dict_row
from psycopg.types.json import Jsonb

from pgorch.database.migrations import migrate
from pgorch.embedded import EmbeddedServer
from pgorch.embedded.postmaster import find_running, wait_until_gone
from tests.chaos import processes
from tests.chaos.checker.check import install
from tests.chaos.graphs import GRAPHS
from tests.chaos.lines import Lines
from tests.chaos.logs import Log
from tests.chaos.processes import FORKS, Crew, Process
from tests.chaos.tools import registry

FAKETIME = next(Path("/usr/lib").glob("*/faketime/libfaketime.so.1"), None)
# Who starts the runs might decide them, were it not that he asked.
PEOPLE = {"operator": ["operator", "approver"], "ada": ["approver"], "bob": ["approver"]}
_READY_SECONDS = 60.0


class Ground:
    """`lease`: of the workers, in seconds. Everything is in `directory`."""

    def __init__(
        self, directory: Path, *, seed: int, lease: float, workers: int, apis: int, fsync: bool
    ) -> None:
        self.directory, self.lease = directory, lease
        self._clock = directory / "clock"
        self._clock.write_text("+0")
        self._clock.chmod(0o644)
        self._server = EmbeddedServer(directory / "server", fsync=fsync)
        self._down = threading.Lock()
        self.effects, self.calls, self.reads = (
            directory / f"{log}.jsonl" for log in ("effects", "calls", "reads")
        )
        self.call_log, self.read_log = Log(self.calls), Log(self.reads)
        self.crew = Crew()
        self._sink_port = _listen()
        sink = (self._sink_port, self.effects)
        self._sink = FORKS.Process(target=processes.take_effects, args=sink, daemon=True)
        self._sink.start()
        self._start_server()
        try:
            self.keys = self._furnish()
            self.lines = Lines(self._server.dsn, workers + apis, seed)
            self._man(workers, apis)
        except BaseException:
            self.close()
            raise

    # Setting up -----------------------------------------------------------------------------------

    def _start_server(self) -> None:
        preload = {
            "LD_PRELOAD": str(FAKETIME),
            "FAKETIME_TIMESTAMP_FILE": str(self._clock),
            "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        }
        with _environment(preload if FAKETIME else {}):
            self._server.start()

    def _furnish(self) -> dict[str, str]:
        """Schema, contract, tools, graphs. Returns the key of each of the people."""
        migrate(self._server.dsn)
        with self.connect() as connection:
            # Off in a server for tests; but what is acknowledged must survive the server, if not the machine.
            connection.execute("alter database pgorch set synchronous_commit = on")
            install(connection)
            connection.execute("select pgorch.register_tools(%s)", [Jsonb(registry.definitions())])
            for graph in GRAPHS.values():
                connection.execute("select pgorch.create_graph(%s)", [Jsonb(graph)])
            return {name: value(connection, "select key from pgorch.create_key(%s, %s)", name, roles)
                    for name, roles in PEOPLE.items()}  # fmt: skip

    def _man(self, workers: int, apis: int) -> None:
        ports = [_free_port() for _ in range(apis)]
        self.urls = [f"http://127.0.0.1:{port}" for port in ports]
        self.workers = [
            Process(
                name, processes.work, dsn, name, self.lease, self._sink_port.getsockname()[1], self.log(name)
            )
            for name, dsn in zip((f"worker-{n}" for n in range(workers)), self.lines.dsns, strict=False)
        ]
        self.apis = [
            Process(f"api-{n}", processes.answer, dsn, port, self.log(f"api-{n}"))
            for n, (dsn, port) in enumerate(zip(self.lines.dsns[workers:], ports, strict=True))
        ]
        self.crew.begin([*self.workers, *self.apis])
        deadline = time.monotonic() + _READY_SECONDS
        with self.connect() as connection:
            while value(connection, "select count(*) from pgorch._worker_leases") < workers:
                if time.monotonic() > deadline:
                    raise RuntimeError(self.log("worker-0").read_text())
                time.sleep(0.05)

    # At work --------------------------------------------------------------------------------------

    def log(self, name: str) -> Path:
        return self.directory / f"{name}.log"

    def connect(self) -> Connection[DictRow]:
        """Past the proxies."""
        return psycopg.connect(
            self._server.dsn,
            autocommit=True,
            row_factory=dict_row,
            connect_timeout=5,
            application_name="chaos",
        )

    def value(self, query: str, *parameters: Any) -> Any:
        with self.connect() as connection:
            return value(connection, query, *parameters)

    def crash_server(self, down_seconds: float) -> bool:
        """Ends it as `pg_ctl stop -m immediate` does, and starts it again. False: it is away already."""
        if not self._down.acquire(blocking=False):
            return False
        try:
            data = self._server.data_dir / "data"
            running = find_running(data)
            if running is None:
                return False
            os.kill(running.pid, 3)
            gone = wait_until_gone(running.pid, data, 20)
            time.sleep(down_seconds)
            self._start_server()
            return gone
        finally:
            self._down.release()

    def set_clock(self, seconds: int) -> None:
        """How much the server's clock is ahead of the true one."""
        other = self._clock.with_suffix(".new")
        other.write_text(f"{seconds:+d}")
        other.chmod(0o644)
        other.replace(self._clock)

    def mend(self) -> None:
        """After the last fault: everything is as it should be."""
        self.lines.clear()
        self.set_clock(0)
        for worker in self.workers:
            worker.thaw()
        with self._down:
            if find_running(self._server.data_dir / "data") is None:
                self._start_server()

    def close(self) -> None:
        self.crew.kill()
        if hasattr(self, "lines"):
            self.lines.close()
        self._sink.kill()
        self._sink.join(10)
        self._sink_port.close()
        self.call_log.close()
        self.read_log.close()
        with contextlib.suppress(Exception):
            self._server.stop()


@contextmanager
def ground(
    *, seed: int, lease: float, workers: int = 4, apis: int = 2, fsync: bool = True, keep: bool = False
) -> Iterator[Ground]:
    """`keep`: the logs stay when it is over."""
    directory = Path(tempfile.mkdtemp(prefix="pgorch-chaos-"))
    # The server runs as somebody else, who must get to its data below here.
    directory.chmod(0o755)
    try:
        found = Ground(directory, seed=seed, lease=lease, workers=workers, apis=apis, fsync=fsync)
        try:
            yield found
        finally:
            found.close()
    finally:
        shutil.rmtree(directory / "server" if keep else directory, ignore_errors=True)


@contextmanager
def _environment(more: dict[str, str]) -> Iterator[None]:
    before = dict(os.environ)
    os.environ.update(more)
    try:
        yield
    finally:
        for name in more:
            os.environ.pop(name)
            if name in before:
                os.environ[name] = before[name]


def value(connection: Connection[DictRow], query: str, *parameters: Any) -> Any:
    row = connection.execute(query.encode(), parameters or None).fetchone()
    return None if row is None else next(iter(row.values()))


def _listen() -> socket.socket:
    return socket.create_server(("127.0.0.1", 0), backlog=512)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
