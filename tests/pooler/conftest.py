from tests.support.emptied import connection, database

__all__ = ["connection", "database"]
