"""Graphs to draw: valid ones, valid ones with something replaced, and what only looks like a graph."""

import copy
import random
from typing import Any, Final

from hypothesis import strategies as st

from tests.graphs.test_random_json import RIGHT, near_graphs, positions, values
from tests.language.drawing import Seeded, graph

HOSTILE_NAMES: Final = (
    "../../etc/passwd", "'; drop table pgorch.runs; --", '"', "\\", "%s", "{0.__class__}", "${$.x}", "$nodes",
    "аdmin", "admin", "\u202egnp.exe", "\u200b", "a\nb", "\x1b[31mred", "<img src=x onerror=alert(1)>",
    "🙂" * 100,
    "x" * 10_000, "pgorch.sql", "__proto__", "constructor", "NULL", "-1", "a@1", "a@999999999999", "",
)  # fmt: skip


@st.composite
def valid(draw: st.DrawFn) -> Any:
    """As the language's own tests draw them; child graphs are left out, since theirs are not created."""
    definition, _ = graph(Seeded(draw(st.integers(0, 2**32))))
    nodes = [
        {"id": n["id"], "function": "f"} if n.get("type") == "graph" else {**n, **_known(n)}
        for n in definition["nodes"]
    ]
    return {**definition, "nodes": nodes}


def _known(node: dict[str, Any]) -> dict[str, Any]:
    return {key: "f" for key in ("function", "compensate") if key in node}


@st.composite
def changed(draw: st.DrawFn, whole: st.SearchStrategy[Any]) -> Any:
    """One to three parts of a graph replaced, or moved to where another part was."""
    definition = copy.deepcopy(draw(whole))
    chance = random.Random(draw(st.integers(0, 2**32)))
    for replacement in draw(st.lists(values | st.sampled_from(HOSTILE_NAMES), min_size=1, max_size=3)):
        path = chance.choice(positions(definition)[1:] or [()])
        part: Any = definition
        for key in path[:-1]:
            part = part[key]
        if path:
            part[path[-1]] = replacement
    return definition


@st.composite
def hostile_names(draw: st.DrawFn) -> Any:
    names = draw(st.lists(st.sampled_from(HOSTILE_NAMES), min_size=1, max_size=6))
    edges = draw(st.lists(st.tuples(st.sampled_from(names), st.sampled_from(names)), max_size=8))
    return {
        "name": draw(st.sampled_from(HOSTILE_NAMES)),
        "nodes": [{"id": name, "function": "f"} for name in names],
        "edges": [{"source": source, "target": target} for source, target in edges],
        "start_node": names[0],
    }


GRAPHS: Final = (
    valid()
    | changed(valid())
    | changed(st.just(RIGHT))
    | hostile_names()
    | near_graphs
    | values
)  # fmt: skip
