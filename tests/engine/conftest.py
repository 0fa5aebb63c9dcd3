from collections.abc import Iterator

import pytest
from psycopg import Connection
from psycopg.rows import DictRow

from tests.support.engine import Engine
from tests.support.invariants import violations


@pytest.fixture
def engine(connection: Connection[DictRow]) -> Iterator[Engine]:
    """A fresh database to play on; whatever a test did there, the invariants hold at its end."""
    yield Engine(connection)
    assert violations(connection) == {}
