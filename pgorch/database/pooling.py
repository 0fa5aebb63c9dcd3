"""Whose session is it? A pooler lends a connection another session for each transaction, which was used by
others before and will be used by others after. What is set, prepared, locked or listened for in a session has
to be left out there, or said anew in each transaction.
"""

import asyncio
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, ClassVar, LiteralString, Self, TypeVar

from psycopg import AsyncConnection, AsyncCursor, Connection, Cursor
from psycopg.abc import Params
from psycopg.errors import ProtocolViolation
from psycopg.pq import PipelineStatus, TransactionStatus

from pgorch.errors import ConfigError

# Where the session is not ours nothing is set.
_WHO: LiteralString = (
    "select pg_backend_pid(), (select count(set_config(s.name, s.value, false))"
    " from unnest(%s::text[], %s::text[]) s(name, value) where pg_backend_pid() = %s::int)"
)
_SET: LiteralString = (
    "select set_config(s.name, s.value, true) from unnest(%s::text[], %s::text[]) s(name, value)"
)

_PLACE: LiteralString = (
    "select d.oid, pg_postmaster_start_time() from pg_database d where d.datname = current_database()"
)
# In a session of our own, a statement is prepared when it has been asked so often.
PREPARE_AFTER = 5
NOTHING: Mapping[str, str] = {}

Row = TypeVar("Row", covariant=True)
AnyConnection = AsyncConnection[Any] | Connection[Any]


def _is_own(connection: AnyConnection, row: Any) -> bool:
    """Are we alone in the session? `row` is what pg_backend_pid() says; a pooler, which lends us sessions of
    its own, told us another process id."""
    return row is not None and row[0] == connection.info.backend_pid


def is_lent(connection: AnyConnection) -> bool:
    """Did `settle` find a pooler?"""
    return getattr(connection.cursor_factory, "is_lent", False)


async def settle(
    connection: AsyncConnection[Any], settings: Mapping[str, str], own: Mapping[str, str] = NOTHING
) -> bool:
    """Gives a new autocommit connection its settings, for as long as it lives; `own` are some more, where its
    session is its own. Is it?

    If not, nothing is prepared on it, and each statement that is a transaction of its own brings the settings
    along; a transaction of several begins with `set_locally`. Raises ConfigError if there can be none.
    """
    cursor = AsyncCursor(connection)
    await cursor.execute(_WHO, [*_arguments({**settings, **own}), connection.info.backend_pid], prepare=False)
    if _is_own(connection, await cursor.fetchone()):
        connection.prepare_threshold = PREPARE_AFTER
        return True
    connection.prepare_threshold = None
    if connection.autocommit:
        with _refusal():
            async with connection.transaction():
                pass
    own_class = {"settings": dict(settings), "turn": asyncio.Lock()}
    connection.cursor_factory = type("Lent", (_LentAsyncCursor,), own_class)
    return False


def settle_sync(
    connection: Connection[Any], settings: Mapping[str, str], own: Mapping[str, str] = NOTHING
) -> bool:
    """Like `settle`."""
    cursor = Cursor(connection)
    cursor.execute(_WHO, [*_arguments({**settings, **own}), connection.info.backend_pid], prepare=False)
    if _is_own(connection, cursor.fetchone()):
        connection.prepare_threshold = PREPARE_AFTER
        return True
    connection.prepare_threshold = None
    if connection.autocommit:
        with _refusal(), connection.transaction():
            pass
    own_class = {"settings": dict(settings), "turn": threading.Lock()}
    connection.cursor_factory = type("Lent", (_LentCursor,), own_class)
    return False


@contextmanager
def _refusal() -> Iterator[None]:
    try:
        yield
    except ProtocolViolation as error:
        raise ConfigError(
            f"The pooler allows no transactions of several statements: {str(error).strip()}",
            hint="Set pool_mode = transaction (or session) for this database.",
        ) from error


async def set_locally(connection: AsyncConnection[Any]) -> None:
    """At the beginning of a transaction: its settings, where the session is not ours and has none of them."""
    settings = getattr(connection.cursor_factory, "settings", None)
    if settings:
        await connection.execute(_SET, _arguments(settings), prepare=False)


async def check_direct(connection: AsyncConnection[Any], direct: AsyncConnection[Any]) -> None:
    """Is `direct` a session of its own in the database of `connection`? Raises ConfigError if not."""
    if is_lent(direct):
        raise ConfigError(
            "The direct DSN leads through a pooler, too.",
            hint="PGORCH_DIRECT_DSN (--direct-dsn) names the server itself. Leave it out if none can.",
        )
    here = await (await connection.execute(_PLACE, prepare=False)).fetchone()
    there = await (await direct.execute(_PLACE, prepare=False)).fetchone()
    if here != there:
        raise ConfigError(
            "The direct DSN leads to another database than the DSN.",
            hint="PGORCH_DIRECT_DSN (--direct-dsn) names the same server and database as PGORCH_DSN (--dsn).",
        )


def _arguments(settings: Mapping[str, str]) -> list[Any]:
    return [list(settings), list(settings.values())]


def _is_alone(connection: AnyConnection) -> bool:
    """Will the next statement be a transaction of its own?"""
    return (
        connection.autocommit
        and connection.info.transaction_status == TransactionStatus.IDLE
        and connection.pgconn.pipeline_status == PipelineStatus.OFF
    )


class _LentAsyncCursor(AsyncCursor[Row]):
    """Sends the settings along with each statement, in one round trip and one transaction."""

    is_lent: ClassVar[bool] = True
    settings: ClassVar[dict[str, str]]
    turn: ClassVar[asyncio.Lock]

    async def execute(
        self,
        query: Any,
        params: Params | None = None,
        *,
        prepare: bool | None = None,
        binary: bool | None = None,
    ) -> Self:
        # Several tasks may share the connection; nothing of theirs may come into the pipeline.
        async with self.turn:
            if not self.settings or not _is_alone(self.connection):
                return await super().execute(query, params, prepare=prepare, binary=binary)
            async with self.connection.pipeline():
                before = AsyncCursor(self.connection)
                await before.execute(_SET, _arguments(self.settings), prepare=False)
                await super().execute(query, params, prepare=False, binary=binary)
            return self


class _LentCursor(Cursor[Row]):
    """Like `_LentAsyncCursor`."""

    is_lent: ClassVar[bool] = True
    settings: ClassVar[dict[str, str]]
    turn: ClassVar[threading.Lock]

    def execute(
        self,
        query: Any,
        params: Params | None = None,
        *,
        prepare: bool | None = None,
        binary: bool | None = None,
    ) -> Self:
        with self.turn:
            if not self.settings or not _is_alone(self.connection):
                return super().execute(query, params, prepare=prepare, binary=binary)
            with self.connection.pipeline():
                before = Cursor(self.connection)
                before.execute(_SET, _arguments(self.settings), prepare=False)
                super().execute(query, params, prepare=False, binary=binary)
            return self
