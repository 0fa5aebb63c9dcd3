"""Worker processes for the benchmark: real ones, started as a user would start them."""

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence

from pgorch.cli.bench.graphs import QUEUE
from pgorch.cli.session import Session
from pgorch.errors import PgorchError

_START_SECONDS = 60.0
_STOP_SECONDS = 30.0


@contextlib.contextmanager
def workers(
    db: Session, dsn: str, count: int, *, slots: int = 100, app: str = "pgorch.cli.bench.tools"
) -> Iterator[list[int]]:
    """`count` worker processes that are registered and wait for work; their process ids."""
    names = [f"bench-{os.getpid()}-{number}" for number in range(1, count + 1)]
    processes: list[subprocess.Popen[bytes]] = []
    try:
        for name in names:
            options = ["--app", app, "-q", QUEUE, "-c", str(slots), "--name", name, "--quiet"]
            processes.append(
                subprocess.Popen(
                    [sys.executable, "-m", "pgorch", "worker", *options],
                    env={**os.environ, "PGORCH_DSN": dsn},
                    stdin=subprocess.DEVNULL,
                )
            )
        _wait_until_registered(db, names, processes)
        yield [process.pid for process in processes]
    finally:
        for process in processes:
            process.terminate()
        deadline = time.monotonic() + _STOP_SECONDS
        for process in processes:
            try:
                process.wait(max(0.1, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _wait_until_registered(
    db: Session, names: Sequence[str], processes: Sequence["subprocess.Popen[bytes]"]
) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while True:
        alive = db.value(
            "select count(distinct w.name) from pgorch.worker_list w"
            " where w.status = 'alive' and w.name = any (%s)",
            [list(names)],
        )
        if alive == len(names):
            return
        if any(process.poll() is not None for process in processes) or time.monotonic() > deadline:
            raise PgorchError("The workers of the benchmark did not start.", hint="pgorch doctor")
        time.sleep(0.05)
