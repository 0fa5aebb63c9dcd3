"""The logs of the outside: files that are only appended to, one JSON object a line. No fault reaches them."""

import json
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any


class Log:
    """Written by one process, from any of its threads."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file = path.open("a", buffering=1)
        self._lock = threading.Lock()

    def add(self, **entry: Any) -> None:
        """`at`, in seconds since 1970 by the true clock, is added."""
        line = json.dumps({"at": time.time(), **entry}, default=str)
        with self._lock:
            self._file.write(line + "\n")

    def close(self) -> None:
        self._file.close()


def entries(path: Path) -> Iterator[dict[str, Any]]:
    if path.exists():
        with path.open() as file:
            for line in file:
                yield json.loads(line)
