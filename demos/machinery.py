"""The processes behind the demos: embedded PostgreSQL, the API, and workers with names."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import psycopg
from psycopg.rows import dict_row
from psycopg.types.json import Jsonb

from demos.agent.stand_in_model import StandInModel
from demos.story import Api, Disproved, Refused, tell, wait_for
from pgorch.database.migrations import migrate
from pgorch.embedded import EmbeddedServer

ROOT = Path(__file__).parent.parent
APPS = tuple(
    f"demos.{name}.tools"
    for name in ("data_quality", "persistence_approval", "wire_transfer", "saga", "agent")
)
API = "API"
GUARDED_API = "API with keys"
WORKERS = ("anna", "ben")
ANSWERS, ENDED = "answers", "ended"
USUAL_PORT = 8000


class Machinery:
    """Starts and ends processes; used as a context it leaves none behind, and no data."""

    def __init__(self) -> None:
        self.home = Path(tempfile.mkdtemp(prefix="pgorch-demo-"))
        # Beside the logs rather than among them: the server may run as another user.
        self.data = Path(f"{self.home}-data")
        self.server = EmbeddedServer(self.data)
        self.port = _free_port(USUAL_PORT)
        self.guarded_port = 0
        self.model = StandInModel()
        self.mark = f"mark_{self.home.name}"
        self.children: dict[str, subprocess.Popen[bytes]] = {}

    def __enter__(self) -> "Machinery":
        self.model.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        # An impatient second Ctrl-C would leave processes behind.
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
        try:
            if kind is not None and issubclass(kind, Exception):
                self._show_logs()
        finally:
            # Also if nobody reads the logs any more: the other end of a pipe may be gone.
            self.stop_all()
            self.model.stop()
            shutil.rmtree(self.home, ignore_errors=True)
            shutil.rmtree(self.data, ignore_errors=True)

    @property
    def dsn(self) -> str:
        return self.server.dsn

    @property
    def psql(self) -> list[str] | None:
        """The command that opens this database in psql, if there is a psql."""
        own = self.server.bin_dir / "psql"
        program = str(own) if own.exists() else shutil.which("psql")
        return [program, "-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", self.dsn] if program else None

    def start_postgres(self) -> None:
        self.server.start()

    def migrate(self) -> None:
        migrate(self.dsn)
        mark = {
            "name": self.mark,
            "nodes": [{"id": "here", "type": "pass"}],
            "edges": [],
            "start_node": "here",
        }
        self.rows("select pgorch.create_graph(%s)", Jsonb(mark))

    @property
    def api(self) -> Api:
        return Api(f"http://127.0.0.1:{self.port}")

    def start_api(self) -> None:
        self._start(API, "serve", "--no-auth", "--port", str(self.port))

    def await_api(self) -> None:
        """Wait until the API answers; move it to another port if its own was taken at the last moment."""
        for _ in range(3):
            if (
                wait_for("The API answers or ends", lambda: self._api_answers() or self._api_ended())
                == ANSWERS
            ):
                return
            self.port = _free_port()
            self.start_api()
        self._must_run(API)

    def start_guarded_api(self) -> None:
        """A second API on another port, which asks for keys."""
        self.guarded_port = _free_port(quiet=True)
        self._start(GUARDED_API, "serve", "--port", str(self.guarded_port))

    def await_guarded_api(self, key: str) -> Api:
        """The API that asks for keys, as the bearer of this key sees it."""
        api = Api(f"http://127.0.0.1:{self.guarded_port}", key)

        def answers() -> bool:
            self._must_run(GUARDED_API)
            try:
                api.get("/v1/approvals")
            except (Refused, OSError):
                return False
            return True

        wait_for("The API that asks for keys answers", answers)
        return api

    def pass_time(self, interval: str) -> None:
        """Let the engine's clock jump: workers fire what is due by then."""
        self.rows("select pgorch.set_clock(c.offset_by + %s::interval) from pgorch._clock c", interval)

    def start_workers(self, *names: str) -> None:
        for name in names:
            self._start(name, "worker", "--name", name, *(part for app in APPS for part in ("--app", app)))

    def await_workers(self, *names: str) -> None:
        """Wait until each of the workers is in the database's list."""

        def all_alive() -> bool:
            alive = self.rows("select name from pgorch.worker_list where status = 'alive'")
            for name in names:
                self._must_run(name)
            return set(names) <= {row["name"] for row in alive}

        wait_for(f"The workers {' and '.join(names)} have come up", all_alive)

    def kill(self, name: str) -> int:
        """End a process as a crash would: SIGKILL, no farewell. Its process id."""
        child = self.children.pop(name)
        child.send_signal(signal.SIGKILL)
        child.wait()
        return child.pid

    def stop_all(self) -> list[int]:
        """End everything, PostgreSQL last; the process ids of what was ended."""
        children = list(self.children.values())
        self.children.clear()
        for child in children:
            child.terminate()
        deadline = time.monotonic() + 15
        for child in children:
            try:
                child.wait(max(0.1, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait()
        self.server.stop()
        return [child.pid for child in children]

    def postmaster(self) -> int:
        """The process id of the running PostgreSQL server."""
        found = list(self.data.rglob("postmaster.pid"))
        return int(found[0].read_text().split()[0])

    def answers(self) -> bool:
        """Does anything of it still answer: the API's port, or the database?"""
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", self.port)) == 0:
                return True
        try:
            psycopg.connect(self.dsn, connect_timeout=5).close()
        except psycopg.OperationalError:
            return False
        return True

    def rows(self, query: str, *parameters: Any) -> list[dict[str, Any]]:
        """What a query finds, on a connection of its own."""
        with psycopg.connect(self.dsn, row_factory=dict_row, application_name="demo") as connection:
            return connection.execute(query.encode(), parameters or None).fetchall()

    def execute(self, script: str) -> None:
        """Run a script of SQL, as the owner of the database."""
        with psycopg.connect(self.dsn, application_name="demo") as connection:
            connection.execute(script.encode())

    def settled(self, run_id: str, status: str) -> Any:
        """The run's document once it has this status; Disproved if it never has."""

        def look() -> Any:
            document = self.api.state(run_id, wait=10)
            return document if document["status"] == status else None

        return wait_for(f"The run {run_id} becomes {status}", look)

    def _start(self, name: str, *arguments: str) -> None:
        with (self.home / f"{name}.log").open("ab") as log:
            self.children[name] = subprocess.Popen(
                [sys.executable, "-m", "pgorch", *arguments],
                cwd=ROOT,
                env=self._environment(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # Ctrl-C reaches the demo alone, which ends them in order
            )

    def _environment(self) -> dict[str, str]:
        return {"PGORCH_AGENT_URL": self.model.address, **os.environ, "PGORCH_DSN": self.dsn}

    def _must_run(self, name: str) -> None:
        code = self.children[name].poll()
        if code is not None:
            raise Disproved(f"{name} keeps running (it ended with exit code {code})")

    def _api_answers(self) -> str | None:
        # Another API may have the port, so it has to know what is in this database.
        try:
            self.api.get(f"/v1/graphs/{self.mark}")
        except (Refused, OSError, ValueError):
            return None
        return ANSWERS

    def _api_ended(self) -> str | None:
        return None if self.children[API].poll() is None else ENDED

    def _show_logs(self) -> None:
        for log in sorted(self.home.glob("*.log")):
            lines = log.read_text(errors="replace").splitlines()[-15:]
            if lines:
                tell(f"-- the end of {log.name}")
            for line in lines:
                tell(f"   {line}")


def _free_port(*wanted: int, quiet: bool = False) -> int:
    for port in (*wanted, 0):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            chosen = int(probe.getsockname()[1])
        if chosen != USUAL_PORT and not quiet:
            tell(f"Port {USUAL_PORT} is taken, so the API listens on {chosen}.")
        return chosen
    raise Disproved("There is a free port on this machine")
