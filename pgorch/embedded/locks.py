"""Advisory file locks (`flock`). The kernel forgets holders that die, so nothing can go stale."""

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pgorch.errors import DatabaseUnavailable

_POLL_SECONDS = 0.01


def open_lock(path: Path) -> int:
    """A file descriptor to lock; the file is made if it is missing. Never inherited by programs started
    later."""
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)


def try_lock(descriptor: int, *, shared: bool) -> bool:
    """Take the lock if nobody is in the way."""
    try:
        fcntl.flock(descriptor, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def release(descriptor: int) -> None:
    """Give the lock up. Closing alone would leave it to a process that was forked meanwhile."""
    fcntl.flock(descriptor, fcntl.LOCK_UN)
    os.close(descriptor)


@contextmanager
def exclusive(path: Path, *, wait_seconds: float) -> Iterator[None]:
    """Hold the lock file alone. Raises DatabaseUnavailable if it is taken for longer."""
    descriptor = open_lock(path)
    try:
        deadline = time.monotonic() + wait_seconds
        while not try_lock(descriptor, shared=False):
            if time.monotonic() > deadline:
                raise DatabaseUnavailable(
                    f"Another process has been starting or stopping PostgreSQL for {wait_seconds:.0f} "
                    f"seconds (it holds {path}).",
                    hint=f"See who it is with: fuser -v {path}",
                )
            time.sleep(_POLL_SECONDS)
        yield
    finally:
        release(descriptor)
