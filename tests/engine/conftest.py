from collections.abc import Iterator

import psycopg
import pytest
from psycopg import Connection
from psycopg.rows import DictRow

from tests.support.databases import Databases
from tests.support.engine import Engine
from tests.support.invariants import violations

# Definitions last: runs refer to them.
WRITTEN = (
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
)


@pytest.fixture(scope="session")
def shared_database(databases: Databases) -> Iterator[str]:
    name = databases.create(databases.template())
    yield databases.dsn(name)
    databases.drop(name)


@pytest.fixture
def database(shared_database: str) -> Iterator[str]:
    """A database that is empty but for pgorch. Emptying one is much faster than making another."""
    yield shared_database
    with psycopg.connect(shared_database, autocommit=True) as connection:
        left = connection.execute(
            "select query from pg_stat_activity where datname = current_database()"
            " and pid <> pg_backend_pid() and backend_type = 'client backend' and state <> 'idle'"
        ).fetchall()
        assert left == [], "sessions are still at work after the test"
        with connection.transaction():
            for table in WRITTEN:
                connection.execute(f"delete from pgorch.{table}".encode())
            connection.execute("update pgorch._clock set offset_by = '0' where offset_by <> '0'")


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
