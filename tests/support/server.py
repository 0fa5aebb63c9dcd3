"""One PostgreSQL server for one test run, shared by all its processes and by no other run.

The process that controls the run makes a directory and holds a lock on a file in it. Whichever test process
needs the server first starts it, together with a watchdog that waits for that lock: when the controller ends,
however it ends, the watchdog stops the server and removes the directory.

    python -m tests.support.server DIRECTORY        is the watchdog
"""

import contextlib
import fcntl
import importlib
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import psycopg

from pgorch.embedded import find_binaries
from pgorch.embedded.identity import choose_identity, surroundings
from pgorch.embedded.places import reachable_binaries

IMAGE_MAJORS = ("18", "17", "16", "15")
# Nothing in a test needs to survive the power going off.
SETTINGS = (
    "fsync=off",
    "full_page_writes=off",
    "max_connections=300",
    "shared_buffers=128MB",
    "listen_addresses=127.0.0.1",
    "log_line_prefix=%m [%p] %a %d ",
)


def docker_image() -> str | None:
    """The newest supported postgres image that a Docker engine here has already, if one answers quickly."""
    try:
        docker = importlib.import_module("docker")

        with contextlib.closing(docker.from_env(timeout=2)) as engine:
            tags: set[str] = {tag for image in engine.images.list(name="postgres") for tag in image.tags}
    except Exception:
        # No engine, no right to use it, no such package: all the same to a test run.
        return None
    found = [tag for tag in tags if re.match(r"postgres:(\d+)", tag)]
    for major in IMAGE_MAJORS:
        for tag in sorted(found):
            if re.match(rf"postgres:{major}\b", tag):
                return tag
    return None


def description() -> str:
    """Which server a test run will use, for pytest's header."""
    if dsn := os.environ.get("PGORCH_TEST_DSN"):
        return f"given by PGORCH_TEST_DSN ({re.sub(r':[^:@/]*@', ':***@', dsn)})"
    if image := docker_image():
        return f"Docker image {image}"
    found = find_binaries()
    return f"PostgreSQL {found.version} from {found.directory} ({found.source})"


class TestRun:
    """The directory of a test run, as its controller has it. Closing it ends the server."""

    __test__ = False

    def __init__(self) -> None:
        self.directory = Path(tempfile.mkdtemp(prefix="pgorch-test-"))
        # The server runs as somebody else, who must get to its data below here.
        self.directory.chmod(0o755)
        self._alive = (self.directory / "alive").open("w")
        fcntl.flock(self._alive, fcntl.LOCK_EX)

    def close(self) -> None:
        started = (self.directory / "dsn").exists() or (self.directory / "data").exists()
        self._alive.close()
        if not started:
            shutil.rmtree(self.directory, ignore_errors=True)
        deadline = time.monotonic() + 30
        while self.directory.exists() and time.monotonic() < deadline:
            time.sleep(0.05)


def shared_server(directory: Path) -> str:
    """The DSN of the server of this test run; starts it if no process of the run has done so yet."""
    if dsn := os.environ.get("PGORCH_TEST_DSN"):
        return dsn
    with (directory / "start.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        said = directory / "dsn"
        if not said.exists():
            (directory / "data").mkdir(mode=0o700, exist_ok=True)
            subprocess.Popen(
                [sys.executable, "-m", "tests.support.server", str(directory)],
                cwd=Path(__file__).parents[2],
                start_new_session=True,
                stdin=subprocess.DEVNULL,
            )
            image = docker_image()
            said.write_text(_start_container(directory, image) if image else _start(directory))
        return said.read_text()


def _start(directory: Path) -> str:
    found, data = find_binaries(), directory / "data"
    identity = choose_identity(None, found.directory / "postgres")
    programs = reachable_binaries(found, identity)
    if identity.dropped:
        os.chown(data, *identity.owner)

    def run(program: Path, *arguments: str | Path) -> None:
        done = subprocess.run(
            identity.command(program, *map(str, arguments)),
            capture_output=True,
            text=True,
            **surroundings(identity),
        )
        if done.returncode:
            log = data / "log"
            raise RuntimeError(
                f"{program} failed: {done.stdout}{done.stderr}{log.read_text() if log.exists() else ''}"
            )

    cluster, port = data / "pg", _free_port()
    run(programs / "initdb", "-D", cluster, "-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C",
        "--no-sync", "--no-instructions")  # fmt: skip
    with (cluster / "postgresql.conf").open("a") as config:
        config.writelines(f"{name} = '{value}'\n" for name, _, value in (s.partition("=") for s in SETTINGS))
        config.write(f"unix_socket_directories = '{data}'\nport = {port}\n")
    # pg_ctl would keep our pipe open in the server, so its output goes to a file.
    run(
        Path("/bin/sh"),
        "-c",
        f"exec {programs / 'pg_ctl'} -D {cluster} -l {data / 'log'} -w -t 60 start >/dev/null 2>&1",
    )
    return f"host={data} port={port} user=postgres dbname=postgres"


def _start_container(directory: Path, image: str) -> str:
    # The watchdog removes the container, so testcontainers' own reaper (and its image) is not needed.
    os.environ.setdefault("TESTCONTAINERS_RYUK_DISABLED", "true")
    from testcontainers.postgres import PostgresContainer

    command = "postgres " + " ".join(f"-c {s}" for s in SETTINGS[:4])
    container = PostgresContainer(image, driver=None).with_command(command)
    container.start()
    (directory / "container").write_text(container.get_wrapped_container().id)
    return str(container.get_connection_url())


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _watch(directory: Path) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with (directory / "alive").open() as alive:
        fcntl.flock(alive, fcntl.LOCK_EX)
    # A test process that is still starting the server would otherwise start it after we looked.
    with (directory / "start.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        for postmaster in _postmasters(directory):
            with contextlib.suppress(ProcessLookupError):
                os.kill(postmaster, signal.SIGQUIT)
        if (container := directory / "container").exists():
            docker = importlib.import_module("docker")

            docker.from_env().containers.get(container.read_text()).remove(force=True, v=True)
        deadline = time.monotonic() + 20
        while any(True for _ in _postmasters(directory)) and time.monotonic() < deadline:
            time.sleep(0.05)
        shutil.rmtree(directory, ignore_errors=True)


def _postmasters(directory: Path) -> Iterator[int]:
    pid_file = directory / "data" / "pg" / "postmaster.pid"
    with contextlib.suppress(FileNotFoundError, ValueError, ProcessLookupError):
        pid = int(pid_file.read_text().splitlines()[0])
        os.kill(pid, 0)
        yield pid


def wait_for_end_of_sessions(admin: psycopg.Connection, database: str, seconds: float) -> list[str]:
    """The sessions still connected to a database after waiting this long for them to end: name and query."""
    deadline = time.monotonic() + seconds
    while True:
        rows = admin.execute(
            "select format('%%s (pid %%s, %%s: %%s)', coalesce(nullif(a.application_name, ''), 'no name'), "
            "a.pid, a.state, left(a.query, 200)) from pg_stat_activity a "
            "where a.datname = %s and a.backend_type = 'client backend'",
            (database,),
        ).fetchall()
        left = [str(row[0]) for row in rows]
        if not left or time.monotonic() > deadline:
            return left
        time.sleep(0.02)


if __name__ == "__main__":
    _watch(Path(sys.argv[1]))
