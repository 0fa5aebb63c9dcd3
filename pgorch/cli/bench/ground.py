"""Where the benchmark runs: a scratch database beside the given one, or a server of its own."""

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass

import psycopg
from psycopg.conninfo import make_conninfo

from pgorch.cli.failures import Failure
from pgorch.cli.session import Session


@dataclass(frozen=True)
class Ground:
    """The database that is measured."""

    dsn: str
    where: str
    scratch: bool


@contextlib.contextmanager
def ground(dsn: str | None) -> Iterator[Ground]:
    """A place to measure in, gone afterwards. Without a DSN: a server with fsync on in a temporary directory.

    A role that may not create databases measures in the given one; its bench graphs and runs stay there.
    """
    from pgorch.embedded import EmbeddedServer

    if dsn is not None:
        with _beside(dsn) as place:
            yield place
        return
    # Made by the server itself, which knows who has to own it.
    directory = os.path.join(tempfile.gettempdir(), f"pgorch-bench-{os.getpid()}")
    try:
        with EmbeddedServer(directory, fsync=True) as server:
            _migrate(server.dsn)
            yield Ground(server.dsn, "a server of its own", True)
    finally:
        shutil.rmtree(directory, ignore_errors=True)


@contextlib.contextmanager
def _beside(dsn: str) -> Iterator[Ground]:
    from pgorch.database.connection import connect_sync
    from pgorch.database.pooling import settle_sync

    name = f"pgorch_bench_{os.getpid()}"
    with connect_sync(dsn, application_name="pgorch bench") as admin:
        if not settle_sync(admin, {}):
            raise Failure(
                "A pooler stands between: what was measured would be the pooler.",
                hint="Name the server itself: pgorch bench --dsn postgresql://user@host:5432/database",
            )
        try:
            admin.execute(f"create database {name} template template0 encoding 'UTF8'".encode())
        except psycopg.errors.InsufficientPrivilege:
            _migrate(dsn)
            yield Ground(dsn, "the database itself, as none may be created beside it", False)
            return
        try:
            scratch = make_conninfo(dsn, dbname=name)
            _migrate(scratch)
            yield Ground(scratch, f"a scratch database beside {admin.info.dbname}", True)
        finally:
            admin.execute(f"drop database if exists {name} with (force)".encode())


@contextlib.contextmanager
def bench_session(dsn: str) -> Iterator[Session]:
    """A session on the database that is measured."""
    from pgorch.database.connection import connect_sync
    from pgorch.database.pooling import settle_sync

    with connect_sync(dsn, application_name="pgorch bench") as connection:
        settle_sync(connection, {})
        yield Session(connection)


def checkpoint(db: Session) -> None:
    """So that none begins in the middle of a measurement. Needs a right that not every role has."""
    with contextlib.suppress(psycopg.errors.InsufficientPrivilege):
        db.connection.execute("checkpoint")


def _migrate(dsn: str) -> None:
    from pgorch.database.migrations import migrate

    migrate(dsn)
