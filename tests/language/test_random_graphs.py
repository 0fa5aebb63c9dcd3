"""Random graphs in random order: the engine does what the rules, written down once more, say."""

import random
from typing import Any

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from psycopg.types.json import Jsonb

from tests.language.both import Both, wipe
from tests.support.engine import Engine
from tests.support.reference import Edge, Reference, Shape

INPUT = {"yes": True, "no": False, "text": "no number"}
CONDITIONS = [
    "$.yes == true",
    "$.no == true",
    *(f"$.n{i} {o} {n}" for i in range(4) for o in (">=", "<") for n in (1, 2)),
]


class Case:
    """A graph and how its tools behave, drawn from a source of chance."""

    def __init__(self, chance: random.Random) -> None:
        self.chance = chance
        count = chance.randint(2, 7)
        self.nodes = [f"n{i}" for i in range(count)]
        self.passes = {n for n in self.nodes[1:] if chance.random() < 0.1}
        self.into = {n: "shared" if chance.random() < 0.1 else n for n in self.nodes if n not in self.passes}
        self.fails = {n: chance.choice([0.0, 0.0, 0.0, 0.5]) for n in self.nodes}
        self.edges = self._edges()

    def _edges(self) -> list[Edge]:
        chance = self.chance
        pairs: set[tuple[int, int]] = set()
        for target in range(1, len(self.nodes)):
            pairs.add((chance.randrange(target), target))
        for _ in range(chance.randint(0, len(self.nodes) + 1)):
            source, target = sorted(chance.sample(range(len(self.nodes)), 2))
            pairs.add((source, target))
        forward = Shape(
            {
                "nodes": [{"id": n} for n in self.nodes],
                "edges": [{"source": f"n{s}", "target": f"n{t}"} for s, t in pairs],
                "start_node": "n0",
            }
        )
        if chance.random() < 0.6:
            for _ in range(chance.randint(1, 2)):
                tail = chance.choice(self.nodes)
                header = chance.choice(sorted(forward.dominators[tail]))
                pairs.add((int(tail[1:]), int(header[1:])))
        written: list[dict[str, Any]] = []
        for source in range(len(self.nodes)):
            targets = [t for s, t in pairs if s == source]
            chance.shuffle(targets)
            written += self._group(source, targets)
        chance.shuffle(written)
        return [Edge(number=number, **e) for number, e in enumerate(written)]

    def _group(self, source: int, targets: list[int]) -> list[dict[str, Any]]:
        """The edges of one node: a fork, or a choice with or without an else; some of them for errors."""
        chance = self.chance
        edges: list[dict[str, Any]] = []
        is_choice = chance.random() < 0.5
        for target in targets:
            back = target <= source
            on = "success" if chance.random() < 0.85 or f"n{source}" in self.passes else "error"
            conditional = (is_choice and on == "success") or (back and chance.random() < 0.5)
            limit = chance.randint(1, 2) if back or chance.random() < 0.1 else None
            edge = {"source": f"n{source}", "target": f"n{target}", "on": on, "limit": limit}
            edges.append(edge | {"condition": chance.choice(CONDITIONS) if conditional else None})
        by_outcome = {on: [e for e in edges if e["on"] == on] for on in ("success", "error")}
        for group in by_outcome.values():
            plain = [e for e in group if e["condition"] is None]
            # One else in a choice; and now and then a condition that is unknown.
            if len(plain) < len(group):
                for edge in plain[1:]:
                    edge["condition"] = chance.choice(CONDITIONS)
            elif is_choice and len(group) > 1 and chance.random() < 0.1:
                group[0]["condition"] = "$.text < 1"
        if is_choice and by_outcome["success"] and chance.random() < 0.7:
            by_outcome["success"][-1]["condition"] = None
            if sum(e["condition"] is None for e in by_outcome["success"]) > 1:
                by_outcome["success"][-1]["condition"] = "$.no == true"
        return edges

    def definition(self) -> dict[str, Any]:
        nodes = [
            {"id": n, "type": "pass"}
            if n in self.passes
            else {"id": n, "function": "f", "into": self.into[n]}
            for n in self.nodes
        ]
        edges = [
            {"source": e.source, "target": e.target, "on": e.on}
            | ({"condition": e.condition} if e.condition else {})
            | ({"limit": e.limit} if e.limit else {})
            for e in self.edges
        ]
        return {"name": "random", "nodes": nodes, "edges": edges, "start_node": "n0"}


def play(engine: Engine, case: Case) -> None:
    """Runs the graph in both, one task at a time in random order, and compares after each."""
    try:
        both = Both(engine, case.definition(), INPUT)
        for _ in range(60):
            if not both.at_hand:
                break
            key = case.chance.choice(sorted(both.at_hand))
            done = [d.split()[0] for d in both.reference.done]
            error = {"type": "Broken", "message": "", "retryable": False}
            if case.chance.random() < case.fails[key.node]:
                both.hand_in((key, "error", error))
            else:
                both.hand_in((key, "success", done.count(key.node) + 1))
    finally:
        wipe(engine)


@settings(
    max_examples=150,
    deadline=None,
    database=None,
    # The same graphs in every run: what they find is found when the engine is changed, not some day.
    derandomize=True,
    suppress_health_check=[
        HealthCheck.function_scoped_fixture,
        HealthCheck.filter_too_much,
        HealthCheck.too_slow,
    ],
)
@given(seed=st.integers(0, 2**64))
def test_random_graphs_run_as_the_rules_say(engine: Engine, seed: int) -> None:
    case = Case(random.Random(seed))
    definition = case.definition()
    engine.register("f")
    assume(engine.value("select pgorch.validate_graph(%s)", Jsonb(definition)) == [])
    play(engine, case)


@pytest.mark.long
@pytest.mark.timeout(3600)
def test_many_more_random_graphs_run_as_the_rules_say(engine: Engine) -> None:
    for seed in range(5000):
        case = Case(random.Random(seed))
        engine.register("f")
        if engine.value("select pgorch.validate_graph(%s)", Jsonb(case.definition())) == []:
            play(engine, case)


def test_the_random_graphs_are_not_all_plain(engine: Engine) -> None:
    """Else the comparison would prove little."""
    engine.register("f")
    valid = forks = loops = 0
    for seed in range(60):
        definition = Case(random.Random(seed)).definition()
        if engine.value("select pgorch.validate_graph(%s)", Jsonb(definition)) == []:
            shape = engine.rows("select has_forks from pgorch.graphs where id = %s", engine.graph(definition))
            back = engine.value(
                "select exists (select from pgorch.edges e"
                " where e.back and e.graph_id = pgorch.find_graph('random'))"
            )
            valid, forks, loops = valid + 1, forks + shape[0]["has_forks"], loops + back
    assert valid > 40
    assert forks > 15
    assert loops > 15


def test_a_difference_is_found(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """The comparison fails where the two differ: here the reference never takes an edge."""
    case = Case(random.Random(0))
    case.nodes, case.edges = ["n0", "n1"], [Edge(0, "n0", "n1", "success", None, None)]
    case.passes, case.into, case.fails = set(), {"n0": "n0", "n1": "n1"}, {"n0": 0.0, "n1": 0.0}
    play(engine, case)
    monkeypatch.setattr(Reference, "_choose", lambda *_: [])
    with pytest.raises(AssertionError):
        play(engine, case)
