"""Graphs and runs as Mermaid flowcharts.

Text of users gets into the chart as labels in quotes alone, and there all but letters, digits and some
harmless signs are entity codes: it cannot end its quotes, add nodes, links or directives, or bring in HTML.
"""

from collections.abc import Mapping
from typing import Final

from pgorch.drawing.picture import Mark, Picture

_PLAIN: Final = frozenset(" _.,:/()=+!?*-×…")
_LONGEST: Final = 80
_SHAPES: Final[Mapping[str, tuple[str, str]]] = {
    "approval": ("{{", "}}"),
    "wait": ("([", "])"),
    "map": ("[/", "/]"),
    "graph": ("[[", "]]"),
    "pass": ("(", ")"),
    "fail": (">", "]"),
}
_COLOURS: Final[Mapping[str, str]] = {
    "done": "fill:#d7f0dd,stroke:#2b7a3f,color:#143d20",
    "failed": "fill:#f9d6d5,stroke:#b3261e,color:#5c1411",
    "skipped": "fill:#eeeeee,stroke:#888888,color:#555555,stroke-dasharray:4 3",
    "expired": "fill:#fbe3c8,stroke:#a35b00,color:#5a3300",
    "live": "fill:#cfe2ff,stroke:#1f5fbf,color:#10305f,stroke-width:3px",
    "waiting": "fill:#fff3c4,stroke:#9a7b00,color:#4d3e00,stroke-width:3px",
}


def as_mermaid(picture: Picture, marks: Mapping[str, Mark] | None = None) -> str:
    """The flowchart, with the states of a run in it if `marks` are given. Ends with a newline."""
    names = {node.id: f"n{number}" for number, node in enumerate(picture.nodes)}
    lines = ["flowchart TD"]
    for node in picture.nodes:
        opening, closing = _SHAPES.get(node.type, ("[", "]"))
        mark = (marks or {}).get(node.id)
        text = node.id + (f" ({node.detail})" if node.detail else "")
        if mark is not None and mark.visits > 1:
            text += f" ×{mark.visits}"
        lines.append(f'    {names[node.id]}{opening}"{escaped(text)}"{closing}')
    lines.append(f"    begin(( )) --> {names[picture.start]}")
    for edge in picture.edges:
        label = f'|"{escaped(edge.label)}"| ' if edge.label else ""
        lines.append(f"    {names[edge.source]} --> {label}{names[edge.target]}")
    for state, colours in _COLOURS.items():
        marked = [names[id] for id, mark in (marks or {}).items() if mark.state == state and id in names]
        if marked:
            lines += [f"    classDef {state} {colours}", f"    class {','.join(marked)} {state}"]
    return "\n".join(lines) + "\n"


def escaped(text: str) -> str:
    """A label: shortened, in one line, and with entity codes for whatever could mean something."""
    line = " ".join(text.split())
    if len(line) > _LONGEST:
        line = line[: _LONGEST - 1] + "…"
    # Two dollar signs would begin a formula, one does not.
    kept = line.replace("$$", "\ue000\ue000")
    return "".join(
        c if c.isalnum() or c in _PLAIN or c == "$" else f"#{ord('$') if c == chr(0xE000) else ord(c)};"
        for c in kept
    )
