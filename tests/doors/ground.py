"""Where the doors are tried: a server, a database with graphs and runs of all kinds, an API and a worker."""

import contextlib
import json
import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg
from psycopg.rows import dict_row

from tests.api.driving import make_key
from tests.doors.population import populate
from tests.support.databases import Databases
from tests.support.server import TestRun, shared_server

_START_SECONDS = 60.0
_STOP_SECONDS = 30.0


@dataclass
class Ground:
    """`api` is the process id of the API, `url` its address, `key` opens everything in it."""

    dsn: str
    directory: Path
    url: str = ""
    key: str = ""
    api: int = 0
    log: Path = field(default_factory=Path)

    @property
    def resident_mib(self) -> float:
        """What the API process has in memory."""
        return resident_mib(self.api)

    def errors_in_the_log(self) -> list[str]:
        """What the API called unexpected."""
        return [line for line in self.log.read_text().splitlines() if "Unexpected error" in line]


def resident_mib(pid: int) -> float:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1024
    raise ProcessLookupError(pid)


@contextlib.contextmanager
def database_alone() -> Iterator[str]:
    """The DSN of an empty database with pgorch in it, on a server of its own."""
    run = TestRun()
    try:
        server = shared_server(run.directory)
        with psycopg.connect(server, autocommit=True) as admin:
            databases = Databases(server, admin)
            name = databases.create(databases.template())
            try:
                yield databases.dsn(name)
            finally:
                databases.drop(name)
    finally:
        run.close()


@contextlib.contextmanager
def ground(directory: Path, dsn: str, *, worker: bool = True) -> Iterator[Ground]:
    """On the database `dsn`: graphs, runs in all states, one API process, and a worker process."""
    place = Ground(dsn, directory)
    with psycopg.connect(dsn, autocommit=True, row_factory=dict_row) as connection:
        populate(connection)
    place.key = make_key(dsn, "admin", "finance", principal="ada")
    place.log = directory / "api.log"
    port = _free_port()
    place.url = f"http://127.0.0.1:{port}"
    with contextlib.ExitStack() as processes:
        api = processes.enter_context(process(dsn, place.log, "serve", "--port", str(port)))
        place.api = api.pid
        if worker:
            processes.enter_context(
                process(dsn, directory / "worker.log", "worker", "--app", "tests.doors.tools:registry")
            )
        _wait_until_ready(place.url, api)
        yield place


@contextlib.contextmanager
def process(dsn: str, log: Path, *arguments: str) -> Iterator[subprocess.Popen[bytes]]:
    """A process of the command `pgorch`, which is told to end when it is left."""
    with log.open("ab") as output:
        started = subprocess.Popen(
            [sys.executable, "-m", "pgorch", *arguments, "--quiet"],
            env={**os.environ, "PGORCH_DSN": dsn},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
        )
    try:
        yield started
    finally:
        started.terminate()
        try:
            started.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            started.kill()
            started.wait()


def ask(url: str, key: str) -> Any:
    """The JSON at an address of the API."""
    request = urllib.request.Request(url, headers={"authorization": f"Bearer {key}"})
    with urllib.request.urlopen(request, timeout=30) as response:
        return json.loads(response.read())


def _wait_until_ready(url: str, api: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while True:
        try:
            urllib.request.urlopen(f"{url}/readyz", timeout=5).close()
            return
        except OSError:
            if api.poll() is not None or time.monotonic() > deadline:
                raise
            time.sleep(0.1)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
