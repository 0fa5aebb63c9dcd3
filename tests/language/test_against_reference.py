"""Drawn graphs, outcomes and crashes: the engine does what the language's description says, act by act.

Hypothesis draws a graph (tests/language/drawing.py) and then, act by act, what happens: a step that is live
ends well, with an error that is tried again or not, alone or in one call with others, or handed in twice; a
worker dies with everything in its hands; somebody decides; a signal comes, early or late; two days pass; and
a run that has failed is taken up again.
After each act tests/language/both.py compares the engine with the reference interpreter, and at the end the
invariants are asked.
"""

from collections import Counter
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from psycopg.types.json import Jsonb

from tests.language.both import Both, wipe
from tests.language.drawing import (
    ERROR_TYPES,
    INPUT,
    REDUCERS,
    SIGNALS,
    Chance,
    Drawn,
    Seeded,
    graph,
    rarely,
)
from tests.support.engine import Engine, definition
from tests.support.invariants import violations
from tests.support.reference import Key, Reference
from tests.support.reference.machine import PERFORMED

ACTS = 80


class Play:
    """Chooses what happens next, until the run has ended.

    `together` and `broken`: percentages of calls with several results, and of errors.
    """

    def __init__(self, both: Both, source: Chance, together: int = 15, broken: int = 15) -> None:
        self.both = both
        self.source = source
        self.together = together
        self.broken = broken
        self.crashes = 0
        self.retries = 0

    def chance(self, percent: int) -> bool:
        return rarely(self.source, percent)

    def to_the_end(self) -> None:
        for _ in range(ACTS):
            live = self.both.reference.live()
            if not live:
                if self.retries == 2 or not self.both.reference.can_be_retried():
                    return
                self.retries += 1
                self.both.retry()
                continue
            key = self.source.one_of(sorted(live, key=repr))
            if self.crashes < 1 and self.both.at_hand and self.chance(4):
                self.crashes += 1
                self.both.crash()
            elif self.chance(3):
                self.both.signal((), self.source.one_of(SIGNALS), {"early": True})
            elif key.kind in PERFORMED:
                self._perform(key)
            elif key.kind == "approval":
                self._decide(key)
            else:
                self._wait(key)

    def _perform(self, key: Key) -> None:
        at_hand = sorted(self.both.at_hand, key=repr)
        keys = [key]
        if len(at_hand) > 1 and self.chance(self.together):
            # The results of one call are in one bucket, and so of one run.
            beside = [k for k in at_hand if k != key and k.path == key.path]
            keys += [beside.pop(self.source.integer(0, len(beside) - 1)) for _ in beside[:2]]
        results = [(k, *self._outcome(k)) for k in keys]
        self.both.hand_in(*results, twice=self.chance(8))

    def _outcome(self, key: Key) -> tuple[str, Any]:
        if self.chance(self.broken):
            kind = self.source.one_of(ERROR_TYPES)
            retryable = key.kind != "undo" and not self.chance(50)
            return "error", {"type": kind, "message": "it broke", "retryable": retryable}
        node = self.both.reference.of(key.path).shape.nodes[key.node]
        number = self.source.integer(1, 3)
        reducer = REDUCERS.get(node.get("into", ""))
        return "success", {f"key{number}": number} if reducer == "merge" else number

    def _decide(self, key: Key) -> None:
        node = self.both.reference.of(key.path).shape.nodes[key.node]
        if "deadline" in node and self.chance(25):
            self.both.let_time_pass()
        elif self.chance(35):
            self.both.decide(key, "rejected", {"retry": self.chance(60)})
        else:
            data = dict.fromkeys(node.get("form", {}).get("properties", {}), 7)
            self.both.decide(key, "approved", data or None)

    def _wait(self, key: Key) -> None:
        node = self.both.reference.of(key.path).shape.nodes[key.node]
        if "for" in node or ("deadline" in node and self.chance(40)):
            self.both.let_time_pass()
        else:
            self.both.signal(key.path, node["signal"], {"n": self.source.integer(1, 3)})


def play(engine: Engine, source: Chance, **chances: int) -> int:
    """Returns how often the run was taken up again."""
    definition, children = graph(source)
    try:
        engine.register("f", "undo")
        for child in children:
            engine.graph(child)
        errors = engine.value("select pgorch.validate_graph(%s)", Jsonb(definition))
        assert errors == [], "the graphs that are drawn are valid"
        both = Both(engine, definition, INPUT, children)
        game = Play(both, source, **chances)
        game.to_the_end()
        found = violations(engine.connection)
        assert found == {}, found
        return game.retries
    finally:
        wipe(engine)


@pytest.mark.timeout(900)
@settings(
    max_examples=40,
    deadline=None,
    database=None,
    # The same graphs in every run: what they find is found when the engine is changed, not some day.
    derandomize=True,
    phases=[Phase.generate, Phase.shrink],
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(data=st.data())
def test_drawn_graphs_run_as_the_language_says(engine: Engine, data: st.DataObject) -> None:
    play(engine, Drawn(data.draw))


@pytest.mark.parametrize("seeds", [range(n, n + 15) for n in (0, 15, 30, 45)], ids=str)
def test_seeded_graphs_run_as_the_language_says(engine: Engine, seeds: range) -> None:
    for seed in seeds:
        play(engine, Seeded(seed))


def test_nothing_that_comes_with_a_failure_is_lost(engine: Engine) -> None:
    retries = sum(play(engine, Seeded(seed), together=70, broken=30) for seed in range(200, 220))
    assert retries > 5


@pytest.mark.parametrize("item_first", [True, False])
def test_a_map_ends_with_its_last_item_before_what_came_with_it_goes_on(
    engine: Engine, item_first: bool
) -> None:
    """Handed in together with the last item, the other branch does not cancel a map that is over."""
    engine.register("a", "b", "j")
    items = {"type": "map", "function": "a", "items": "${$.list}", "input": {"item": "${$item}"}}
    join = {"id": "j", "join": "any", "cancel_rest": True}
    graph = definition(["a", items | {"id": "m", "into": "m"}, "b", join], ["a>m", "a>b", "m>j", "b>j"])
    both = Both(engine, graph, {"list": [1, 2]})
    both.hand_in((Key((), "task", "a", ()), "success", {}))
    both.hand_in((Key((), "item", "m", (), 0), "success", 1))
    last = [(Key((), "item", "m", (), 1), "success", 2), (Key((), "task", "b", ()), "success", {})]
    both.hand_in(*last if item_first else last[::-1])
    assert both.reference.state["m"] == [1, 2]


def test_what_is_drawn_has_everything_in_it() -> None:
    """Else the comparison would prove little. Only the reference plays here."""
    happened: Counter[str] = Counter()
    for seed in range(300):
        source = Seeded(seed)
        definition, children = graph(source)
        reference = Reference(definition, INPUT, {str(c["name"]): c for c in children})
        while live := sorted(reference.live(), key=repr):
            key = source.one_of(live)
            happened[f"{'child: ' if key.path else ''}{key.kind}"] += 1
            node = reference.of(key.path).shape.nodes[key.node]
            outcome: str = "success"
            value: Any = source.integer(1, 3)
            if key.kind in PERFORMED:
                error = {"type": source.one_of(ERROR_TYPES)}
                outcome, value = ("error", error) if rarely(source, 10) else (outcome, value)
                if outcome == "success" and node.get("into") == "parts":
                    value = {"key": value}
            elif key.kind == "approval":
                outcome, value = source.one_of(["approved", "rejected", "expired"]), {"retry": True}
            reference.complete((key, outcome, value))
        happened.update(d.split()[1] for d in reference.done)
        happened[f"{reference.status} {(reference.error or {}).get('type', '')}"] += 1
    expected = ["task", "item", "undo", "approval", "wait", "child: task", "child: approval", "child: item"]
    expected += ["success", "error", "rejected", "expired", "skipped"]
    assert {e for e in expected if happened[e] < 5} == set(), happened
    ends = ["completed ", "failed Broken", "failed Rejected", "failed Expired", "failed StateConflict"]
    ends += ["failed NoMatchingEdge", "failed ConditionUnknown", "failed MapFailed"]
    assert {e for e in ends if happened[e] < 2} == set(), happened


def test_a_difference_is_found(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """The comparison fails where the two differ: here the reference lets every join wait for all."""
    monkeypatch.setattr(Reference, "_least", lambda *_: None)
    found = 0
    for seed in range(30):
        try:
            play(engine, Seeded(seed))
        except AssertionError:
            found += 1
    assert found > 0


@pytest.mark.long
@pytest.mark.timeout(3600)
def test_many_more_seeded_graphs_run_as_the_language_says(engine: Engine) -> None:
    for seed in range(1000, 6000):
        play(engine, Seeded(seed))
