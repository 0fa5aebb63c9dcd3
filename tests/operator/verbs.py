"""What an operator does, and tools that break on command."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from psycopg.types.json import Jsonb

from tests.support.engine import Engine, Fails, Step


def call(engine: Engine, verb: str, run_id: UUID, **options: Any) -> Any:
    """A verb of SQL with its parameters, without p_; what is an object or a list is given as JSON."""
    json = ("input", "output", "state", "payload", "labels")
    given = {"p_run_id": run_id} | {
        f"p_{k}": Jsonb(v) if k in json and v is not None and not isinstance(v, Jsonb) else v
        for k, v in options.items()
    }
    named = ", ".join(f"{k} => %s" for k in given)
    return engine.value(f"select pgorch.{verb}({named})", *given.values())


def retry(engine: Engine, run_id: UUID, **options: Any) -> str:
    return str(call(engine, "retry", run_id, **options))


def skip(engine: Engine, run_id: UUID, **options: Any) -> str:
    return str(call(engine, "skip", run_id, **options))


def fork(engine: Engine, run_id: UUID, **options: Any) -> UUID:
    return UUID(str(call(engine, "fork", run_id, **options)))


def move(engine: Engine, run_id: UUID, graph: str) -> None:
    call(engine, "move", run_id, graph=graph)


def tick(engine: Engine) -> int:
    fired = 0
    for bucket in engine.buckets:
        while now := engine.value("select pgorch.tick(%s)", bucket):
            fired += now
    return fired


def children(engine: Engine, run_id: UUID) -> list[UUID]:
    rows = engine.rows("select id from pgorch.runs where parent_run_id = %s order by created_at, id", run_id)
    return [row["id"] for row in rows]


@dataclass
class Tools:
    """Every tool of a test: `done` has what was performed, as node or node/item. What `breaks` fails."""

    engine: Engine
    outputs: Mapping[str, Any] = field(default_factory=dict)
    breaks: Callable[[Step], bool] = lambda step: False
    done: list[str] = field(default_factory=list)
    steps: list[Step] = field(default_factory=list)

    def __call__(self, step: Step) -> Any:
        name = str(step.node) + (f"/{step.item}" if step.role in ("item", "loose item") else "")
        name = f"undo {name}" if step.role == "undo" else name
        self.done.append(name)
        self.steps.append(step)
        if self.breaks(step):
            raise Fails("Broken", f"{name} is broken")
        output = self.outputs.get(str(step.tool), {})
        return output(step) if callable(output) else output

    def run(self, **options: Any) -> str:
        """Performs all there is, and returns what was performed, as "a b c"."""
        before = len(self.done)
        served = self.engine.rows("select name from pgorch.tools")
        self.engine.run({tool["name"]: self for tool in served}, **options)
        return " ".join(self.done[before:])

    def last(self, name: str) -> Step:
        node, _, item = name.partition("/")
        return [s for s in self.steps if s.node == node and (not item or s.item == int(item))][-1]
