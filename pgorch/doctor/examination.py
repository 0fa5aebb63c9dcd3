"""The whole examination: every check, one after the other, none of which can spoil the others."""

from collections.abc import Callable, Collection, Iterator
from functools import partial
from typing import Any

import psycopg
from psycopg import Connection

from pgorch.database.connection import connect_sync
from pgorch.database.pooling import settle_sync
from pgorch.doctor import disk, horizon, schema, server, sessions, settings, work
from pgorch.doctor.finding import Ask, Finding, Limits
from pgorch.errors import PgorchError

# A check that takes longer on a large and busy database says so instead.
_STATEMENT = "5s"
_LOCK = "500ms"

Check = Callable[[Ask], list[Finding]]
_OF_THE_SERVER: tuple[tuple[str, Check], ...] = (
    ("server", server.server),
    ("read-only", server.read_only),
    ("durability", settings.durability),
    ("settings", settings.settings),
    ("connections", server.connections),
    ("locks", server.locks),
    ("clock", server.clock),
    ("autovacuum", settings.autovacuum),
    ("wraparound", horizon.wraparound),
    ("vacuum", horizon.horizon),
    ("disk", disk.disk),
    ("wal", disk.wal),
)
_OF_THE_SCHEMA: tuple[tuple[str, Check], ...] = (
    ("indexes", schema.indexes),
    ("history", schema.partitions),
    ("dead rows", schema.dead_rows),
    ("clock", work.time_went_back),
    ("workers", work.workers),
    ("tools", work.tools),
    ("leases", work.leases),
    ("stuck runs", work.stuck_runs),
    ("timers", work.timers),
    ("hooks", work.hooks),
    ("retention", work.retention),
)


def examine(
    dsn: str,
    *,
    direct_dsn: str | None = None,
    limits: Limits | None = None,
    only: Collection[str] | None = None,
) -> list[Finding]:
    """Everything that can be seen of the database `dsn`, or the checks of these names. `direct_dsn`: the same
    without the pooler.

    Raises DatabaseUnavailable if it cannot be reached, ConfigError.
    """
    limits = limits or Limits()
    with _opened(dsn) as connection:
        ask = Ask(connection, limits)
        return [
            finding
            for name, check in _checks(ask, dsn, direct_dsn)
            if only is None or name in only
            for finding in _tried(connection, name, check)
        ]


def _opened(dsn: str) -> Connection[Any]:
    connection: Connection[Any] = connect_sync(dsn, application_name="pgorch doctor")
    try:
        settle_sync(connection, {"statement_timeout": _STATEMENT, "lock_timeout": _LOCK})
    except BaseException:
        connection.close()
        raise
    return connection


def _checks(ask: Ask, dsn: str, direct_dsn: str | None) -> Iterator[tuple[str, Callable[[], list[Finding]]]]:
    for name, check in _OF_THE_SERVER:
        yield name, partial(check, ask)
    yield "pooler", lambda: sessions.pooler(ask, direct_dsn)
    yield "notifications", lambda: sessions.notifications(ask, direct_dsn or dsn)
    found = _tried(ask.connection, "schema", lambda: [schema.schema(ask)])
    yield "schema", lambda: found
    if found[0].level == "ok":
        for name, check in _OF_THE_SCHEMA:
            yield name, partial(check, ask)


def _tried(connection: Connection[Any], name: str, check: Callable[[], list[Finding]]) -> list[Finding]:
    try:
        return check()
    except psycopg.errors.QueryCanceled:
        return [Finding(name, "unknown", f"could not be found out within {_STATEMENT}")]
    except psycopg.errors.InsufficientPrivilege as error:
        role = "grant pg_monitor to the role, or ask as another"
        return [Finding(name, "unknown", f"cannot be seen: {error.diag.message_primary}", role)]
    except psycopg.Error as error:
        # Without the database there is nothing to find out; a second connection is a check's own trouble.
        if connection.closed:
            raise
        return [Finding(name, "unknown", f"could not be found out: {error.diag.message_primary or error}")]
    except PgorchError as error:
        if connection.closed:
            raise
        return [Finding(name, "unknown", f"could not be found out: {error}", error.hint or "")]
