import pytest

from tests.support.emptied import connection, database, engine, fresh_database

__all__ = ["connection", "database", "engine", "fresh_database"]

# So that a difference between the two is shown.
pytest.register_assert_rewrite("tests.language.both")
