"""The processes of a peer, each in the peer's own environment."""

import contextlib
import json
import os
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from psycopg.conninfo import conninfo_to_dict

_ROOT = Path(__file__).parents[3]


class Process:
    """One process, which does what it is told by name, one thing at a time."""

    def __init__(self, programs: Path, module: str, dsn: str, number: int) -> None:
        self._said: IO[str] = tempfile.TemporaryFile("w+")  # noqa: SIM115
        self._process = subprocess.Popen(
            [programs / "python", "-m", f"tests.bench.peers.{module}", url_of(dsn), str(number)],
            cwd=_ROOT, env={**os.environ, "PYTHONPATH": str(_ROOT)},
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._said, text=True,
        )  # fmt: skip
        self.pid = self._process.pid

    def tell(self, do: str, **arguments: Any) -> None:
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            print(json.dumps({"do": do, **arguments}), file=self._process.stdin, flush=True)

    def answer(self) -> Any:
        """The answer to the first thing that it was told and has not answered; first of all, "ready"."""
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        answer = json.loads(line) if line else {"error": "it has ended"}
        if "error" in answer:
            self._said.seek(0)
            raise RuntimeError(f"{answer['error']}\n{self._said.read()[-3000:]}")
        return answer["value"]

    def ask(self, do: str, **arguments: Any) -> Any:
        self.tell(do, **arguments)
        return self.answer()

    def end(self) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.close()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process.stdout.close()
        self._said.close()


@contextlib.contextmanager
def processes(programs: Path, module: str, dsn: str, count: int = 2) -> Iterator[list[Process]]:
    """So many processes, ready to be told."""
    started: list[Process] = []
    try:
        # One after the other: the first one makes the peer's tables.
        for number in range(count):
            started.append(Process(programs, module, dsn, number))
            assert started[-1].answer() == "ready"
        yield started
    finally:
        for process in started:
            process.end()


def url_of(dsn: str) -> str:
    """A connection string as the peers take it."""
    parts = conninfo_to_dict(dsn)
    return f"postgresql:///{parts['dbname']}?host={parts['host']}&port={parts['port']}&user={parts['user']}"
