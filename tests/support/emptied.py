"""One database and one session for many tests, emptied after each: much faster than making new ones.

A directory of tests uses them by importing `connection`, `database` and `engine` in its conftest.
"""

import time
from collections.abc import Iterator

import psycopg
import pytest
from psycopg import Connection
from psycopg.rows import DictRow, dict_row

from tests.support.databases import Databases, direct
from tests.support.engine import Engine
from tests.support.invariants import violations

# Definitions last: runs refer to them.
WRITTEN = (
    "schedule_firings",
    "schedules",
    "history",
    "votes",
    "audit",
    "approvals",
    "timers",
    "signals",
    "_row_waits",
    "_row_changes",
    "steps",
    "_revocations",
    "_writes",
    "_worker_leases",
    "_idempotency_keys",
    "hook_attempts",
    "hook_deliveries",
    "_hook_secrets",
    "hooks",
    "runs",
    "edges",
    "nodes",
    "_reach",
    "graphs",
    "tools",
    "limits",
    "_limit_state",
    "_key_changes",
    "api_keys",
)

# Tables and functions of a test's own.
_DROP = """
    do $$ declare found record; begin
        for found in select c.oid::regclass as name from pg_class c
                     where c.relnamespace = 'public'::regnamespace and c.relkind = 'r' loop
            execute format('drop table if exists %s cascade', found.name);
        end loop;
        for found in select p.oid::regprocedure as name from pg_proc p
                     where p.pronamespace = 'public'::regnamespace loop
            execute format('drop function if exists %s cascade', found.name);
        end loop;
    end $$
"""
EMPTY = "; ".join(
    [
        _DROP.strip(),
        *(f"delete from pgorch.{table}" for table in WRITTEN),
        "update pgorch._clock set offset_by = '0' where offset_by <> '0'",
        "update pgorch.settings set value = '\"30 days\"' where name = 'retention'",
    ]
).encode()
_ENDING_SECONDS = 5.0
_AT_WORK = """
    select query from pg_stat_activity where datname = current_database()
    and pid <> pg_backend_pid() and backend_type = 'client backend' and state <> 'idle'
"""
RESET = b"reset session authorization; reset all; unlisten *; select pg_advisory_unlock_all()"


class SharedConnection:
    """A session that test follows test in: its plans are made once. Nothing else of it outlives a test."""

    def __init__(self, dsn: str) -> None:
        self._dsn = dsn
        self._connection: Connection[DictRow] | None = None

    def get(self) -> Connection[DictRow]:
        if self._connection is None or self._connection.broken or self._connection.closed:
            # A statement of one test may mean another table in the next.
            self._connection = psycopg.connect(
                direct(self._dsn),
                autocommit=True,
                row_factory=dict_row,
                application_name="test",
                # Compiling the statement of all invariants would take a second each time.
                options="-c jit=off",
                prepare_threshold=None,
            )
        return self._connection

    def clean(self) -> Connection[DictRow]:
        connection = self.get()
        try:
            connection.rollback()
            connection.autocommit = True
            connection.execute(RESET)
        except psycopg.Error:
            connection.close()
        return self.get()

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()


@pytest.fixture
def connection(
    database: str, shared_database: str, shared_connection: SharedConnection
) -> Iterator[Connection[DictRow]]:
    """A connection to `database` in autocommit; rows are dicts."""
    if database == shared_database:
        yield shared_connection.get()
    else:
        with psycopg.connect(
            direct(database), autocommit=True, row_factory=dict_row, application_name="test"
        ) as connection:
            yield connection


@pytest.fixture
def database(shared_database: str, shared_connection: SharedConnection) -> Iterator[str]:
    """A database that is empty but for pgorch. Emptying one is much faster than making another."""
    yield shared_database
    connection = shared_connection.clean()
    deadline = time.monotonic() + _ENDING_SECONDS
    while left := connection.execute(_AT_WORK).fetchall():
        assert time.monotonic() < deadline, f"sessions are still at work after the test: {left}"
        time.sleep(0.05)
    connection.execute(EMPTY)


@pytest.fixture
def fresh_database(databases: Databases) -> Iterator[str]:
    """A database that no other test has used or will use."""
    name = databases.create(databases.template())
    yield databases.dsn(name)
    databases.drop(name)


@pytest.fixture
def engine(connection: Connection[DictRow]) -> Iterator[Engine]:
    """A database to play on; whatever a test did there, the invariants hold at its end."""
    yield Engine(connection)
    assert violations(connection) == {}
