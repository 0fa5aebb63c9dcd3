from collections.abc import AsyncIterator

import httpx
import pytest
from starlette.applications import Starlette

from pgorch.api.app import create_app
from tests.api.driving import client_of, make_key
from tests.support.emptied import connection, database, engine

__all__ = ["connection", "database", "engine"]


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
