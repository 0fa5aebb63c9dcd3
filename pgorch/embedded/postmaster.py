"""Looks at a running server through its `postmaster.pid`, and stops it.

Not `pg_ctl status` and `stop`: they ask whether the process id exists, so that a zombie, or another program
that got the same number later, counts as a running server.
"""

import contextlib
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from pgorch.errors import DatabaseUnavailable

_POLL_SECONDS = 0.01
_FAST_STOP_SECONDS = 120.0
_IMMEDIATE_STOP_SECONDS = 30.0


@dataclass(frozen=True)
class Postmaster:
    """What `postmaster.pid` says."""

    pid: int
    socket_dir: Path
    status: str
    """"starting", "ready", "standby" or "stopping"; empty while the file is being written."""


def read_pid_file(data: Path) -> Postmaster | None:
    """The server that was last started on this data, alive or not; None if it has stopped in good order."""
    try:
        lines = (data / "postmaster.pid").read_text().splitlines()
    except FileNotFoundError:
        return None
    lines += [""] * (8 - len(lines))
    try:
        pid = abs(int(lines[0]))
    except ValueError:
        return None
    return Postmaster(pid, Path(lines[4]), lines[7].strip())


def find_running(data: Path) -> Postmaster | None:
    """The server that runs on this data now, or None."""
    postmaster = read_pid_file(data)
    return postmaster if postmaster and runs_on(postmaster.pid, data) else None


def runs_on(pid: int, data: Path) -> bool:
    """Whether the process lives (a zombie does not) and is a server on this data."""
    with contextlib.suppress(ChildProcessError):
        os.waitpid(pid, os.WNOHANG)  # who started it, or is process 1 of a container, has to bury it
    if sys.platform != "linux":
        return _lives_elsewhere(pid)
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    if state in "ZX":
        return False
    try:
        # The server's working directory is its data directory.
        return Path(f"/proc/{pid}/cwd").samefile(data)
    except PermissionError:
        return True
    except (FileNotFoundError, ProcessLookupError):
        return False


def forget_dead(data: Path, socket_dir: Path) -> None:
    """When no server runs on the data: remove what a killed one left, if its process number belongs to a
    zombie or to another program by now. A new server would take that for a running one and refuse to
    start."""
    for lock in (data / "postmaster.pid", *socket_dir.glob(".s.PGSQL.*.lock")):
        pid = _first_number(lock)
        if pid is not None and _exists(pid) and not runs_on(pid, data):
            lock.unlink(missing_ok=True)


def stop(postmaster: Postmaster, data: Path) -> None:
    """Stop the server: sessions are ended, committed work is kept. Raises DatabaseUnavailable if it does not
    go."""
    for number, patience in ((signal.SIGINT, _FAST_STOP_SECONDS), (signal.SIGQUIT, _IMMEDIATE_STOP_SECONDS)):
        with contextlib.suppress(ProcessLookupError):
            os.kill(postmaster.pid, number)
        if wait_until_gone(postmaster.pid, data, patience):
            return
    raise DatabaseUnavailable(
        f"The embedded PostgreSQL (process {postmaster.pid}) does not stop.",
        hint=f"See its log beside {data}, then end it with: kill -9 {postmaster.pid}",
    )


def wait_until_gone(pid: int, data: Path, patience_seconds: float) -> bool:
    """Wait for the end of that server; False if it still runs after `patience_seconds`."""
    deadline = time.monotonic() + patience_seconds
    while runs_on(pid, data):
        if time.monotonic() > deadline:
            return False
        time.sleep(_POLL_SECONDS)
    return True


def _first_number(file: Path) -> int | None:
    try:
        return abs(int(file.read_text().partition("\n")[0]))
    except (FileNotFoundError, ValueError):
        return None


def _exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _lives_elsewhere(pid: int) -> bool:
    """For systems without /proc: the state and the name as `ps` tells them."""
    done = subprocess.run(
        ["ps", "-o", "stat=,comm=", "-p", str(pid)], capture_output=True, text=True, stdin=subprocess.DEVNULL
    )
    said = done.stdout.strip()
    return done.returncode == 0 and not said.startswith("Z") and "postgres" in said
