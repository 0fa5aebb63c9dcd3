"""Schedules as clients see them, and the part of both clients that is about them."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from pgorch.client.base import AsyncPart, Part
from pgorch.cron import coming_times
from pgorch.database.schedule_queries import WEEK


@dataclass(frozen=True)
class Schedule:
    """A schedule as it was when it was read.

    `next_due` is None while it is paused, and for the seconds until a worker has computed it. `firings` tell
    of the last due times, newest first, as JSON objects: at, due, outcome, run_id, actor, detail.
    """

    name: str
    graph: str
    cron: str
    time_zone: str
    input: dict[str, Any]
    queue: str | None
    priority: int
    labels: dict[str, str] | None
    overlap: str
    catch_up: str
    catch_up_window: str
    paused: bool
    next_due: datetime | None
    last_due: datetime | None
    last_run_id: UUID | None
    last_status: str | None
    last_error: dict[str, Any] | None
    firings: list[dict[str, Any]]
    next_times: list[datetime]
    """The next five times at which it is due, in its time zone; paused or not."""

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> "Schedule":
        """The schedule that `pgorch.schedule_document` described."""
        as_told = (
            "name", "graph", "cron", "time_zone", "input", "queue", "priority", "labels", "overlap",
            "catch_up", "catch_up_window", "paused", "last_status", "last_error", "firings",
        )  # fmt: skip
        return cls(
            **{name: document[name] for name in as_told},
            next_due=_time(document["next_due"]),
            last_due=_time(document["last_due"]),
            last_run_id=None if document["last_run_id"] is None else UUID(document["last_run_id"]),
            next_times=coming_times(document),
        )


def _time(text: str | None) -> datetime | None:
    return None if text is None else datetime.fromisoformat(text)


class Schedules(Part):
    """What clients do with schedules."""

    def create_schedule(
        self,
        name: str,
        graph: str | UUID,
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
        """Creates a schedule, or describes the one of that name anew. True if it is new.

        `cron` has five fields and is meant in `time_zone`. `input` may hold `${$.due}` and `${$.name}`. Runs
        have the `labels`, and {"schedule": name}. `overlap` says what happens when it is due while a run of
        it has not ended: "skip", "buffer_one", "cancel_other" or "allow"; `catch_up` what of the due times
        that passed while no worker was there: "one" (the last), "all" or "none", as far back as
        `catch_up_window`. `paused` None leaves it as it is.
        Raises NotFound, InvalidValue.
        """
        with self._queries() as queries:
            return queries.create_schedule(
                name,
                str(graph),
                cron,
                time_zone=time_zone,
                input=input,
                queue=queue,
                priority=priority,
                labels=labels,
                overlap=overlap,
                catch_up=catch_up,
                catch_up_window=catch_up_window,
                paused=paused,
                actor=actor,
            )

    def get_schedule(self, name: str) -> Schedule:
        """A schedule, and what became of its last due times. Raises NotFound."""
        with self._queries() as queries:
            return Schedule.from_document(queries.schedule_document(name))

    def pause_schedule(self, name: str, *, actor: str | None = None) -> bool:
        """It starts nothing until it is resumed. False if it was paused already. Raises NotFound."""
        with self._queries() as queries:
            return queries.pause_schedule(name, actor=actor)

    def resume_schedule(self, name: str, *, actor: str | None = None) -> bool:
        """It goes on with its next due time. False if it was not paused. Raises NotFound."""
        with self._queries() as queries:
            return queries.resume_schedule(name, actor=actor)

    def trigger_schedule(
        self,
        name: str,
        *,
        overlap: str | None = None,
        idempotency_key: str | None = None,
        actor: str | None = None,
    ) -> UUID:
        """Starts a run now, also if it is paused, and returns its id.

        Raises NotFound; WrongState if a run of it has not ended and `overlap` (else the schedule's policy) is
        neither "allow" nor "cancel_other".
        """
        with self._queries() as queries:
            return queries.trigger_schedule(
                name, overlap=overlap, idempotency_key=idempotency_key, actor=actor
            )

    def delete_schedule(self, name: str, *, actor: str | None = None) -> None:
        """Its runs go on. Raises NotFound."""
        with self._queries() as queries:
            queries.delete_schedule(name, actor=actor)


class AsyncSchedules(AsyncPart):
    """Like `Schedules`."""

    async def create_schedule(
        self,
        name: str,
        graph: str | UUID,
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
        """Like `Client.create_schedule`."""
        async with self._queries() as queries:
            return await queries.create_schedule(
                name,
                str(graph),
                cron,
                time_zone=time_zone,
                input=input,
                queue=queue,
                priority=priority,
                labels=labels,
                overlap=overlap,
                catch_up=catch_up,
                catch_up_window=catch_up_window,
                paused=paused,
                actor=actor,
            )

    async def get_schedule(self, name: str) -> Schedule:
        """Like `Client.get_schedule`."""
        async with self._queries() as queries:
            return Schedule.from_document(await queries.schedule_document(name))

    async def pause_schedule(self, name: str, *, actor: str | None = None) -> bool:
        """Like `Client.pause_schedule`."""
        async with self._queries() as queries:
            return await queries.pause_schedule(name, actor=actor)

    async def resume_schedule(self, name: str, *, actor: str | None = None) -> bool:
        """Like `Client.resume_schedule`."""
        async with self._queries() as queries:
            return await queries.resume_schedule(name, actor=actor)

    async def trigger_schedule(
        self,
        name: str,
        *,
        overlap: str | None = None,
        idempotency_key: str | None = None,
        actor: str | None = None,
    ) -> UUID:
        """Like `Client.trigger_schedule`."""
        async with self._queries() as queries:
            return await queries.trigger_schedule(
                name, overlap=overlap, idempotency_key=idempotency_key, actor=actor
            )

    async def delete_schedule(self, name: str, *, actor: str | None = None) -> None:
        """Like `Client.delete_schedule`."""
        async with self._queries() as queries:
            await queries.delete_schedule(name, actor=actor)
