"""Dominators, loops and ways to joins, compared with what follows from their definitions word by word."""

import random
from itertools import pairwise
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.graphs.graphs import Graphs

Pair = tuple[str, str]
START = "n0"

random_graphs = settings(
    max_examples=50,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


def ways(pairs: list[Pair], start: str, without: str | None = None) -> set[str]:
    """What can be reached from a node by one edge or more, never through `without`."""
    found: set[str] = set()
    at_hand = [start]
    while at_hand:
        node = at_hand.pop()
        for source, target in pairs:
            if source == node and target != without and target not in found:
                found.add(target)
                at_hand.append(target)
    return found


class Plain:
    """A graph by definition: slow and short."""

    def __init__(self, nodes: list[str], pairs: list[Pair]) -> None:
        self.nodes = nodes
        self.pairs = pairs
        self.back = [self.dominates(target, source) for source, target in pairs]

    def dominates(self, one: str, other: str) -> bool:
        return one in (other, START) or other not in ways(self.pairs, START, without=one) | {START}

    def is_reducible(self) -> bool:
        rest = [p for p, back in zip(self.pairs, self.back, strict=True) if not back]
        return not any(node in ways(rest, node) for node in self.nodes)

    def loop(self, header: str) -> set[str]:
        inside = {header}
        for (source, target), back in zip(self.pairs, self.back, strict=True):
            if back and target == header and source != header:
                against = [(t, s) for s, t in self.pairs]
                inside |= {source} | ways(against, source, without=header)
        return inside

    def loops(self) -> dict[str, list[str]]:
        headers = {t for (_, t), back in zip(self.pairs, self.back, strict=True) if back}
        bodies = {h: self.loop(h) for h in headers}
        return {
            node: sorted((h for h in headers if node in bodies[h]), key=lambda h: -len(bodies[h]))
            for node in self.nodes
        }

    def ways_to(self, join: str) -> set[str]:
        around = self.loops()[join]
        allowed = [
            pair for pair, back in zip(self.pairs, self.back, strict=True) if not (back and pair[1] in around)
        ]
        return {node for node in self.nodes if join in ways(allowed, node)}


def random_pairs(chance: random.Random, free: bool) -> tuple[list[str], list[Pair]]:
    """A graph in which everything is reachable; unless free, its edges back lead to dominators only."""
    count = chance.randint(1, 9)
    nodes = [f"n{i}" for i in range(count)]
    pairs = {(chance.randrange(i), i) for i in range(1, count)}
    for _ in range(chance.randint(0, count)):
        source, target = sorted((chance.randrange(count), chance.randrange(count)))
        pairs |= {(source, target)} if source < target else set()
    forward = Plain(nodes, [(f"n{s}", f"n{t}") for s, t in pairs])
    for _ in range(chance.randint(0, 8 if free else 4)):
        source = chance.randrange(count)
        headers = [t for t in range(source + 1) if free or forward.dominates(f"n{t}", f"n{source}")]
        pairs.add((source, chance.choice(headers)))
    listed = [(f"n{s}", f"n{t}") for s, t in pairs]
    chance.shuffle(listed)
    return nodes, listed


def as_graph(chance: random.Random, nodes: list[str], pairs: list[Pair]) -> dict[str, Any]:
    """Every edge has a limit, so that no loop is unbounded."""
    shuffled = chance.sample(nodes, len(nodes))
    return {
        "name": "random",
        "nodes": [{"id": n, "function": "f"} for n in shuffled],
        "edges": [{"source": s, "target": t, "limit": 9} for s, t in pairs],
        "start_node": START,
    }


@random_graphs
@given(chance=st.randoms(use_true_random=False))
def test_exactly_graphs_whose_loops_have_one_entry_are_accepted(
    graphs: Graphs, chance: random.Random
) -> None:
    nodes, pairs = random_pairs(chance, free=True)
    codes = {code for _, code in graphs.faults(as_graph(chance, nodes, pairs))}
    assert codes == (set() if Plain(nodes, pairs).is_reducible() else {"loop_with_two_entries"})


@random_graphs
@given(chance=st.randoms(use_true_random=False))
def test_loops_and_ways_are_what_their_definitions_say(graphs: Graphs, chance: random.Random) -> None:
    nodes, pairs = random_pairs(chance, free=False)
    plain = Plain(nodes, pairs)
    graph = as_graph(chance, nodes, pairs)
    rows = graphs.nodes(graph)
    loops = plain.loops()
    assert {n: row["loops"] for n, row in rows.items()} == loops

    edges = graphs.edges(graph)
    assert [e["back"] for e in edges] == plain.back
    for edge in edges:
        both = [h for h in loops[edge["source"]] if h in loops[edge["target"]]]
        assert edge["counted_loop"] == (both[-1] if both else None)

    forks = any(sum(s == node for s, _ in pairs) > 1 for node in nodes)
    several = {node for node in nodes if sum(t == node for _, t in pairs) + (node == START) > 1}
    behind_a_loop = {t for s, t in pairs if set(loops[s]) - set(loops[t])}
    joining = several | behind_a_loop if forks else set()
    assert {n for n, row in rows.items() if row["joins"]} == joining
    assert graphs.reach(graph) == {j: w for j in joining if (w := plain.ways_to(j))}
    headers = {j: plain.loop(j) for j in joining if j in loops[j]}
    assert graphs.reach(graph, via_back=True) == headers


def test_the_random_graphs_are_of_all_kinds() -> None:
    """Else the comparison would prove little."""
    reducible = nested = 0
    for seed in range(200):
        nodes, pairs = random_pairs(random.Random(seed), free=True)
        reducible += Plain(nodes, pairs).is_reducible()
        nodes, pairs = random_pairs(random.Random(seed), free=False)
        nested += any(len(around) > 1 for around in Plain(nodes, pairs).loops().values())
    assert 40 < reducible < 180
    assert nested > 20


def test_a_join_behind_branches_of_unequal_length(graphs: Graphs) -> None:
    pairs = [*pairwise("abcz"), ("a", "d"), ("d", "z"), ("z", "e")]
    graph = {
        "nodes": [{"id": n, "function": "f"} for n in "abczde"],
        "edges": [{"source": s, "target": t} for s, t in pairs],
        "start_node": "a",
    }
    assert graphs.reach(graph) == {"z": set("abcd")}
    assert graphs.reach(graph, via_back=True) == {}
