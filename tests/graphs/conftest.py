from collections.abc import Iterator

import pytest
from psycopg import Connection, Rollback
from psycopg.rows import DictRow

from tests.graphs.graphs import Graphs
from tests.support.databases import Databases
from tests.support.races import open_connection


@pytest.fixture(scope="session")
def graphs_session(databases: Databases) -> Iterator[Connection[DictRow]]:
    name = databases.create(databases.template())
    with open_connection(databases.dsn(name)) as connection:
        yield connection
    databases.drop(name)


@pytest.fixture
def graphs(graphs_session: Connection[DictRow]) -> Iterator[Graphs]:
    """A database with a few tools and no graph; what a test does there is rolled back."""
    with graphs_session.transaction():
        graphs = Graphs(graphs_session)
        graphs.register("f", "profile_data", "clean_data")
        yield graphs
        raise Rollback
