"""Where the goals are measured: one server with fsync on, and a fresh database for each workload."""

import contextlib
import itertools
import os
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from psycopg.conninfo import make_conninfo

from pgorch.cli.bench.graphs import chain
from pgorch.cli.bench.ground import bench_session
from pgorch.cli.bench.load import Load, create, measure, start_many, wait_until_ended
from pgorch.cli.bench.workers import workers
from pgorch.cli.session import Session
from pgorch.database.migrations import migrate
from pgorch.embedded import EmbeddedServer

STEPS = 10


@dataclass(frozen=True)
class Figure:
    """Something that was measured, and its goal: ">= 15000", "<= 0.1", or "" where there is none."""

    name: str
    value: float
    goal: str = ""

    @property
    def passed(self) -> bool | None:
        if not self.goal:
            return None
        sign, bound = self.goal.split()
        return self.value >= float(bound) if sign == ">=" else self.value <= float(bound)

    def line(self) -> str:
        verdict = {True: "pass", False: "FAIL", None: ""}[self.passed]
        return f"  {self.name:<44}{self.value:>14,.4g}   {self.goal:<12}{verdict}"


class Arena:
    """`scale` below 1 makes every workload smaller, to try whether it works; figures then mean nothing."""

    def __init__(self, dsn: str, *, version: str, programs: Path, scale: float = 1.0) -> None:
        self.dsn = dsn
        self.version = version
        self.programs = programs
        self._scale = scale
        self._numbers = itertools.count(1)

    def scaled(self, count: int, *, least: int = 1) -> int:
        return max(least, round(count * self._scale))

    @contextlib.contextmanager
    def database(self) -> Iterator[tuple[str, Session]]:
        """A fresh database with pgorch in it, dropped afterwards."""
        with self.empty_database() as (dsn, db):
            migrate(dsn)
            yield dsn, db

    @contextlib.contextmanager
    def session(self) -> Iterator[Session]:
        """A session in the server's own database."""
        with bench_session(self.dsn) as admin:
            yield admin

    @contextlib.contextmanager
    def empty_database(self) -> Iterator[tuple[str, Session]]:
        """A fresh database, dropped afterwards."""
        name = f"goal_{os.getpid()}_{next(self._numbers)}"
        with bench_session(self.dsn) as admin:
            admin.connection.execute(f"create database {name} template template0 encoding 'UTF8'".encode())
            try:
                dsn = make_conninfo(self.dsn, dbname=name)
                with bench_session(dsn) as db:
                    yield dsn, db
            finally:
                admin.connection.execute(f"drop database {name} with (force)".encode())

    def chains(self, db: Session, pids: list[int], runs: int, *, times: int = 3) -> list[Load]:
        """The workload W1, warmed up: `runs` chains of ten steps, measured several times."""
        graph = create(db, chain(STEPS))
        wait_until_ended(db, start_many(db, graph, self.scaled(500), {}))
        return [measure(db, graph, self.scaled(runs), pids) for _ in range(times)]

    def rate(self, db: Session, dsn: str, *, runs: int = 5000, count: int = 2, times: int = 3) -> float:
        """Steps a second of W1 here, with `count` workers: the median of several times."""
        with workers(db, dsn, count) as pids:
            return median_rate(self.chains(db, pids, runs, times=times))


def median_rate(loads: list[Load]) -> float:
    return statistics.median(load.steps_per_second for load in loads)


@contextlib.contextmanager
def arena(scale: float, *, preload: str | None = None) -> Iterator[Arena]:
    """A server of its own with fsync on, gone afterwards. `preload`: a library that can count calls."""
    directory = Path(tempfile.gettempdir()) / f"pgorch-goals-{os.getpid()}"
    try:
        if preload is not None:
            with EmbeddedServer(directory, fsync=True) as server, bench_session(server.dsn) as admin:
                admin.connection.execute(f"alter system set shared_preload_libraries = '{preload}'".encode())
                admin.connection.execute(f"alter system set {preload}.track = 'none'".encode())
        with EmbeddedServer(directory, fsync=True) as server:
            yield Arena(server.dsn, version=server.version, programs=server.bin_dir, scale=scale)
    finally:
        shutil.rmtree(directory, ignore_errors=True)


@contextlib.contextmanager
def api(dsn: str) -> Iterator[int]:
    """One API process, which asks for no keys; its port."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    command = [sys.executable, "-m", "pgorch", "serve", "--no-auth", "--port", str(port), "--quiet"]
    process = subprocess.Popen(command, env={**os.environ, "PGORCH_DSN": dsn})
    try:
        deadline = time.monotonic() + 30
        while True:
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/livez", timeout=2).close()
                break
            except OSError:
                if process.poll() is not None or time.monotonic() > deadline:
                    raise
                time.sleep(0.05)
        yield port
    finally:
        process.terminate()
        process.wait(30)
