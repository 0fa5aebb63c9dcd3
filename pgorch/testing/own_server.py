"""The embedded PostgreSQL of tests, where no database is given."""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psycopg
from psycopg import Connection, sql
from psycopg.conninfo import make_conninfo

from pgorch.database.connection import connect_sync
from pgorch.database.migrations import migrate
from pgorch.database.sql_files import sql_files
from pgorch.embedded import EmbeddedServer, find_binaries
from pgorch.embedded.identity import choose_identity
from pgorch.embedded.places import default_data_dir

_PREFIX = "testing_"


@contextmanager
def embedded() -> Iterator[str]:
    """The DSN of an embedded PostgreSQL for tests, with the schema of this pgorch.

    It is kept between tests, without fsync, beside the data of `pgorch dev`; PGORCH_TEST_DATA_DIR puts it
    elsewhere. Raises ConfigError, DatabaseUnavailable.
    """
    with EmbeddedServer(_data_dir(), fsync=False) as server:
        name = f"{_PREFIX}{sql_files().digest[:16]}"
        with connect_sync(server.dsn, application_name="pgorch testing") as admin:
            _make(admin, name)
        dsn = make_conninfo(server.dsn, dbname=name)
        migrate(dsn)
        yield dsn


def _make(admin: Connection[Any], name: str) -> None:
    """Makes the database of this schema if it is not there, and drops those of other versions."""
    query = sql.SQL("select d.datname from pg_database d where starts_with(d.datname, {})")
    known = {row[0] for row in admin.execute(query.format(_PREFIX))}
    if name not in known:
        # Another process may be faster.
        with suppress(psycopg.errors.DuplicateDatabase, psycopg.errors.UniqueViolation):
            admin.execute(sql.SQL("create database {}").format(sql.Identifier(name)))
    for other in known - {name}:
        # One that is in use belongs to another checkout.
        with suppress(psycopg.Error):
            admin.execute(sql.SQL("drop database if exists {}").format(sql.Identifier(other)))


def _data_dir() -> Path:
    chosen = os.environ.get("PGORCH_TEST_DATA_DIR")
    if chosen:
        return Path(chosen)
    binaries = find_binaries()
    identity = choose_identity(None, binaries.directory / "postgres")
    return default_data_dir(binaries.major, identity).with_name(f"testing-{binaries.major}")
