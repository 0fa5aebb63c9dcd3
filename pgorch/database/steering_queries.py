"""The SQL functions with which people steer runs: a part of `Queries`, with the same rules."""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final
from uuid import UUID

from psycopg.rows import BaseRowFactory, class_row, scalar_row

from pgorch.database import steering_statements as statements
from pgorch.database.asking import Asking, SyncAsking, json_text
from pgorch.database.rows import BulkRun

# A payload or output that was not given: {}. None is the null of JSON.
NOTHING: Final[Mapping[str, Any]] = MappingProxyType({})
_ID: BaseRowFactory[UUID] = scalar_row
_TEXT: BaseRowFactory[str] = scalar_row
_TEXTS: BaseRowFactory[list[str]] = scalar_row


class SteeringQueries(Asking):
    """On an async connection."""

    async def signal(
        self,
        run_id: UUID,
        name: str,
        payload: Any = NOTHING,
        *,
        idempotency_key: str | None = None,
        actor: str | None = None,
    ) -> UUID:
        """The signal's id. Raises NotFound, WrongState, InvalidValue, IdempotencyConflict."""
        parameters = _signal(run_id, name, payload, idempotency_key, actor)
        return await self._one(_ID, statements.SIGNAL, parameters)

    async def cancel(
        self, run_id: UUID, *, reason: str | None = None, compensate: bool = False, actor: str | None = None
    ) -> str:
        """The status after it. Raises NotFound, WrongState."""
        parameters = {"run_id": run_id, "reason": reason, "compensate": compensate, "actor": actor}
        return await self._one(_TEXT, statements.CANCEL, parameters)

    async def pause(self, run_id: UUID, *, actor: str | None = None) -> str:
        """The status after it. Raises NotFound, WrongState."""
        return await self._one(_TEXT, statements.PAUSE, {"run_id": run_id, "actor": actor})

    async def resume(self, run_id: UUID, *, actor: str | None = None) -> str:
        """The status after it. Raises NotFound, WrongState."""
        return await self._one(_TEXT, statements.RESUME, {"run_id": run_id, "actor": actor})

    async def retry(
        self,
        run_id: UUID,
        node: str | None = None,
        *,
        input: Any = None,
        item: int | None = None,
        actor: str | None = None,
    ) -> str:
        """The status after it. Raises NotFound, WrongState, InvalidValue."""
        text = None if input is None else json_text(input, "The input")
        parameters = {"run_id": run_id, "node": node, "input": text, "item": item, "actor": actor}
        return await self._one(_TEXT, statements.RETRY, parameters)

    async def skip(
        self,
        run_id: UUID,
        node: str | None = None,
        *,
        output: Any = NOTHING,
        item: int | None = None,
        actor: str | None = None,
        roles: Sequence[str] | None = None,
    ) -> str:
        """The status after it. Raises NotFound, WrongState, InvalidValue, NotAllowed (an approval)."""
        parameters = _skip(run_id, node, output, item, actor, roles)
        return await self._one(_TEXT, statements.SKIP, parameters)

    async def fork(
        self,
        run_id: UUID,
        *,
        seq: int | None = None,
        node: str | None = None,
        state: Mapping[str, Any] | None = None,
        labels: Mapping[str, str] | None = None,
        actor: str | None = None,
    ) -> UUID:
        """The new run's id. Raises NotFound, WrongState, InvalidValue."""
        parameters = _fork(run_id, seq, node, state, labels, actor)
        return await self._one(_ID, statements.FORK, parameters)

    async def move(self, run_id: UUID, graph: str, *, actor: str | None = None) -> UUID:
        """The id of the version. Raises NotFound, WrongState."""
        return await self._one(_ID, statements.MOVE, {"run_id": run_id, "graph": graph, "actor": actor})

    async def check_move(self, run_id: UUID, graph: str) -> list[str]:
        """What stands in the way, in sentences. Raises NotFound."""
        return await self._one(_TEXTS, statements.CHECK_MOVE, {"run_id": run_id, "graph": graph})

    async def bulk(
        self,
        action: str,
        filter: Mapping[str, Any],
        arguments: Mapping[str, Any] | None = None,
        *,
        dry_run: bool = True,
        limit: int = 1000,
        actor: str | None = None,
        roles: Sequence[str] | None = None,
    ) -> list[BulkRun]:
        """Each run that the filter finds. Raises InvalidValue, NotFound (the graph)."""
        parameters = _bulk(action, filter, arguments, dry_run, limit, actor, roles)
        return await self._all(class_row(BulkRun), statements.BULK, parameters)


class SyncSteeringQueries(SyncAsking):
    """On a sync connection: the methods of `SteeringQueries`, one by one."""

    def signal(
        self,
        run_id: UUID,
        name: str,
        payload: Any = NOTHING,
        *,
        idempotency_key: str | None = None,
        actor: str | None = None,
    ) -> UUID:
        """The signal's id. Raises NotFound, WrongState, InvalidValue, IdempotencyConflict."""
        parameters = _signal(run_id, name, payload, idempotency_key, actor)
        return self._one(_ID, statements.SIGNAL, parameters)

    def cancel(
        self, run_id: UUID, *, reason: str | None = None, compensate: bool = False, actor: str | None = None
    ) -> str:
        """The status after it. Raises NotFound, WrongState."""
        parameters = {"run_id": run_id, "reason": reason, "compensate": compensate, "actor": actor}
        return self._one(_TEXT, statements.CANCEL, parameters)

    def pause(self, run_id: UUID, *, actor: str | None = None) -> str:
        """The status after it. Raises NotFound, WrongState."""
        return self._one(_TEXT, statements.PAUSE, {"run_id": run_id, "actor": actor})

    def resume(self, run_id: UUID, *, actor: str | None = None) -> str:
        """The status after it. Raises NotFound, WrongState."""
        return self._one(_TEXT, statements.RESUME, {"run_id": run_id, "actor": actor})

    def retry(
        self,
        run_id: UUID,
        node: str | None = None,
        *,
        input: Any = None,
        item: int | None = None,
        actor: str | None = None,
    ) -> str:
        """The status after it. Raises NotFound, WrongState, InvalidValue."""
        text = None if input is None else json_text(input, "The input")
        parameters = {"run_id": run_id, "node": node, "input": text, "item": item, "actor": actor}
        return self._one(_TEXT, statements.RETRY, parameters)

    def skip(
        self,
        run_id: UUID,
        node: str | None = None,
        *,
        output: Any = NOTHING,
        item: int | None = None,
        actor: str | None = None,
        roles: Sequence[str] | None = None,
    ) -> str:
        """The status after it. Raises NotFound, WrongState, InvalidValue, NotAllowed (an approval)."""
        parameters = _skip(run_id, node, output, item, actor, roles)
        return self._one(_TEXT, statements.SKIP, parameters)

    def fork(
        self,
        run_id: UUID,
        *,
        seq: int | None = None,
        node: str | None = None,
        state: Mapping[str, Any] | None = None,
        labels: Mapping[str, str] | None = None,
        actor: str | None = None,
    ) -> UUID:
        """The new run's id. Raises NotFound, WrongState, InvalidValue."""
        parameters = _fork(run_id, seq, node, state, labels, actor)
        return self._one(_ID, statements.FORK, parameters)

    def move(self, run_id: UUID, graph: str, *, actor: str | None = None) -> UUID:
        """The id of the version. Raises NotFound, WrongState."""
        return self._one(_ID, statements.MOVE, {"run_id": run_id, "graph": graph, "actor": actor})

    def check_move(self, run_id: UUID, graph: str) -> list[str]:
        """What stands in the way, in sentences. Raises NotFound."""
        return self._one(_TEXTS, statements.CHECK_MOVE, {"run_id": run_id, "graph": graph})

    def bulk(
        self,
        action: str,
        filter: Mapping[str, Any],
        arguments: Mapping[str, Any] | None = None,
        *,
        dry_run: bool = True,
        limit: int = 1000,
        actor: str | None = None,
        roles: Sequence[str] | None = None,
    ) -> list[BulkRun]:
        """Each run that the filter finds. Raises InvalidValue, NotFound (the graph)."""
        parameters = _bulk(action, filter, arguments, dry_run, limit, actor, roles)
        return self._all(class_row(BulkRun), statements.BULK, parameters)


def _signal(
    run_id: UUID, name: str, payload: Any, idempotency_key: str | None, actor: str | None
) -> dict[str, Any]:
    return {
        "run_id": run_id,
        "name": name,
        "payload": _said(payload, "The payload"),
        "idempotency_key": idempotency_key,
        "actor": actor,
    }


def _skip(
    run_id: UUID,
    node: str | None,
    output: Any,
    item: int | None,
    actor: str | None,
    roles: Sequence[str] | None,
) -> dict[str, Any]:
    return {
        "run_id": run_id,
        "node": node,
        "output": _said(output, "The output"),
        "item": item,
        "actor": actor,
        "roles": None if roles is None else list(roles),
    }


def _fork(
    run_id: UUID,
    seq: int | None,
    node: str | None,
    state: Mapping[str, Any] | None,
    labels: Mapping[str, str] | None,
    actor: str | None,
) -> dict[str, Any]:
    return {
        "run_id": run_id,
        "seq": seq,
        "node": node,
        "state": json_text({} if state is None else state, "The state"),
        "labels": None if labels is None else json_text(labels, "The labels"),
        "actor": actor,
    }


def _bulk(
    action: str,
    filter: Mapping[str, Any],
    arguments: Mapping[str, Any] | None,
    dry_run: bool,
    limit: int,
    actor: str | None,
    roles: Sequence[str] | None,
) -> dict[str, Any]:
    return {
        "action": action,
        "filter": json_text(filter, "The filter"),
        "arguments": json_text({} if arguments is None else arguments, "The arguments"),
        "dry_run": dry_run,
        "limit": limit,
        "actor": actor,
        "roles": None if roles is None else list(roles),
    }


def _said(value: Any, what: str) -> str:
    return json_text({} if value is NOTHING else value, what)
