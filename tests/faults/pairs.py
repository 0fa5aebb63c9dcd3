"""Every pair of engine functions at one run: the first in a transaction that stays open, the second beside.

The run has something for each function: a step that a worker holds whose lease is over, a step to be claimed,
an open question, a wait for a signal, and a wait whose time has come.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from psycopg import Connection
from psycopg.rows import DictRow
from psycopg.types.json import Jsonb

from tests.support.engine import Engine, Step, Worker, definition

_ADVANCE = (
    "select * from pgorch.advance(%s::int, %s::uuid, %s::bigint[], %s::uuid[], %s::text[], %s::jsonb[],"
    " %s::int)"
)
_TIMERS_DUE = "update pgorch.timers set due_at = now() - interval '1 second' where bucket = 0"
_WAITS = [
    {"id": "ask", "type": "approval"},
    {"id": "word", "type": "wait", "signal": "go"},
    {"id": "time", "type": "wait", "for": "1 second"},
]
_BRANCHES = ("held", "free", "ask", "word", "time")


@dataclass
class Scene:
    """One run on which everything can be done, and who does it."""

    engine: Engine
    run_id: UUID
    next_version: str
    holder: Worker
    step: Step
    other: Worker

    def call(self, name: str) -> "Statement":
        """The statement of an engine function, for this run."""
        return CALLS[name](self)

    def play_to_its_end(self) -> str:
        """Whatever is left of the run is done; the status with which it ends."""
        for _ in range(40):
            status = self.engine.status(self.run_id)
            if status in ("completed", "failed", "cancelled"):
                return status
            if status == "paused":
                self.engine.value("select pgorch.resume(%s)", self.run_id)
            self._do_what_there_is()
        raise AssertionError(f"the run is stranded: {self.engine.live(self.run_id)}")

    def _do_what_there_is(self) -> None:
        self.engine.connection.execute(_TIMERS_DUE)
        self.other.beat(0)
        self.engine.value("select pgorch.tick(0)")
        self.other.claim(100)
        held = self.engine.rows(
            "select id, lease_token from pgorch.steps where bucket = 0 and run_id = %s and worker_id = %s",
            self.run_id,
            self.other.id,
        )
        for step in held:
            query, parameters = _hand_in(self.other.id, step["id"], step["lease_token"], "success", {})
            self.engine.rows(query, *parameters)
        if any(a["status"] == "open" for a in self.engine.approvals(self.run_id)):
            self.engine.approve(self.run_id)
        if any(s["node"] == "word" for s in self.engine.live(self.run_id)):
            self.engine.value("select pgorch.signal(%s, 'go')", self.run_id)


class Stage:
    """Graphs and workers that all scenes share."""

    def __init__(self, connection: Connection[DictRow]) -> None:
        self.engine = Engine(connection)
        graph = definition(
            ["begin", "held", "free", *_WAITS, "end"],
            [*(f"begin>{b}" for b in _BRANCHES), *(f"{b}>end" for b in _BRANCHES)],
        )
        self.graph = self.engine.graph(graph)
        self.engine.graph(graph | {"description": "another version"})
        self.next_version = f"{graph['name']}@2"
        self.other = self.engine.new_worker(name="other", lease_seconds=1e6)

    def scene(self, *, failed: bool, paused: bool) -> Scene:
        """A run as described above; if `failed`, one that has failed at that point and can be retried, and if
        `paused`, one that was paused while its step was under way."""
        run_id = self.engine.start(self.graph, bucket=0)
        self.other.succeed(self.other.claim_one("begin"), {})
        holder = self.engine.new_worker(tools=["held"], name="holder")
        step = holder.claim_one("held")
        connection = self.engine.connection
        connection.execute(_TIMERS_DUE)
        connection.execute(
            "update pgorch._worker_leases set expires_at = now() - interval '1 second' where worker_id = %s",
            [holder.id],
        )
        if failed:
            self.other.fail(self.other.claim_one("free"), retryable=False)
        if paused:
            self.engine.value("select pgorch.pause(%s)", run_id)
        return Scene(self.engine, run_id, self.next_version, holder, step, self.other)


Statement = tuple[str, tuple[Any, ...]]


def _hand_in(worker_id: UUID, step_id: int, token: UUID, outcome: str, value: Any) -> Statement:
    return _ADVANCE, (0, worker_id, [step_id], [token], [outcome], [Jsonb(value)], 0)


def _holder_hands_in(outcome: str, value: Any) -> Callable[[Scene], Statement]:
    return lambda s: _hand_in(s.holder.id, s.step.step_id, s.step.lease_token, outcome, value)


def _of_run(query: str) -> Callable[[Scene], Statement]:
    return lambda scene: (query, (scene.run_id,))


CALLS: dict[str, Callable[[Scene], Statement]] = {
    "claim": lambda s: (_ADVANCE, (0, s.other.id, [], [], [], [], 100)),
    "complete": _holder_hands_in("success", {"held": 1}),
    "fail": _holder_hands_in("error", {"type": "Broken", "message": "it broke", "retryable": False}),
    "heartbeat": lambda s: ("select * from pgorch.beat(0, %s::uuid, 1e6)", (s.other.id,)),
    "sweep": lambda s: ("select pgorch.tick(0)", ()),
    "cancel": _of_run("select pgorch.cancel(%s)"),
    "decide": _of_run("select pgorch.decide(%s, 'approved')"),
    "signal": _of_run("select pgorch.signal(%s, 'go')"),
    "retry": _of_run("select pgorch.retry(%s)"),
    "migrate": lambda s: ("select pgorch.move(%s, %s)", (s.run_id, s.next_version)),
    "pause": _of_run("select pgorch.pause(%s)"),
    "resume": _of_run("select pgorch.resume(%s)"),
    "leave": lambda s: ("select pgorch.leave(0, %s::uuid)", (s.holder.id,)),
}
