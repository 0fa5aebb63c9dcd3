"""The life cycle of the embedded server: the first user starts it, others adopt it, the last one stops it."""

import os
import sys
from pathlib import Path
from types import TracebackType
from typing import Self

import psycopg

from pgorch.embedded import locks, postmaster
from pgorch.embedded.binaries import Binaries, find_binaries
from pgorch.embedded.identity import Identity, choose_identity
from pgorch.embedded.launch import USER, launch, make_data, wait_until_ready
from pgorch.embedded.places import (
    PORT,
    Places,
    default_data_dir,
    give_root,
    make_root,
    reachable_binaries,
)
from pgorch.errors import ConfigError, DatabaseUnavailable

DATABASE = "pgorch"

_LOCK_SECONDS = 180.0
_STOPPING_SECONDS = 120.0


class EmbeddedServer:
    """A PostgreSQL server on a data directory of one's own, reachable through a Unix socket only.

        with EmbeddedServer() as server:
            psycopg.connect(server.dsn)

    `data_dir`: where everything is kept; else `PGORCH_DATA_DIR`, else the user's data directory
    (~/.local/share/pgorch/postgres-<major>). The data survives. Any number of processes may use one
    directory. `fsync=False` is for tests alone: the data may be lost when the machine crashes.
    """

    data_dir: Path
    """Where everything is kept. Known after `start`, like the following."""
    bin_dir: Path
    """The directory of the programs: psql and pg_dump are there too, in most installations."""
    version: str
    """The server's version, for instance "18.6"."""

    def __init__(self, data_dir: str | os.PathLike[str] | None = None, *, fsync: bool = True) -> None:
        if sys.platform == "win32":
            raise ConfigError(
                "The embedded PostgreSQL needs Linux or macOS.",
                hint="Set PGORCH_DSN to a PostgreSQL server, or use WSL.",
            )
        chosen = data_dir or os.environ.get("PGORCH_DATA_DIR") or None
        self._chosen = Path(chosen).expanduser().absolute() if chosen else None
        self._fsync = fsync
        self._use: int | None = None
        self.adopted = False
        """Whether the server ran already when `start` was called."""

    def start(self) -> Self:
        """Start the server, or adopt it if it runs. Called again, it brings back a server that has died.

        Raises ConfigError if there is no way to run one here, DatabaseUnavailable if it does not come up.
        """
        places, identity = self._settle()
        make_root(places.root)
        give_root(places.root, identity)
        with locks.exclusive(places.start_lock, wait_seconds=_LOCK_SECONDS):
            use = self._use if self._use is not None else locks.open_lock(places.use_lock)
            self._use = None
            try:
                locks.try_lock(use, shared=True)
                self._bring_up(places, identity)
            except BaseException:
                _give_up(use, places)
                raise
            self._use = use
        return self

    def stop(self) -> None:
        """Stop using the server. Its last user stops it; the data stays. A second call does nothing."""
        if self._use is None:
            return
        use, self._use = self._use, None
        places = Places(self.data_dir)
        with locks.exclusive(places.start_lock, wait_seconds=_LOCK_SECONDS):
            _give_up(use, places)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def dsn(self) -> str:
        """The connection string of the database `pgorch` on this server."""
        return f"host={self._socket_dir} port={PORT} dbname={DATABASE} user={USER}"

    def _settle(self) -> tuple[Places, Identity]:
        """Decide which programs run, on which data, and as whom."""
        if self._chosen:
            places = Places(self._chosen)
            try:
                binaries = _binaries_for(places)
                owner = places.owner()
            except PermissionError as error:
                raise ConfigError(
                    f"The data directory {places.root} belongs to somebody else.",
                    hint="Choose one of your own with PGORCH_DATA_DIR.",
                ) from error
        else:
            binaries = find_binaries()
            identity = choose_identity(None, binaries.directory / "postgres")
            places = Places(default_data_dir(binaries.major, identity))
            owner = places.owner()
        identity = choose_identity(owner, binaries.directory / "postgres")
        self.data_dir = places.root
        self.bin_dir = reachable_binaries(binaries, identity)
        return places, identity

    def _bring_up(self, places: Places, identity: Identity) -> None:
        running = postmaster.find_running(places.data)
        if running and running.status == "stopping":
            postmaster.wait_until_gone(running.pid, places.data, _STOPPING_SECONDS)
            running = postmaster.find_running(places.data)
        self.adopted = running is not None
        if running:
            wait_until_ready(places)
        else:
            if places.kept_major() is None:
                make_data(self.bin_dir, places, identity, fsync=self._fsync)
            launch(self.bin_dir, places, identity, fsync=self._fsync)
        running = postmaster.find_running(places.data)
        if running is None:
            raise DatabaseUnavailable(
                "The embedded PostgreSQL ended while it was being started.", hint=f"See {places.log}."
            )
        self._socket_dir = running.socket_dir
        self._look_inside(places)

    def _look_inside(self, places: Places) -> None:
        """Ask the server for its version, and make the database if this is its first start."""
        admin = f"host={self._socket_dir} port={PORT} dbname=postgres user={USER} connect_timeout=30"
        try:
            with psycopg.connect(admin, autocommit=True) as connection:
                self.version = connection.info.parameter_status("server_version") or ""
                fsync = connection.execute("select current_setting('fsync')").fetchone()
                known = connection.execute("select 1 from pg_database where datname = %s", [DATABASE])
                if known.fetchone() is None:
                    connection.execute(f"create database {DATABASE}")
        except psycopg.Error as error:
            raise DatabaseUnavailable(
                f"The embedded PostgreSQL does not answer: {error}", hint=f"See {places.log}."
            ) from error
        if self._fsync and fsync == ("off",):
            raise ConfigError(
                f"The server on {places.root} was started for tests, with fsync off.",
                hint="Choose another data directory with PGORCH_DATA_DIR, or stop its other users first.",
            )


def _give_up(use: int, places: Places) -> None:
    """Under the start lock: stop the server if this was its last user, and forget the use lock."""
    try:
        running = postmaster.find_running(places.data)
        if running and locks.try_lock(use, shared=False):
            postmaster.stop(running, places.data)
    finally:
        locks.release(use)


def _binaries_for(places: Places) -> Binaries:
    major = places.kept_major()
    try:
        return find_binaries(major)
    except ConfigError as error:
        if major is None:
            raise
        raise ConfigError(
            f"The data directory {places.root} holds data of PostgreSQL {major}. {error}",
            hint=f"{error.hint} Or choose another data directory with PGORCH_DATA_DIR.",
        ) from error
