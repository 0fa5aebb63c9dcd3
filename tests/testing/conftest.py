from pgorch.testing.plugin import pgorch_db, pgorch_tools
from tests.support.emptied import database

__all__ = ["database", "pgorch_db", "pgorch_tools"]

import pytest


@pytest.fixture(scope="session")
def pgorch_dsn(shared_database: str) -> str:
    """The server of this test run, instead of one of the plugin's own."""
    return shared_database
