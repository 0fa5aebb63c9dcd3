import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from tests.support.races import wait_until


@pytest.fixture
def data_dir() -> Iterator[Path]:
    # A short path that whoever runs PostgreSQL here may pass.
    parent = Path(tempfile.mkdtemp(prefix="pgorch-dev-"))
    parent.chmod(0o755)
    yield parent / "server"
    shutil.rmtree(parent)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def fetch(port: int, path: str, body: Any = None) -> Any:
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}{path}", data, {"content-type": "application/json"} if data else {}
    )
    with urllib.request.urlopen(request, timeout=30) as answer:
        return json.load(answer)


def is_gone(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True


def descendants(pid: int) -> list[int]:
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            except (FileNotFoundError, ProcessLookupError):
                continue
            if parent == pid:
                found += [int(entry.name), *descendants(int(entry.name))]
    return found


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
def test_dev_starts_everything_restarts_what_dies_and_ends_everything(data_dir: Path) -> None:
    port = free_port()
    environment = {
        name: value for name, value in os.environ.items() if name not in ("PGORCH_DSN", "DATABASE_URL")
    }
    command = [sys.executable, "-m", "pgorch", "dev", "--app", "tests.cli.some_tools"]
    command += ["--port", str(port), "--data-dir", str(data_dir), "--workers", "1"]
    process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        lines: list[str] = []
        while not lines or not lines[-1].startswith("workers"):
            line = process.stdout.readline()
            assert line, f"dev ended: {lines}"
            lines.append(line.strip())
        said = "\n".join(lines)
        assert re.search(rf"^PostgreSQL \d+\.\d+ \(embedded\), data in {data_dir}$", said, re.MULTILINE)
        assert f"http://127.0.0.1:{port}, without keys: everybody on this machine may use it" in said
        assert lines[-1] == "workers    1 with the tools greet"
        dsn = next(line.removeprefix("DSN").strip() for line in lines if line.startswith("DSN"))

        assert [each["name"] for each in fetch(port, "/tools")["tools"]] == ["greet"]
        graph = {"nodes": [{"id": "hello", "function": "greet"}], "edges": [], "start_node": "hello"}
        graph_id = fetch(port, "/graph/create", graph)["graph_id"]
        started = {"graph_id": graph_id, "initial_state": {"name": "Ada"}}
        run_id = fetch(port, "/graph/run", started)["run_id"]
        assert fetch(port, f"/graph/state/{run_id}?wait=30")["state"]["greeting"] == "Hello, Ada!"

        with psycopg.connect(dsn, autocommit=True) as connection:
            worker = connection.execute("select worker_id from pgorch.worker_list").fetchone()
        # A worker that is killed comes back and works.
        victim = next(
            pid
            for pid in descendants(process.pid)
            if b"worker" in Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
        )
        os.kill(victim, signal.SIGKILL)
        assert "worker 1 ended (killed by SIGKILL)" in process.stdout.readline()
        run_id = fetch(port, "/graph/run", started)["run_id"]
        wait_until(lambda: fetch(port, f"/graph/state/{run_id}?wait=5")["status"] == "completed")
        assert worker is not None

        everybody = descendants(process.pid)
        postmaster = int((data_dir / "data" / "postmaster.pid").read_text().splitlines()[0])
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0
        assert [pid for pid in [*everybody, postmaster] if not is_gone(pid)] == []
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def test_a_port_that_is_taken_is_said_before_anything_is_started() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        done = subprocess.run(
            [sys.executable, "-m", "pgorch", "dev", "--port", str(port), "--data-dir", "/nonexistent/pgorch"],
            capture_output=True,
            text=True,
            timeout=60,
        )
    assert done.returncode == 2
    assert f"Port {port}" in done.stderr
    assert f"--port {port + 1}" in done.stderr
