"""In which order the nodes of a graph are drawn, and which stands below which."""

from collections import defaultdict

from pgorch.drawing.picture import Edge, Picture


class Order:
    """The dominator tree of a graph: a node's parent is the last one through which every way to it leads."""

    def __init__(self, picture: Picture) -> None:
        self.edges: dict[str, list[Edge]] = defaultdict(list)
        self._sources: dict[str, list[str]] = defaultdict(list)
        for edge in picture.edges:
            self.edges[edge.source].append(edge)
            self._sources[edge.target].append(edge.source)
        self._place = {id: place for place, id in enumerate(self._in_order(picture.start))}
        self._parent = self._parents(picture.start)
        self._children: dict[str, list[str]] = defaultdict(list)
        for id in self._place:
            if id != picture.start:
                self._children[self._parent[id]].append(id)

    def followers(self, id: str) -> tuple[list[str], list[str]]:
        """What is drawn below a node: branches that begin at it, and where they come together again."""
        branches: list[str] = []
        after: list[str] = []
        for child in self._children[id]:
            forward = {s for s in self._sources[child] if s in self._place and not self._dominates(child, s)}
            (branches if forward == {id} else after).append(child)
        return branches, after

    def leads_back(self, edge: Edge) -> bool:
        return edge.source in self._place and self._dominates(edge.target, edge.source)

    def _in_order(self, start: str) -> list[str]:
        """Every reachable node before those that follow from it, loops aside."""
        ended: list[str] = []
        seen = {start}
        # Last edges first, so that of branches the one that was written first comes first.
        way = [(start, [edge.target for edge in self.edges[start]])]
        while way:
            id, targets = way[-1]
            while targets and targets[-1] in seen:
                targets.pop()
            if targets:
                target = targets.pop()
                seen.add(target)
                way.append((target, [edge.target for edge in self.edges[target]]))
            else:
                ended.append(id)
                way.pop()
        return ended[::-1]

    def _parents(self, start: str) -> dict[str, str]:
        parent = {start: start}
        changed = True
        while changed:
            changed = False
            for id in self._place:
                if id == start:
                    continue
                known = [s for s in self._sources[id] if s in parent]
                common = known[0]
                for other in known[1:]:
                    common = self._common(parent, common, other)
                if parent.get(id) != common:
                    parent[id] = common
                    changed = True
        return parent

    def _common(self, parent: dict[str, str], one: str, other: str) -> str:
        while one != other:
            if self._place[one] > self._place[other]:
                one = parent[one]
            else:
                other = parent[other]
        return one

    def _dominates(self, one: str, other: str) -> bool:
        if one not in self._place:
            return False
        while self._place[other] > self._place[one]:
            other = self._parent[other]
        return one == other
