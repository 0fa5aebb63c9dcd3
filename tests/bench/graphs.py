"""Graphs of workloads that `pgorch bench` does not have."""

from typing import Any


def sleeping() -> dict[str, Any]:
    """A run that waits for a day."""
    return _alone({"id": "wait", "type": "wait", "for": "1 day"}, "sleeping")


def asking() -> dict[str, Any]:
    """A run that waits for a decision, and then ends."""
    return _alone({"id": "ask", "type": "approval"}, "asking")


def mapping() -> dict[str, Any]:
    """A map of the tool that does nothing over the list `items`, 200 at once."""
    over = {"items": "${$.items}", "concurrency": 200}
    return _alone({"id": "all", "type": "map", "function": "pgorch_bench_step", **over}, "mapping")


def fan(width: int) -> dict[str, Any]:
    """So many branches, and a join behind them."""
    names = [f"b{number}" for number in range(width)]
    nodes = [
        {"id": name, "function": "pgorch_bench_step", "into": name} for name in ["first", *names, "last"]
    ]
    edges = [{"source": "first", "target": name} for name in names]
    edges += [{"source": name, "target": "last"} for name in names]
    return {"name": f"fan_{width}", "nodes": nodes, "edges": edges, "start_node": "first"}


def _alone(node: dict[str, Any], name: str) -> dict[str, Any]:
    return {"name": name, "nodes": [node], "edges": [], "start_node": node["id"]}
