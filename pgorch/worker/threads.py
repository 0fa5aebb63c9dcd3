"""The threads in which sync tools run.

Not the standard library's executor: its futures and locks cost several times what a small tool does, and it
waits at exit for a tool that never returns.
"""

import contextvars
import threading
from collections import deque
from collections.abc import Callable
from queue import SimpleQueue
from typing import Generic, TypeVar

Work = TypeVar("Work")


class Threads(Generic[Work]):
    """Runs `perform(work)` for whatever is submitted, in at most `most` threads, which start as they are
    needed."""

    def __init__(self, most: int, perform: Callable[[Work], None]) -> None:
        self._most = most
        self._perform = perform
        self._queue: SimpleQueue[tuple[contextvars.Context, Work] | None] = SimpleQueue()
        # A deque as a counter, because its append and pop are atomic.
        self._idle: deque[None] = deque()
        self._started = 0

    def submit(self, work: Work) -> None:
        self._queue.put((contextvars.copy_context(), work))
        try:
            self._idle.pop()
        except IndexError:
            if self._started < self._most:
                self._started += 1
                threading.Thread(target=self._run, name=f"pgorch-tool-{self._started}", daemon=True).start()

    def close(self) -> None:
        """Lets idle threads end. Those that still run a tool are daemons and keep nobody."""
        for _ in range(self._started):
            self._queue.put(None)

    def _run(self) -> None:
        while (item := self._queue.get()) is not None:
            context, work = item
            context.run(self._perform, work)
            del item, context, work
            self._idle.append(None)
