"""The routing rules of the graph language once more, written to be read and not to be fast.

It follows R1 to R5 and R7 word by word and knows nothing of the engine: a run is a set of live visits, and
what can still be reached is looked for by walking the graph.
"""

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

# How often each loop around a node has been gone round, as (header, rounds), outermost first.
Visit = tuple[tuple[str, int], ...]
State = dict[str, Any]


class Unknown(Exception):
    """A condition that is neither true nor false."""


@dataclass(frozen=True)
class Edge:
    number: int
    source: str
    target: str
    on: str = "success"
    condition: str | None = None
    limit: int | None = None


@dataclass(frozen=True)
class Live:
    """A visit that has not ended. Ancestors are the visits that lead to it, itself included."""

    number: int
    node: str
    visit: Visit
    ancestors: frozenset[int]


@dataclass
class Shape:
    """What follows from how nodes and edges are connected."""

    nodes: list[str]
    start: str
    edges: list[Edge]
    dominators: dict[str, set[str]] = field(init=False)
    loops: dict[str, set[str]] = field(init=False)

    def __post_init__(self) -> None:
        self.dominators = {n: set(self.nodes) for n in self.nodes}
        self.dominators[self.start] = {self.start}
        changed = True
        while changed:
            changed = False
            for node in self.nodes:
                if node == self.start:
                    continue
                above = [self.dominators[e.source] for e in self.edges if e.target == node]
                found = {node} | (set.intersection(*above) if above else set())
                changed |= found != self.dominators[node]
                self.dominators[node] = found
        self.loops = {}
        for e in self.edges:
            if self.is_back(e):
                self.loops.setdefault(e.target, {e.target}).update(self._body(e))

    def is_back(self, edge: Edge) -> bool:
        return edge.target in self.dominators[edge.source]

    def _body(self, back: Edge) -> set[str]:
        body, to_do = {back.target}, [back.source]
        while to_do:
            node = to_do.pop()
            if node not in body:
                body.add(node)
                to_do += [e.source for e in self.edges if e.target == node]
        return body

    def around(self, node: str) -> list[str]:
        """Headers of the loops that hold the node, outermost first."""
        return sorted((h for h in self.loops if node in self.loops[h]), key=lambda h: -len(self.loops[h]))

    def visit_after(self, visit: Visit, edge: Edge) -> Visit:
        before = dict(visit)
        rounds = {h: before.get(h, 0) for h in self.around(edge.target)}
        for header in rounds:
            # Counts hold only while the loop is not left.
            if edge.source not in self.loops[header]:
                rounds[header] = 0
        if self.is_back(edge):
            inside = self.around(edge.target)
            assert inside[-1] == edge.target
            rounds[edge.target] += 1
        return tuple(rounds.items())

    def can_reach(self, node: str, visit: Visit, target: str, target_visit: Visit) -> bool:
        # One round more than any in sight leads everywhere that further rounds lead to.
        most = 1 + max((rounds for _, rounds in visit + target_visit), default=0)
        seen, to_do = set(), [(node, visit)]
        while to_do:
            at, now = to_do.pop()
            for e in self.edges:
                if e.source != at:
                    continue
                then = (e.target, self.visit_after(now, e))
                if then == (target, target_visit):
                    return True
                if then not in seen and all(rounds <= most for _, rounds in then[1]):
                    seen.add(then)
                    to_do.append(then)
        return False


class Reference:
    """One run. `complete` ends a live task; what follows is worked out at once."""

    def __init__(
        self,
        shape: Shape,
        passes: set[str],
        into: Mapping[str, str],
        state: State,
        holds: Callable[[str, State], bool],
    ) -> None:
        self.shape = shape
        self.passes = passes
        self.into = into
        self.state = dict(state)
        self.holds = holds
        self.status = "running"
        self.error: str | None = None
        self.done: list[str] = []
        self.live: list[Live] = []
        self.arrived: dict[tuple[str, Visit], list[frozenset[int]]] = {}
        self.taken: Counter[tuple[int, Visit]] = Counter()
        self.writers: dict[str, int] = {}
        self._numbers = 0
        self._arrive(shape.start, tuple((h, 0) for h in shape.around(shape.start)), frozenset())
        self._settle()

    def tasks(self) -> list[str]:
        return sorted(v.node for v in self.live)

    def complete(self, node: str, visit: Visit, error: str | None, output: Any) -> None:
        ended = next(v for v in self.live if (v.node, v.visit) == (node, visit))
        self.live.remove(ended)
        self._end(ended, error, output)
        self._settle()

    # What follows ----------------------------------------------------------------------------------

    def _settle(self) -> None:
        while self.status == "running":
            ready = next((k for k in self.arrived if not self._awaited(*k)), None)
            if ready is None:
                break
            arrivals = self.arrived.pop(ready)
            self._numbers += 1
            ancestors = frozenset({self._numbers}).union(*arrivals)
            entered = Live(self._numbers, *ready, ancestors)
            if ready[0] in self.passes:
                self._end(entered, None, None)
            else:
                self.live.append(entered)
        if self.status == "running" and not self.live:
            assert not self.arrived, "joins wait for each other"
            self.status = "completed"
        if self.status != "running":
            self.live, self.arrived = [], {}

    def _awaited(self, node: str, visit: Visit) -> bool:
        """Can something still live arrive at this node in this visit?"""
        others = [(v.node, v.visit) for v in self.live] + [k for k in self.arrived if k != (node, visit)]
        return any(self.shape.can_reach(*other, node, visit) for other in others)

    def _arrive(self, node: str, visit: Visit, ancestors: frozenset[int]) -> None:
        self.arrived.setdefault((node, visit), []).append(ancestors)

    def _end(self, ended: Live, error: str | None, output: Any) -> None:
        self.done.append(ended.node)
        after = dict(self.state)
        key = self.into.get(ended.node)
        if error is None and key is not None:
            after[key] = output
            if self.writers.get(key, ended.number) not in ended.ancestors:
                error = "StateConflict"
        if error is None:
            try:
                edges = self._choose(ended, "success", after)
            except Unknown:
                error = "ConditionUnknown"
            else:
                self.state = after
                if key is not None:
                    self.writers[key] = ended.number
                if edges is None:
                    self._fail("NoMatchingEdge")
        if error is not None:
            try:
                edges = self._choose(ended, "error", self.state)
            except Unknown:
                edges, error = None, "ConditionUnknown"
                self._fail(error)
            if edges is None:
                self._fail("NoMatchingEdge")
            elif not edges:
                self._fail(error)
        for edge in edges or []:
            self.taken[self._count_of(edge, ended.visit)] += 1
            self._arrive(edge.target, self.shape.visit_after(ended.visit, edge), ended.ancestors)

    def _fail(self, error: str) -> None:
        if self.status == "running":
            self.status, self.error = "failed", error

    def _choose(self, ended: Live, outcome: str, state: State) -> list[Edge] | None:
        """Edges that are taken; [] if none is a candidate, None if none matches."""
        candidates = [e for e in self.shape.edges if e.source == ended.node and e.on in (outcome, "always")]
        if not candidates:
            return []
        exclusive = any(e.condition is not None for e in candidates)
        chosen: list[Edge] = []
        for edge in sorted(candidates, key=lambda e: (e.condition is None, e.number)):
            if edge.limit is not None and self.taken[self._count_of(edge, ended.visit)] >= edge.limit:
                continue
            if edge.condition is None or self.holds(edge.condition, state):
                chosen.append(edge)
                if exclusive:
                    break
        return chosen or None

    def _count_of(self, edge: Edge, visit: Visit) -> tuple[int, Visit]:
        """Limits count per entry into the innermost loop that holds the edge."""
        holding = [h for h in self.shape.around(edge.source) if edge.target in self.shape.loops[h]]
        outside = holding[:-1]
        return edge.number, tuple((h, r) for h, r in visit if h in outside)
