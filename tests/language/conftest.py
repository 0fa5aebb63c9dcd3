import pytest

from tests.engine.conftest import database, engine, fresh_database, shared_database

__all__ = ["database", "engine", "fresh_database", "shared_database"]

# So that a difference between the two is shown.
pytest.register_assert_rewrite("tests.language.both")
