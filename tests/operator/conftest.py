from tests.engine.conftest import database, engine, fresh_database, shared_database

__all__ = ["database", "engine", "fresh_database", "shared_database"]
