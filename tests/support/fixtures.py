"""The pytest plugin of the suite: a server for the run, and a fresh database for each test."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from psycopg.rows import DictRow, dict_row

from tests.support.databases import Databases
from tests.support.emptied import SharedConnection
from tests.support.server import TestRun, description, shared_server, wait_for_end_of_sessions

RUN_DIRECTORY = "PGORCH_TEST_RUN_DIRECTORY"
_test_run = pytest.StashKey[TestRun]()


def pytest_configure(config: pytest.Config) -> None:
    # A shell starts what runs in its background with SIGINT ignored, which every child inherits: processes
    # that tests interrupt would not hear it.
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    # Only the controller: the workers of pytest-xdist inherit its environment.
    if not hasattr(config, "workerinput"):
        run = config.stash[_test_run] = TestRun()
        os.environ[RUN_DIRECTORY] = str(run.directory)


def pytest_unconfigure(config: pytest.Config) -> None:
    if _test_run in config.stash:
        config.stash[_test_run].close()


def pytest_report_header(config: pytest.Config) -> str:
    return f"postgres: {description()}, {os.environ.get('PGORCH_TEST_BUCKETS', '1')} bucket(s)"


@pytest.fixture(scope="session")
def server() -> str:
    """The DSN of a PostgreSQL server that this test run may do anything to."""
    return shared_server(Path(os.environ[RUN_DIRECTORY]))


@pytest.fixture(scope="session")
def databases(server: str) -> Iterator[Databases]:
    """Makes databases on the server of this test run."""
    with psycopg.connect(server, autocommit=True, application_name="pytest") as admin:
        yield Databases(server, admin)


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
        database, autocommit=True, row_factory=dict_row, application_name="test"
    ) as connection:
        yield connection


def _fresh(databases: Databases, template: str) -> Iterator[str]:
    name = databases.create(template)
    try:
        yield databases.dsn(name)
        left = wait_for_end_of_sessions(databases.admin, name, seconds=5)
    finally:
        databases.drop(name)
    if left:
        pytest.fail(f"sessions left open after the test: {'; '.join(left)}", pytrace=False)
