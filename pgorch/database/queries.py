"""One method per public SQL function: same name, same parameter names, typed rows, errors of pgorch.

Values of JSON are checked (strict_json) before they are sent: InvalidValue. What comes back as jsonb is what
the connection's loader makes of it. Each call is one statement: in autocommit a transaction of its own, else
part of the transaction that is open on the connection.

Raises, everywhere: DatabaseUnavailable, SchemaMismatch, NotAllowed; and what the SQL function raises.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any, LiteralString
from uuid import UUID

from psycopg import AsyncConnection, Connection
from psycopg.rows import BaseRowFactory, class_row, scalar_row

from pgorch.database import statements
from pgorch.database.asking import Parameters, Row, json_text
from pgorch.database.hook_queries import HookQueries, SyncHookQueries
from pgorch.database.limit_queries import LimitQueries, SyncLimitQueries
from pgorch.database.looking import Looking, SyncLooking
from pgorch.database.operating_queries import OperatingQueries, SyncOperatingQueries
from pgorch.database.rows import ApiPrincipal, CreatedGraph, DeletedGraph, Event, WatchedRun
from pgorch.database.schedule_queries import ScheduleQueries, SyncScheduleQueries
from pgorch.database.steering_queries import SteeringQueries, SyncSteeringQueries
from pgorch.database.translation import translated

_ID: BaseRowFactory[UUID] = scalar_row
_IDS: BaseRowFactory[list[UUID]] = scalar_row
_TEXT: BaseRowFactory[str] = scalar_row


class Queries(Looking, SteeringQueries, ScheduleQueries, LimitQueries, HookQueries, OperatingQueries):
    """The SQL functions on an async connection."""

    def __init__(self, connection: AsyncConnection[Any]) -> None:
        self.connection = connection

    async def validate_graph(self, definition: Any) -> list[dict[str, Any]]:
        """All errors of a definition: path, code, message, hint."""
        parameters = {"definition": _definition(definition)}
        return _errors(await self._one(_TEXT, statements.VALIDATE_GRAPH, parameters))

    async def create_graph(self, definition: Any, *, actor: str | None = None) -> CreatedGraph:
        """Raises InvalidGraph with all errors."""
        parameters = {"definition": _definition(definition), "actor": actor}
        return await self._one(class_row(CreatedGraph), statements.CREATE_GRAPH, parameters)

    async def delete_graph(self, graph: str, *, actor: str | None = None) -> DeletedGraph:
        """Raises NotFound, WrongState."""
        parameters = {"graph": graph, "actor": actor}
        return await self._one(class_row(DeletedGraph), statements.DELETE_GRAPH, parameters)

    async def find_graph(self, graph: str) -> UUID:
        """Raises NotFound."""
        return await self._one(_ID, statements.FIND_GRAPH, {"graph": graph})

    async def register_tools(self, tools: Sequence[Mapping[str, Any]]) -> None:
        await self._one(scalar_row, statements.REGISTER_TOOLS, {"tools": json_text(list(tools), "The tools")})

    async def start(
        self,
        graph: str,
        input: Mapping[str, Any] | None = None,
        *,
        idempotency_key: str | None = None,
        priority: int = 0,
        queue: str | None = None,
        labels: Mapping[str, str] | None = None,
        actor: str | None = None,
    ) -> UUID:
        """Raises NotFound, InvalidValue, IdempotencyConflict."""
        parameters = _start(graph, priority, queue, labels, actor) | {
            "input": _input(input),
            "idempotency_key": idempotency_key,
        }
        return await self._one(_ID, statements.START, parameters)

    async def start_many(
        self,
        graph: str,
        inputs: Sequence[Mapping[str, Any]],
        *,
        priority: int = 0,
        queue: str | None = None,
        labels: Mapping[str, str] | None = None,
        actor: str | None = None,
    ) -> list[UUID]:
        """The ids in the order of the inputs. Raises NotFound, InvalidValue."""
        parameters = _start(graph, priority, queue, labels, actor) | {
            "inputs": [_input(input) for input in inputs]
        }
        return await self._one(_IDS, statements.START_MANY, parameters)

    async def decide(
        self,
        run_id: UUID | None,
        decision: str,
        *,
        data: Any = None,
        comment: str | None = None,
        approval_id: UUID | None = None,
        actor: str | None = None,
        roles: Sequence[str] | None = None,
    ) -> UUID:
        """The id of the approval, which `approval_id` or the run names.

        Raises NotFound, WrongState, InvalidValue, NotAllowed.
        """
        parameters = _decision(run_id, decision, data, comment, approval_id) | _by(actor, roles)
        return await self._one(_ID, statements.DECIDE, parameters)

    async def approve_plain(
        self, run_id: UUID, *, actor: str | None = None, roles: Sequence[str] | None = None
    ) -> UUID:
        """Approves a plain approval. Raises NotFound, WrongState, InvalidValue, NotAllowed."""
        return await self._one(_ID, statements.APPROVE_PLAIN, {"run_id": run_id} | _by(actor, roles))

    async def reassign(
        self,
        approval_id: UUID,
        assignees: Sequence[str],
        *,
        comment: str | None = None,
        actor: str | None = None,
        roles: Sequence[str] | None = None,
    ) -> UUID:
        """The id of the approval. Raises NotFound, WrongState, InvalidValue, NotAllowed."""
        parameters = {"approval_id": approval_id, "assignees": list(assignees), "comment": comment}
        return await self._one(_ID, statements.REASSIGN, parameters | _by(actor, roles))

    async def comment(self, approval_id: UUID, comment: str, *, actor: str | None = None) -> UUID:
        """The id of the approval. Raises NotFound, WrongState, InvalidValue."""
        parameters = {"approval_id": approval_id, "comment": comment, "actor": actor}
        return await self._one(_ID, statements.COMMENT, parameters)

    async def approval_document(self, approval_id: UUID) -> Any:
        """Raises NotFound."""
        return await self._one(scalar_row, statements.APPROVAL_DOCUMENT, {"approval_id": approval_id})

    async def run_state(self, run_id: UUID) -> Any:
        """Raises NotFound."""
        return await self._one(scalar_row, statements.RUN_STATE, {"run_id": run_id})

    async def run_document(self, run_id: UUID) -> Any:
        """Raises NotFound."""
        return await self._one(scalar_row, statements.RUN_DOCUMENT, {"run_id": run_id})

    async def run_events(self, run_id: UUID, after: int = 0, limit: int = 1000) -> list[Event]:
        parameters = {"run_id": run_id, "after": after, "limit": limit}
        return await self._all(class_row(Event), statements.RUN_EVENTS, parameters)

    async def watch_run(self, run_id: UUID, seconds: int = 60, *, steps: bool = True) -> WatchedRun:
        """Raises NotFound."""
        parameters = {"run_id": run_id, "seconds": seconds, "steps": steps}
        return await self._one(class_row(WatchedRun), statements.WATCH_RUN, parameters)

    async def api_principal(self, id: str, hash: bytes) -> ApiPrincipal | None:
        """Whose key has this id and this SHA-256 of its secret; None if there is none that works."""
        rows = await self._all(class_row(ApiPrincipal), statements.API_PRINCIPAL, {"id": id, "hash": hash})
        return rows[0] if rows else None

    async def _one(self, row: BaseRowFactory[Row], statement: LiteralString, parameters: Parameters) -> Row:
        (only,) = await self._all(row, statement, parameters)
        return only

    async def _all(
        self, row: BaseRowFactory[Row], statement: LiteralString, parameters: Parameters
    ) -> list[Row]:
        with translated():
            async with self.connection.cursor(row_factory=row) as cursor:
                await cursor.execute(statement, parameters)
                return await cursor.fetchall()


class SyncQueries(
    SyncLooking,
    SyncSteeringQueries,
    SyncScheduleQueries,
    SyncLimitQueries,
    SyncHookQueries,
    SyncOperatingQueries,
):
    """The SQL functions on a sync connection: the methods of `Queries`, one by one."""

    def __init__(self, connection: Connection[Any]) -> None:
        self.connection = connection

    def validate_graph(self, definition: Any) -> list[dict[str, Any]]:
        """All errors of a definition: path, code, message, hint."""
        parameters = {"definition": _definition(definition)}
        return _errors(self._one(_TEXT, statements.VALIDATE_GRAPH, parameters))

    def create_graph(self, definition: Any, *, actor: str | None = None) -> CreatedGraph:
        """Raises InvalidGraph with all errors."""
        parameters = {"definition": _definition(definition), "actor": actor}
        return self._one(class_row(CreatedGraph), statements.CREATE_GRAPH, parameters)

    def delete_graph(self, graph: str, *, actor: str | None = None) -> DeletedGraph:
        """Raises NotFound, WrongState."""
        parameters = {"graph": graph, "actor": actor}
        return self._one(class_row(DeletedGraph), statements.DELETE_GRAPH, parameters)

    def find_graph(self, graph: str) -> UUID:
        """Raises NotFound."""
        return self._one(_ID, statements.FIND_GRAPH, {"graph": graph})

    def register_tools(self, tools: Sequence[Mapping[str, Any]]) -> None:
        self._one(scalar_row, statements.REGISTER_TOOLS, {"tools": json_text(list(tools), "The tools")})

    def start(
        self,
        graph: str,
        input: Mapping[str, Any] | None = None,
        *,
        idempotency_key: str | None = None,
        priority: int = 0,
        queue: str | None = None,
        labels: Mapping[str, str] | None = None,
        actor: str | None = None,
    ) -> UUID:
        """Raises NotFound, InvalidValue, IdempotencyConflict."""
        parameters = _start(graph, priority, queue, labels, actor) | {
            "input": _input(input),
            "idempotency_key": idempotency_key,
        }
        return self._one(_ID, statements.START, parameters)

    def start_many(
        self,
        graph: str,
        inputs: Sequence[Mapping[str, Any]],
        *,
        priority: int = 0,
        queue: str | None = None,
        labels: Mapping[str, str] | None = None,
        actor: str | None = None,
    ) -> list[UUID]:
        """The ids in the order of the inputs. Raises NotFound, InvalidValue."""
        parameters = _start(graph, priority, queue, labels, actor) | {
            "inputs": [_input(input) for input in inputs]
        }
        return self._one(_IDS, statements.START_MANY, parameters)

    def decide(
        self,
        run_id: UUID | None,
        decision: str,
        *,
        data: Any = None,
        comment: str | None = None,
        approval_id: UUID | None = None,
        actor: str | None = None,
        roles: Sequence[str] | None = None,
    ) -> UUID:
        """The id of the approval, which `approval_id` or the run names.

        Raises NotFound, WrongState, InvalidValue, NotAllowed.
        """
        parameters = _decision(run_id, decision, data, comment, approval_id) | _by(actor, roles)
        return self._one(_ID, statements.DECIDE, parameters)

    def approve_plain(
        self, run_id: UUID, *, actor: str | None = None, roles: Sequence[str] | None = None
    ) -> UUID:
        """Approves a plain approval. Raises NotFound, WrongState, InvalidValue, NotAllowed."""
        return self._one(_ID, statements.APPROVE_PLAIN, {"run_id": run_id} | _by(actor, roles))

    def reassign(
        self,
        approval_id: UUID,
        assignees: Sequence[str],
        *,
        comment: str | None = None,
        actor: str | None = None,
        roles: Sequence[str] | None = None,
    ) -> UUID:
        """The id of the approval. Raises NotFound, WrongState, InvalidValue, NotAllowed."""
        parameters = {"approval_id": approval_id, "assignees": list(assignees), "comment": comment}
        return self._one(_ID, statements.REASSIGN, parameters | _by(actor, roles))

    def comment(self, approval_id: UUID, comment: str, *, actor: str | None = None) -> UUID:
        """The id of the approval. Raises NotFound, WrongState, InvalidValue."""
        parameters = {"approval_id": approval_id, "comment": comment, "actor": actor}
        return self._one(_ID, statements.COMMENT, parameters)

    def approval_document(self, approval_id: UUID) -> Any:
        """Raises NotFound."""
        return self._one(scalar_row, statements.APPROVAL_DOCUMENT, {"approval_id": approval_id})

    def run_state(self, run_id: UUID) -> Any:
        """Raises NotFound."""
        return self._one(scalar_row, statements.RUN_STATE, {"run_id": run_id})

    def run_document(self, run_id: UUID) -> Any:
        """Raises NotFound."""
        return self._one(scalar_row, statements.RUN_DOCUMENT, {"run_id": run_id})

    def run_events(self, run_id: UUID, after: int = 0, limit: int = 1000) -> list[Event]:
        parameters = {"run_id": run_id, "after": after, "limit": limit}
        return self._all(class_row(Event), statements.RUN_EVENTS, parameters)

    def watch_run(self, run_id: UUID, seconds: int = 60, *, steps: bool = True) -> WatchedRun:
        """Raises NotFound."""
        parameters = {"run_id": run_id, "seconds": seconds, "steps": steps}
        return self._one(class_row(WatchedRun), statements.WATCH_RUN, parameters)

    def api_principal(self, id: str, hash: bytes) -> ApiPrincipal | None:
        """Whose key has this id and this SHA-256 of its secret; None if there is none that works."""
        rows = self._all(class_row(ApiPrincipal), statements.API_PRINCIPAL, {"id": id, "hash": hash})
        return rows[0] if rows else None

    def _one(self, row: BaseRowFactory[Row], statement: LiteralString, parameters: Parameters) -> Row:
        (only,) = self._all(row, statement, parameters)
        return only

    def _all(self, row: BaseRowFactory[Row], statement: LiteralString, parameters: Parameters) -> list[Row]:
        with translated(), self.connection.cursor(row_factory=row) as cursor:
            return cursor.execute(statement, parameters).fetchall()


def _definition(definition: Any) -> str:
    return json_text(definition, "The graph")


def _input(input: Mapping[str, Any] | None) -> str:
    return json_text({} if input is None else input, "The input")


def _start(
    graph: str, priority: int, queue: str | None, labels: Mapping[str, str] | None, actor: str | None
) -> dict[str, Any]:
    return {
        "graph": graph,
        "priority": priority,
        "queue": queue,
        "labels": None if labels is None else json_text(labels, "The labels"),
        "actor": actor,
    }


def _decision(
    run_id: UUID | None, decision: str, data: Any, comment: str | None, approval_id: UUID | None
) -> dict[str, Any]:
    return {
        "run_id": run_id,
        "decision": decision,
        "data": None if data is None else json_text(data, "The data of the decision"),
        "comment": comment,
        "approval_id": approval_id,
    }


def _by(actor: str | None, roles: Sequence[str] | None) -> dict[str, Any]:
    return {"actor": actor, "roles": None if roles is None else list(roles)}


def _errors(text: str) -> list[dict[str, Any]]:
    # Parsed here, whatever the connection does with jsonb.
    errors: list[dict[str, Any]] = json.loads(text)
    return errors
