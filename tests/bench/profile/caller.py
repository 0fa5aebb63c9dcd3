"""A worker without a worker: it calls advance() itself, so that the size of each call is known."""

import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, LiteralString

from psycopg.types.json import Jsonb

from pgorch.cli.session import Session

_ADVANCE: LiteralString = (
    "select a.kind, a.step_id, a.lease_token from pgorch.advance(p_bucket => 0, p_worker_id => %s::uuid, "
    "p_step_ids => %s::bigint[], p_lease_tokens => %s::uuid[], p_outcomes => %s::text[], "
    "p_outputs => %s::jsonb[], p_want => %s::int, p_look => %s::boolean) a where a.kind = 'step'"
)
_OUTPUT = {"value": 7, "status": "ok"}


@dataclass(frozen=True)
class Calls:
    """What was done: steps that were handed in, calls of advance(), and seconds spent in them."""

    steps: int
    calls: int
    seconds: float


class Caller:
    """Takes runs of a graph through, so many at a time."""

    def __init__(self, db: Session, graph: dict[str, Any], queues: Sequence[str] = ("default",)) -> None:
        self._db = db
        self._worker = uuid.uuid4()
        tools = sorted({node["function"] for node in graph["nodes"]})
        definitions = Jsonb([{"name": tool} for tool in tools])
        db.connection.execute("select pgorch.register_tools(%s)", [definitions])
        created = db.row("select graph_id::text from pgorch.create_graph(%s)", [Jsonb(graph)])
        self._graph: str = created["graph_id"]
        db.connection.execute(
            "select pgorch.enlist_worker(0, %s, 'profile', %s, %s, 1000, 10000)",
            [self._worker, list(queues), tools],
        )

    def start(self, runs: int, state: dict[str, Any] | None = None) -> None:
        self._db.connection.execute(
            "select pgorch.start_many(%s, array_fill(%s::jsonb, array[%s::int]))",
            [self._graph, Jsonb(state or {}), runs],
        )

    def claim(self, want: int) -> list[Any]:
        return self._advance([], want, look=True)

    def go(self, size: int, *, at_most: float = 10.0) -> Calls:
        """Takes all that were started to their end, in groups of `size`, or until so many seconds are over"""
        steps = calls = 0
        began = time.perf_counter()
        taken = self.claim(size)
        while taken:
            while taken and time.perf_counter() - began < at_most:
                steps += len(taken)
                taken = self._advance(taken, len(taken), look=False)
                calls += 1
            taken = [] if taken else self.claim(size)
        return Calls(steps, calls, time.perf_counter() - began)

    def _advance(self, steps: list[Any], want: int, *, look: bool) -> list[Any]:
        arguments = [
            self._worker,
            [step for _, step, _ in steps],
            [token for _, _, token in steps],
            ["success"] * len(steps),
            [Jsonb(_OUTPUT)] * len(steps),
            want,
            look,
        ]
        return self._db.connection.execute(_ADVANCE, arguments, prepare=True).fetchall()
