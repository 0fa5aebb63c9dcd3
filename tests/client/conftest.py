"""Clients, in a database that knows a graph which asks."""

from collections.abc import AsyncIterator, Iterator

import pytest

from pgorch.client import AsyncClient, Client
from tests.support.emptied import connection, database
from tests.support.engine import definition

__all__ = ["connection", "database"]

ASKING = definition(
    [{"id": "ask", "type": "approval", "title": "Go on?"}, {"id": "end", "type": "pass"}],
    ["ask>end"],
    name="asking",
)


@pytest.fixture
def client(database: str) -> Iterator[Client]:
    """A client, in a database that knows the graph "asking"."""
    with Client(database) as client:
        client.create_graph(ASKING)
        yield client


@pytest.fixture
async def async_client(database: str, client: Client) -> AsyncIterator[AsyncClient]:
    async with AsyncClient(database) as async_client:
        yield async_client
