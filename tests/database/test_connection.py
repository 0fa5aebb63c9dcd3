"""How connections are opened."""

from pathlib import Path
from typing import Any

import psycopg
import pytest

from pgorch.database.connection import connect, connect_sync, connection_parameters, is_usable
from pgorch.errors import ConfigError, DatabaseUnavailable

Connection = psycopg.Connection[dict[str, Any]]


def test_a_dead_peer_is_noticed_unless_the_dsn_says_otherwise() -> None:
    settings = connection_parameters("host=h keepalives_idle=60", application_name="pgorch test")
    assert settings["keepalives_idle"] == "60"
    assert settings["tcp_user_timeout"] == 10_000
    assert settings["connect_timeout"] == 10
    assert settings["host"] == "h"


@pytest.mark.sessions
def test_the_server_sees_who_is_connected(database: str, connection: Connection) -> None:
    with connect_sync(database, application_name="pgorch test") as other:
        row = connection.execute(
            "select application_name from pg_stat_activity where pid = %s", (other.info.backend_pid,)
        ).fetchone()
        assert other.autocommit
    assert row == {"application_name": "pgorch test"}


async def test_an_async_connection_is_opened_alike(database: str) -> None:
    async with await connect(database, application_name="pgorch test", autocommit=False) as connection:
        assert connection.info.get_parameters()["application_name"] == "pgorch test"
        assert not connection.autocommit


@pytest.mark.parametrize("dsn", ["jane:secret@host", "postgresql://jane:secret%zz@host/db"])
def test_a_dsn_that_cannot_be_read_is_refused_without_showing_it(dsn: str) -> None:
    with pytest.raises(ConfigError, match="cannot be read") as caught:
        connect_sync(dsn, application_name="test")
    assert "secret" not in str(caught.value)


def test_a_misspelled_option_is_named() -> None:
    with pytest.raises(ConfigError, match="hots"):
        connect_sync("hots=localhost", application_name="test")


async def test_without_a_server_the_database_is_unavailable(tmp_path: Path) -> None:
    with pytest.raises(DatabaseUnavailable, match="not available") as caught:
        connect_sync(f"host={tmp_path}", application_name="test")
    assert caught.value.hint
    with pytest.raises(DatabaseUnavailable, match="not available"):
        await connect(f"host={tmp_path}", application_name="test")


@pytest.mark.sessions
def test_a_connection_is_usable_until_it_is_closed_by_either_side(
    database: str, connection: Connection
) -> None:
    with connect_sync(database, application_name="test") as one:
        one.execute("select 1")
        assert is_usable(one)
        connection.execute("select pg_terminate_backend(%s, 20000)", (one.info.backend_pid,))
        assert not one.closed
        assert not is_usable(one)
    assert not is_usable(one)
