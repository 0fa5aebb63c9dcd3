"""What differs between two definitions of graphs, in words."""

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any, Final, NamedTuple

_ABSENT: Final = object()
Json = Mapping[str, Any]


class Change(NamedTuple):
    """`sign` is + (only in the second), - (only in the first) or ~ (changed); `what` names it."""

    sign: str
    what: str
    before: Any = None
    after: Any = None


def differences(one: Json, other: Json) -> list[Change]:
    """Nodes by their id, edges by source, target and outcome, and everything else by its key."""
    found = list(_fields("graph", _without(one, "nodes", "edges"), _without(other, "nodes", "edges")))
    nodes = [{str(node["id"]): node for node in graph.get("nodes") or []} for graph in (one, other)]
    edges = [_by_name(graph) for graph in (one, other)]
    for noun, (before, after) in (("node", nodes), ("edge", edges)):
        for name in [*before, *(name for name in after if name not in before)]:
            if name not in after:
                found.append(Change("-", f"{noun} {name}", before=before[name]))
            elif name not in before:
                found.append(Change("+", f"{noun} {name}", after=after[name]))
            else:
                found += _fields(f"{noun} {name}", before[name], after[name])
    # Edges are tried in the order in which they are written.
    if list(edges[0]) != list(edges[1]) and set(edges[0]) == set(edges[1]):
        found.append(Change("~", "order of the edges", list(edges[0]), list(edges[1])))
    return found


def described(change: Change) -> str:
    """The change in one line."""
    line = f"{change.sign} {change.what}"
    if change.sign == "~" and (change.before, change.after) != (None, None):
        line += f": {_shown(change.before)} → {_shown(change.after)}"
    return line


def _fields(what: str, one: Json, other: Json) -> Iterator[Change]:
    for key in sorted({*one, *other}):
        before, after = one.get(key, _ABSENT), other.get(key, _ABSENT)
        # In Python 1 equals True.
        if json.dumps(before, default=str, sort_keys=True) != json.dumps(after, default=str, sort_keys=True):
            yield Change(
                "~",
                f"{what}, {key}",
                None if before is _ABSENT else before,
                None if after is _ABSENT else after,
            )


def _by_name(graph: Json) -> dict[str, Json]:
    named: dict[str, Json] = {}
    seen: Counter[str] = Counter()
    for edge in graph.get("edges") or []:
        on = edge.get("on") or edge.get("sourceHandle")
        name = f"{edge.get('source')} → {edge.get('target')}" + (f" on {on}" if on else "")
        seen[name] += 1
        named[name if seen[name] == 1 else f"{name} ({seen[name]})"] = edge
    return named


def _without(graph: Json, *keys: str) -> Json:
    return {key: value for key, value in graph.items() if key not in keys}


def _shown(value: Any) -> str:
    text = "nothing" if value is None else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 100 else text[:99] + "…"
