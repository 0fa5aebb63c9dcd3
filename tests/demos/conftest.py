from collections.abc import Iterator

import pytest

from pgorch.testing.plugin import pgorch_db, pgorch_tools
from tests.support.databases import Databases

__all__ = ["pgorch_db", "pgorch_tools"]


@pytest.fixture(scope="session")
def pgorch_dsn(databases: Databases) -> Iterator[str]:
    """A database on the server of this test run; tools may leave traces there."""
    name = databases.create(databases.template())
    yield databases.dsn(name)
    databases.drop(name)
