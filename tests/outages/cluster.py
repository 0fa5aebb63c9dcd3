"""A PostgreSQL server of one test's own, which the test may stop, kill, freeze, fill up, copy and promote."""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

import psycopg
from psycopg.rows import dict_row

from pgorch.database.migrations import migrate
from pgorch.embedded import find_binaries
from pgorch.embedded.identity import choose_identity, surroundings
from pgorch.embedded.places import reachable_binaries

SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "max_connections": "60",
    "shared_buffers": "64MB",
    "log_line_prefix": "%m [%p] %a ",
    "jit": "off",
    # A crash of a test's server must lose nothing that was acknowledged; the machine itself stays up.
    "fsync": "off",
    "synchronous_commit": "on",
}
_START_SECONDS = 60.0


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Cluster:
    """A server below `root`. `environment` is added to its own, `settings` to SETTINGS."""

    def __init__(
        self,
        root: Path,
        *,
        data: Path | None = None,
        settings: Mapping[str, str] | None = None,
        environment: Mapping[str, str] | None = None,
        host: str = "127.0.0.1",
    ) -> None:
        self.root = root
        self.data = data or root / "data"
        self.log = root / "server.log"
        self.host = host
        self.port = free_port()
        self.settings = {**SETTINGS, "listen_addresses": host, **(settings or {})}
        self.environment = dict(environment or {})
        found = find_binaries()
        self.identity = choose_identity(None, found.directory / "postgres")
        self.programs = reachable_binaries(found, self.identity)
        self._process: subprocess.Popen[bytes] | None = None
        self.frozen: list[int] = []

    @property
    def dsn(self) -> str:
        return f"host={self.host} port={self.port} user=postgres dbname=postgres"

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def create(self, wal: Path | None = None, *options: str) -> Self:
        """Makes an empty cluster, its WAL in another place if one is named."""
        more = ["-X", str(wal)] if wal else []
        self.data.mkdir(mode=0o700, parents=True, exist_ok=True)
        for place in filter(None, (self.data, wal)):
            place.mkdir(mode=0o700, parents=True, exist_ok=True)
            if self.identity.dropped:
                os.chown(place, *self.identity.owner)
        self.run("initdb", "-D", str(self.data), "-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C",
                 "--no-sync", "--no-instructions", *more, *options)  # fmt: skip
        return self

    def run(self, program: str, *arguments: str) -> str:
        """Runs one of PostgreSQL's programs as the one to whom the data belongs."""
        done = subprocess.run(
            self.identity.command(self.programs / program, *arguments),
            capture_output=True,
            text=True,
            timeout=120,
            **self._surroundings(),
        )
        assert done.returncode == 0, f"{program} failed: {done.stdout}{done.stderr}"
        return str(done.stdout)

    def start(self, *, ready: bool = True) -> Self:
        """Starts the server, and returns when it answers."""
        settings = {**self.settings, "port": str(self.port), "unix_socket_directories": ""}
        flags = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
        command = self.identity.command(self.programs / "postgres", "-D", str(self.data), *flags)
        deadline = time.monotonic() + _START_SECONDS
        while True:
            with self.log.open("ab") as log:
                self._process = subprocess.Popen(command, stdout=log, stderr=log, **self._surroundings())
            if not ready:
                return self
            while self.running:
                with contextlib.suppress(psycopg.Error), psycopg.connect(self.dsn, connect_timeout=5):
                    return self
                assert time.monotonic() < deadline, self.log.read_text()[-3000:]
                time.sleep(0.02)
            # Sessions of a server that was killed take a moment to notice it.
            assert time.monotonic() < deadline, self.log.read_text()[-3000:]
            time.sleep(0.05)

    def migrate(self) -> Self:
        migrate(self.dsn)
        return self

    def connect(self, **options: Any) -> psycopg.Connection[dict[str, Any]]:
        return psycopg.connect(
            self.dsn, autocommit=True, row_factory=dict_row, application_name="test", **options
        )

    def stop(self, how: signal.Signals = signal.SIGINT) -> None:
        """SIGINT: fast, in order. SIGQUIT: immediate, as a crash. SIGKILL: not even that."""
        self.thaw()
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(how)
            try:
                self._process.wait(30)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait(30)

    def processes(self) -> list[int]:
        """The server and its sessions and helpers."""
        children = subprocess.run(
            ["ps", "-o", "pid=", "--ppid", str(self.pid)], capture_output=True, text=True, timeout=20
        ).stdout
        return [self.pid, *map(int, children.split())]

    def freeze(self) -> int:
        """Stops all its processes where they are. Returns how many."""
        frozen = self.processes()
        for pid in frozen:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGSTOP)
        self.frozen = frozen
        return len(frozen)

    def thaw(self) -> None:
        for pid in reversed(self.frozen):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)
        self.frozen = []

    def said(self, text: str) -> bool:
        """Is this in the server's log?"""
        return self.log.exists() and text in self.log.read_text(errors="replace")

    def copy(self, root: Path, settings: Mapping[str, str] | None = None) -> "Cluster":
        """A standby that follows this server, from a copy of its files made while it is stopped."""
        assert not self.running
        standby = Cluster(root, settings={**self.settings, **(settings or {})})
        shutil.copytree(self.data, standby.data, symlinks=True)
        standby.data.chmod(0o700)
        (standby.data / "standby.signal").touch()
        if standby.identity.dropped:
            for path in [standby.data, *standby.data.rglob("*")]:
                os.chown(path, *standby.identity.owner, follow_symlinks=False)
        standby.settings["primary_conninfo"] = (
            f"host={self.host} port={self.port} user=postgres application_name=standby"
        )
        return standby

    def promote(self) -> float:
        """Makes a standby the primary. Returns how many seconds that took."""
        began = time.monotonic()
        with self.connect() as connection:
            connection.execute("select pg_promote(true, 30)")
            while connection.execute("select pg_is_in_recovery() as r").fetchone() != {"r": False}:
                assert time.monotonic() < began + 30
                time.sleep(0.01)
        return time.monotonic() - began

    def _surroundings(self) -> dict[str, Any]:
        arguments = surroundings(self.identity)
        arguments["env"] = {**arguments["env"], **self.environment}
        return arguments
