from collections.abc import Iterator

import pytest
from psycopg import Connection
from psycopg.rows import DictRow

from tests.support.engine import Engine
from tests.support.invariants import violations


@pytest.fixture
def engine(connection: Connection[DictRow]) -> Iterator[Engine]:
    """Plays the workers, through SQL, on a fresh database. At the end of the test the invariants hold."""
    yield Engine(connection)
    assert violations(connection) == {}
