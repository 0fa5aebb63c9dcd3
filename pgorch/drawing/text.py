"""Graphs and runs for a terminal: one line for each node, what follows from it below it.

A node stands below the last node through which every way to it leads. Branches are indented; where they come
together again it goes on at the left. What leads back says so.
"""

from collections.abc import Mapping
from typing import Final

from pgorch.drawing.order import Order
from pgorch.drawing.picture import Edge, Mark, Node, Picture

_SIGNS: Final[Mapping[str, str]] = {
    "done": "✔",
    "failed": "✖",
    "skipped": "↷",
    "expired": "⌛",
    "live": "▶",
    "waiting": "◷",
}
_LONGEST: Final = 100


def as_text(picture: Picture, marks: Mapping[str, Mark] | None = None) -> str:
    """The drawing, with the states of a run in it if `marks` are given. Ends with a newline."""
    order = Order(picture)
    nodes = {node.id: node for node in picture.nodes}
    lines = [_clean(picture.title)] if picture.title else []
    # What is still to be drawn, the next one last: a node and how far it is indented.
    rest = [(picture.start, 0)]
    while rest:
        id, depth = rest.pop()
        branches, after = order.followers(id)
        inner = depth + 1 if len(branches) > 1 or (branches and after) else depth
        rest += [(each, depth) for each in reversed(after)]
        rest += [(each, inner) for each in reversed(branches)]
        indent = "   " * depth
        lines.append(indent + _line(nodes[id], marks))
        lines += [indent + line for line in _links(order, id, rest[-1] if rest else None, depth)]
    return "\n".join(lines) + "\n"


def _line(node: Node, marks: Mapping[str, Mark] | None) -> str:
    text = _clean(node.id) + (f"  ({_clean(node.detail)})" if node.detail else "")
    if marks is None:
        return f"• {text}"
    mark = marks.get(node.id)
    if mark is None:
        return f"○ {text}"
    state = "running" if mark.state == "live" else mark.state
    times = (
        f" ×{mark.visits}" if mark.visits > 1 or (mark.visits and mark.state in ("live", "waiting")) else ""
    )
    return f"{_SIGNS[mark.state]} {text}  {state}{times}"


def _links(order: Order, id: str, following: tuple[str, int] | None, depth: int) -> list[str]:
    edges = order.edges[id]
    if len(edges) == 1 and not edges[0].label and (edges[0].target, depth) == following:
        return ["│"]
    return [_link(order, edge, last=edge is edges[-1]) for edge in edges]


def _link(order: Order, edge: Edge, last: bool) -> str:
    label = f" {_clean(edge.label)}" if edge.label else ""
    arrow = "↺ back to" if order.leads_back(edge) else "→"
    return f"{'└─' if last else '├─'}{label} {arrow} {_clean(edge.target)}"


def _clean(text: str) -> str:
    """In one line, and without characters that a terminal would obey."""
    line = "".join(c if c.isprintable() else "�" for c in " ".join(text.split()))
    return line if len(line) <= _LONGEST else line[: _LONGEST - 1] + "…"
