"""kill -9 PostgreSQL itself: workers wait for it, and everything goes on where it was."""

import contextlib
import os
import signal
import time
from pathlib import Path

import psycopg

from pgorch.database.migrations import migrate
from pgorch.embedded import EmbeddedServer
from tests.crash.conftest import Crew
from tests.support.invariants import violations


def kill(server: EmbeddedServer) -> None:
    pid = int((server.data_dir / "data" / "postmaster.pid").read_text().splitlines()[0])
    os.kill(pid, signal.SIGKILL)
    deadline = time.monotonic() + 20
    with contextlib.suppress(FileNotFoundError):
        while " Z " not in Path(f"/proc/{pid}/stat").read_text() and time.monotonic() < deadline:
            time.sleep(0.01)


def test_the_server_is_killed_under_load_and_comes_back(own_server: EmbeddedServer, tmp_path: Path) -> None:
    with psycopg.connect(own_server.dsn, autocommit=True) as admin:
        # Off in a server for tests; but what is acknowledged must survive the server, if not the machine.
        admin.execute("alter database pgorch set synchronous_commit = on")
    migrate(own_server.dsn)
    crew = Crew(own_server.dsn, tmp_path)
    try:
        nodes = ["step", "effect", "pay", {"id": "last", "function": "step"}]
        graph = crew.graph(nodes, ["step>effect", "effect>pay", "pay>last"])
        workers = crew.hire(2)
        runs = crew.start(graph, 60)
        crew.until_done(40)
        kill(own_server)
        own_server.start()
        crew.reconnect()
        crew.all_ended()
        assert {crew.run(run)["status"] for run in runs} == {"completed"}
        assert crew.value("select count(*) from payments") == 60
        assert all(worker.is_alive() for worker in workers)
        assert violations(crew.connection) == {}
    finally:
        crew.dismiss()
