"""Makes a data directory and starts a server on it."""

import shlex
import shutil
import time
from pathlib import Path

from pgorch.embedded import postmaster
from pgorch.embedded.identity import Identity, run_program
from pgorch.embedded.places import PORT, Places, socket_dir
from pgorch.errors import DatabaseUnavailable

USER = "postgres"

_INITDB_SECONDS = 300.0
_START_SECONDS = 300
_BUSY_SECONDS = 30.0
_POLL_SECONDS = 0.01
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
    done = run_program(identity, programs / "initdb", *arguments, timeout_seconds=_INITDB_SECONDS)
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
    postmaster.forget_dead(places.data)
    settings = _SETTINGS | {"unix_socket_directories": str(socket_dir(places.root, identity))}
    if not fsync:
        settings |= _FORGETFUL
    flags = shlex.join(part for name, value in settings.items() for part in ("-c", f"{name}={value}"))
    arguments = ["-D", str(places.data), "-l", str(places.log), "-w", "-t", str(_START_SECONDS), "-o", flags]
    deadline = time.monotonic() + _BUSY_SECONDS
    while True:
        log_start = places.log.stat().st_size if places.log.exists() else 0
        done = run_program(
            identity, programs / "pg_ctl", *arguments, "start", timeout_seconds=_START_SECONDS + 30
        )
        if done.returncode == 0:
            return
        said = _log_since(places.log, log_start) or done.stdout
        # Sessions of a server that was killed take a moment to notice it.
        if "pre-existing shared memory block" not in said or time.monotonic() > deadline:
            break
        time.sleep(_POLL_SECONDS)
    raise DatabaseUnavailable(
        f"The embedded PostgreSQL did not start: {_tail(said)}", hint=f"The whole log is in {places.log}."
    )


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


def _log_since(log: Path, start: int) -> str:
    try:
        with log.open("rb") as file:
            file.seek(start)
            return file.read().decode(errors="replace")
    except FileNotFoundError:
        return ""


def _tail(text: str, lines: int = 5) -> str:
    return "\n".join(text.strip().splitlines()[-lines:])
