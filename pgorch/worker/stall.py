"""Notices a tool that blocks the event loop, for instance by time.sleep() in a coroutine."""

import asyncio
import logging
import os
import sys
import threading
import time
import traceback

from pgorch.worker.identity import Timing

log = logging.getLogger("pgorch.worker")

EXIT_CODE = 70
_LOOK = 1.0


class Stall:
    """A thread that looks whether the event loop still turns. It says where the loop is stuck, and in the end
    ends the process, so that its steps go elsewhere: nothing else would stop such a tool."""

    def __init__(self, timing: Timing) -> None:
        self._timing = timing
        self._look = min(_LOOK, timing.stall_warning / 5)
        self._turned = True
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="pgorch-stall", daemon=True)

    def start(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._loop_thread = threading.get_ident()
        self._turn()
        self._thread.start()

    def stop(self) -> None:
        self._stopping.set()
        self._timer.cancel()

    def _turn(self) -> None:
        self._turned = True
        self._timer = self._loop.call_later(self._look, self._turn)

    def _watch(self) -> None:
        stuck, said, looked_at = 0.0, False, time.monotonic()
        while not self._stopping.wait(self._look):
            elapsed, looked_at = time.monotonic() - looked_at, time.monotonic()
            if self._turned:
                self._turned = False
                stuck, said = 0.0, False
                continue
            # A process that was paused (SIGSTOP, a sleeping laptop) was not stuck meanwhile.
            stuck += min(elapsed, 2 * self._look)
            if stuck >= self._timing.stall_warning and not said:
                said = True
                log.warning("the event loop has been blocked for %.0f s, here:\n%s", stuck, self._place())
            if self._timing.stall_exit is not None and stuck >= self._timing.stall_exit:
                log.critical(
                    "the event loop has been blocked for %.0f s: the process ends (exit code %d), and its "
                    "steps go to other workers. Blocking calls belong in tools that are plain functions.\n%s",
                    stuck, EXIT_CODE, self._place(),
                )  # fmt: skip
                logging.shutdown()
                os._exit(EXIT_CODE)

    def _place(self) -> str:
        frame = sys._current_frames().get(self._loop_thread)
        return "".join(traceback.format_stack(frame)[-8:]) if frame else "(unknown)"
