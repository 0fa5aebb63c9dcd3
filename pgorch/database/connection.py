"""Opens connections to the database, async and sync, all with the same settings."""

import re
import select
from typing import Any

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


def connection_parameters(dsn: str, *, application_name: str) -> dict[str, Any]:
    """The parameters of `dsn` with pgorch's settings added where the DSN does not say otherwise.

    Raises ConfigError if `dsn` cannot be read.
    """
    try:
        given = conninfo_to_dict(dsn)
    except psycopg.ProgrammingError as error:
        raise ConfigError(
            f"The DSN cannot be read: {_without_secrets(error)}",
            hint="Write it as postgresql://user@host:5432/database or as host=... dbname=...",
        ) from error
    return {"application_name": application_name, **SETTINGS, **given}


def _without_secrets(error: psycopg.Error) -> str:
    # libpq quotes what it cannot read, and that can hold a password; the name of an option cannot.
    text = str(error).strip()
    return text if text.startswith("invalid connection option") else re.sub('".*"', '"..."', text)


async def connect(dsn: str, *, application_name: str, autocommit: bool = True) -> AsyncConnection[TupleRow]:
    """An async connection. Raises DatabaseUnavailable if there is none to be had.

    It prepares no statements, which would not outlive a transaction behind a pooler; `pooling.settle` finds
    out whether there is one.
    """
    parameters = connection_parameters(dsn, application_name=application_name)
    with translated():
        return await AsyncConnection.connect(**parameters, autocommit=autocommit, prepare_threshold=None)


def connect_sync(dsn: str, *, application_name: str, autocommit: bool = True) -> Connection[TupleRow]:
    """Like `connect`."""
    parameters = connection_parameters(dsn, application_name=application_name)
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
