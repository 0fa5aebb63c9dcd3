"""What handlers share in one process. None of it is state: another process can answer the next request."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from pgorch.api.connections import SIZE, WAIT_SECONDS, Connections
from pgorch.api.gate import Gate, KeyGate
from pgorch.api.waiting import RunChanges
from pgorch.database.queries import Queries


class Services:
    """The connections, the listener and the gate of one API process."""

    def __init__(
        self,
        dsn: str,
        connections: int = SIZE,
        connection_wait_seconds: float = WAIT_SECONDS,
        *,
        no_auth: bool = False,
        direct_dsn: str | None = None,
    ) -> None:
        self.gate = Gate() if no_auth else KeyGate(dsn, connection_wait_seconds)
        self.connections = Connections(dsn, connections, connection_wait_seconds)
        self.changes = RunChanges(direct_dsn or dsn, self.connections)

    async def open(self) -> None:
        self.changes.start()
        self.gate.open()

    async def close(self) -> None:
        await self.changes.stop()
        await self.gate.close()
        await self.connections.close()

    @asynccontextmanager
    async def queries(self) -> AsyncIterator[Queries]:
        """The functions of pgorch on a connection of the pool, each call a transaction of its own."""
        async with self.connections.borrow() as connection:
            yield Queries(connection)
