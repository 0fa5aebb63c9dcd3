"""The SQL functions of limits: a part of `Queries`, with the same rules."""

from datetime import timedelta
from typing import Any

from psycopg.rows import class_row, scalar_row

from pgorch.database import statements
from pgorch.database.asking import Asking, SyncAsking
from pgorch.database.rows import Limit


class LimitQueries(Asking):
    """On an async connection."""

    async def set_limit(
        self,
        kind: str,
        name: str,
        *,
        concurrency: int | None = None,
        rate: int | None = None,
        per: timedelta | str | None = None,
        burst: int | None = None,
        actor: str | None = None,
    ) -> Limit:
        """The limit as it is kept. Raises InvalidValue, NotFound (the tool)."""
        parameters = _limit(kind, name, concurrency, rate, per, burst, actor)
        return await self._one(class_row(Limit), statements.SET_LIMIT, parameters)

    async def drop_limit(self, kind: str, name: str, *, actor: str | None = None) -> None:
        """Raises NotFound."""
        await self._one(scalar_row, statements.DROP_LIMIT, {"kind": kind, "name": name, "actor": actor})


class SyncLimitQueries(SyncAsking):
    """On a sync connection: the methods of `LimitQueries`, one by one."""

    def set_limit(
        self,
        kind: str,
        name: str,
        *,
        concurrency: int | None = None,
        rate: int | None = None,
        per: timedelta | str | None = None,
        burst: int | None = None,
        actor: str | None = None,
    ) -> Limit:
        """The limit as it is kept. Raises InvalidValue, NotFound (the tool)."""
        parameters = _limit(kind, name, concurrency, rate, per, burst, actor)
        return self._one(class_row(Limit), statements.SET_LIMIT, parameters)

    def drop_limit(self, kind: str, name: str, *, actor: str | None = None) -> None:
        """Raises NotFound."""
        self._one(scalar_row, statements.DROP_LIMIT, {"kind": kind, "name": name, "actor": actor})


def _limit(
    kind: str,
    name: str,
    concurrency: int | None,
    rate: int | None,
    per: timedelta | str | None,
    burst: int | None,
    actor: str | None,
) -> dict[str, Any]:
    return {
        "kind": kind,
        "name": name,
        "concurrency": concurrency,
        "rate": rate,
        "per": per,
        "burst": burst,
        "actor": actor,
    }
