"""The steps that a worker has in hand."""

import asyncio
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import orjson

from pgorch.database.connection import cut
from pgorch.database.worker_queries import Advanced, Result
from pgorch.tool import Context, Tool
from pgorch.worker.outcomes import Outcome
from pgorch.worker.sql_steps import SQL_STEP
from pgorch.worker.state import State

# Roles of steps whose tool takes its arguments by name from the input, laid over the state.
BY_NAME = ("loose item", "undo")


class Running:
    """One attempt of a step, from the moment it was given to this worker to its end."""

    __slots__ = ("_begun", "bucket", "context", "dropped", "overdue", "pulse", "row", "state", "task",
                 "timer", "tool", "worker_id")  # fmt: skip

    def __init__(self, bucket: int, worker_id: UUID, row: Advanced, state: State, tool: Tool) -> None:
        self.bucket = bucket
        self.worker_id = worker_id
        self.row = row
        self.state = state
        self.tool = tool
        self.context: Context | None = None
        self.task: asyncio.Task[None] | None = None
        self.timer: asyncio.TimerHandle | None = None
        self.pulse: asyncio.TimerHandle | None = None
        self.overdue: Outcome | None = None
        """What is handed in instead of a result that did not come in time."""
        self.dropped: str | None = None
        """Why nobody wants the result any more."""
        self._begun = threading.Lock()
        if tool.wants_context is not None or tool.transactional or row.heartbeat_seconds is not None:
            self.context = self._new_context()

    @property
    def timeout_seconds(self) -> float | None:
        """The node's own, else the tool's."""
        own = self.row.timeout_seconds
        return self.tool.timeout_seconds if own is None else own

    def begin(self) -> bool:
        """Of those who call it, one is told True: it performs the step, or gives it back unstarted."""
        return self._begun.acquire(blocking=False)

    def is_held_by(self, bucket: int, worker_id: UUID) -> bool:
        """Must the engine have it under this lease? A transactional step may be recorded meanwhile."""
        return self.bucket == bucket and self.worker_id == worker_id and not self.tool.transactional

    def result(self, outcome: Outcome) -> Result:
        row = self.row
        return Result(self.bucket, row.step_id, row.lease_token, outcome.kind, outcome.output, self.state)

    def arguments(self) -> dict[str, Any]:
        """The keyword arguments of the tool. Raises InvalidArguments."""
        row, tool = self.row, self.tool
        if tool is SQL_STEP:
            return tool.bind(None, {}, self.context)
        given = None if row.input is None else orjson.loads(row.input)
        state = {}
        # What lies over the state hides it: a long list is not decoded again for each of its items.
        by_name = given is None or row.role in BY_NAME
        if tool.reads_state(given or ()) if by_name else tool.wants_state is not None:
            state = self.state.read()
        if row.role in BY_NAME:
            given, state = None, {**state, **(given or {})}
        return tool.bind(given, state, self.context)

    def names(self) -> dict[str, object]:
        """The ids for a log record."""
        row = self.row
        return {"run_id": row.run_id, "node": row.node, "step_id": row.step_id, "attempt": row.attempt}

    def stop(self) -> None:
        """Asks the tool to end: a coroutine is cancelled, a thread can only be told."""
        if self.context is not None:
            self.context.cancelled.set()
        if self.task is not None:
            self.task.cancel()
        elif self.tool.transactional and self.context is not None:
            # What its transaction holds comes free, and a thread that waits for an answer in vain as well.
            cut(self.context.open_connection)

    def end_timer(self) -> None:
        for timer in (self.timer, self.pulse):
            if timer is not None:
                timer.cancel()
        self.timer = self.pulse = None

    def _new_context(self) -> Context:
        row, seconds = self.row, self.timeout_seconds
        return Context(
            run_id=UUID(row.run_id),
            node=row.node,
            step_id=row.step_id,
            attempt=row.attempt,
            born=row.born,
            lease_token=UUID(row.lease_token),
            item=row.item if row.role != "undo" else None,
            undoes=row.role == "undo",
            deadline=None if seconds is None else datetime.now(UTC) + timedelta(seconds=seconds),
        )


class InHand:
    """The steps under way, and those that are over for the database but whose tool has not returned."""

    def __init__(self, slots: int) -> None:
        self._slots = slots
        self._steps: dict[int, Running] = {}
        self._lingering: set[Running] = set()

    def __len__(self) -> int:
        return len(self._steps)

    def __iter__(self) -> Iterator[Running]:
        return iter(list(self._steps.values()))

    @property
    def free(self) -> int:
        """How many more steps can be performed at once."""
        return self._slots - len(self._steps) - len(self._lingering)

    def add(self, running: Running) -> None:
        self._steps[running.row.step_id] = running

    def __contains__(self, running: Running) -> bool:
        return self._steps.get(running.row.step_id) is running

    def get(self, step_id: int) -> Running | None:
        return self._steps.get(step_id)

    def has(self, step_id: int, lease_token: str) -> bool:
        found = self._steps.get(step_id)
        return found is not None and found.row.lease_token == lease_token

    def end(self, running: Running) -> bool:
        """The tool has returned. Is its result still wanted?"""
        running.end_timer()
        if running in self._lingering:
            self._lingering.discard(running)
            return False
        self._steps.pop(running.row.step_id, None)
        return True

    def let_go(self, running: Running) -> None:
        """The step is over, but its slot is taken until the tool returns."""
        running.end_timer()
        if self._steps.get(running.row.step_id) is running:
            del self._steps[running.row.step_id]
            self._lingering.add(running)

    def remove(self, running: Running) -> None:
        """The step was never begun."""
        running.end_timer()
        self._steps.pop(running.row.step_id, None)
