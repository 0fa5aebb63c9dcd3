"""The border at which errors of the driver become errors of pgorch."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
from psycopg import errors as pg

from pgorch.errors import (
    DatabaseUnavailable,
    IdempotencyConflict,
    InvalidGraph,
    InvalidValue,
    LeaseLost,
    NotAllowed,
    NotFound,
    PgorchError,
    SchemaMismatch,
    WrongState,
)

_OWN: dict[str, type[PgorchError]] = {
    str(kind.code): kind for kind in (LeaseLost, WrongState, NotFound, IdempotencyConflict, NotAllowed)
}
# Serialization failure, deadlock, cancelled by a timeout or an administrator, shutdown, read only standby.
_TRANSIENT_STATES = ("40001", "40P01", "55P03", "57014", "57P01", "57P02", "57P03", "57P05", "25006")
# Connection exceptions and insufficient resources (disk, memory, connections).
_TRANSIENT_CLASSES = ("08", "53")


@contextmanager
def translated() -> Iterator[None]:
    """Errors of psycopg raised inside leave as PgorchError, with the original as cause, where there is one
    that fits; others (a violated constraint in the caller's own transaction, say) pass unchanged."""
    try:
        yield
    except psycopg.Error as error:
        better = translate(error)
        if better is None:
            raise
        raise better from error


def translate(error: psycopg.Error) -> PgorchError | None:
    """The error of pgorch that says the same, or None."""
    state, message, hint = error.sqlstate or "", _message(error), error.diag.message_hint or None
    if state == InvalidGraph.code:
        return InvalidGraph(message, errors=_listed(error), hint=hint)
    if state == InvalidValue.code:
        return InvalidValue(message, errors=_listed(error), hint=hint)
    if state in _OWN:
        return _OWN[state](message, hint=hint)
    if isinstance(
        error, pg.UndefinedFunction | pg.UndefinedTable | pg.UndefinedColumn | pg.InvalidSchemaName
    ):
        if "pgorch" not in message and not isinstance(error, pg.UndefinedColumn):
            return None
        return SchemaMismatch(
            f"The database has no schema of this version of pgorch: {message}",
            hint="Run: pgorch migrate. If it has nothing to do, this pgorch is older than the schema: "
            "upgrade it.",
        )
    if isinstance(error, pg.InsufficientPrivilege):
        return NotAllowed(
            f"The role of this connection may not do that: {message}",
            hint="Use a role that has the right, or have it granted by the owner of schema pgorch.",
        )
    # Values that SQL refuses before a function of pgorch sees them: no JSON, NUL, not a UUID, too large.
    if state.startswith("22"):
        return InvalidValue(message, hint=hint)
    if _is_lost(error):
        return DatabaseUnavailable(
            f"The database is not available: {message}",
            hint="Look whether the server runs and the DSN names it. If a call was under way, it may or may "
            "not have been done.",
        )
    return None


def is_transient(error: BaseException) -> bool:
    """Can the same call succeed if it is simply made again, on a new connection if need be?"""
    if isinstance(error, DatabaseUnavailable):
        return True
    if isinstance(error, PgorchError) and isinstance(error.__cause__, psycopg.Error):
        return False
    if not isinstance(error, psycopg.Error):
        return isinstance(error, OSError)
    state = error.sqlstate or ""
    return state in _TRANSIENT_STATES or state[:2] in _TRANSIENT_CLASSES or _is_lost(error)


def is_read_only(error: BaseException) -> bool:
    """Does this connection lead to a server that cannot be written to, a former primary say?"""
    if isinstance(error, PgorchError) and error.__cause__ is not None:
        return is_read_only(error.__cause__)
    return isinstance(error, pg.ReadOnlySqlTransaction)


def _is_lost(error: psycopg.Error) -> bool:
    state = error.sqlstate
    if state is not None:
        return (
            _is_out_of_numbers(error)
            or state[:2] in _TRANSIENT_CLASSES
            or state in ("57P01", "57P02", "57P03", "57P05", "25006")
        )
    # Without a SQLSTATE it comes from the client's side: no connection, or a broken one.
    return isinstance(error, psycopg.OperationalError | psycopg.InterfaceError)


def _is_out_of_numbers(error: psycopg.Error) -> bool:
    """Does the server refuse to write until it is vacuumed, since its transaction ids are used up?"""
    return error.sqlstate == "54000" and (error.diag.source_function or "").startswith("GetNew")


def _message(error: psycopg.Error) -> str:
    return error.diag.message_primary or str(error).strip() or type(error).__name__


def _listed(error: psycopg.Error) -> list[dict[str, Any]]:
    detail = error.diag.message_detail
    if not detail:
        return []
    found = json.loads(detail)
    return found if isinstance(found, list) else []
