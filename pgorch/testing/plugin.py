"""Fixtures for pytest. In the conftest.py at the root of your tests:

    pytest_plugins = ["pgorch.testing.plugin"]

A test that names `pgorch_db` then has a database of its own, which is rolled back at its end:

    def test_the_order_is_booked(pgorch_db):
        run = pgorch_db.run(graph, {"order": 7}, decisions={"release": "approved"})
        assert run.path == ["price", "release", "book"]

Override `pgorch_tools` to have the real tools of your app at hand:

    @pytest.fixture(scope="session")
    def pgorch_tools():
        return pgorch.tool.load_app("shop")
"""

from collections.abc import Iterator
from typing import Any

import pytest
from psycopg.conninfo import conninfo_to_dict

from pgorch.config import resolve_dsn
from pgorch.testing.own_server import embedded
from pgorch.testing.place import Database, database


def pytest_report_header() -> str:
    found = resolve_dsn()
    if found is None:
        return "pgorch: tests run in an embedded PostgreSQL, unless pgorch_dsn says otherwise"
    known = conninfo_to_dict(found)
    place = ", ".join(f"{key} {known[key]}" for key in ("host", "port", "dbname") if known.get(key))
    return f"pgorch: tests run in the database of the environment ({place or 'libpq variables'})"


@pytest.fixture(scope="session")
def pgorch_dsn() -> Iterator[str]:
    """The database of the environment (PGORCH_DSN, ...), else an embedded one that all tests share."""
    found = resolve_dsn()
    if found is not None:
        yield found
        return
    with embedded() as dsn:
        yield dsn


@pytest.fixture(scope="session")
def pgorch_tools() -> Any:
    """The real tools that tests may call: a Registry or a list of functions."""
    return []


@pytest.fixture
def pgorch_db(pgorch_dsn: str, pgorch_tools: Any) -> Iterator[Database]:
    """A database for one test; what happens there is rolled back at its end."""
    with database(pgorch_dsn, tools=pgorch_tools) as played:
        yield played
