"""Performs steps: calls their tools, and turns whatever a tool does into an outcome."""

import asyncio
import logging
import time
from collections import deque
from typing import Protocol

from pgorch.worker import outcomes
from pgorch.worker.identity import Timing
from pgorch.worker.outcomes import Outcome
from pgorch.worker.running import InHand, Running
from pgorch.worker.threads import Threads
from pgorch.worker.transactions import Transactions, Withdrawn

log = logging.getLogger("pgorch.worker")


class Desk(Protocol):
    """Where results go."""

    def put(self, running: Running, outcome: Outcome) -> None: ...

    def recorded(self, running: Running) -> None:
        """The step was handed in already, in its own transaction."""


class Performer:
    """Begins steps, stops them, and gives what came of them to the desk. Lives in the event loop's thread."""

    def __init__(
        self, in_hand: InHand, desk: Desk, transactions: Transactions, *, slots: int, timing: Timing
    ) -> None:
        self._in_hand = in_hand
        self._desk = desk
        self._transactions = transactions
        self._timing = timing
        self._threads: Threads[Running] = Threads(slots, self._run_in_thread)
        self._returned: deque[tuple[Running, Outcome | None]] = deque()
        self._told = False
        self._loop = asyncio.get_running_loop()

    def begin(self, running: Running) -> None:
        former = self._in_hand.get(running.row.step_id)
        if former is not None:
            self.drop(former, "another attempt of the step has begun here")
        self._in_hand.add(running)
        seconds = running.timeout_seconds
        if seconds is not None:
            running.timer = self._loop.call_later(
                seconds, self._time_out, running, outcomes.timed_out(seconds), "its timeout"
            )
        silence = running.row.heartbeat_seconds
        if silence is not None:
            running.pulse = self._loop.call_later(silence, self._feel_pulse, running, silence)
        if running.tool.is_async:
            running.task = self._loop.create_task(self._run(running))
        else:
            self._threads.submit(running)

    def drop(self, running: Running, why: str) -> None:
        """Stops a step whose result nobody wants any more."""
        running.dropped = why
        if running.begin():
            self._in_hand.remove(running)
        else:
            self._in_hand.let_go(running)
            running.stop()

    def withdraw(self) -> None:
        """Gives back what has not been started."""
        for running in self._in_hand:
            if running.begin():
                self._in_hand.remove(running)
                self._desk.put(running, outcomes.RELEASE)

    def close(self) -> None:
        self._threads.close()

    async def _run(self, running: Running) -> None:
        outcome: Outcome | None
        try:
            if running.tool.transactional:
                outcome = await self._transactions.perform_async(running)
            elif running.begin():
                outcome = outcomes.success(await running.tool.function(**running.arguments()))
            else:
                return
        except Withdrawn:
            return
        except asyncio.CancelledError as cancelled:
            outcome = self._cancelled(running, cancelled)
        except BaseException as problem:  # SystemExit would end the event loop
            outcome = outcomes.raised(problem)
        self._end(running, outcome)

    def _run_in_thread(self, running: Running) -> None:
        outcome: Outcome | None
        try:
            if running.tool.transactional:
                outcome = self._transactions.perform(running)
            elif running.begin():
                outcome = outcomes.success(running.tool.function(**running.arguments()))
            else:
                return
        except Withdrawn:
            return
        except BaseException as problem:  # SystemExit would end the thread without a word
            outcome = outcomes.raised(problem)
        self._returned.append((running, outcome))
        # One wake-up serves all that return before the loop gets round to looking.
        if not self._told:
            self._told = True
            try:
                self._loop.call_soon_threadsafe(self._collect)
            except RuntimeError:
                log.warning("a tool returned after the worker had ended", extra=running.names())

    def _collect(self) -> None:
        self._told = False
        while self._returned:
            running, outcome = self._returned.popleft()
            self._end(running, outcome)

    def _end(self, running: Running, outcome: Outcome | None) -> None:
        wanted = self._in_hand.end(running)
        if outcome is None:
            self._desk.recorded(running)
        elif wanted:
            self._desk.put(running, outcome)
        else:
            why = running.dropped or "it had timed out"
            log.info("a tool returned in vain: %s", why, extra=running.names())

    def _cancelled(self, running: Running, cancelled: BaseException) -> Outcome:
        return running.overdue or outcomes.raised(cancelled)

    def _feel_pulse(self, running: Running, seconds: float) -> None:
        silent = time.monotonic() - running.context.last_heartbeat if running.context else seconds
        if silent < seconds:
            running.pulse = self._loop.call_later(seconds - silent, self._feel_pulse, running, seconds)
        elif running.overdue is None:
            self._time_out(running, outcomes.silent(seconds), "the time for a sign of life")

    def _time_out(self, running: Running, outcome: Outcome, what: str) -> None:
        if running.overdue is not None:
            return
        running.overdue = outcome
        if running.task is None:
            self._give_up(running, outcome, what)
        else:
            running.stop()
            running.timer = self._loop.call_later(
                self._timing.stubborn, self._give_up, running, outcome, what
            )

    def _give_up(self, running: Running, outcome: Outcome, what: str) -> None:
        log.warning(
            "the tool %s goes on after %s; its slot stays taken until it returns",
            running.tool.name, what, extra=running.names(),
        )  # fmt: skip
        self._desk.put(running, outcome)
        self.drop(running, "it had timed out")
