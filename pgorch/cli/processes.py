"""A tree of child processes: started, kept alive with growing pauses, and ended together."""

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from types import FrameType

_FIRST_PAUSE = 0.5
_LONGEST_PAUSE = 10.0
_STEADY_SECONDS = 10.0
_POLL_SECONDS = 0.1
_PR_SET_PDEATHSIG = 1
_LIBC = ctypes.CDLL(None) if sys.platform == "linux" else None


class Child:
    """One child process that runs a command of pgorch, again and again until it is told to stop."""

    def __init__(self, name: str, arguments: Sequence[str], environment: Mapping[str, str]) -> None:
        self.name = name
        self._command = [sys.executable, "-m", "pgorch", *arguments]
        self._environment = {**os.environ, **environment}
        self._pause = _FIRST_PAUSE
        self._started = 0.0
        self._due: float | None = None
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        # Its own session: Ctrl-C reaches the parent alone, which ends the children in order.
        self.process = subprocess.Popen(
            self._command,
            env=self._environment,
            stdin=subprocess.DEVNULL,
            start_new_session=True,
            preexec_fn=_die_with_parent,
        )
        self._started = time.monotonic()
        self._due = None

    def exit_code(self) -> int | None:
        """The exit code of the process if it has ended (-n: by signal n), None while it runs."""
        return None if self.process is None else self.process.poll()

    def revive(self) -> float | None:
        """Called again and again after its end: seconds until its restart when that was decided just now."""
        now = time.monotonic()
        if self._due is None:
            if now - self._started > _STEADY_SECONDS:
                self._pause = _FIRST_PAUSE
            self._due = now + self._pause
            pause, self._pause = self._pause, min(self._pause * 2, _LONGEST_PAUSE)
            return pause
        if now >= self._due:
            self.start()
        return None

    def send(self, number: int) -> None:
        if self.process is not None and self.process.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                self.process.send_signal(number)


class Tree:
    """Children that live and end together. Use as a context: leaving it ends them all.

    SIGTERM, SIGINT and SIGHUP set `stopping`; a second one kills what has not ended yet.
    """

    def __init__(self, children: Sequence[Child], *, grace_seconds: float = 20.0) -> None:
        self.children = list(children)
        self.stopping = threading.Event()
        self._grace = grace_seconds
        self._signals = 0

    def __enter__(self) -> "Tree":
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, self._on_signal)
        for child in self.children:
            child.start()
        return self

    def __exit__(self, *_: object) -> None:
        for child in self.children:
            child.send(signal.SIGTERM)
        deadline = time.monotonic() + self._grace
        while any(c.process and c.process.poll() is None for c in self.children):
            if time.monotonic() > deadline or self._signals > 1:
                for child in self.children:
                    child.send(signal.SIGKILL)
            time.sleep(_POLL_SECONDS / 5)

    def watch(self, say: Callable[[str], None], look: Callable[[], None] | None = None) -> None:
        """Restart children that end, and call `look` ten times a second, until a signal comes."""
        while not self.stopping.wait(_POLL_SECONDS):
            for child in self.children:
                code = child.exit_code()
                if code is None:
                    continue
                pause = child.revive()
                if pause is not None:
                    say(f"{child.name} ended ({ending(code)}); it is started again in {pause:g} s")
            if look:
                look()

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        self._signals += 1
        self.stopping.set()


def ending(code: int) -> str:
    """How a process ended, in words."""
    return f"killed by {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"


def _die_with_parent() -> None:
    if _LIBC is not None:
        _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
