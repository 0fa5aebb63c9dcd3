"""Drawn graphs, outcomes and crashes: the engine does what the language's description says, act by act.

Hypothesis draws a graph (tests/language/drawing.py) and then, act by act, what happens: a step that is live
ends well, with an error that is tried again or not, alone or in one call with others, or handed in twice; a
worker dies with everything in its hands; somebody decides; a signal comes, early or late; two days pass.
After each act tests/language/both.py compares the engine with the reference interpreter.
"""

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from psycopg.types.json import Jsonb

from tests.language.both import Both, wipe
from tests.language.drawing import ERROR_TYPES, INPUT, REDUCERS, SIGNALS, graphs
from tests.support.engine import Engine
from tests.support.reference import Key
from tests.support.reference.machine import PERFORMED

ACTS = 80


class Play:
    """Draws what happens next, until the run has ended."""

    def __init__(self, both: Both, data: st.DataObject) -> None:
        self.both = both
        self.data = data
        self.crashes = 0

    def draw(self, strategy: st.SearchStrategy[Any]) -> Any:
        return self.data.draw(strategy)

    def chance(self, percent: int) -> bool:
        return bool(self.draw(st.integers(0, 99)) >= 100 - percent)

    def to_the_end(self) -> None:
        for _ in range(ACTS):
            live = self.both.reference.live()
            if not live:
                return
            key = self.draw(st.sampled_from(sorted(live, key=repr)))
            if self.crashes < 1 and self.both.at_hand and self.chance(4):
                self.crashes += 1
                self.both.crash()
            elif self.chance(3):
                self.both.signal((), self.draw(st.sampled_from(SIGNALS)), {"early": True})
            elif key.kind in PERFORMED:
                self._perform(key)
            elif key.kind == "approval":
                self._decide(key)
            else:
                self._wait(key)

    def _perform(self, key: Key) -> None:
        at_hand = sorted(self.both.at_hand, key=repr)
        keys = [key]
        if len(at_hand) > 1 and self.chance(15):
            # The results of one call are in one bucket, and so of one run.
            keys = [k for k in self.draw(st.permutations(at_hand))[:3] if k.path == key.path]
        results = [(k, *self._outcome(k)) for k in keys or [key]]
        self.both.hand_in(*results, twice=self.chance(8))

    def _outcome(self, key: Key) -> tuple[str, Any]:
        if self.chance(15):
            kind = self.draw(st.sampled_from(ERROR_TYPES))
            retryable = key.kind != "undo" and not self.chance(50)
            return "error", {"type": kind, "message": "it broke", "retryable": retryable}
        node = self.both.reference.of(key.path).shape.nodes[key.node]
        number = self.draw(st.integers(1, 3))
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
            self.both.signal(key.path, node["signal"], {"n": self.draw(st.integers(1, 3))})


def play(engine: Engine, drawn: tuple[dict[str, Any], list[dict[str, Any]]], data: st.DataObject) -> None:
    definition, children = drawn
    engine.register("f", "undo")
    try:
        for child in children:
            engine.graph(child)
        errors = engine.value("select pgorch.validate_graph(%s)", Jsonb(definition))
        assert errors == [], "the graphs that are drawn are valid"
        both = Both(engine, definition, INPUT, children)
        Play(both, data).to_the_end()
    finally:
        wipe(engine)


CHECKS = settings(
    deadline=None,
    database=None,
    # The same graphs in every run: what they find is found when the engine is changed, not some day.
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


@settings(CHECKS, max_examples=150)
@given(drawn=graphs(), data=st.data())
def test_drawn_graphs_run_as_the_language_says(engine: Engine, drawn: Any, data: st.DataObject) -> None:
    play(engine, drawn, data)


@pytest.mark.long
@pytest.mark.timeout(3600)
@settings(CHECKS, max_examples=3000, derandomize=False)
@given(drawn=graphs(), data=st.data())
def test_many_more_drawn_graphs_run_as_the_language_says(
    engine: Engine, drawn: Any, data: st.DataObject
) -> None:
    play(engine, drawn, data)
