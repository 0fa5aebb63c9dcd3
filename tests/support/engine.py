"""Plays the workers of pgorch through SQL alone, in one process and in a known order.

Tests of the engine say what happens ("b fails, then a succeeds") and read what came of it; no worker process,
no tool and no clock but the database's own takes part.
"""

import re
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from itertools import pairwise
from typing import Any
from uuid import UUID

from psycopg import Connection
from psycopg.rows import DictRow
from psycopg.types.json import Jsonb

Row = dict[str, Any]
ENDED = frozenset({"completed", "failed", "cancelled"})


class Fails(Exception):
    """What a tool of a test raises: the step is handed in as failed with this error."""

    def __init__(self, type: str = "Broken", message: str = "it broke", **more: Any) -> None:
        super().__init__(message)
        self.error = {"type": type, "message": message, "retryable": False, **more}


@dataclass(frozen=True)
class Step:
    """A row that advance() returned, with the bucket of its run."""

    kind: str
    bucket: int
    step_id: int
    lease_token: UUID
    run_id: UUID | None
    node: str | None
    tool: str | None
    attempt: int | None
    born: int | None
    timeout_seconds: float | None
    input: Any
    state: Any
    message: str | None
    delay_seconds: float | None
    role: str | None
    item: int | None
    heartbeat_seconds: float | None

    @property
    def argument(self) -> Any:
        """What the tool is given: the rendered input, or the whole state if the node has no template.

        What goes by name alone (undoing, items without a template) lies over the state."""
        if self.role in ("undo", "loose item"):
            return {**self.state, **self.input}
        return self.state if self.input is None else self.input


Tool = Callable[[Step], Any]
Result = tuple[Step, str, Any]


def edge(text: str, more: Mapping[str, Any] | None = None) -> dict[str, Any]:
    source, target = text.split(">")
    return {"source": source, "target": target, **(more or {})}


def definition(nodes: str | Iterable[Any], edges: Iterable[Any] = (), **more: Any) -> dict[str, Any]:
    """A graph in few words: nodes "a b" are tasks, edges are "a>b" or ("a>b", {"condition": ...}).

    A task without function or sql calls the tool that is named like the node. The first node is the start,
    and the name is random, unless they are given.
    """
    listed = nodes.split() if isinstance(nodes, str) else list(nodes)
    written = [{"id": n, "function": n} if isinstance(n, str) else dict(n) for n in listed]
    for node in written:
        if node.get("type", "task") == "task" and "sql" not in node:
            node.setdefault("function", node["id"])
    return {
        "name": f"graph_{uuid.uuid4().hex[:12]}",
        "nodes": written,
        "edges": [edge(e) if isinstance(e, str) else edge(*e) for e in edges],
        "start_node": written[0]["id"],
        **more,
    }


def chain(nodes: str) -> dict[str, Any]:
    """A graph in which the nodes follow each other."""
    names = nodes.split()
    return definition(nodes, [f"{a}>{b}" for a, b in pairwise(names)])


@dataclass
class Worker:
    """One worker, which is nothing but rows and the calls that a real one makes."""

    connection: Connection[DictRow]
    tools: list[str]
    buckets: range
    queues: list[str] = field(default_factory=lambda: ["default"])
    name: str = "worker"
    slots: int = 100
    lease_seconds: float = 30.0
    id: UUID = field(default_factory=uuid.uuid4)

    def enlist(self, marker: int | None = None) -> "Worker":
        for bucket in self.buckets:
            self.connection.execute(
                "select pgorch.enlist_worker(%s::int, %s::uuid, %s::text, %s::text[], %s::text[], %s::int,"
                " %s::float8, %s::bigint)",
                [bucket, self.id, self.name, self.queues, self.tools, self.slots, self.lease_seconds, marker],
            )
        return self

    def advance(
        self, results: Sequence[Result], want: int = 0, asleep: bool = False, bucket: int | None = None
    ) -> list[Step]:
        """One call of advance(), in the bucket of the results."""
        if bucket is None:
            bucket = results[0][0].bucket if results else self.buckets[0]
        rows = self.connection.execute(
            "select * from pgorch.advance(%s::int, %s::uuid, %s::bigint[], %s::uuid[], %s::text[],"
            " %s::jsonb[], %s::int, p_asleep => %s::boolean)",
            [
                bucket,
                self.id,
                [step.step_id for step, _, _ in results],
                [step.lease_token for step, _, _ in results],
                [outcome for _, outcome, _ in results],
                [None if outcome == "release" else Jsonb(value) for _, outcome, value in results],
                want,
                asleep,
            ],
        ).fetchall()
        steps: list[Step] = []
        for row in rows:
            if row["kind"] == "step" and row["state"] is None:
                row["state"] = steps[-1].state
            elif row["kind"] == "next":
                known = next(step.state for step, _, _ in results if step.step_id == row["step_id"])
                row |= {"kind": "step", "state": {**(known or {}), **row["state"]}}
            if row["kind"] != "looked":
                steps.append(Step(bucket=bucket, **row))
        return steps

    def claim(self, want: int = 1) -> list[Step]:
        claimed: list[Step] = []
        for bucket in self.buckets:
            claimed += self.advance([], want - len(claimed), bucket=bucket)
        return claimed

    def claim_one(self, node: str | None = None) -> Step:
        """The one step that can be claimed now (if named: of this node; the others stay as they were)."""
        claimed = self.claim(100 if node else 1)
        for other in [s for s in claimed if node and s.node != node]:
            self.release(other)
        chosen = [s for s in claimed if node in (None, s.node)]
        assert len(chosen) == 1, f"claimed {[s.node for s in claimed]}, wanted {node or 'one step'}"
        return chosen[0]

    def succeed(self, step: Step, output: Any = None, want: int = 0) -> list[Step]:
        return self.advance([(step, "success", output)], want)

    def fail(
        self, step: Step, type: str = "Broken", message: str = "it broke", retryable: bool = True, **more: Any
    ) -> list[Step]:
        error = {"type": type, "message": message, "retryable": retryable, **more}
        return self.advance([(step, "error", error)])

    def release(self, step: Step) -> list[Step]:
        return self.advance([(step, "release", None)])

    def beat(self, bucket: int | None = None) -> Row:
        row = self.connection.execute(
            "select * from pgorch.beat(%s::int, %s::uuid, %s::float8)",
            [self.buckets[0] if bucket is None else bucket, self.id, self.lease_seconds],
        ).fetchone()
        assert row is not None
        return row

    def beat_everywhere(self) -> None:
        for bucket in self.buckets:
            self.beat(bucket)

    def leave(self) -> int:
        return sum(
            value_of(self.connection, "select pgorch.leave(%s::int, %s::uuid)", b, self.id)
            for b in self.buckets
        )


def value_of(connection: Connection[DictRow], query: str, *parameters: Any) -> Any:
    row = connection.execute(query.encode(), parameters).fetchone()
    assert row is not None
    return next(iter(row.values()))


class Engine:
    """A database with pgorch in it, and a first worker that serves every tool."""

    def __init__(self, connection: Connection[DictRow]) -> None:
        self.connection = connection
        self.buckets = range(self.value("select pgorch.bucket_count()"))
        self._tools: list[str] = []
        self._worker: Worker | None = None

    # Definitions ----------------------------------------------------------------------------------

    def register(self, *tools: str | Mapping[str, Any]) -> None:
        described = [{"name": t} if isinstance(t, str) else dict(t) for t in tools]
        rows = [{"description": "", "parameters": {"type": "object"}, **t} for t in described]
        self.value("select pgorch.register_tools(%s)", Jsonb(rows))
        self._tools += [t["name"] for t in described if t["name"] not in self._tools]
        if self._worker is not None:
            self._worker.tools = self._tools
            self._worker.enlist()

    def graph(self, graph: Mapping[str, Any]) -> str:
        """Creates the graph, and first the tools that it names; returns its id."""
        named = {n[k] for n in graph["nodes"] for k in ("function", "compensate") if k in n}
        self.register(*sorted(named - set(self._tools) - {"wait_for_approval"}))
        return str(self.value("select graph_id from pgorch.create_graph(%s)", Jsonb(dict(graph))))

    # Runs -----------------------------------------------------------------------------------------

    def start(self, graph: str | Mapping[str, Any], input: Any = None, **options: Any) -> UUID:
        """Options are the parameters of start() without p_. A definition is created first."""
        name = graph if isinstance(graph, str) else self.graph(graph)
        arguments = {"p_graph": name, "p_input": Jsonb({} if input is None else input)}
        arguments |= {f"p_{key}": value for key, value in options.items()}
        run_id = self.value(f"select pgorch.start({named(arguments)})", *arguments.values())
        assert isinstance(run_id, UUID)
        return run_id

    def decide(self, run_id: UUID, decision: str, data: Any = None, **options: Any) -> UUID:
        arguments = {"p_run_id": run_id, "p_decision": decision}
        arguments |= {"p_data": Jsonb(data)} if data is not None else {}
        arguments |= {f"p_{key}": value for key, value in options.items()}
        approval_id = self.value(f"select pgorch.decide({named(arguments)})", *arguments.values())
        assert isinstance(approval_id, UUID)
        return approval_id

    def approve(self, run_id: UUID, data: Any = None, **options: Any) -> UUID:
        return self.decide(run_id, "approved", data, **options)

    def reject(self, run_id: UUID, data: Any = None, **options: Any) -> UUID:
        return self.decide(run_id, "rejected", data, **options)

    def cancel(self, run_id: UUID, reason: str | None = None) -> str:
        return str(self.value("select pgorch.cancel(p_run_id => %s, p_reason => %s)", run_id, reason))

    # Workers --------------------------------------------------------------------------------------

    @property
    def worker(self) -> Worker:
        if self._worker is None:
            self._worker = self.new_worker(name="first")
            self._worker.tools = self._tools
        return self._worker

    def new_worker(self, tools: Iterable[str] | None = None, **options: Any) -> Worker:
        options.setdefault("connection", self.connection)
        served = self._tools if tools is None else tools
        return Worker(tools=list(served), buckets=self.buckets, **options).enlist()

    def run(
        self,
        tools: Mapping[str, Any] | None = None,
        *,
        batch: int = 1,
        choose: Callable[[list[Step]], list[Step]] | None = None,
        calls: int = 2000,
    ) -> None:
        """Performs steps until nothing is left to claim.

        A tool is a function of the step, or the output itself; without one a step gives {}. `choose` says
        which of the steps at hand are handed in next (default: the first `batch` of them); the others stay
        under way.
        """
        at_hand: list[Step] = []
        for _ in range(calls):
            if not at_hand:
                at_hand = self.worker.claim(1000)
                if not at_hand:
                    return
            one_bucket = [s for s in at_hand if s.bucket == at_hand[0].bucket]
            chosen = choose(one_bucket) if choose else one_bucket[:batch]
            ids = {s.step_id for s in chosen}
            at_hand = [s for s in at_hand if s.step_id not in ids]
            came = self.worker.advance([self._performed(s, tools or {}) for s in chosen], want=1000)
            at_hand += [s for s in came if s.kind in ("step", "quarantined")]
        raise AssertionError(f"not quiet after {calls} calls of advance()")

    @staticmethod
    def _performed(step: Step, tools: Mapping[str, Any]) -> Result:
        if step.kind == "quarantined":
            return step, "error", {"type": "WorkerLost", "message": step.message, "retryable": False}
        tool = tools.get(str(step.tool), {})
        try:
            return step, "success", tool(step) if callable(tool) else tool
        except Fails as problem:
            return step, "error", problem.error

    # What came of it ------------------------------------------------------------------------------

    def value(self, query: str, *parameters: Any) -> Any:
        return value_of(self.connection, query, *parameters)

    def rows(self, query: str, *parameters: Any) -> list[Row]:
        return self.connection.execute(query.encode(), parameters).fetchall()

    def status(self, run_id: UUID) -> str:
        query = "select status from pgorch.runs where bucket = %s and id = %s"
        return str(self.value(query, run_id.bytes[15], run_id))

    def error(self, run_id: UUID) -> Any:
        return self.value("select error from pgorch.runs where id = %s", run_id)

    def state(self, run_id: UUID) -> Any:
        return self.value("select pgorch.run_state(%s)", run_id)

    def history(self, run_id: UUID) -> list[Row]:
        return self.rows("select * from pgorch.run_history where run_id = %s order by seq", run_id)

    def kinds(self, run_id: UUID) -> list[str]:
        return [str(h["kind"]) for h in self.history(run_id)]

    def order(self, run_id: UUID) -> str:
        """The nodes in the order in which their visits ended, as "a b c"."""
        ends = ("step_completed", "step_failed", "step_expired", "approval_decided")
        return " ".join(h["node"] for h in self.history(run_id) if h["kind"] in ends)

    def approvals(self, run_id: UUID) -> list[Row]:
        return self.rows("select * from pgorch.approvals where run_id = %s order by requested_at, id", run_id)

    def live(self, run_id: UUID) -> list[Row]:
        return self.rows("select * from pgorch.live_steps where run_id = %s order by step_id", run_id)

    def output(self, run_id: UUID, node: str) -> Any:
        return [
            h["output"] for h in self.history(run_id) if h["node"] == node and h["kind"] == "step_completed"
        ][-1]

    # Time -----------------------------------------------------------------------------------------

    def jump(self, by: timedelta | str) -> None:
        """Lets the engine's clock run ahead by so much more."""
        self.connection.execute(
            "select pgorch.set_clock((select offset_by from pgorch._clock) + %s::interval)", [by]
        )

    def without_fast_path(self) -> None:
        """From now on every result is settled one by one, those of a map's items too."""
        self.connection.execute("update pgorch.nodes set fast_out = false, fast_in = false")


def named(arguments: Mapping[str, Any]) -> str:
    """The arguments of a call by name; values follow as parameters."""
    assert all(re.fullmatch(r"\w+", name) for name in arguments)
    return ", ".join(f"{name} => %s" for name in arguments)
