"""Graphs for the comparison with the reference, drawn piece by piece so that every one is valid.

A piece has one entry and some loose ends, which the next piece is joined to: a task, a choice, a fork with
its join, a loop, a map, an approval with a way back, a wait, a saga's step, a child run.
"""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from hypothesis import strategies as st

INPUT = {"yes": True, "no": False, "text": "no number", "one": 1, "list": [3, 1, 2], "pair": [5, 7]}
CONDITIONS = ["$.yes == true", "$.no == true", "$input.one < 2", '$run.graph == "drawn" || $.no == true']
UNKNOWN = "$.text < 1"
REDUCERS = {"sum": "sum", "list": "append", "best": "max", "any": "last", "parts": "merge"}
ERROR_TYPES = ["Broken", "Declined"]
SIGNALS = ["ping", "pong"]

Loose = tuple[str, dict[str, Any]]


class Chance(Protocol):
    """Where choices come from."""

    def integer(self, low: int, high: int) -> int: ...

    def one_of(self, values: Sequence[Any]) -> Any: ...


class Drawn:
    """Choices of hypothesis, which looks for the smallest that show a difference."""

    def __init__(self, draw: Callable[[st.SearchStrategy[Any]], Any]) -> None:
        self._draw = draw

    def integer(self, low: int, high: int) -> int:
        return int(self._draw(st.integers(low, high)))

    def one_of(self, values: Sequence[Any]) -> Any:
        return self._draw(st.sampled_from(values))


class Seeded:
    """Choices of a generator of random numbers: many more in the same time."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)

    def integer(self, low: int, high: int) -> int:
        return self._random.randint(low, high)

    def one_of(self, values: Sequence[Any]) -> Any:
        return self._random.choice(values)


def rarely(chance: Chance, percent: int) -> bool:
    # Rare things are drawn as large numbers, so that shrinking takes them away.
    return chance.integer(0, 99) >= 100 - percent


@dataclass
class Piece:
    entry: str
    loose: list[Loose]


@dataclass
class Drawing:
    """Nodes and edges so far."""

    source: Chance
    prefix: str = "n"
    nodes: list[dict[str, Any]] = field(default_factory=list)
    edges: list[dict[str, Any]] = field(default_factory=list)
    children: list[dict[str, Any]] = field(default_factory=list)
    depth: int = 3

    def chance(self, percent: int) -> bool:
        return rarely(self.source, percent)

    def one_of(self, *values: Any) -> Any:
        return self.source.one_of(values)

    # Nodes and edges -------------------------------------------------------------------------------

    def node(self, **fields: Any) -> str:
        id = f"{self.prefix}{len(self.nodes)}"
        self.nodes.append({"id": id, **fields})
        return id

    def task(self, saga: bool = True, **fields: Any) -> str:
        id = self.node(function="f", into=f"{self.prefix}{len(self.nodes)}", **fields)
        node = self.nodes[-1]
        if self.chance(20):
            node["into"] = self.one_of("shared", "shared", "shared", *REDUCERS)
        if saga and self.chance(25):
            node["compensate"] = "undo"
        if self.chance(15):
            node["retry"] = {"max_attempts": 2, "initial_interval": "1 second", "non_retryable": ["Declined"]}
        if self.chance(15):
            node["input"] = {"one": "${$input.one}", "said": "one is ${$.one}", "yes": "${$.yes}"}
        return id

    def edge(self, source: str, target: str, **fields: Any) -> None:
        self.edges.append({"source": source, "target": target, **fields})

    def join(self, loose: list[Loose], target: str) -> None:
        for source, fields in loose:
            self.edge(source, target, **fields)

    def condition(self) -> Any:
        if self.chance(4):
            return UNKNOWN
        written = [
            n for n in self.nodes if str(n.get("into", "")).startswith(self.prefix) and "function" in n
        ]
        choices: list[Any] = [*CONDITIONS, {"yes": True}, {"list": [3]}]
        choices += [f"$.{n['id']} >= 2" for n in written if n.get("type", "task") == "task"]
        return self.source.one_of(choices)

    # Pieces ----------------------------------------------------------------------------------------

    def sequence(self, depth: int) -> Piece:
        first = self.piece(depth)
        last = first
        for _ in range(self.source.integer(0, 2 if depth else 1)):
            following = self.piece(depth)
            self.join(last.loose, following.entry)
            last = following
        return Piece(first.entry, last.loose)

    def piece(self, depth: int) -> Piece:
        plain: list[Callable[[], Piece]]
        inner: list[Callable[[int], Piece]]
        plain = [self.step, self.guarded, self.approval, self.wait, self.map]
        inner = [self.choice, self.fork, self.fork, self.loop, self.branches]
        if self.prefix == "n":
            plain.append(self.child)
        if depth and not self.chance(30):
            chosen: Callable[[int], Piece] = self.one_of(*inner)
            return chosen(depth - 1)
        simple: Callable[[], Piece] = self.one_of(self.step, *plain)
        return simple()

    def step(self) -> Piece:
        id = self.node(type="pass") if self.chance(10) else self.task()
        return Piece(id, [(id, {"on": "always"} if self.chance(5) else {})])

    def guarded(self) -> Piece:
        """A task whose error is handled, perhaps only one kind of it."""
        id, handler = self.task(), self.task()
        fields = {"condition": '$error.type == "Broken"'} if self.chance(40) else {}
        self.edge(id, handler, on="error", **fields)
        return Piece(id, [(id, {}), (handler, {})])

    def choice(self, depth: int) -> Piece:
        id = self.task()
        then = self.sequence(depth)
        self.edge(id, then.entry, condition=self.condition())
        loose = list(then.loose)
        if self.chance(8):
            bad = self.node(type="fail", error="TooBad")
            self.edge(id, bad, condition="$.one > 1")
        if self.chance(50):
            other = self.sequence(depth)
            self.edge(id, other.entry)
            loose += other.loose
        elif not self.chance(8):
            loose.append((id, {}))
        return Piece(id, loose)

    def branches(self, depth: int) -> Piece:
        """branch: all: every true edge and every one without condition."""
        id = self.task(branch="all")
        loose = []
        for _ in range(self.source.integer(1, 3)):
            branch = self.sequence(depth)
            fields = {"condition": self.condition()} if self.chance(60) else {}
            self.edge(id, branch.entry, **fields)
            loose += branch.loose
        return Piece(id, loose)

    def fork(self, depth: int) -> Piece:
        id = self.task()
        loose = []
        for _ in range(self.source.integer(2, 3)):
            branch = self.sequence(depth)
            self.edge(id, branch.entry)
            loose += branch.loose
        join = self.one_of("all", "all", "any", {"at_least": 2}, {"at_least": min(3, len(loose))})
        end = self.task(join=join)
        if join != "all" and self.chance(40):
            self.nodes[-1]["cancel_rest"] = True
        self.join(loose, end)
        return Piece(id, [(end, {})])

    def loop(self, depth: int) -> Piece:
        body = self.sequence(depth)
        end = self.task()
        self.join(body.loose, end)
        fields = {"condition": self.condition()} if self.chance(60) else {}
        self.edge(
            end, body.entry, limit=self.source.integer(1, 2), **(fields or {"condition": "$.yes == true"})
        )
        return Piece(body.entry, [(end, {})])

    def map(self) -> Piece:
        id = self.node(
            type="map",
            function="f",
            items=self.one_of("${$.list}", "${$input.pair}", [], [1, {"a": 2}]),
            input={"item": "${$item}", "index": "${$index}", "one": "${$.one}"},
            into=f"{self.prefix}{len(self.nodes)}",
        )
        node = self.nodes[-1]
        if self.chance(50):
            node["concurrency"] = self.source.integer(1, 2)
        if self.chance(50):
            node["tolerate"] = self.one_of(1, 2, "40%")
        if self.chance(20):
            node["retry"] = {"max_attempts": 2, "initial_interval": "1 second"}
        loose: list[Loose] = [(id, {})]
        if self.chance(40):
            handler = self.task()
            self.edge(id, handler, on="error")
            loose.append((handler, {}))
        return Piece(id, loose)

    def approval(self) -> Piece:
        name = f"{self.prefix}{len(self.nodes)}"
        form = {"type": "object", "properties": {f"form_{name}": {"type": "integer"}}}
        id = self.node(type="approval", **({"form": form} if self.chance(40) else {}))
        node = self.nodes[-1]
        loose: list[Loose] = [(id, {"on": "approved"} if self.chance(50) else {})]
        if self.chance(40):
            node["deadline"] = "48 hours"
            if self.chance(60):
                late = self.task()
                self.edge(id, late, on="expired")
                loose.append((late, {}))
        if self.chance(40):
            revise = self.task()
            self.edge(id, revise, on="rejected", condition="$decision.retry == true", limit=1)
            self.edge(revise, id)
        if self.chance(60):
            no = self.task()
            self.edge(id, no, on="rejected")
            loose.append((no, {}))
        return Piece(id, loose)

    def wait(self) -> Piece:
        if self.chance(40):
            id = self.node(type="wait", **{"for": "1 hour"})
            return Piece(id, [(id, {})])
        id = self.node(type="wait", signal=self.one_of(*SIGNALS), into=f"{self.prefix}{len(self.nodes)}")
        loose: list[Loose] = [(id, {})]
        if self.chance(50):
            self.nodes[-1]["deadline"] = "3 hours"
            if self.chance(60):
                late = self.task()
                self.edge(id, late, on="expired")
                loose.append((late, {}))
        return Piece(id, loose)

    def child(self) -> Piece:
        name = f"child_{len(self.children)}"
        below = Drawing(self.source, prefix=f"c{len(self.children)}_")
        below.finish(1)
        self.children.append(below.definition(name, {}))
        # Not the whole state, which would depend on the order in which parallel nodes are entered.
        input = self.one_of(INPUT, {**INPUT, "one": "${$.one}", "text": "${$.text}"})
        id = self.node(type="graph", graph=name, into=f"{self.prefix}{len(self.nodes)}", input=input)
        loose: list[Loose] = [(id, {})]
        if self.chance(30):
            handler = self.task()
            self.edge(id, handler, on="error")
            loose.append((handler, {}))
        return Piece(id, loose)

    # The whole -------------------------------------------------------------------------------------

    def finish(self, depth: int) -> None:
        begin = self.task(saga=False)
        rest = self.sequence(depth)
        self.edge(begin, rest.entry)
        # Always, for a loop must have a way out.
        self.join(rest.loose, self.task())

    def definition(self, name: str, more: dict[str, Any]) -> dict[str, Any]:
        """The graph as JSON."""
        return {
            "name": name,
            "nodes": self.nodes,
            "edges": self.edges,
            "start_node": self.nodes[0]["id"],
            "reducers": REDUCERS,
            **more,
        }


def graph(source: Chance) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """A definition, and those of its child runs."""
    drawing = Drawing(source)
    drawing.finish(drawing.one_of(1, 2, 2, 0))
    more = {"output": {"state": "${$.yes}", "from": "${$run.graph}"}} if drawing.chance(30) else {}
    return drawing.definition("drawn", more), drawing.children
