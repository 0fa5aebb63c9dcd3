"""Opens connections to the database, async and sync, all with the same settings."""

import asyncio
import contextlib
import os
import re
import select
import socket
from collections.abc import Iterator
from typing import Any, Final

import psycopg
from psycopg import AsyncConnection, Connection
from psycopg.conninfo import conninfo_to_dict
from psycopg.rows import TupleRow

from pgorch.database.translation import translated
from pgorch.errors import ConfigError

# A peer that is gone without a word (power, network) is noticed after about ten seconds, idle or not.
SETTINGS: dict[str, str | int] = {
    "connect_timeout": 10,
    "keepalives": 1,
    "keepalives_idle": 5,
    "keepalives_interval": 2,
    "keepalives_count": 3,
    "tcp_user_timeout": 10_000,
}


# The server notices in the same time that we are gone: it ends what nobody waits for, and its session.
LET_GO: Final = (
    ("tcp_keepalives_idle", "5"),
    ("tcp_keepalives_interval", "2"),
    ("tcp_keepalives_count", "3"),
    ("tcp_user_timeout", "10s"),
)
# In sessions that ask the engine. It locks what it decides on and reads it after that: with an older
# snapshot, as a role may have it by default, it would fail.
OWN: Final = {**dict(LET_GO), "default_transaction_isolation": "read committed"}


def connection_parameters(
    dsn: str, *, application_name: str, writes: bool = False, timeout_seconds: int | None = None
) -> dict[str, Any]:
    """The parameters of `dsn` with pgorch's settings added where the DSN does not say otherwise.

    With `writes` only a server that can be written to will do: of several hosts the primary, and none that
    was made read only. `timeout_seconds`: how long connecting to one host may take. Raises ConfigError if
    `dsn` cannot be read.
    """
    try:
        given = conninfo_to_dict(dsn)
    except psycopg.ProgrammingError as error:
        raise ConfigError(
            f"The DSN cannot be read: {_without_secrets(error)}",
            hint="Write it as postgresql://user@host:5432/database or as host=... dbname=...",
        ) from error
    ours: dict[str, Any] = {"application_name": application_name, **SETTINGS}
    if writes:
        ours["target_session_attrs"] = "read-write"
    if timeout_seconds is not None:
        ours["connect_timeout"] = timeout_seconds
    return {**ours, **given}


def _without_secrets(error: psycopg.Error) -> str:
    # libpq quotes what it cannot read, and that can hold a password; the name of an option cannot.
    text = str(error).strip()
    return text if text.startswith("invalid connection option") else re.sub('".*"', '"..."', text)


async def connect(
    dsn: str,
    *,
    application_name: str,
    autocommit: bool = True,
    writes: bool = False,
    timeout_seconds: int | None = None,
) -> AsyncConnection[TupleRow]:
    """An async connection. Raises DatabaseUnavailable if there is none to be had.

    It prepares no statements, which would not outlive a transaction behind a pooler; `pooling.settle` finds
    out whether there is one.
    """
    parameters = connection_parameters(
        dsn, application_name=application_name, writes=writes, timeout_seconds=timeout_seconds
    )
    with translated():
        return await AsyncConnection.connect(**parameters, autocommit=autocommit, prepare_threshold=None)


def connect_sync(
    dsn: str, *, application_name: str, autocommit: bool = True, writes: bool = False
) -> Connection[TupleRow]:
    """Like `connect`."""
    parameters = connection_parameters(dsn, application_name=application_name, writes=writes)
    with translated():
        return Connection.connect(**parameters, autocommit=autocommit, prepare_threshold=None)


def is_usable(connection: AsyncConnection[Any] | Connection[Any]) -> bool:
    """Can this idle connection be used? No statement is sent: a server has nothing to say to an idle
    connection but that it is over."""
    if connection.closed:
        return False
    poller = select.poll()
    poller.register(connection.fileno(), select.POLLIN)
    return not poller.poll(0)


def cut(connection: AsyncConnection[Any] | Connection[Any] | None) -> None:
    """Ends a connection from outside: whoever waits for an answer gets an error now. Safe from any thread."""
    if connection is None or connection.closed:
        return
    # Through a duplicate, because the descriptor itself belongs to libpq.
    with (
        contextlib.suppress(OSError, psycopg.Error),
        socket.socket(fileno=os.dup(connection.fileno())) as wire,
    ):
        wire.shutdown(socket.SHUT_RDWR)


@contextlib.contextmanager
def answering(connection: AsyncConnection[Any], seconds: float) -> Iterator[None]:
    """Whoever waits inside for an answer has it, or an error, after so many seconds: a line that swallows
    everything looks like a server that is slow, and no timeout of the server's reaches us through it."""
    timer = asyncio.get_running_loop().call_later(seconds, cut, connection)
    try:
        yield
    finally:
        timer.cancel()
