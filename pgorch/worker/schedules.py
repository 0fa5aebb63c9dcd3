"""Fires schedules: computes when they are due, and lets SQL decide what becomes of it.

Every worker process does it; whoever comes first fires, the others find it done.
"""

import asyncio
import logging
from typing import Any

import psycopg
from psycopg import AsyncConnection

from pgorch.cron import times_to_fire
from pgorch.database.connection import answering
from pgorch.database.worker_queries import DueSchedule, due_schedules, fail_schedule, fire_schedule
from pgorch.errors import InvalidValue, PgorchError
from pgorch.worker.connections import open_async, pause_seconds
from pgorch.worker.identity import Timing

log = logging.getLogger("pgorch.worker")

# How many due times are told in one call: few, so that the event loop is not held up for long.
_MOST_TIMES = 100
_SHORTEST_SECONDS = 0.02


class Schedules:
    """Asks which schedules are due, every few seconds and whenever one will be."""

    def __init__(self, dsn: str, timing: Timing) -> None:
        self._dsn = dsn
        self._timing = timing

    async def run(self) -> None:
        failures = 0
        while True:
            connection: AsyncConnection[Any] | None = None
            try:
                connection = await open_async(
                    self._dsn, purpose="schedules", statement_seconds=self._timing.answer
                )
                while True:
                    await asyncio.sleep(await self._look(connection))
                    failures = 0
            except (psycopg.Error, PgorchError, OSError) as problem:
                failures += 1
                log.warning("schedules are looked at again soon: %s", str(problem).strip())
                await asyncio.sleep(max(pause_seconds(failures), _SHORTEST_SECONDS))
            finally:
                if connection is not None:
                    await connection.close()

    async def _look(self, connection: AsyncConnection[Any]) -> float:
        """Fires what is due. Returns after how many seconds to look again."""
        seconds = self._timing.schedules
        with answering(connection, self._timing.answer):
            found = await due_schedules(connection, seconds)
        fired = [await self._fire(connection, schedule) for schedule in found if schedule.due_in <= 0]
        # Of many due times each call takes one, and more schedules may be due than were told at once.
        if any(fired):
            return 0
        coming = [schedule.due_in for schedule in found if schedule.due_in > 0]
        return max(min([seconds, *coming]), _SHORTEST_SECONDS)

    async def _fire(self, connection: AsyncConnection[Any], schedule: DueSchedule) -> bool:
        """Has it gone on by this? Not if another worker was first, or if it is to be tried again later."""
        name, turn = schedule.name, schedule.turn
        try:
            times = times_to_fire(
                schedule.cron, schedule.time_zone, schedule.after, schedule.until, _MOST_TIMES
            )
        except InvalidValue as problem:
            log.warning("when the schedule %s is due cannot be computed: %s", name, problem)
            with answering(connection, self._timing.answer):
                await fail_schedule(connection, name, turn, str(problem))
            return False
        try:
            with answering(connection, self._timing.answer):
                outcome = await fire_schedule(connection, name, turn, times)
        except psycopg.Error as problem:
            if connection.closed or connection.broken:
                raise
            # For instance a lock that somebody holds for long: the other schedules do not wait for it.
            log.warning("the schedule %s fires later: %s", name, str(problem).strip())
            return False
        if outcome not in ("planned", "taken"):
            log.info("schedule %s: %s", name, outcome)
        return outcome != "taken"
