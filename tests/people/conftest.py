from collections.abc import Iterator

import pytest
from psycopg import Connection
from psycopg.rows import DictRow

from tests.engine.conftest import database, engine, fresh_database, shared_database
from tests.support.races import open_connection

__all__ = ["database", "engine", "fresh_database", "shared_database"]


@pytest.fixture(scope="session")
def schemas(shared_database: str) -> Iterator[Connection[DictRow]]:
    """A connection for functions that read and write no table."""
    with open_connection(shared_database) as connection:
        yield connection
