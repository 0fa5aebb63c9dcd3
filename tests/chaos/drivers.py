"""Those who use the API: they start runs, decide, signal, cancel and look, and write down what they are told.

Whatever is not answered is asked again with the same key, until it is answered one way or the other.
"""

import asyncio
import itertools
import json
import random
from collections import Counter, deque
from typing import Any

import httpx

from tests.chaos.graphs import WEIGHTS
from tests.chaos.ground import Ground
from tests.chaos.sink import digest

ENDED = ("completed", "failed", "cancelled")
_ANSWER_SECONDS = 20.0
_AGAIN_SECONDS = 0.2
_WAIT_SECONDS = 5
# What says nothing about whether it was done, or only that it was not done now.
_NOT_SAID = (0, 408, 429, 500, 502, 503, 504)


class Drivers:
    """`count` of them, each with one run at a time, until `stop` or after `limit` runs."""

    def __init__(self, ground: Ground, *, seed: int, count: int, limit: int | None = None) -> None:
        self._ground = ground
        self._random = random.Random(seed)
        self._seed = seed
        self._count = count
        self._limit = limit
        self._numbers = itertools.count()
        self._apis = itertools.cycle(ground.urls)
        self.extra: deque[tuple[str, dict[str, Any]]] = deque()
        """Runs that faults want started: graph and more of the state. From any thread."""
        self.only: list[str] | None = None
        """If given, nothing but these graphs."""
        self.stopping = False
        self.abandoned = False
        """Nobody waits any more for what has not ended."""
        self.started = 0
        self.under_way: dict[str, str] = {}
        self.ended: Counter[tuple[str, str]] = Counter()
        """How many ended of each graph and status."""
        self.errors: Counter[str] = Counter()
        """Types of the errors of runs that failed."""
        self.statuses: Counter[int] = Counter()
        """Answers of the API by status."""

    async def drive(self) -> None:
        limits = httpx.Limits(max_connections=None, max_keepalive_connections=self._count)
        async with httpx.AsyncClient(timeout=_ANSWER_SECONDS, limits=limits, trust_env=False) as client:
            self._client = client
            await asyncio.gather(*(self._one_after_the_other() for _ in range(self._count)))

    async def _one_after_the_other(self) -> None:
        while not self.abandoned:
            if self.extra:
                graph, more = self.extra.popleft()
            elif self.stopping or (self._limit is not None and self.started >= self._limit):
                if not self.under_way and not self.extra:
                    return
                await asyncio.sleep(0.1)
                continue
            else:
                names = self.only or list(WEIGHTS)
                weights = [WEIGHTS.get(name, 1) for name in names]
                graph, more = self._random.choices(names, weights)[0], {}
            self.started += 1
            await self._see_through(graph, more)

    async def _see_through(self, graph: str, more: dict[str, Any]) -> None:
        number = next(self._numbers)
        key = f"{self._seed}-{number}-{graph}"
        self.under_way[key] = "being started"
        try:
            payload = _payload(self._random)
            state = {"payload": payload, "lane": str(number % 5), "n": 0, **more}
            body = {"graph": f"chaos_{graph}", "initial_state": state}
            status, answer = await self._ask("start", "/v1/runs", body, key=key)
            if status // 100 != 2:
                raise RuntimeError(f"start of {graph} was answered with {status}: {answer}")
            run_id = answer["run_id"]
            self.under_way[key] = run_id
            if graph == "signal":
                await asyncio.sleep(self._random.uniform(0, 0.5))
                path = f"/v1/runs/{run_id}/signals"
                await self._ask("signal", path, {"name": "go", "payload": {}}, run_id, key=f"{key}-go")
            elif graph == "cancel":
                await asyncio.sleep(self._random.uniform(0, 0.6))
                await self._ask("cancel", f"/v1/runs/{run_id}/cancel", {"reason": "chaos"}, run_id)
            await self._until_ended(graph, run_id, key)
        finally:
            del self.under_way[key]

    async def _until_ended(self, graph: str, run_id: str, reader: str) -> None:
        asked = False
        while not self.abandoned:
            wait = 0 if asked else _WAIT_SECONDS
            document = await self._look(run_id, reader, wait)
            if document is None:
                await asyncio.sleep(_AGAIN_SECONDS)
            elif document["status"] in ENDED:
                self.ended[graph, document["status"]] += 1
                if document["status"] == "failed":
                    self.errors[document["error"]["type"]] += 1
                return
            elif document["status"] == "awaiting_approval" and not asked:
                asked = True
                path = f"/v1/runs/{run_id}/decide"
                # Who asked comes first: only that he asked can keep him from deciding.
                await self._ask("decide", path, {"decision": "approved"}, run_id)
                await asyncio.gather(
                    self._ask("decide", path, {"decision": "approved"}, run_id, actor="ada"),
                    self._ask("decide", path, {"decision": "rejected"}, run_id, actor="bob"),
                )
            else:
                asked = False

    async def _look(self, run_id: str, reader: str, wait: int) -> dict[str, Any] | None:
        status, document = await self._request(
            "GET", f"/v1/runs/{run_id}", "operator", params={"wait": wait} if wait else {}
        )
        if status != 200:
            return None
        payload = document["state"].get("payload")
        self._ground.read_log.add(
            reader=reader, run_id=run_id, status=document["status"], seq=len(document["history"]),
            digest=None if payload is None else digest(payload),
        )  # fmt: skip
        found: dict[str, Any] = document
        return found

    async def _ask(
        self,
        verb: str,
        path: str,
        body: dict[str, Any],
        run_id: str | None = None,
        *,
        key: str | None = None,
        actor: str = "operator",
    ) -> tuple[int, Any]:
        """Until it is answered. Each call is in the log."""
        while True:
            headers = {} if key is None else {"Idempotency-Key": key}
            status, answer = await self._request("POST", path, actor, json=body, headers=headers)
            told = answer.get("run_id") if status // 100 == 2 and isinstance(answer, dict) else None
            self._ground.call_log.add(
                verb=verb, key=key, run_id=run_id or told, actor=actor, status=status,
                answer=answer if status // 100 == 2 else None, sent=body if verb == "decide" else None,
                digest=digest(body["initial_state"]["payload"]) if verb == "start" else None,
            )  # fmt: skip
            if status not in _NOT_SAID or self.abandoned:
                return status, answer
            await asyncio.sleep(_AGAIN_SECONDS * self._random.uniform(0.5, 1.5))

    async def _request(
        self, method: str, path: str, actor: str, headers: dict[str, str] | None = None, **more: Any
    ) -> tuple[int, Any]:
        bearer = {"Authorization": f"Bearer {self._ground.keys[actor]}"}
        try:
            answer = await self._client.request(
                method, next(self._apis) + path, headers={**bearer, **(headers or {})}, **more
            )
            self.statuses[answer.status_code] += 1
            return answer.status_code, answer.json()
        except (httpx.TransportError, json.JSONDecodeError):
            self.statuses[0] += 1
            return 0, None


def _payload(source: random.Random) -> Any:
    """JSON in which much can be lost."""
    return {
        "zäöü\u2028\U0001f600": [
            source.getrandbits(53),
            -source.getrandbits(53),
            0,
            1.5,
            1e-7,
            123456789.125,
        ],
        "a": {"nested": [[], {}, None, True, False, ""], "text": '"\\\n\t' + source.randbytes(6).hex()},
        "decimal": "1.10",
        "": source.random(),
    }
