"""The async client: the sync one with `await`; a test keeps them alike."""

from asyncio import Lock
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, Self
from uuid import UUID

from psycopg import AsyncConnection
from psycopg_pool import AsyncConnectionPool

from pgorch.client.base import pool_translated
from pgorch.client.limits import AsyncLimits
from pgorch.client.operating import AsyncOperating
from pgorch.client.run import (
    AT_REST,
    ENDED,
    WATCH_SECONDS,
    Deadline,
    Run,
    definition_of,
    dsn_of,
    dsn_to_wait,
    id_of,
)
from pgorch.client.schedules import AsyncSchedules
from pgorch.client.steering import AsyncSteering
from pgorch.config import resolve_direct_dsn
from pgorch.database.connection import connect, is_usable
from pgorch.database.pooling import settle
from pgorch.database.queries import Queries
from pgorch.database.rows import CreatedGraph, DeletedGraph
from pgorch.database.translation import translated
from pgorch.graph import Graph


class AsyncClient(AsyncSteering, AsyncSchedules, AsyncLimits, AsyncOperating):
    """`Client` for asyncio, with the same methods. Tasks of one event loop may share it.

    See `Client` for what is done with `dsn`, `connection` and `direct_dsn`.
    """

    def __init__(
        self,
        dsn: str | None = None,
        *,
        connection: AsyncConnection[Any] | None = None,
        pool: AsyncConnectionPool[Any] | None = None,
        direct_dsn: str | None = None,
    ) -> None:
        self._dsn = dsn_of(dsn, connection, pool)
        self._direct_dsn = None if self._dsn is None else resolve_direct_dsn(direct_dsn, dsn=dsn)
        self._given = connection
        self._pool = pool
        self._own: AsyncConnection[Any] | None = None
        self._turn = Lock()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Closes the client's own connection. A later call opens another."""
        async with self._turn:
            await self._close()

    async def create_graph(
        self, graph: Graph | Mapping[str, Any], *, actor: str | None = None
    ) -> CreatedGraph:
        """Like `Client.create_graph`."""
        async with self._queries() as queries:
            return await queries.create_graph(definition_of(graph), actor=actor)

    async def delete_graph(self, graph: str | UUID, *, actor: str | None = None) -> DeletedGraph:
        """Like `Client.delete_graph`."""
        async with self._queries() as queries:
            return await queries.delete_graph(str(graph), actor=actor)

    async def start(
        self,
        graph: str | UUID,
        input: Mapping[str, Any] | None = None,
        *,
        idempotency_key: str | None = None,
        priority: int = 0,
        queue: str | None = None,
        labels: Mapping[str, str] | None = None,
        actor: str | None = None,
    ) -> UUID:
        """Like `Client.start`."""
        async with self._queries() as queries:
            return await queries.start(
                str(graph),
                input,
                idempotency_key=idempotency_key,
                priority=priority,
                queue=queue,
                labels=labels,
                actor=actor,
            )

    async def start_many(
        self,
        graph: str | UUID,
        inputs: Sequence[Mapping[str, Any]],
        *,
        priority: int = 0,
        queue: str | None = None,
        labels: Mapping[str, str] | None = None,
        actor: str | None = None,
    ) -> list[UUID]:
        """Like `Client.start_many`."""
        async with self._queries() as queries:
            return await queries.start_many(
                str(graph), inputs, priority=priority, queue=queue, labels=labels, actor=actor
            )

    async def decide(
        self,
        run_id: UUID | str | None,
        decision: str,
        *,
        data: Any = None,
        comment: str | None = None,
        approval_id: UUID | str | None = None,
        actor: str | None = None,
        roles: Sequence[str] | None = None,
    ) -> UUID:
        """Like `Client.decide`."""
        async with self._queries() as queries:
            return await queries.decide(
                None if run_id is None else id_of(run_id),
                decision,
                data=data,
                comment=comment,
                approval_id=None if approval_id is None else id_of(approval_id),
                actor=actor,
                roles=roles,
            )

    async def approve(
        self,
        run_id: UUID | str | None = None,
        *,
        data: Any = None,
        comment: str | None = None,
        approval_id: UUID | str | None = None,
        actor: str | None = None,
        roles: Sequence[str] | None = None,
    ) -> UUID:
        """`decide` with "approved"."""
        return await self.decide(
            run_id,
            "approved",
            data=data,
            comment=comment,
            approval_id=approval_id,
            actor=actor,
            roles=roles,
        )

    async def reject(
        self,
        run_id: UUID | str | None = None,
        *,
        data: Any = None,
        comment: str | None = None,
        approval_id: UUID | str | None = None,
        actor: str | None = None,
        roles: Sequence[str] | None = None,
    ) -> UUID:
        """`decide` with "rejected"."""
        return await self.decide(
            run_id,
            "rejected",
            data=data,
            comment=comment,
            approval_id=approval_id,
            actor=actor,
            roles=roles,
        )

    async def reassign(
        self,
        approval_id: UUID | str,
        assignees: Sequence[str],
        *,
        comment: str | None = None,
        actor: str | None = None,
        roles: Sequence[str] | None = None,
    ) -> UUID:
        """Like `Client.reassign`."""
        async with self._queries() as queries:
            return await queries.reassign(
                id_of(approval_id), assignees, comment=comment, actor=actor, roles=roles
            )

    async def comment(self, approval_id: UUID | str, comment: str, *, actor: str | None = None) -> UUID:
        """Like `Client.comment`."""
        async with self._queries() as queries:
            return await queries.comment(id_of(approval_id), comment, actor=actor)

    async def get_approval(self, approval_id: UUID | str) -> dict[str, Any]:
        """Like `Client.get_approval`."""
        async with self._queries() as queries:
            document: dict[str, Any] = await queries.approval_document(id_of(approval_id))
            return document

    async def get_run(self, run_id: UUID | str) -> Run:
        """Like `Client.get_run`."""
        async with self._queries() as queries:
            return Run.from_document(await queries.run_document(id_of(run_id)))

    async def wait(
        self, run_id: UUID | str, *, timeout: float | None = None, through_approvals: bool = False
    ) -> Run:
        """Like `Client.wait`."""
        dsn, run = dsn_to_wait(self._direct_dsn or self._dsn), id_of(run_id)
        rest = ENDED if through_approvals else AT_REST
        deadline = Deadline(run, timeout)
        connection = await connect(dsn, application_name="pgorch client waiting")
        async with connection:
            queries = Queries(connection)
            with translated():
                # In a session that is lent nothing would be heard, and others would hear it.
                if await settle(connection, {}):
                    await connection.execute("listen pgorch_runs")
                while (await queries.watch_run(run, WATCH_SECONDS, steps=False)).status not in rest:
                    async for _ in connection.notifies(timeout=deadline.pause_seconds(), stop_after=1):
                        pass
            return Run.from_document(await queries.run_document(run))

    @asynccontextmanager
    async def _queries(self) -> AsyncIterator[Queries]:
        if self._given is not None:
            yield Queries(self._given)
            return
        if self._pool is not None:
            with pool_translated():
                async with self._pool.connection() as connection:
                    yield Queries(connection)
            return
        async with self._turn:
            if self._own is None or not is_usable(self._own):
                await self._close()
                self._own = await connect(self._dsn or "", application_name="pgorch client")
            yield Queries(self._own)

    async def _close(self) -> None:
        if self._own is not None:
            await self._own.close()
            self._own = None
