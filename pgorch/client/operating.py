"""The part of both clients that keeps pgorch going: the audit, deliveries that were given up, workers."""

from uuid import UUID

from pgorch.client.base import AsyncPart, Part
from pgorch.client.run import id_of
from pgorch.database.rows import AuditEntry


class Operating(Part):
    """What clients do besides running graphs."""

    def list_audit(
        self,
        *,
        run_id: UUID | str | None = None,
        actor: str | None = None,
        action: str | None = None,
        before: int | None = None,
        limit: int = 100,
    ) -> list[AuditEntry]:
        """Who did what, newest first: of a run, by somebody, or of a kind ("approve", "cancel", ...).

        `before`: only entries older than the one with this id.
        """
        run = None if run_id is None else id_of(run_id)
        with self._queries() as queries:
            return queries.list_audit(run_id=run, actor=actor, action=action, before=before, limit=limit)

    def resend_delivery(self, delivery_id: UUID | str, *, actor: str | None = None) -> UUID:
        """Sends a message to a hook once more that was given up. Raises NotFound, WrongState."""
        with self._queries() as queries:
            return queries.resend_delivery(id_of(delivery_id), actor=actor)

    def drain_worker(self, worker: str, *, actor: str | None = None) -> list[UUID]:
        """Lets the workers with this name or id end what they have begun, and go; returns their ids.

        They hear of it with their next heartbeat. Raises NotFound.
        """
        with self._queries() as queries:
            return queries.drain_worker(worker, actor=actor)


class AsyncOperating(AsyncPart):
    """Like `Operating`."""

    async def list_audit(
        self,
        *,
        run_id: UUID | str | None = None,
        actor: str | None = None,
        action: str | None = None,
        before: int | None = None,
        limit: int = 100,
    ) -> list[AuditEntry]:
        """Like `Client.list_audit`."""
        run = None if run_id is None else id_of(run_id)
        async with self._queries() as queries:
            return await queries.list_audit(
                run_id=run, actor=actor, action=action, before=before, limit=limit
            )

    async def resend_delivery(self, delivery_id: UUID | str, *, actor: str | None = None) -> UUID:
        """Like `Client.resend_delivery`."""
        async with self._queries() as queries:
            return await queries.resend_delivery(id_of(delivery_id), actor=actor)

    async def drain_worker(self, worker: str, *, actor: str | None = None) -> list[UUID]:
        """Like `Client.drain_worker`."""
        async with self._queries() as queries:
            return await queries.drain_worker(worker, actor=actor)
