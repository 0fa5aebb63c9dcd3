"""What is drawn: the nodes and edges of a definition, and how far a run has come in each node."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Node:
    """`detail` is what it does, where its id does not say so: a tool, or the type."""

    id: str
    type: str
    detail: str


@dataclass(frozen=True)
class Edge:
    """`label` says when it is taken; empty: whenever the source succeeds."""

    source: str
    target: str
    label: str


@dataclass(frozen=True)
class Picture:
    title: str
    start: str
    nodes: tuple[Node, ...]
    edges: tuple[Edge, ...]


@dataclass(frozen=True)
class Mark:
    """How far a run has come in a node: `visits` that have ended, and the state of the last or present one.

    States are done, failed, skipped, expired, live and waiting.
    """

    state: str
    visits: int


def picture_of(definition: Mapping[str, Any], title: str = "") -> Picture:
    """The picture of a graph, from its definition in JSON (a valid one)."""
    edges = [edge for edge in definition.get("edges") or [] if isinstance(edge, Mapping)]
    conditional = {(str(e.get("source")), _on(e)) for e in edges if e.get("condition") is not None}
    return Picture(
        title=title or str(definition.get("name") or ""),
        start=str(definition.get("start_node")),
        nodes=tuple(_node(node) for node in definition.get("nodes") or []),
        edges=tuple(
            Edge(
                str(edge.get("source")),
                str(edge.get("target")),
                _label(edge, (str(edge.get("source")), _on(edge)) in conditional),
            )
            for edge in edges
        ),
    )


def marks_of(rows: Iterable[tuple[str, str, int]]) -> dict[str, Mark]:
    """By node, from the rows of pgorch.run_progress(): node, state, visits. Nodes not reached are absent."""
    return {node: Mark(state, visits) for node, state, visits in rows}


def _node(node: Mapping[str, Any]) -> Node:
    id = str(node["id"])
    type = str(node.get("type") or ("approval" if node.get("function") == "wait_for_approval" else "task"))
    tool = "sql" if node.get("sql") is not None else str(node.get("function") or id)
    if type == "task":
        return Node(id, type, "" if tool == id else tool)
    if type == "map":
        return Node(id, type, f"map of {tool}")
    if type == "graph":
        return Node(id, type, f"graph {node.get('graph')}")
    return Node(id, type, "" if type == id else type)


def _on(edge: Mapping[str, Any]) -> str:
    on = str(edge.get("on") or edge.get("sourceHandle") or "success")
    return "success" if on == "approved" else on


def _label(edge: Mapping[str, Any], among_conditions: bool) -> str:
    on = str(edge.get("on") or edge.get("sourceHandle") or "success")
    parts = [] if on == "success" else [on]
    condition = edge.get("condition")
    if edge.get("label"):
        parts.append(str(edge["label"]))
    elif condition is not None:
        parts.append(condition if isinstance(condition, str) else f"state contains {json.dumps(condition)}")
    elif among_conditions:
        parts.append("else")
    if edge.get("limit") is not None:
        parts.append(f"at most {edge['limit']}×")
    return ", ".join(parts)
