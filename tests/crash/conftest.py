import contextlib
import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import UUID

import psycopg
import pytest
from psycopg import Connection
from psycopg.rows import DictRow, dict_row
from psycopg.types.json import Jsonb

from pgorch.database.migrations import migrate
from pgorch.embedded import EmbeddedServer
from tests.crash.process import work
from tests.crash.tools import registry
from tests.support.databases import direct
from tests.support.engine import definition, value_of
from tests.support.invariants import violations

ROOT = Path(__file__).parents[2]
DEADLINE_SECONDS = 30.0
Process = multiprocessing.context.ForkServerProcess
_FORKS = multiprocessing.get_context("forkserver")
_FORKS.set_forkserver_preload(["tests.crash.process"])
TABLES = (
    "create table effects (run_id uuid, node text, attempt int, key text, token bigint, pid int,"
    " at timestamptz default clock_timestamp())",
    "create table payments (run_id uuid)",
)


class Crew:
    """Worker processes on one database, and the test's own view of it."""

    def __init__(self, dsn: str, directory: Path) -> None:
        self.dsn = dsn
        self.note = directory / "note"
        self._directory = directory
        self._processes: list[Process] = []
        self._launched: list[subprocess.Popen[bytes]] = []
        self.connection = self._connect()
        for table in TABLES:
            self.connection.execute(table.encode())
        self.value("select pgorch.register_tools(%s)", Jsonb(registry.definitions()))

    def _connect(self) -> Connection[DictRow]:
        return psycopg.connect(
            direct(self.dsn), autocommit=True, row_factory=dict_row, application_name="test"
        )

    def hire(
        self, count: int = 1, *, die_at: str = "", name: str = "", through: str = "", **timing: Any
    ) -> list[Process]:
        """Starts worker processes and returns when they are enlisted, or one has died as it should. With a
        name, all of them have it. `through`: a DSN that leads to the database by another way."""
        names = [name or f"worker-{len(self._processes) + at}" for at in range(count)]
        for called in names:
            self.start_one(die_at=die_at, name=called, through=through, **timing)
        self._wait_for(names)
        return self._processes[-count:]

    def start_one(self, *, die_at: str = "", name: str = "", through: str = "", **timing: Any) -> Process:
        """Starts a worker process, without waiting for it."""
        called = name or f"worker-{len(self._processes)}"
        log = self._directory / f"{called}.log"
        # As real as any process, but the modules are loaded already.
        process = _FORKS.Process(
            target=work,
            args=(through or self.dsn, self.dsn, called, timing, die_at, self.note, log),
            daemon=True,
        )
        process.start()
        self._processes.append(process)
        return process

    def launch(
        self, *arguments: str, app: str = "tests.crash.tools:registry", directory: Path = ROOT
    ) -> subprocess.Popen[bytes]:
        """Starts a worker by its command line, in the directory where its code is."""
        name = f"launched-{len(self._launched)}"
        command = [sys.executable, "-m", "pgorch", "worker", "--app", app]
        with (self._directory / f"{name}.log").open("wb") as log:
            process = subprocess.Popen(
                [*command, "--dsn", self.dsn, "--name", name, *arguments],
                cwd=directory,
                env=os.environ | {"TEST_DSN": self.dsn},
                stdout=log,
                stderr=log,
                stdin=subprocess.DEVNULL,
            )
        self._launched.append(process)
        self._wait_for([name])
        return process

    def _wait_for(self, names: list[str]) -> None:
        enlisted = "select count(*) / pgorch.bucket_count() from pgorch._worker_leases where name = any (%s)"
        self.until(lambda: self.value(enlisted, names) == len(names) or self.note.exists())

    def graph(self, nodes: Any, edges: Any = (), **more: Any) -> str:
        graph = definition(nodes, edges, **more)
        return str(self.value("select graph_id from pgorch.create_graph(%s)", Jsonb(graph)))

    def start(self, graph: str, count: int = 1, *, bucket: int | None = None) -> list[UUID]:
        query = "select pgorch.start_many(%s, %s, p_bucket => %s::int)"
        found = self.value(query, graph, [Jsonb({})] * count, bucket)
        assert isinstance(found, list)
        return found

    def run(self, run_id: UUID) -> dict[str, Any]:
        document = self.value("select pgorch.run_document(%s)", run_id)
        assert isinstance(document, dict)
        return document

    def kinds(self, run_id: UUID) -> list[str]:
        return [entry["kind"] for entry in self.run(run_id)["history"]]

    def ended(self, run_id: UUID) -> dict[str, Any]:
        self.until(lambda: self.run(run_id)["finished_at"] is not None)
        return self.run(run_id)

    def all_ended(self) -> None:
        self.until(lambda: not self.value("select count(*) from pgorch.runs where finished_at is null"))

    def until_done(self, steps: int) -> None:
        """So many steps have ended, in all runs together."""
        self.until(lambda: self.value("select count(*) from pgorch.history") >= steps)

    def effects(self) -> list[DictRow]:
        return self.connection.execute("select * from effects order by token").fetchall()

    def value(self, query: str, *parameters: Any) -> Any:
        return value_of(self.connection, query, *parameters)

    def until(self, holds: Callable[[], Any], seconds: float = DEADLINE_SECONDS) -> None:
        deadline = time.monotonic() + seconds
        while not holds():
            assert time.monotonic() < deadline, self.logs()
            time.sleep(0.02)

    def reconnect(self) -> None:
        """After the server was killed."""
        self.connection.close()
        self.connection = self._connect()

    def logs(self) -> str:
        files = sorted(self._directory.glob("*.log"))
        return "\n".join(f"--- {file.name}\n{file.read_text()[-3000:]}" for file in files)

    def dismiss(self) -> None:
        for process in self._processes:
            process.kill()
        for process in self._processes:
            process.join(20)
        for launched in self._launched:
            launched.kill()
            launched.wait(20)
        self.connection.close()


@pytest.fixture
def own_server() -> Iterator[EmbeddedServer]:
    """A server that a test may stop and kill."""
    parent = Path(tempfile.mkdtemp(prefix="pgorch-test-"))
    parent.chmod(0o755)
    server = EmbeddedServer(parent / "server", fsync=False)
    server.start()
    try:
        yield server
    finally:
        server.stop()
        shutil.rmtree(parent, ignore_errors=True)


def kill_server(server: EmbeddedServer) -> None:
    """As `pg_ctl stop -m immediate`, but harder: kill -9 of the postmaster."""
    pid = int((server.data_dir / "data" / "postmaster.pid").read_text().splitlines()[0])
    os.kill(pid, signal.SIGKILL)
    deadline = time.monotonic() + 20
    with contextlib.suppress(FileNotFoundError):
        while " Z " not in Path(f"/proc/{pid}/stat").read_text() and time.monotonic() < deadline:
            time.sleep(0.01)


@contextlib.contextmanager
def crew_at(dsn: str, directory: Path) -> Iterator[Crew]:
    """Whatever is killed in a test, the invariants hold at its end."""
    crew = Crew(dsn, directory)
    try:
        yield crew
        assert violations(crew.connection) == {}
    finally:
        crew.dismiss()


@pytest.fixture
def crew(database: str, tmp_path: Path) -> Iterator[Crew]:
    with crew_at(database, tmp_path) as crew:
        yield crew


@pytest.fixture
def own_crew(own_server: EmbeddedServer, tmp_path: Path) -> Iterator[Crew]:
    """A crew on a server of its own. What is acknowledged survives what is done to the server, if not to the
    machine."""
    with psycopg.connect(own_server.dsn, autocommit=True) as admin:
        admin.execute("alter database pgorch set synchronous_commit = on")
    migrate(own_server.dsn)
    with crew_at(own_server.dsn, tmp_path) as crew:
        yield crew
