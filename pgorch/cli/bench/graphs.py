"""The graphs of the benchmark."""

from typing import Any

QUEUE = "pgorch_bench"


def chain(steps: int, *, tool: str = "pgorch_bench_step") -> dict[str, Any]:
    """A chain of steps with a condition on every third edge."""
    edges: list[dict[str, Any]] = []
    for number in range(1, steps):
        edge: dict[str, Any] = {"source": f"n{number}", "target": f"n{number + 1}"}
        if number % 3 == 0:
            edge["condition"] = "$.value >= 0"
        edges.append(edge)
    nodes = [{"id": f"n{number}", "function": tool} for number in range(1, steps + 1)]
    return {"name": f"{tool}_{steps}", "nodes": nodes, "edges": edges, "start_node": "n1"}


def approval() -> dict[str, Any]:
    """An approval, and a step behind it."""
    return {
        "name": "pgorch_bench_approval",
        "nodes": [{"id": "ask", "type": "approval"}, {"id": "go", "function": "pgorch_bench_now"}],
        "edges": [{"source": "ask", "target": "go"}],
        "start_node": "ask",
    }
