"""The part of both clients that steers runs."""

from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

from pgorch.client.base import AsyncPart, Part
from pgorch.client.run import id_of
from pgorch.database.rows import BulkRun
from pgorch.database.steering_queries import NOTHING


class Steering(Part):
    """What clients do with runs that are there."""

    def signal(
        self,
        run_id: UUID | str,
        name: str,
        payload: Any = NOTHING,
        *,
        idempotency_key: str | None = None,
        actor: str | None = None,
    ) -> UUID:
        """Sends a message to a run and returns the signal's id.

        The oldest wait for `name` takes it, now or when the run comes to it. With an idempotency key it
        counts once. Raises NotFound; WrongState if the run has ended; InvalidValue, IdempotencyConflict.
        """
        with self._queries() as queries:
            return queries.signal(id_of(run_id), name, payload, idempotency_key=idempotency_key, actor=actor)

    def cancel(
        self,
        run_id: UUID | str,
        *,
        reason: str | None = None,
        compensate: bool = False,
        actor: str | None = None,
    ) -> str:
        """Cancels a run, with the child runs that it waits for, and returns its status.

        With `compensate` what it has done is undone first, newest first. Raises NotFound, and WrongState if
        it has ended.
        """
        with self._queries() as queries:
            return queries.cancel(id_of(run_id), reason=reason, compensate=compensate, actor=actor)

    def pause(self, run_id: UUID | str, *, actor: str | None = None) -> str:
        """Lets no step of a run or of its child runs begin until `resume`, and returns its status.

        Steps under way end, people may decide, and clocks go on; what follows waits. Raises NotFound, and
        WrongState if it has ended.
        """
        with self._queries() as queries:
            return queries.pause(id_of(run_id), actor=actor)

    def resume(self, run_id: UUID | str, *, actor: str | None = None) -> str:
        """Lets a paused run go on and returns its status. Raises NotFound, WrongState."""
        with self._queries() as queries:
            return queries.resume(id_of(run_id), actor=actor)

    def retry(
        self,
        run_id: UUID | str,
        node: str | None = None,
        *,
        input: Any = None,
        item: int | None = None,
        actor: str | None = None,
    ) -> str:
        """Tries the failed step of a run again, or one that waits for its next attempt; returns the status.

        `node` names it, if several could be meant, and `item` one item of a map; `input` gives it other
        arguments. A failed run goes on from where it failed. Raises NotFound, WrongState, InvalidValue.
        """
        with self._queries() as queries:
            return queries.retry(id_of(run_id), node, input=input, item=item, actor=actor)

    def skip(
        self,
        run_id: UUID | str,
        node: str | None = None,
        *,
        output: Any = NOTHING,
        item: int | None = None,
        actor: str | None = None,
        roles: Sequence[str] | None = None,
    ) -> str:
        """Goes on as if a step had succeeded with `output` ({} if nothing is said); returns the status.

        It is the one at which a run failed, or one that is live. An approval is skipped by who could decide
        it alone, and by administrators; `roles` are those of the actor. Raises NotFound, WrongState,
        InvalidValue, NotAllowed.
        """
        with self._queries() as queries:
            return queries.skip(id_of(run_id), node, output=output, item=item, actor=actor, roles=roles)

    def fork(
        self,
        run_id: UUID | str,
        *,
        seq: int | None = None,
        node: str | None = None,
        state: Mapping[str, Any] | None = None,
        labels: Mapping[str, str] | None = None,
        actor: str | None = None,
    ) -> UUID:
        """Starts a run that goes on as another one was, and returns its id. The other run is left as it is.

        It begins after the history entry `seq` (0: from the beginning), or before the last visit of `node`
        ended, with the keys of `state` changed, and with its own `labels`, or those of the other run. Raises
        NotFound, WrongState, InvalidValue.
        """
        with self._queries() as queries:
            return queries.fork(id_of(run_id), seq=seq, node=node, state=state, labels=labels, actor=actor)

    def move(self, run_id: UUID | str, graph: str | UUID, *, actor: str | None = None) -> UUID:
        """Lets a live run go on in another version of its graph, and returns that version's id.

        Raises NotFound, and WrongState if what is live in it has no place there; see `check_move`.
        """
        with self._queries() as queries:
            return queries.move(id_of(run_id), str(graph), actor=actor)

    def check_move(self, run_id: UUID | str, graph: str | UUID) -> list[str]:
        """Why a run cannot be moved to a version of its graph, in sentences; empty: it can.

        Raises NotFound.
        """
        with self._queries() as queries:
            return queries.check_move(id_of(run_id), str(graph))

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
        """Does "cancel", "pause", "resume", "retry", "skip" or "move" with each run that a filter finds.

        `filter` may have graph, version, status (one, or a list), labels, state (what it contains),
        initiator, created_before, created_after and error_type; `arguments` are those of the verb, the graph
        of a move included. A dry run, which it is by default, only lists them. What is refused is told as
        the `problem` of its run, and the others go on. Raises InvalidValue, NotFound.
        """
        with self._queries() as queries:
            return queries.bulk(
                action, filter, arguments, dry_run=dry_run, limit=limit, actor=actor, roles=roles
            )


class AsyncSteering(AsyncPart):
    """Like `Steering`."""

    async def signal(
        self,
        run_id: UUID | str,
        name: str,
        payload: Any = NOTHING,
        *,
        idempotency_key: str | None = None,
        actor: str | None = None,
    ) -> UUID:
        """Like `Client.signal`."""
        async with self._queries() as queries:
            return await queries.signal(
                id_of(run_id), name, payload, idempotency_key=idempotency_key, actor=actor
            )

    async def cancel(
        self,
        run_id: UUID | str,
        *,
        reason: str | None = None,
        compensate: bool = False,
        actor: str | None = None,
    ) -> str:
        """Like `Client.cancel`."""
        async with self._queries() as queries:
            return await queries.cancel(id_of(run_id), reason=reason, compensate=compensate, actor=actor)

    async def pause(self, run_id: UUID | str, *, actor: str | None = None) -> str:
        """Like `Client.pause`."""
        async with self._queries() as queries:
            return await queries.pause(id_of(run_id), actor=actor)

    async def resume(self, run_id: UUID | str, *, actor: str | None = None) -> str:
        """Like `Client.resume`."""
        async with self._queries() as queries:
            return await queries.resume(id_of(run_id), actor=actor)

    async def retry(
        self,
        run_id: UUID | str,
        node: str | None = None,
        *,
        input: Any = None,
        item: int | None = None,
        actor: str | None = None,
    ) -> str:
        """Like `Client.retry`."""
        async with self._queries() as queries:
            return await queries.retry(id_of(run_id), node, input=input, item=item, actor=actor)

    async def skip(
        self,
        run_id: UUID | str,
        node: str | None = None,
        *,
        output: Any = NOTHING,
        item: int | None = None,
        actor: str | None = None,
        roles: Sequence[str] | None = None,
    ) -> str:
        """Like `Client.skip`."""
        async with self._queries() as queries:
            return await queries.skip(id_of(run_id), node, output=output, item=item, actor=actor, roles=roles)

    async def fork(
        self,
        run_id: UUID | str,
        *,
        seq: int | None = None,
        node: str | None = None,
        state: Mapping[str, Any] | None = None,
        labels: Mapping[str, str] | None = None,
        actor: str | None = None,
    ) -> UUID:
        """Like `Client.fork`."""
        async with self._queries() as queries:
            return await queries.fork(
                id_of(run_id), seq=seq, node=node, state=state, labels=labels, actor=actor
            )

    async def move(self, run_id: UUID | str, graph: str | UUID, *, actor: str | None = None) -> UUID:
        """Like `Client.move`."""
        async with self._queries() as queries:
            return await queries.move(id_of(run_id), str(graph), actor=actor)

    async def check_move(self, run_id: UUID | str, graph: str | UUID) -> list[str]:
        """Like `Client.check_move`."""
        async with self._queries() as queries:
            return await queries.check_move(id_of(run_id), str(graph))

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
        """Like `Client.bulk`."""
        async with self._queries() as queries:
            return await queries.bulk(
                action, filter, arguments, dry_run=dry_run, limit=limit, actor=actor, roles=roles
            )
