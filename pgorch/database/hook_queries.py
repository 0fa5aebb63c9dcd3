"""The SQL functions of hooks: a part of `Queries`, with the same rules."""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from psycopg.rows import BaseRowFactory, scalar_row

from pgorch.database import statements
from pgorch.database.asking import Asking, SyncAsking

_ID: BaseRowFactory[UUID] = scalar_row


class HookQueries(Asking):
    """On an async connection."""

    async def create_hook(
        self,
        name: str,
        url: str,
        kinds: Sequence[str],
        secret: str,
        *,
        graph: str | None = None,
        allow_private: bool = False,
        actor: str | None = None,
    ) -> UUID:
        """Raises InvalidValue, WrongState."""
        parameters = _new_hook(name, url, kinds, secret, graph, allow_private, actor)
        return await self._one(_ID, statements.CREATE_HOOK, parameters)

    async def update_hook(
        self,
        hook: str,
        *,
        url: str | None = None,
        kinds: Sequence[str] | None = None,
        actor: str | None = None,
    ) -> UUID:
        """Raises NotFound, InvalidValue."""
        parameters = _changed_hook(hook, url, kinds, actor)
        return await self._one(_ID, statements.UPDATE_HOOK, parameters)

    async def rotate_hook_secret(
        self, hook: str, *, secret: str | None = None, actor: str | None = None
    ) -> UUID:
        """Raises NotFound, InvalidValue."""
        parameters = {"hook": hook, "secret": secret, "actor": actor}
        return await self._one(_ID, statements.ROTATE_HOOK_SECRET, parameters)

    async def pause_hook(self, hook: str, *, actor: str | None = None) -> UUID:
        """Raises NotFound."""
        return await self._one(_ID, statements.PAUSE_HOOK, {"hook": hook, "actor": actor})

    async def resume_hook(self, hook: str, *, actor: str | None = None) -> UUID:
        """Raises NotFound."""
        return await self._one(_ID, statements.RESUME_HOOK, {"hook": hook, "actor": actor})

    async def delete_hook(self, hook: str, *, actor: str | None = None) -> UUID:
        """Raises NotFound."""
        return await self._one(_ID, statements.DELETE_HOOK, {"hook": hook, "actor": actor})

    async def test_hook(self, hook: str, *, actor: str | None = None) -> UUID:
        """The id of the delivery. Raises NotFound, WrongState."""
        return await self._one(_ID, statements.TEST_HOOK, {"hook": hook, "actor": actor})

    async def resend_delivery(self, delivery_id: UUID, *, actor: str | None = None) -> UUID:
        """Raises NotFound, WrongState."""
        parameters = {"delivery_id": delivery_id, "actor": actor}
        return await self._one(_ID, statements.RESEND_DELIVERY, parameters)


class SyncHookQueries(SyncAsking):
    """On a sync connection: the methods of `HookQueries`, one by one."""

    def create_hook(
        self,
        name: str,
        url: str,
        kinds: Sequence[str],
        secret: str,
        *,
        graph: str | None = None,
        allow_private: bool = False,
        actor: str | None = None,
    ) -> UUID:
        """Raises InvalidValue, WrongState."""
        parameters = _new_hook(name, url, kinds, secret, graph, allow_private, actor)
        return self._one(_ID, statements.CREATE_HOOK, parameters)

    def update_hook(
        self,
        hook: str,
        *,
        url: str | None = None,
        kinds: Sequence[str] | None = None,
        actor: str | None = None,
    ) -> UUID:
        """Raises NotFound, InvalidValue."""
        parameters = _changed_hook(hook, url, kinds, actor)
        return self._one(_ID, statements.UPDATE_HOOK, parameters)

    def rotate_hook_secret(self, hook: str, *, secret: str | None = None, actor: str | None = None) -> UUID:
        """Raises NotFound, InvalidValue."""
        parameters = {"hook": hook, "secret": secret, "actor": actor}
        return self._one(_ID, statements.ROTATE_HOOK_SECRET, parameters)

    def pause_hook(self, hook: str, *, actor: str | None = None) -> UUID:
        """Raises NotFound."""
        return self._one(_ID, statements.PAUSE_HOOK, {"hook": hook, "actor": actor})

    def resume_hook(self, hook: str, *, actor: str | None = None) -> UUID:
        """Raises NotFound."""
        return self._one(_ID, statements.RESUME_HOOK, {"hook": hook, "actor": actor})

    def delete_hook(self, hook: str, *, actor: str | None = None) -> UUID:
        """Raises NotFound."""
        return self._one(_ID, statements.DELETE_HOOK, {"hook": hook, "actor": actor})

    def test_hook(self, hook: str, *, actor: str | None = None) -> UUID:
        """The id of the delivery. Raises NotFound, WrongState."""
        return self._one(_ID, statements.TEST_HOOK, {"hook": hook, "actor": actor})

    def resend_delivery(self, delivery_id: UUID, *, actor: str | None = None) -> UUID:
        """Raises NotFound, WrongState."""
        return self._one(_ID, statements.RESEND_DELIVERY, {"delivery_id": delivery_id, "actor": actor})


def _new_hook(
    name: str,
    url: str,
    kinds: Sequence[str],
    secret: str,
    graph: str | None,
    allow_private: bool,
    actor: str | None,
) -> dict[str, Any]:
    return {
        "name": name,
        "url": url,
        "kinds": list(kinds),
        "secret": secret,
        "graph": graph,
        "allow_private": allow_private,
        "actor": actor,
    }


def _changed_hook(
    hook: str, url: str | None, kinds: Sequence[str] | None, actor: str | None
) -> dict[str, Any]:
    return {
        "hook": hook,
        "url": url,
        "kinds": None if kinds is None else list(kinds),
        "actor": actor,
    }
