"""The workloads: small graphs that together use every way in which a run can go on."""

from itertools import pairwise
from typing import Any

from tests.support.engine import chain, definition


def _work(node: str, **more: Any) -> dict[str, Any]:
    return {"id": node, "function": "work", **more}


def _fan_out(branches: int) -> dict[str, Any]:
    names = [f"b{n}" for n in range(branches)]
    nodes = [{"id": "first", "function": "relay"}, *map(_work, [*names, "join"])]
    return definition(nodes, [f"first>{n}" for n in names] + [f"{n}>join" for n in names])


def _steps(*nodes: dict[str, Any]) -> dict[str, Any]:
    """One after the other, behind a step that relays the payload."""
    listed = [{"id": "first", "function": "relay"}, *nodes]
    names = [node["id"] for node in listed]
    return definition(listed, [f"{a}>{b}" for a, b in pairwise(names)])


_ASK = {"id": "ok", "type": "approval", "exclude_initiator": True}
_KEYED = _work("keyed", concurrency_key="${$.lane}", concurrency=2)

CHAIN = _steps(_work("b"), _work("c"), _work("d"), _work("e"))
GRAPHS: dict[str, dict[str, Any]] = {
    "chain": CHAIN,
    "fan_out": _fan_out(8),
    "wide": _fan_out(64),
    "loop": definition(
        ["count", _work("again"), _work("last")],
        [
            ("count>last", {"condition": "$.n >= 3"}),
            ("count>again", {"condition": "$.n < 3", "limit": 5}),
            "again>count",
        ],
    ),
    "approval": definition(
        [{"id": "first", "function": "relay"}, _ASK, _work("yes"), _work("no")],
        ["first>ok", "ok>yes", ("ok>no", {"on": "rejected"})],
    ),
    "timer": _steps({"id": "wait", "type": "wait", "for": "1 second"}, _work("last")),
    "signal": _steps({"id": "wait", "type": "wait", "signal": "go"}, _work("last")),
    "child": _steps({"id": "below", "type": "graph", "graph": CHAIN["name"], "into": "below"}, _work("last")),
    "transfer": _steps({"id": "transfer", "function": "transfer"}, _work("last")),
    "keyed": _steps(_KEYED, _work("last")),
    "cancel": chain("nap") | {"nodes": [{"id": n, "function": "nap"} for n in "abc"], "start_node": "a",
                              "edges": [{"source": "a", "target": "b"}, {"source": "b", "target": "c"}]},
    "poison": definition(["poison"]),
}  # fmt: skip
for _name, _graph in GRAPHS.items():
    _graph["name"] = f"chaos_{_name}"
GRAPHS["child"]["nodes"][1]["graph"] = "chaos_chain"

# How often each is drawn. The others are started by faults.
WEIGHTS = {
    "chain": 5, "fan_out": 4, "loop": 2, "approval": 2, "timer": 2, "signal": 2, "child": 2, "transfer": 3,
    "keyed": 1, "cancel": 1,
}  # fmt: skip
