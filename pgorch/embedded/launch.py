"""Makes a data directory and starts a server on it."""

import shutil
import subprocess
import time
from pathlib import Path

from pgorch.embedded import postmaster
from pgorch.embedded.identity import Identity, surroundings
from pgorch.embedded.places import PORT, Places, socket_dir
from pgorch.errors import DatabaseUnavailable

USER = "postgres"

_INITDB_SECONDS = 300.0
_START_SECONDS = 300
_BUSY_SECONDS = 30.0
_POLL_SECONDS = 0.005
_LONGEST_LOG_BYTES = 10 * 1024 * 1024

_SETTINGS = {
    "listen_addresses": "",
    "port": str(PORT),
    "unix_socket_permissions": "0700",
    "max_connections": "200",
    "shared_buffers": "256MB",
    "max_wal_size": "4GB",
    "checkpoint_timeout": "15min",
    "jit": "off",
}
_FORGETFUL = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}


def make_data(programs: Path, places: Places, identity: Identity, *, fsync: bool) -> None:
    """Make an empty cluster. It gets its name when it is whole, so nobody ever meets half of one."""
    fresh = places.root / "data.tmp"
    for leftover in (fresh, places.data):
        if leftover.exists():
            shutil.rmtree(leftover)
    arguments = ["-D", str(fresh), "-U", USER, "-A", "trust", "-E", "UTF8", "--no-locale", "-k"]
    if not fsync:
        arguments.append("--no-sync")
    done = subprocess.run(
        identity.command(programs / "initdb", *arguments),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        timeout=_INITDB_SECONDS,
        **surroundings(identity),
    )
    if done.returncode != 0:
        raise DatabaseUnavailable(
            f"PostgreSQL could not set up its data directory {places.data}: {_tail(done.stdout)}",
            hint="Choose another data directory with PGORCH_DATA_DIR, or look at the disk's free space.",
        )
    fresh.rename(places.data)


def launch(programs: Path, places: Places, identity: Identity, *, fsync: bool) -> None:
    """Start the server and wait until it takes connections."""
    if places.log.exists() and places.log.stat().st_size > _LONGEST_LOG_BYTES:
        places.log.replace(places.log.with_name(f"{places.log.name}.1"))
    sockets = socket_dir(places.root, identity)
    postmaster.forget_dead(places.data, sockets)
    settings = _SETTINGS | {"unix_socket_directories": str(sockets)}
    if not fsync:
        settings |= _FORGETFUL
    flags = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
    command = identity.command(programs / "postgres", "-D", str(places.data), *flags)
    deadline = time.monotonic() + _BUSY_SECONDS
    while (said := _try_to_launch(command, places, identity)) is not None:
        # Sessions of a server that was killed take a moment to notice it.
        if "pre-existing shared memory block" not in said or time.monotonic() > deadline:
            raise DatabaseUnavailable(
                f"The embedded PostgreSQL did not start: {_tail(said)}",
                hint=f"The whole log is in {places.log}.",
            )
        time.sleep(_POLL_SECONDS)


def _try_to_launch(command: list[str], places: Places, identity: Identity) -> str | None:
    """Start the server once. What it said if it ended, None if it takes connections.

    Not with pg_ctl: it passes paths through a shell, and sees a start only when it looks ten times a second.
    """
    with places.log.open("ab") as log:
        log_start = log.tell()
        process = subprocess.Popen(command, stdout=log, stderr=log, **surroundings(identity))
    deadline = time.monotonic() + _START_SECONDS
    while process.poll() is None:
        running = postmaster.read_pid_file(places.data)
        if running and running.pid == process.pid and running.status == "ready":
            # It outlives this object and, if there are other users, this process.
            process.returncode = 0
            return None
        if time.monotonic() > deadline:
            process.terminate()
            process.wait()
        time.sleep(_POLL_SECONDS)
    with places.log.open("rb") as written:
        written.seek(log_start)
        return written.read().decode(errors="replace") or f"it ended with {process.returncode}"


def wait_until_ready(places: Places) -> None:
    """Wait for a server that somebody else is starting."""
    deadline = time.monotonic() + _START_SECONDS
    while (running := postmaster.find_running(places.data)) and running.status != "ready":
        if time.monotonic() > deadline:
            raise DatabaseUnavailable(
                f"The embedded PostgreSQL (process {running.pid}) has been "
                f"{running.status or 'starting'} for {_START_SECONDS} seconds.",
                hint=f"See {places.log}.",
            )
        time.sleep(_POLL_SECONDS)


def _tail(text: str, lines: int = 5) -> str:
    return "\n".join(text.strip().splitlines()[-lines:])
