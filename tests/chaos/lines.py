"""The proxies of all processes of the harness, in a process of their own."""

import threading
from collections import Counter
from multiprocessing.connection import Connection
from typing import Any

from tests.chaos.processes import FORKS
from tests.support.proxy import Proxy


class Lines:
    """Line n is that of the nth process. What is not of one line is done to all."""

    def __init__(self, dsn: str, count: int, seed: int) -> None:
        self._ours, theirs = FORKS.Pipe()
        self._lock = threading.Lock()
        self.process = FORKS.Process(target=_serve, args=(theirs, dsn, count, seed), daemon=True)
        self.process.start()
        theirs.close()
        self.dsns: list[str] = self._ours.recv()

    def set(self, line: int | None = None, **changes: Any) -> None:
        self._ask(line, "set", changes)

    def clear(self) -> None:
        self._ask(None, "clear", {})

    def reset(self, share: float) -> None:
        self._ask(None, "reset", {"share": share})

    def happened(self) -> Counter[str]:
        """What was done, on all lines together."""
        return sum(self._ask(None, "happened", {}), Counter())

    def close(self) -> None:
        self.process.kill()
        self.process.join(10)

    def _ask(self, line: int | None, what: str, how: dict[str, Any]) -> list[Any]:
        with self._lock:
            self._ours.send((line, what, how))
            answer: list[Any] = self._ours.recv()
            return answer


def _serve(pipe: Connection, dsn: str, count: int, seed: int) -> None:
    proxies = [Proxy(dsn, seed=seed + n) for n in range(count)]
    pipe.send([proxy.dsn for proxy in proxies])
    while True:
        line, what, how = pipe.recv()
        meant = proxies if line is None else [proxies[line]]
        if what == "happened":
            pipe.send([proxy.happened for proxy in meant])
        else:
            pipe.send([getattr(proxy, what)(**how) for proxy in meant])
