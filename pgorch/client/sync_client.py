"""The sync client."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from threading import Lock
from typing import Any, Self
from uuid import UUID

from psycopg import Connection
from psycopg_pool import ConnectionPool

from pgorch.client.base import pool_translated
from pgorch.client.limits import Limits
from pgorch.client.operating import Operating
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
from pgorch.client.schedules import Schedules
from pgorch.client.steering import Steering
from pgorch.config import resolve_direct_dsn
from pgorch.database.connection import connect_sync, is_usable
from pgorch.database.pooling import settle_sync
from pgorch.database.queries import SyncQueries
from pgorch.database.rows import CreatedGraph, DeletedGraph
from pgorch.database.translation import translated
from pgorch.graph import Graph


class Client(Steering, Schedules, Limits, Operating):
    """A sync client. Threads may share it.

    With `dsn` (or what `resolve_dsn` finds) it has a connection of its own, opened when first needed and anew
    after it was lost; each call is a transaction, and calls take turns. With `pool`, which the caller opens
    and closes, each call is a transaction on one of its connections, and calls of several threads run side by
    side. With `connection` it joins the transaction that is open there, and never commits, rolls back or
    closes. `direct_dsn` (else PGORCH_DIRECT_DSN, where the DSN comes from the environment too) is the same
    database without the pooler, so that `wait` is notified. Every call can raise DatabaseUnavailable,
    SchemaMismatch and NotAllowed.
    """

    def __init__(
        self,
        dsn: str | None = None,
        *,
        connection: Connection[Any] | None = None,
        pool: ConnectionPool[Any] | None = None,
        direct_dsn: str | None = None,
    ) -> None:
        self._dsn = dsn_of(dsn, connection, pool)
        self._direct_dsn = None if self._dsn is None else resolve_direct_dsn(direct_dsn, dsn=dsn)
        self._given = connection
        self._pool = pool
        self._own: Connection[Any] | None = None
        self._turn = Lock()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Closes the client's own connection. A later call opens another."""
        with self._turn:
            self._close()

    def create_graph(self, graph: Graph | Mapping[str, Any], *, actor: str | None = None) -> CreatedGraph:
        """Stores a graph; the same content again gives the version that is there.

        Raises InvalidGraph with all errors.
        """
        with self._queries() as queries:
            return queries.create_graph(definition_of(graph), actor=actor)

    def delete_graph(self, graph: str | UUID, *, actor: str | None = None) -> DeletedGraph:
        """Deletes a version of a graph (an id, a name for its latest, or name@version) that nothing needs.

        Raises NotFound, and WrongState if a run or another graph uses it.
        """
        with self._queries() as queries:
            return queries.delete_graph(str(graph), actor=actor)

    def start(
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
        """Starts a run of a graph (an id, a name, or name@version) and returns its id.

        `input` is the first state. With an idempotency key the same request gives the same run. `priority` is
        -1000 to 1000, higher first; `labels` are texts to find it by. Raises NotFound, InvalidValue,
        IdempotencyConflict.
        """
        with self._queries() as queries:
            return queries.start(
                str(graph),
                input,
                idempotency_key=idempotency_key,
                priority=priority,
                queue=queue,
                labels=labels,
                actor=actor,
            )

    def start_many(
        self,
        graph: str | UUID,
        inputs: Sequence[Mapping[str, Any]],
        *,
        priority: int = 0,
        queue: str | None = None,
        labels: Mapping[str, str] | None = None,
        actor: str | None = None,
    ) -> list[UUID]:
        """Starts a run for each input, all or none. The ids come in the order of the inputs.

        Raises NotFound, InvalidValue.
        """
        with self._queries() as queries:
            return queries.start_many(
                str(graph), inputs, priority=priority, queue=queue, labels=labels, actor=actor
            )

    def decide(
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
        """Answers an open approval, "approved" or "rejected", and returns the approval's id.

        The approval is named by `approval_id`, or by its run alone if that waits for one. `data` is a JSON
        object: what an approval's form asks for, and what conditions read as $decision. `roles` are those of
        the actor, if that is not the user of the database session. Where several people must approve, the run
        goes on with the last of them.
        Raises NotFound; WrongState if there is nothing to decide or it is too late; InvalidValue, with
        `errors` if the data does not fit the form; NotAllowed if somebody else is asked.
        """
        with self._queries() as queries:
            return queries.decide(
                None if run_id is None else id_of(run_id),
                decision,
                data=data,
                comment=comment,
                approval_id=None if approval_id is None else id_of(approval_id),
                actor=actor,
                roles=roles,
            )

    def approve(
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
        return self.decide(
            run_id,
            "approved",
            data=data,
            comment=comment,
            approval_id=approval_id,
            actor=actor,
            roles=roles,
        )

    def reject(
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
        return self.decide(
            run_id,
            "rejected",
            data=data,
            comment=comment,
            approval_id=approval_id,
            actor=actor,
            roles=roles,
        )

    def reassign(
        self,
        approval_id: UUID | str,
        assignees: Sequence[str],
        *,
        comment: str | None = None,
        actor: str | None = None,
        roles: Sequence[str] | None = None,
    ) -> UUID:
        """Says anew who may decide an open approval: "user:NAME" and "role:NAME". Returns the approval's id.

        Raises NotFound, WrongState, InvalidValue, NotAllowed.
        """
        with self._queries() as queries:
            return queries.reassign(id_of(approval_id), assignees, comment=comment, actor=actor, roles=roles)

    def comment(self, approval_id: UUID | str, comment: str, *, actor: str | None = None) -> UUID:
        """Adds a comment to an open approval and returns the approval's id.

        Raises NotFound, WrongState, InvalidValue.
        """
        with self._queries() as queries:
            return queries.comment(id_of(approval_id), comment, actor=actor)

    def get_approval(self, approval_id: UUID | str) -> dict[str, Any]:
        """Everything about an approval, as `GET /v1/approvals/{approval_id}` shows it. Raises NotFound."""
        with self._queries() as queries:
            document: dict[str, Any] = queries.approval_document(id_of(approval_id))
            return document

    def get_run(self, run_id: UUID | str) -> Run:
        """Everything about a run. Raises NotFound."""
        with self._queries() as queries:
            return Run.from_document(queries.run_document(id_of(run_id)))

    def wait(
        self, run_id: UUID | str, *, timeout: float | None = None, through_approvals: bool = False
    ) -> Run:
        """The run as soon as it has ended or awaits an approval; `through_approvals`: only when it has ended.

        Has a connection of its own meanwhile. Raises TimeoutError after `timeout` seconds, NotFound, and
        DatabaseUnavailable (then wait again: nothing is lost).
        """
        dsn, run = dsn_to_wait(self._direct_dsn or self._dsn), id_of(run_id)
        rest = ENDED if through_approvals else AT_REST
        deadline = Deadline(run, timeout)
        connection = connect_sync(dsn, application_name="pgorch client waiting")
        with connection:
            queries = SyncQueries(connection)
            with translated():
                # In a session that is lent nothing would be heard, and others would hear it.
                if settle_sync(connection, {}):
                    connection.execute("listen pgorch_runs")
                while queries.watch_run(run, WATCH_SECONDS, steps=False).status not in rest:
                    for _ in connection.notifies(timeout=deadline.pause_seconds(), stop_after=1):
                        pass
            return Run.from_document(queries.run_document(run))

    @contextmanager
    def _queries(self) -> Iterator[SyncQueries]:
        if self._given is not None:
            yield SyncQueries(self._given)
            return
        if self._pool is not None:
            with pool_translated(), self._pool.connection() as connection:
                yield SyncQueries(connection)
            return
        with self._turn:
            if self._own is None or not is_usable(self._own):
                self._close()
                self._own = connect_sync(self._dsn or "", application_name="pgorch client")
            yield SyncQueries(self._own)

    def _close(self) -> None:
        if self._own is not None:
            self._own.close()
            self._own = None
