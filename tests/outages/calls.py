"""Callers of the API that go on whatever happens, and note each call: the log that no fault touches."""

import contextlib
import http.client
import itertools
import json
import threading
import time
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from psycopg import Connection
from psycopg.rows import DictRow

from tests.outages.ground import Api

_GIVE_UP_SECONDS = 60.0


@dataclass(frozen=True)
class Call:
    """A request and its answer. `status` 0: none came, and nobody knows what became of it."""

    key: str
    sent: float
    took: float
    status: int
    run_id: UUID | None = None
    retry_after: str | None = None


class Callers:
    """Start runs of a graph, each under a key of its own, which is repeated until it is answered with 200."""

    def __init__(
        self, apis: list[Api], graph: str, *, clients: int = 4, pause: float = 0.0, most: int = 10**9
    ) -> None:
        self._apis = apis
        self._graph = graph
        self._pause = pause
        self._numbers = iter(range(most))
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self.calls: list[Call] = []
        self.given_up: list[str] = []
        """Keys that were not answered with 200 for a minute, and are not repeated."""
        self._threads = [
            threading.Thread(target=self._call_on, args=(n,), daemon=True) for n in range(clients)
        ]

    def start(self) -> "Callers":
        for thread in self._threads:
            thread.start()
        return self

    def stop(self) -> None:
        """Begins nothing new; each key that was begun is repeated until it is answered, for a minute."""
        self._stopping.set()
        self.join()

    def join(self, seconds: float = _GIVE_UP_SECONDS + 10) -> None:
        deadline = time.monotonic() + seconds
        for thread in self._threads:
            thread.join(max(0.0, deadline - time.monotonic()))

    @property
    def under_way(self) -> bool:
        return any(thread.is_alive() for thread in self._threads)

    @property
    def acknowledged(self) -> dict[str, UUID]:
        """What was answered with 2xx, by key. Two answers for one key must name the same run (I4)."""
        named: dict[str, set[UUID]] = defaultdict(set)
        for call in list(self.calls):
            if call.run_id is not None:
                named[call.key].add(call.run_id)
        assert all(len(ids) == 1 for ids in named.values()), "I4: one key, two runs"
        return {key: next(iter(ids)) for key, ids in named.items()}

    def since(self, moment: float, until: float = float("inf")) -> list[Call]:
        """The calls sent in this time (monotonic)."""
        return [call for call in list(self.calls) if moment <= call.sent < until]

    def check(self, db: Connection[DictRow]) -> int:
        """I3, I4, I5: what was acknowledged is there under its key, and nothing is there that nobody asked
        for. Returns how many were acknowledged."""
        acknowledged = self.acknowledged
        rows = db.execute("select id, idempotency_key from pgorch.runs where idempotency_key is not null")
        kept = {row["idempotency_key"]: row["id"] for row in rows.fetchall()}
        lost = {key: run for key, run in acknowledged.items() if kept.get(key) != run}
        assert lost == {}, f"I3: {len(lost)} of {len(acknowledged)} acknowledged starts are lost"
        asked = {call.key for call in self.calls}
        assert set(kept) <= asked, "I5: a run that nobody asked for"
        return len(acknowledged)

    def _next(self) -> int | None:
        with self._lock:
            return next(self._numbers, None)

    def _call_on(self, client: int) -> None:
        connections = itertools.cycle([_Line(api) for api in self._apis])
        for _ in range(client):
            next(connections)
        while not self._stopping.is_set() and (number := self._next()) is not None:
            key = f"call-{number}"
            deadline = time.monotonic() + _GIVE_UP_SECONDS
            while time.monotonic() < deadline:
                call = next(connections).start_run(self._graph, key)
                self.calls.append(call)
                if call.status == 200:
                    break
                time.sleep(0.05)
            else:
                self.given_up.append(key)
            time.sleep(self._pause)


class _Line:
    def __init__(self, api: Api) -> None:
        self._api = api
        self._open: http.client.HTTPConnection | None = None

    def start_run(self, graph: str, key: str) -> Call:
        body = json.dumps({"graph_id": graph})
        headers = {"content-type": "application/json", "idempotency-key": key, **self._api.headers}
        sent = time.monotonic()
        try:
            if self._open is None:
                self._open = http.client.HTTPConnection("127.0.0.1", self._api.port, timeout=60)
            self._open.request("POST", "/graph/run", body, headers)
            answer = self._open.getresponse()
            content: dict[str, Any] = json.loads(answer.read())
            run_id = UUID(content["run_id"]) if answer.status == 200 else None
        except (OSError, http.client.HTTPException, ValueError):
            # ValueError: the answer was cut off, or is not of the API.
            if self._open is not None:
                self._open.close()
            self._open = None
            return Call(key, sent, time.monotonic() - sent, 0)
        took = time.monotonic() - sent
        return Call(key, sent, took, answer.status, run_id, answer.headers.get("retry-after"))


@contextlib.contextmanager
def calling(apis: list[Api], graph: str, **options: Any) -> Iterator[Callers]:
    callers = Callers(apis, graph, **options).start()
    try:
        yield callers
    finally:
        callers.stop()


def percentile(values: list[float], percent: float) -> float:
    """The value below which so many percent lie."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * percent / 100))] if ordered else 0.0
