"""Installs and upgrades the schema `pgorch`.

Migrations (tables) are applied forward only, each once, and never edited after release. Function files are
replayed, all of them, whenever the text of one changed. Everything happens in one transaction under an
advisory lock: many installers at once are fine, and one that dies leaves nothing behind.

Replaying does not drop: a function or view that is no more, or whose signature changes, is dropped by a
migration of the same release.
"""

import random
import time
from dataclasses import dataclass
from typing import LiteralString

from psycopg import AsyncConnection, Connection
from psycopg import errors as pg

import pgorch
from pgorch.database.connection import connect_sync
from pgorch.database.sql_files import SqlFile, SqlFiles, sql_files
from pgorch.database.translation import translated
from pgorch.errors import ConfigError, DatabaseUnavailable, SchemaMismatch

OLDEST_SERVER = 150000
# How long a migration waits for a table in one go: so long all others wait as well.
_LOCK_SECONDS = 0.5
_LOCK = "select pg_advisory_xact_lock(hashtext('pgorch.migrate'))"
_BOOKS = """
create table if not exists pgorch.migrations (
    number     integer primary key,
    name       text not null unique,
    digest     text not null,
    applied_at timestamptz not null default now()
);
comment on table pgorch.migrations is 'The migrations that were applied to this database.';
create table if not exists pgorch.function_files (
    name       text primary key,
    digest     text not null,
    version    text not null,
    applied_at timestamptz not null default now()
);
comment on table pgorch.function_files is
    'The files of functions and views as they were replayed last, and by which version of pgorch.';
"""
_APPLIED_MIGRATIONS: LiteralString = (
    "select m.number, m.name, m.digest from pgorch.migrations m order by m.number"
)
_APPLIED_FUNCTIONS: LiteralString = (
    "select f.name, f.digest, f.version from pgorch.function_files f order by f.name"
)
_HAS_BOOKS = (
    "select to_regclass('pgorch.migrations') is not null and to_regclass('pgorch.function_files') is not null"
)


@dataclass(frozen=True)
class _Installed:
    """What the database says was applied to it."""

    migrations: tuple[tuple[int, str, str], ...] = ()
    functions: tuple[tuple[str, str, str], ...] = ()


@dataclass(frozen=True)
class _Plan:
    migrations: tuple[SqlFile, ...]
    functions: tuple[SqlFile, ...]

    @property
    def names(self) -> list[str]:
        return [f"migrations/{file.name}" for file in self.migrations] + [
            f"functions/{file.name}" for file in self.functions
        ]


def migrate(dsn: str, *, files: SqlFiles | None = None, lock_seconds: float = 30) -> list[str]:
    """Brings the schema of the database to this version of pgorch. Returns the names of the files applied,
    for instance ["migrations/0001_tables", "functions/01_basics"]; empty if there was nothing to do.

    It waits for other installers as long as they take, and tries for `lock_seconds` to get tables that other
    transactions hold. Raises SchemaMismatch if the database is newer than this pgorch or a released migration
    was edited, NotAllowed if the role may not create, DatabaseUnavailable, ConfigError.
    """
    files = files or sql_files()
    give_up_at = time.monotonic() + lock_seconds
    with translated(), connect_sync(dsn, application_name="pgorch migrate", autocommit=False) as connection:
        _check_server(connection)
        while True:
            try:
                return _migrate_once(connection, files, min(lock_seconds, _LOCK_SECONDS))
            except (pg.LockNotAvailable, pg.DeadlockDetected) as error:
                connection.rollback()
                if time.monotonic() >= give_up_at:
                    raise DatabaseUnavailable(
                        f"Another transaction holds a table or view of pgorch: {error.diag.message_primary}",
                        hint="Nothing was changed. Run pgorch migrate again; if that does not help, end the "
                        "transaction that holds the lock (see pg_stat_activity).",
                    ) from error
            # Those who have queued behind us get their turn.
            time.sleep(_LOCK_SECONDS * random.uniform(0.5, 1.0))


def _migrate_once(connection: Connection, files: SqlFiles, lock_seconds: float) -> list[str]:
    connection.execute("set local client_min_messages = warning")
    connection.execute(_LOCK)
    # While we wait behind somebody's long transaction, everybody else queues behind us.
    connection.execute("select set_config('lock_timeout', %s, true)", (f"{int(lock_seconds * 1000)}ms",))
    # So that every name in the files must say its schema, whatever the role's search_path is.
    connection.execute("set local search_path = ''")
    # Functions call each other across files, in both directions; their bodies are checked when first run.
    connection.execute("set local check_function_bodies = off")
    plan = _upgrade_plan(_installed(connection), files)
    _apply(connection, plan)
    return plan.names


def pending(dsn: str, *, files: SqlFiles | None = None) -> list[str]:
    """What `migrate` would apply now. Changes nothing. Raises what `migrate` would raise."""
    files = files or sql_files()
    with translated(), connect_sync(dsn, application_name="pgorch migrate", autocommit=False) as connection:
        _check_server(connection)
        connection.execute("set transaction read only")
        return _upgrade_plan(_installed(connection), files).names


def schema_sql(*, files: SqlFiles | None = None) -> str:
    """One SQL script that installs the whole schema into a database that has none."""
    files = files or sql_files()
    parts = ["begin;", "set local search_path = '';", "set local check_function_bodies = off;"]
    parts += ["create schema pgorch;", _BOOKS.strip()]
    parts += [f"-- {file.name}\n{file.text.strip()}" for file in files.migrations + files.functions]
    parts += [
        f"insert into pgorch.migrations (number, name, digest) values "
        f"({file.number}, '{file.name}', '{file.digest}');"
        for file in files.migrations
    ]
    parts += [
        f"insert into pgorch.function_files (name, digest, version) values "
        f"('{file.name}', '{file.digest}', '{pgorch.__version__}');"
        for file in files.functions
    ]
    parts += ["select pgorch.maintain();", "commit;"]
    return "\n\n".join(parts) + "\n"


def check_schema(connection: Connection, *, files: SqlFiles | None = None) -> None:
    """Does the schema fit this version of pgorch? Raises SchemaMismatch with what to do if not.

    Functions that a newer version replayed are fine as long as no migration came with them: a changed
    signature needs one, and so the processes of the old version run on while a deploy is under way.
    """
    with translated():
        installed = _installed(connection)
    _check_installed(installed, files or sql_files())


async def check_schema_async(connection: AsyncConnection, *, files: SqlFiles | None = None) -> None:
    """Like `check_schema`."""
    with translated():
        row = await (await connection.execute(_HAS_BOOKS)).fetchone()
        installed = _Installed()
        if row and row[0]:
            installed = _Installed(
                tuple(await (await connection.execute(_APPLIED_MIGRATIONS)).fetchall()),
                tuple(await (await connection.execute(_APPLIED_FUNCTIONS)).fetchall()),
            )
    _check_installed(installed, files or sql_files())


def _check_installed(installed: _Installed, files: SqlFiles) -> None:
    if not installed.migrations:
        raise SchemaMismatch("The database has no schema pgorch yet.", hint="Run: pgorch migrate")
    plan = _plan(installed, files)
    newer_functions = not plan.migrations and _newest_version(installed) > _numbers(pgorch.__version__)
    if plan.names and not newer_functions:
        raise SchemaMismatch(
            f"The schema in the database is older than this pgorch: {', '.join(plan.names)} not applied.",
            hint="Run: pgorch migrate",
        )


def _check_server(connection: Connection) -> None:
    version = connection.info.server_version
    if version < OLDEST_SERVER:
        raise ConfigError(
            f"The server is PostgreSQL {version // 10000}; pgorch needs 15 or newer.",
            hint="Upgrade the server or use another one.",
        )
    encoding = connection.info.parameter_status("server_encoding")
    if encoding != "UTF8":
        raise ConfigError(
            f"The database has the encoding {encoding}; pgorch needs UTF8, for JSON.",
            hint="Make a database with: create database ... encoding 'UTF8' template template0",
        )


def _installed(connection: Connection) -> _Installed:
    row = connection.execute(_HAS_BOOKS).fetchone()
    if not row or not row[0]:
        return _Installed()
    return _Installed(
        tuple(connection.execute(_APPLIED_MIGRATIONS).fetchall()),
        tuple(connection.execute(_APPLIED_FUNCTIONS).fetchall()),
    )


def _plan(installed: _Installed, files: SqlFiles) -> _Plan:
    known = {file.number: file for file in files.migrations}
    for number, name, digest in installed.migrations:
        file = known.get(number)
        if file is None:
            raise SchemaMismatch(
                f"The schema in the database is newer than this pgorch ({pgorch.__version__}): "
                f"it has migration {name}.",
                hint="Upgrade pgorch to the version that migrated the database.",
            )
        if file.digest != digest:
            raise SchemaMismatch(
                f"The migration {file.name} is not the one that was applied to this database as {name}: "
                "its text was changed afterwards.",
                hint="Restore the file as it was released and put the change into a new migration.",
            )
    applied = {number for number, _, _ in installed.migrations}
    migrations = tuple(file for file in files.migrations if file.number not in applied)
    replayed = {name: digest for name, digest, _ in installed.functions}
    changed = replayed != {file.name: file.digest for file in files.functions}
    return _Plan(migrations, files.functions if migrations or changed else ())


def _upgrade_plan(installed: _Installed, files: SqlFiles) -> _Plan:
    plan = _plan(installed, files)
    newest = _newest_version(installed)
    if plan.functions and newest > _numbers(pgorch.__version__):
        raise SchemaMismatch(
            f"The functions in the database were installed by pgorch {'.'.join(map(str, newest))}; "
            f"this is the older pgorch {pgorch.__version__}.",
            hint="Upgrade pgorch to the version that migrated the database.",
        )
    return plan


def _apply(connection: Connection, plan: _Plan) -> None:
    if plan.names:
        if connection.execute("select to_regnamespace('pgorch')").fetchone() == (None,):
            connection.execute("create schema pgorch")
        connection.execute(_BOOKS)
    for file in plan.migrations:
        _run(connection, file)
        connection.execute(
            "insert into pgorch.migrations (number, name, digest) values (%s, %s, %s)",
            (file.number, file.name, file.digest),
        )
    for file in plan.functions:
        _run(connection, file)
    if plan.functions:
        connection.execute("delete from pgorch.function_files")
        for file in plan.functions:
            connection.execute(
                "insert into pgorch.function_files (name, digest, version) values (%s, %s, %s)",
                (file.name, file.digest, pgorch.__version__),
            )
    if connection.execute("select to_regprocedure('pgorch.maintain()')").fetchone() != (None,):
        connection.execute("select pgorch.maintain()")


def _run(connection: Connection, file: SqlFile) -> None:
    # Without parameters several commands in one text are allowed, and % is a plain character.
    connection.execute(file.text.encode())


def _newest_version(installed: _Installed) -> tuple[int, ...]:
    return max((_numbers(version) for _, _, version in installed.functions), default=())


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split(".")[:3] if part.isdigit())
