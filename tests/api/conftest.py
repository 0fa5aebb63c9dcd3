from collections.abc import AsyncIterator, Iterator

import httpx
import pytest
from psycopg import Connection
from psycopg.rows import DictRow
from starlette.applications import Starlette

from pgorch.api.app import create_app
from tests.api.driving import client_of, make_key
from tests.support.engine import Engine
from tests.support.invariants import violations


@pytest.fixture
async def app(database: str) -> AsyncIterator[Starlette]:
    """The application on a fresh database, started."""
    app = create_app(database, connection_wait_seconds=20)
    async with app.router.lifespan_context(app):
        yield app


@pytest.fixture
def key(database: str) -> str:
    """A key of ada's, who may do everything."""
    return make_key(database)


@pytest.fixture
async def client(app: Starlette, key: str) -> AsyncIterator[httpx.AsyncClient]:
    """Ada's client."""
    async with client_of(app, key) as client:
        yield client


@pytest.fixture
def engine(connection: Connection[DictRow]) -> Iterator[Engine]:
    """Plays the workers, through SQL, on the same database. At the end of the test the invariants hold."""
    yield Engine(connection)
    assert violations(connection) == {}
