"""Processes that use an embedded server, as tests need them: real ones that can be killed."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import sysconfig
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
PATIENCE_SECONDS = 30.0
NOBODY_ID = 65534
NOBODY: dict[str, Any] = {"user": NOBODY_ID, "group": NOBODY_ID, "extra_groups": []}

_PROGRAM = """
import json, sys
from pgorch.embedded import EmbeddedServer
from pgorch.errors import PgorchError
server = EmbeddedServer(sys.argv[1], fsync=False)
try:
    server.start()
except PgorchError as error:
    print(json.dumps({"error": str(error), "hint": error.hint}), flush=True)
    sys.exit(1)
print(json.dumps({"dsn": server.dsn, "adopted": server.adopted, "version": server.version,
                  "bin_dir": str(server.bin_dir), "data_dir": str(server.data_dir)}), flush=True)
sys.stdin.read()
server.stop()
"""


@dataclass
class User:
    """A process that holds an embedded server until it is let go or killed."""

    process: subprocess.Popen[str]

    def told(self) -> dict[str, Any]:
        """What it said once it had the server, or why it could not get it."""
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line, f"the user process ended with {self.process.wait()} and said nothing"
        answer: dict[str, Any] = json.loads(line)
        return answer

    def leave(self) -> None:
        """Let it stop using the server, in good order."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        assert self.process.wait(PATIENCE_SECONDS) == 0

    def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()


@contextmanager
def user(data_dir: Path, **options: Any) -> Iterator[User]:
    """A user process of the server on `data_dir`; more options go to Popen. Killed at the end if it still
    lives."""
    python = python_for_everybody() if "user" in options else sys.executable
    assert python is not None
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}:{sysconfig.get_path('platlib')}"}
    process = subprocess.Popen(
        [python, "-c", _PROGRAM, str(data_dir)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=environment,
        **options,
    )
    with process:
        try:
            yield User(process)
        finally:
            process.kill()


def python_for_everybody() -> str | None:
    """A Python like this one that ordinary users can run, with this checkout and its environment; None if
    there is none: root's files are often for root alone."""
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    for python in (sys.executable, f"/usr/bin/{version}", f"/usr/local/bin/{version}"):
        with contextlib.suppress(OSError):
            done = subprocess.run(
                [python, "-c", "import pgorch.embedded"],
                env={"PYTHONPATH": f"{ROOT}:{sysconfig.get_path('platlib')}"},
                cwd="/",
                capture_output=True,
                **NOBODY,
            )
            if done.returncode == 0:
                return python
    return None


def wait_for(condition: Callable[[], bool], what: str) -> None:
    """Poll until the condition holds; fail after a generous time."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        assert time.monotonic() < deadline, f"waited {PATIENCE_SECONDS:.0f} s in vain until {what}"
        time.sleep(0.01)
