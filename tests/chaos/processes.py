"""What the processes of the harness do, and how they are started, killed, paused and started again."""

import asyncio
import contextlib
import faulthandler
import logging
import multiprocessing
import multiprocessing.connection
import os
import signal
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

FORKS = multiprocessing.get_context("forkserver")
# As real as any process, but the modules are loaded already.
FORKS.set_forkserver_preload(["tests.chaos.preload"])
_LOOK_SECONDS = 0.05
_PAUSE_SECONDS = 0.3
_STARTING_SECONDS = 10.0


def work(dsn: str, name: str, lease: float, sink_port: int, log: Path) -> None:
    from pgorch.worker import Worker
    from pgorch.worker.identity import Timing
    from tests.chaos.sink import PORT
    from tests.chaos.tools import registry

    _begin(log)
    os.environ[PORT] = str(sink_port)
    timing = Timing(lease=lease, beat=min(0.7, lease / 4), beat_answer=min(6.0, lease * 0.6))
    asyncio.run(Worker(dsn, registry, slots=20, name=name, timing=timing).run())


def answer(dsn: str, port: int, log: Path) -> None:
    from pgorch.api.server import serve

    _begin(log)
    serve(dsn, port=port)


def take_effects(port: socket.socket, path: Path) -> None:
    from tests.chaos.sink import serve

    _end_with_parent()
    serve(port, path)


def _begin(log: Path) -> None:
    output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(output, 1)
    os.dup2(output, 2)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s", force=True)
    signal.signal(signal.SIGUSR1, _say_what_it_does)
    _end_with_parent()


def _say_what_it_does(*_: object) -> None:
    """To the log: where each thread is, and each task of the event loop."""
    faulthandler.dump_traceback()
    with contextlib.suppress(RuntimeError):
        for task in asyncio.all_tasks(asyncio.get_running_loop()):
            task.print_stack()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()

    def watch() -> None:
        if parent is not None:
            multiprocessing.connection.wait([parent.sentinel])
            os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


class Process:
    """One that is started again when it has ended, under the same name."""

    def __init__(self, name: str, target: Callable[..., None], *arguments: Any) -> None:
        self.name = name
        self.frozen = False
        self._target = target
        self._arguments = arguments
        self._lock = threading.Lock()
        self.exits: Counter[int] = Counter()
        """How it ended how often: exit code, or minus the signal."""
        self._not_before = 0.0
        self._start()

    def _start(self) -> None:
        self.frozen = False
        self._started = time.monotonic()
        self._process = FORKS.Process(target=self._target, args=self._arguments, daemon=True)
        self._process.start()

    @property
    def pid(self) -> int:
        return self._process.pid or 0

    def tend(self) -> None:
        """Starts it again if it has ended."""
        with self._lock:
            if self._process.is_alive():
                return
            if not self._not_before:
                self.exits[self._process.exitcode or 0] += 1
                self._not_before = time.monotonic() + _PAUSE_SECONDS
            elif time.monotonic() > self._not_before:
                self._not_before = 0.0
                self._start()

    def kill(self) -> bool:
        """kill -9. Was it alive until then?"""
        with self._lock:
            self._process.kill()
            self._process.join(10)
            return self._process.exitcode == -signal.SIGKILL

    def freeze(self) -> None:
        with self._lock:
            self.frozen = True
            os.kill(self.pid, signal.SIGSTOP)

    def thaw(self) -> None:
        with self._lock:
            self.frozen = False
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGCONT)

    def end(self, seconds: float) -> int | None:
        """SIGTERM. Its exit code, None if it had to be killed; 0 for one that is still starting, too."""
        with self._lock:
            starting = time.monotonic() - self._started < _STARTING_SECONDS
            self._process.terminate()
            self._process.join(seconds)
            if self._process.is_alive():
                os.kill(self.pid, signal.SIGUSR1)
                self._process.join(1)
                self._process.kill()
                self._process.join(10)
                return None
            code = self._process.exitcode
            return 0 if starting and code == -signal.SIGTERM else code


class Crew:
    """All of them, and the thread that tends them."""

    def __init__(self) -> None:
        self.members: list[Process] = []
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._tend, daemon=True, name="tending")

    def begin(self, members: list[Process]) -> None:
        self.members = members
        self._thread.start()

    def end(self, seconds: float = 40.0) -> dict[str, int | None]:
        """The exit code of each."""
        self._over.set()
        self._thread.join()
        return {member.name: member.end(seconds) for member in self.members}

    def kill(self) -> None:
        self._over.set()
        for member in self.members:
            member.kill()

    def _tend(self) -> None:
        while not self._over.wait(_LOOK_SECONDS):
            for member in self.members:
                member.tend()
