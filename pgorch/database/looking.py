"""The queries for looking at runs: the part of `Queries` and `SyncQueries` that changes next to nothing.

Lists of rows come as they are in the database: jsonb is what the connection's loader makes of it.
"""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any, NamedTuple
from uuid import UUID

from psycopg.rows import BaseRowFactory, class_row, scalar_row

from pgorch.database import looking_statements as statements
from pgorch.database.asking import Asking, SyncAsking, json_text

_KEEP: BaseRowFactory[timedelta | None] = scalar_row


class StateChange(NamedTuple):
    """A key that differs between two states. None: the key was not there (null is a JSON value)."""

    key: str
    before: Any
    after: Any


class ExplainedEdge(NamedTuple):
    """An edge out of a node: what its condition found (by path), and why it is taken or not.

    `ord` is its place in the definition, from 0. `holds` is None for an edge without condition, and where the
    condition is unknown.
    """

    ord: int
    target: str
    on_outcome: str
    condition: str | None
    limit: int | None
    used: int | None
    found: Any
    holds: bool | None
    taken: bool
    why: str


class Happened(NamedTuple):
    """A line of a timeline. `seq` is None for what is live now."""

    seq: int | None
    at: datetime
    what: str
    who: str | None
    took: timedelta | None


class Progress(NamedTuple):
    """How far a run is in a node: done, failed, skipped, expired, live or waiting; visits that have ended."""

    node: str
    state: str
    visits: int


class Relative(NamedTuple):
    """A run in a tree; `depth` is 0 for the one that was asked for."""

    run_id: UUID
    parent_run_id: UUID | None
    depth: int
    graph: str
    version: int
    status: str
    created_at: datetime
    finished_at: datetime | None


class Looking(Asking):
    """The async half."""

    async def state_at(self, run_id: UUID, seq: int) -> Any:
        """The state after an entry of the history. Raises NotFound, InvalidValue."""
        return await self._one(scalar_row, statements.STATE_AT, {"run_id": run_id, "seq": seq})

    async def diff_states(self, run_id: UUID, from_: int, to: int) -> list[StateChange]:
        """Raises NotFound, InvalidValue."""
        parameters = {"run_id": run_id, "from": from_, "to": to}
        return await self._all(class_row(StateChange), statements.DIFF_STATES, parameters)

    async def explain(self, run_id: UUID, node: str, seq: int | None = None) -> list[ExplainedEdge]:
        """As the node's edges were asked when it ended last, up to `seq`. Raises NotFound, InvalidValue."""
        parameters = {"run_id": run_id, "node": node, "seq": seq}
        return await self._all(class_row(ExplainedEdge), statements.EXPLAIN, parameters)

    async def explain_graph(
        self,
        graph: str,
        node: str,
        state: Mapping[str, Any],
        outcome: str = "success",
        vars: Mapping[str, Any] | None = None,
    ) -> list[ExplainedEdge]:
        """If the node ended with this outcome and state. Raises NotFound, InvalidValue."""
        parameters = _explained(graph, node, state, outcome, vars)
        return await self._all(class_row(ExplainedEdge), statements.EXPLAIN_GRAPH, parameters)

    async def timeline(self, run_id: UUID) -> list[Happened]:
        """Raises NotFound."""
        return await self._all(class_row(Happened), statements.TIMELINE, {"run_id": run_id})

    async def run_progress(self, run_id: UUID) -> list[Progress]:
        """Nodes that were not reached are absent. Raises NotFound."""
        return await self._all(class_row(Progress), statements.RUN_PROGRESS, {"run_id": run_id})

    async def run_tree(self, run_id: UUID) -> list[Relative]:
        """The run, and below it those that its steps started. Raises NotFound."""
        return await self._all(class_row(Relative), statements.RUN_TREE, {"run_id": run_id})

    async def export_run(self, run_id: UUID) -> Any:
        """Raises NotFound."""
        return await self._one(scalar_row, statements.EXPORT_RUN, {"run_id": run_id})

    async def set_labels(self, run_id: UUID, labels: Mapping[str, str], *, actor: str | None = None) -> Any:
        """The labels as they are now. Raises NotFound, InvalidValue."""
        parameters = {"run_id": run_id, "labels": json_text(labels, "The labels"), "actor": actor}
        return await self._one(scalar_row, statements.SET_LABELS, parameters)

    async def retention(self) -> timedelta | None:
        """How long finished runs are kept; None: for ever."""
        return await self._one(_KEEP, statements.RETENTION, {})

    async def set_retention(self, keep: timedelta | str | None, *, actor: str | None = None) -> None:
        """`keep` may be an interval as PostgreSQL writes it. Raises InvalidValue."""
        await self._one(scalar_row, statements.SET_RETENTION, {"keep": keep, "actor": actor})


class SyncLooking(SyncAsking):
    """The sync half: the methods of `Looking`, one by one."""

    def state_at(self, run_id: UUID, seq: int) -> Any:
        """The state after an entry of the history. Raises NotFound, InvalidValue."""
        return self._one(scalar_row, statements.STATE_AT, {"run_id": run_id, "seq": seq})

    def diff_states(self, run_id: UUID, from_: int, to: int) -> list[StateChange]:
        """Raises NotFound, InvalidValue."""
        parameters = {"run_id": run_id, "from": from_, "to": to}
        return self._all(class_row(StateChange), statements.DIFF_STATES, parameters)

    def explain(self, run_id: UUID, node: str, seq: int | None = None) -> list[ExplainedEdge]:
        """As the node's edges were asked when it ended last, up to `seq`. Raises NotFound, InvalidValue."""
        parameters = {"run_id": run_id, "node": node, "seq": seq}
        return self._all(class_row(ExplainedEdge), statements.EXPLAIN, parameters)

    def explain_graph(
        self,
        graph: str,
        node: str,
        state: Mapping[str, Any],
        outcome: str = "success",
        vars: Mapping[str, Any] | None = None,
    ) -> list[ExplainedEdge]:
        """If the node ended with this outcome and state. Raises NotFound, InvalidValue."""
        parameters = _explained(graph, node, state, outcome, vars)
        return self._all(class_row(ExplainedEdge), statements.EXPLAIN_GRAPH, parameters)

    def timeline(self, run_id: UUID) -> list[Happened]:
        """Raises NotFound."""
        return self._all(class_row(Happened), statements.TIMELINE, {"run_id": run_id})

    def run_progress(self, run_id: UUID) -> list[Progress]:
        """Nodes that were not reached are absent. Raises NotFound."""
        return self._all(class_row(Progress), statements.RUN_PROGRESS, {"run_id": run_id})

    def run_tree(self, run_id: UUID) -> list[Relative]:
        """The run, and below it those that its steps started. Raises NotFound."""
        return self._all(class_row(Relative), statements.RUN_TREE, {"run_id": run_id})

    def export_run(self, run_id: UUID) -> Any:
        """Raises NotFound."""
        return self._one(scalar_row, statements.EXPORT_RUN, {"run_id": run_id})

    def set_labels(self, run_id: UUID, labels: Mapping[str, str], *, actor: str | None = None) -> Any:
        """The labels as they are now. Raises NotFound, InvalidValue."""
        parameters = {"run_id": run_id, "labels": json_text(labels, "The labels"), "actor": actor}
        return self._one(scalar_row, statements.SET_LABELS, parameters)

    def retention(self) -> timedelta | None:
        """How long finished runs are kept; None: for ever."""
        return self._one(_KEEP, statements.RETENTION, {})

    def set_retention(self, keep: timedelta | str | None, *, actor: str | None = None) -> None:
        """`keep` may be an interval as PostgreSQL writes it. Raises InvalidValue."""
        self._one(scalar_row, statements.SET_RETENTION, {"keep": keep, "actor": actor})


def _explained(
    graph: str, node: str, state: Mapping[str, Any], outcome: str, vars: Mapping[str, Any] | None
) -> dict[str, Any]:
    return {
        "graph": graph,
        "node": node,
        "state": json_text(state, "The state"),
        "outcome": outcome,
        "vars": json_text(vars or {}, "The variables"),
    }
