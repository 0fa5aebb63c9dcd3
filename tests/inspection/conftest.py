from tests.support.emptied import connection, database, engine, fresh_database

__all__ = ["connection", "database", "engine", "fresh_database"]
