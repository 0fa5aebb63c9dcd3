"""What follows from how the nodes and edges of a graph are connected."""

from collections.abc import Mapping, Set
from dataclasses import dataclass
from typing import Any

# How often each loop around a node has been gone round, as (header, rounds), outermost first.
Rounds = tuple[tuple[str, int], ...]
Place = tuple[str, Rounds]


@dataclass(frozen=True)
class Edge:
    number: int
    source: str
    target: str
    on: str
    condition: Any
    limit: int | None


class Shape:
    """Dominators, loops, and what can be reached from where."""

    def __init__(self, definition: Mapping[str, Any]) -> None:
        self.nodes = {n["id"]: n for n in definition["nodes"]}
        self.start = str(definition["start_node"])
        self.edges = [_edge(number, e) for number, e in enumerate(definition.get("edges", []))]
        self.dominators = self._dominators()
        self.loops: dict[str, set[str]] = {}
        for e in self.edges:
            if self.is_back(e):
                self.loops.setdefault(e.target, {e.target}).update(self._body(e))

    def _dominators(self) -> dict[str, set[str]]:
        found = {n: set(self.nodes) for n in self.nodes}
        found[self.start] = {self.start}
        changed = True
        while changed:
            changed = False
            for node in self.nodes:
                above = [found[e.source] for e in self.edges if e.target == node]
                if node != self.start and above:
                    now = {node} | set.intersection(*above)
                    changed |= now != found[node]
                    found[node] = now
        return found

    def is_back(self, edge: Edge) -> bool:
        """R5: an edge whose target dominates its source opens a new visit of the loop."""
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

    def first(self) -> Place:
        return self.start, tuple((h, 0) for h in self.around(self.start))

    def after(self, rounds: Rounds, edge: Edge) -> Place:
        """Where an edge leads from a visit."""
        before = dict(rounds)
        # Counts hold only while the loop is not left.
        now = {h: before.get(h, 0) if edge.source in self.loops[h] else 0 for h in self.around(edge.target)}
        if self.is_back(edge):
            now[edge.target] += 1
        return edge.target, tuple(now.items())

    def can_reach(self, place: Place, target: Place, over: Set[Place]) -> bool:
        """Can something at `place` still come to `target`? Not through what is in `over`: it runs no more."""
        # One round more than any in sight leads everywhere that further rounds lead to.
        most = 1 + max((rounds for _, rounds in place[1] + target[1]), default=0)
        seen, to_do = set(), [place]
        while to_do:
            node, rounds = to_do.pop()
            for e in self.edges:
                if e.source != node:
                    continue
                then = self.after(rounds, e)
                if then == target:
                    return True
                if then not in seen and then not in over and all(r <= most for _, r in then[1]):
                    seen.add(then)
                    to_do.append(then)
        return False

    def count_of(self, edge: Edge, rounds: Rounds) -> tuple[int, Rounds]:
        """What a limit counts: the edge, per entry into the innermost loop that holds it."""
        holding = [h for h in self.around(edge.source) if edge.target in self.loops[h]]
        return edge.number, tuple((h, r) for h, r in rounds if h in holding[:-1])


def _edge(number: int, edge: Mapping[str, Any]) -> Edge:
    on = edge.get("on", "success")
    return Edge(
        number=number,
        source=edge["source"],
        target=edge["target"],
        on="success" if on == "approved" else on,
        condition=edge.get("condition"),
        limit=edge.get("limit"),
    )
