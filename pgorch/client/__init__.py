"""Starts runs, answers approvals and reads runs, from Python. Everything here is a SQL function as well.

    with Client("postgresql://...") as client:
        run_id = client.start("refund", {"order": 4711})
        run = client.wait(run_id, timeout=60)

With `connection=` a client joins the transaction that is open there, so that your row and the run commit
together, or neither does:

    with psycopg.connect(dsn) as connection, connection.transaction():
        connection.execute("insert into refunds ...")
        Client(connection=connection).start("refund", {"order": 4711})

An error of such a call aborts the transaction, as that of any statement does. From SQLAlchemy, pass
`session.connection().connection.driver_connection` (with the driver psycopg).
"""

from pgorch.client.async_client import AsyncClient
from pgorch.client.run import Run
from pgorch.client.schedules import Schedule
from pgorch.client.sync_client import Client
from pgorch.database.rows import BulkRun, CreatedGraph, DeletedGraph, Limit

__all__ = [
    "AsyncClient",
    "BulkRun",
    "Client",
    "CreatedGraph",
    "DeletedGraph",
    "Limit",
    "Run",
    "Schedule",
]
