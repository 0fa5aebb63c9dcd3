"""The SQL functions of schedules: a part of `Queries`, with the same rules."""

from collections.abc import Mapping
from datetime import timedelta
from typing import Any, Final
from uuid import UUID

from psycopg.rows import BaseRowFactory, scalar_row

from pgorch.database import statements
from pgorch.database.asking import Asking, SyncAsking, json_text

WEEK: Final = timedelta(days=7)
_ID: BaseRowFactory[UUID] = scalar_row
_FLAG: BaseRowFactory[bool] = scalar_row


class ScheduleQueries(Asking):
    """On an async connection."""

    async def create_schedule(
        self,
        name: str,
        graph: str,
        cron: str,
        *,
        time_zone: str = "UTC",
        input: Mapping[str, Any] | None = None,
        queue: str | None = None,
        priority: int = 0,
        labels: Mapping[str, str] | None = None,
        overlap: str = "skip",
        catch_up: str = "one",
        catch_up_window: timedelta | str = WEEK,
        paused: bool | None = None,
        actor: str | None = None,
    ) -> bool:
        """True if it is new. Raises NotFound (the graph), InvalidValue."""
        parameters = _schedule(
            name,
            graph,
            cron,
            time_zone,
            input,
            queue,
            priority,
            labels,
            overlap,
            catch_up,
            catch_up_window,
            paused,
            actor,
        )
        return await self._one(_FLAG, statements.CREATE_SCHEDULE, parameters)

    async def pause_schedule(self, name: str, *, actor: str | None = None) -> bool:
        """False if it was paused already. Raises NotFound."""
        return await self._one(_FLAG, statements.PAUSE_SCHEDULE, {"name": name, "actor": actor})

    async def resume_schedule(self, name: str, *, actor: str | None = None) -> bool:
        """False if it was not paused. Raises NotFound."""
        return await self._one(_FLAG, statements.RESUME_SCHEDULE, {"name": name, "actor": actor})

    async def trigger_schedule(
        self,
        name: str,
        *,
        overlap: str | None = None,
        idempotency_key: str | None = None,
        actor: str | None = None,
    ) -> UUID:
        """The id of the run. Raises NotFound, WrongState (a run of it has not ended), InvalidValue."""
        parameters = {"name": name, "overlap": overlap, "idempotency_key": idempotency_key, "actor": actor}
        return await self._one(_ID, statements.TRIGGER_SCHEDULE, parameters)

    async def delete_schedule(self, name: str, *, actor: str | None = None) -> None:
        """Raises NotFound."""
        await self._one(scalar_row, statements.DELETE_SCHEDULE, {"name": name, "actor": actor})

    async def schedule_document(self, name: str) -> Any:
        """Raises NotFound."""
        return await self._one(scalar_row, statements.SCHEDULE_DOCUMENT, {"name": name})


class SyncScheduleQueries(SyncAsking):
    """On a sync connection: the methods of `ScheduleQueries`, one by one."""

    def create_schedule(
        self,
        name: str,
        graph: str,
        cron: str,
        *,
        time_zone: str = "UTC",
        input: Mapping[str, Any] | None = None,
        queue: str | None = None,
        priority: int = 0,
        labels: Mapping[str, str] | None = None,
        overlap: str = "skip",
        catch_up: str = "one",
        catch_up_window: timedelta | str = WEEK,
        paused: bool | None = None,
        actor: str | None = None,
    ) -> bool:
        """True if it is new. Raises NotFound (the graph), InvalidValue."""
        parameters = _schedule(
            name,
            graph,
            cron,
            time_zone,
            input,
            queue,
            priority,
            labels,
            overlap,
            catch_up,
            catch_up_window,
            paused,
            actor,
        )
        return self._one(_FLAG, statements.CREATE_SCHEDULE, parameters)

    def pause_schedule(self, name: str, *, actor: str | None = None) -> bool:
        """False if it was paused already. Raises NotFound."""
        return self._one(_FLAG, statements.PAUSE_SCHEDULE, {"name": name, "actor": actor})

    def resume_schedule(self, name: str, *, actor: str | None = None) -> bool:
        """False if it was not paused. Raises NotFound."""
        return self._one(_FLAG, statements.RESUME_SCHEDULE, {"name": name, "actor": actor})

    def trigger_schedule(
        self,
        name: str,
        *,
        overlap: str | None = None,
        idempotency_key: str | None = None,
        actor: str | None = None,
    ) -> UUID:
        """The id of the run. Raises NotFound, WrongState (a run of it has not ended), InvalidValue."""
        parameters = {"name": name, "overlap": overlap, "idempotency_key": idempotency_key, "actor": actor}
        return self._one(_ID, statements.TRIGGER_SCHEDULE, parameters)

    def delete_schedule(self, name: str, *, actor: str | None = None) -> None:
        """Raises NotFound."""
        self._one(scalar_row, statements.DELETE_SCHEDULE, {"name": name, "actor": actor})

    def schedule_document(self, name: str) -> Any:
        """Raises NotFound."""
        return self._one(scalar_row, statements.SCHEDULE_DOCUMENT, {"name": name})


def _schedule(
    name: str,
    graph: str,
    cron: str,
    time_zone: str,
    input: Mapping[str, Any] | None,
    queue: str | None,
    priority: int,
    labels: Mapping[str, str] | None,
    overlap: str,
    catch_up: str,
    catch_up_window: timedelta | str,
    paused: bool | None,
    actor: str | None,
) -> dict[str, Any]:
    return {
        "name": name,
        "graph": graph,
        "cron": cron,
        "time_zone": time_zone,
        "input": json_text({} if input is None else input, "The input"),
        "queue": queue,
        "priority": priority,
        "labels": None if labels is None else json_text(labels, "The labels"),
        "overlap": overlap,
        "catch_up": catch_up,
        "catch_up_window": catch_up_window,
        "paused": paused,
        "actor": actor,
    }
