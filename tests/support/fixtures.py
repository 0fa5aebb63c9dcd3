"""The pytest plugin of the suite: a server for the run, and a fresh database for each test."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from psycopg.rows import DictRow, dict_row

from tests.support.databases import DIRECT, POOLER_PORT, Databases, direct
from tests.support.emptied import SharedConnection
from tests.support.pooler import Pooler, pooler_program
from tests.support.server import TestRun, description, shared_server, wait_for_end_of_sessions

RUN_DIRECTORY = "PGORCH_TEST_RUN_DIRECTORY"
# The programs under test then go through a pooler; what tests look at themselves they see without it.
POOLED = os.environ.get("PGORCH_TEST_POOLER", "") not in ("", "0")
_test_run = pytest.StashKey[TestRun]()


def pytest_configure(config: pytest.Config) -> None:
    # A shell starts what runs in its background with SIGINT ignored, which every child inherits: processes
    # that tests interrupt would not hear it.
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    if POOLED:
        # What tests open themselves; the programs under test have to see to it on their own.
        vars(psycopg.Connection)["connect"].__func__.__kwdefaults__["prepare_threshold"] = None
    # Only the controller: the workers of pytest-xdist inherit its environment.
    if not hasattr(config, "workerinput"):
        run = config.stash[_test_run] = TestRun()
        os.environ[RUN_DIRECTORY] = str(run.directory)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if POOLED:
        skip = pytest.mark.skip(reason="looks at sessions, which are the pooler's")
        for item in items:
            if item.get_closest_marker("sessions"):
                item.add_marker(skip)


def pytest_unconfigure(config: pytest.Config) -> None:
    if _test_run in config.stash:
        config.stash[_test_run].close()


def pytest_report_header(config: pytest.Config) -> str:
    pooled = ", through PgBouncer in transaction mode" if POOLED else ""
    return f"postgres: {description()}, {os.environ.get('PGORCH_TEST_BUCKETS', '1')} bucket(s){pooled}"


@pytest.fixture(scope="session")
def server() -> str:
    """The DSN of a PostgreSQL server that this test run may do anything to."""
    return shared_server(Path(os.environ[RUN_DIRECTORY]))


@pytest.fixture(scope="session")
def session_pooler(server: str) -> Iterator[Pooler | None]:
    """The pooler of this process, with PGORCH_TEST_POOLER=1."""
    if not POOLED:
        yield None
        return
    with Pooler(server) as pooler:
        os.environ |= {DIRECT: server, POOLER_PORT: str(pooler.port)}
        yield pooler


@pytest.fixture
def pooler(server: str) -> Iterator[Pooler]:
    """A pooler in transaction mode that this test has for itself."""
    if pooler_program() is None:
        pytest.skip("PgBouncer is not installed (Debian's package is pgbouncer)")
    with Pooler(server) as pooler:
        yield pooler


@pytest.fixture(scope="session")
def databases(server: str, session_pooler: Pooler | None) -> Iterator[Databases]:
    """Makes databases on the server of this test run."""
    with psycopg.connect(server, autocommit=True, application_name="pytest") as admin:
        yield Databases(server, admin, session_pooler)


@pytest.fixture(scope="session")
def template(databases: Databases) -> str:
    """The name of the database that `database` is cloned from."""
    return databases.template()


@pytest.fixture(scope="session")
def shared_database(databases: Databases, template: str) -> Iterator[str]:
    """The DSN of a database that is emptied after each test that uses it (tests.support.emptied)."""
    name = databases.create(template)
    yield databases.dsn(name)
    databases.drop(name)


@pytest.fixture(scope="session")
def shared_connection(shared_database: str) -> Iterator[SharedConnection]:
    """The session to `shared_database` that test follows test in."""
    shared = SharedConnection(shared_database)
    yield shared
    shared.close()


@pytest.fixture
def empty_database(databases: Databases) -> Iterator[str]:
    """The DSN of a database without schema pgorch."""
    yield from _fresh(databases, "template0")


@pytest.fixture
def database(databases: Databases, template: str) -> Iterator[str]:
    """The DSN of a database of this test alone, with schema pgorch installed."""
    yield from _fresh(databases, template)


@pytest.fixture
def connection(database: str) -> Iterator[psycopg.Connection[DictRow]]:
    """A connection to `database` in autocommit; rows are dicts."""
    with psycopg.connect(
        direct(database),
        autocommit=True,
        row_factory=dict_row,
        application_name="test",
    ) as connection:
        yield connection


def _fresh(databases: Databases, template: str) -> Iterator[str]:
    name = databases.create(template)
    try:
        yield databases.dsn(name)
        # The sessions of a pooler are its own, and stay.
        left = [] if POOLED else wait_for_end_of_sessions(databases.admin, name, seconds=5)
    finally:
        databases.drop(name)
    if left:
        pytest.fail(f"sessions left open after the test: {'; '.join(left)}", pytrace=False)
