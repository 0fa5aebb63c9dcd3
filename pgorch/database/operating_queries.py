"""The SQL functions for who keeps pgorch going: a part of `Queries`, with the same rules."""

from typing import Any
from uuid import UUID

from psycopg.rows import BaseRowFactory, class_row, scalar_row

from pgorch.database import statements
from pgorch.database.asking import Asking, SyncAsking
from pgorch.database.rows import AuditEntry

_IDS: BaseRowFactory[list[UUID]] = scalar_row


class OperatingQueries(Asking):
    """On an async connection."""

    async def list_audit(
        self,
        *,
        run_id: UUID | None = None,
        actor: str | None = None,
        action: str | None = None,
        before: int | None = None,
        limit: int = 100,
    ) -> list[AuditEntry]:
        """Newest first; `before`: older than the entry with this id."""
        parameters = _audit(run_id, actor, action, before, limit)
        return await self._all(class_row(AuditEntry), statements.LIST_AUDIT, parameters)

    async def drain_worker(self, worker: str, *, actor: str | None = None) -> list[UUID]:
        """Ids of the workers with this name or id. Raises NotFound."""
        return await self._one(_IDS, statements.DRAIN_WORKER, {"worker": worker, "actor": actor})


class SyncOperatingQueries(SyncAsking):
    """On a sync connection: the methods of `OperatingQueries`, one by one."""

    def list_audit(
        self,
        *,
        run_id: UUID | None = None,
        actor: str | None = None,
        action: str | None = None,
        before: int | None = None,
        limit: int = 100,
    ) -> list[AuditEntry]:
        """Newest first; `before`: older than the entry with this id."""
        parameters = _audit(run_id, actor, action, before, limit)
        return self._all(class_row(AuditEntry), statements.LIST_AUDIT, parameters)

    def drain_worker(self, worker: str, *, actor: str | None = None) -> list[UUID]:
        """Ids of the workers with this name or id. Raises NotFound."""
        return self._one(_IDS, statements.DRAIN_WORKER, {"worker": worker, "actor": actor})


def _audit(
    run_id: UUID | None, actor: str | None, action: str | None, before: int | None, limit: int
) -> dict[str, Any]:
    return {"run_id": run_id, "actor": actor, "action": action, "before": before, "limit": limit}
