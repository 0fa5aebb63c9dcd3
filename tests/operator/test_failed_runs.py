"""Retry, fork, skip and patch of a run that failed in a loop, in an item, in a child run, behind a join."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import pytest

from tests.operator.verbs import Tools, children, fork, retry, skip
from tests.support.engine import Engine, Step, definition


@dataclass
class Place:
    """A graph, what breaks in it, and what is expected of the verbs.

    Orders are those in which nodes end in the run. `again`: what is performed after a retry; `skipped`: after
    a skip; what has been done before the failure is `first`.
    """

    graph: Callable[[Engine], dict[str, Any]]
    breaks: Callable[[Step], bool]
    first: str
    again: str
    skipped: str
    order: str
    skipped_order: str
    input: Any
    output: Any
    state: dict[str, Any]
    skipped_state: dict[str, Any]
    item: int | None = None
    levels: int = 1


def in_a_loop(engine: Engine) -> dict[str, Any]:
    back = ("c>b", {"condition": "$.n < 3", "limit": 5})
    nodes = ["a", "b", {"id": "c", "input": {"n": "${$.n}", "nothing": None}, "into": "c"}, "d"]
    return definition(nodes, ["a>b", "b>c", back, "c>d"])


def in_a_map(engine: Engine) -> dict[str, Any]:
    node = {"id": "m", "type": "map", "function": "f", "items": "${$.list}", "into": "out", "concurrency": 1}
    return definition(["a", {**node, "input": {"x": "${$item}"}}, "z"], ["a>m", "m>z"])


def in_a_child(engine: Engine) -> dict[str, Any]:
    below = definition(
        ["x", {"id": "y", "input": {"x": 1, "nothing": None}, "into": "y"}, "w"], ["x>y", "y>w"]
    )
    engine.graph(below)
    return definition(
        ["a", {"id": "g", "type": "graph", "graph": below["name"], "into": "g"}, "z"], ["a>g", "g>z"]
    )


def two_levels_deep(engine: Engine) -> dict[str, Any]:
    middle = in_a_child(engine)
    engine.graph(middle)
    return definition(
        ["p", {"id": "h", "type": "graph", "graph": middle["name"], "into": "h"}, "q"], ["p>h", "h>q"]
    )


def behind_a_join(engine: Engine) -> dict[str, Any]:
    nodes = [
        "a",
        {"id": "b", "into": "b"},
        {"id": "c", "into": "c"},
        {"id": "j", "input": {"b": "${$.b}"}, "into": "j"},
        "k",
    ]
    return definition(nodes, ["a>b", "a>c", "b>j", "c>j", "j>k"])


PLACES = {
    "loop": Place(
        in_a_loop,
        lambda s: s.node == "c" and s.state["n"] == 2,
        "a b c b c",
        again="c b c d",
        skipped="b c d",
        order="a b c b c c b c d",
        skipped_order="a b c b c b c d",
        input={"n": 7},
        output={"skipped": 1},
        state={"n": 3, "c": {}},
        skipped_state={"n": 3, "c": {}},
    ),
    "map": Place(
        in_a_map,
        lambda s: s.item == 1,
        "a m/0 m/1",
        again="m/1 m/2 z",
        skipped="m/2 z",
        order="a m m z",
        skipped_order="a m m z",
        input={"x": 99},
        output="skipped",
        state={"out": [10, 20, 30]},
        skipped_state={"out": [10, "skipped", 30]},
        item=1,
    ),
    "child": Place(
        in_a_child,
        lambda s: s.node == "y",
        "a x y",
        again="y w z",
        skipped="w z",
        order="a g g z",
        skipped_order="a g g z",
        input={"x": 99},
        output="skipped",
        state={"g": {"y": {}}},
        skipped_state={"g": {"y": "skipped"}},
        levels=2,
    ),
    "child of a child": Place(
        two_levels_deep,
        lambda s: s.node == "y",
        "p a x y",
        again="y w z q",
        skipped="w z q",
        order="p h h q",
        skipped_order="p h h q",
        input={"x": 99},
        output="skipped",
        state={"h": {"g": {"y": {}}}},
        skipped_state={"h": {"g": {"y": "skipped"}}},
        levels=3,
    ),
    "join": Place(
        behind_a_join,
        lambda s: s.node == "j",
        "a b c j",
        again="j k",
        skipped="k",
        order="a b c j j k",
        skipped_order="a b c j k",
        input={"b": 99},
        output="skipped",
        state={"b": {}, "c": {}, "j": {}},
        skipped_state={"b": {}, "c": {}, "j": "skipped"},
    ),
}

OUTPUTS = {
    "b": lambda s: {"n": s.state["n"] + 1} if "n" in s.state else {},
    "f": lambda s: s.argument["x"] * 10,
}
INPUT = {"n": 0, "list": [1, 2, 3]}


@dataclass
class Failed:
    """A run that has failed at a place. `run_id` is the topmost run, `at` the one in which it broke."""

    engine: Engine
    place: Place
    tools: Tools
    run_id: UUID
    at: UUID

    def mend(self) -> None:
        self.tools.breaks = lambda step: False

    @property
    def line(self) -> list[UUID]:
        """The failed runs from the top."""
        line = [self.run_id]
        while line[-1] != self.at:
            line += children(self.engine, line[-1])
        return line

    def statuses(self) -> list[str]:
        return [self.engine.status(run_id) for run_id in self.line]


@pytest.fixture(params=PLACES)
def failed(engine: Engine, request: pytest.FixtureRequest) -> Failed:
    place = PLACES[request.param]
    tools = Tools(engine, OUTPUTS, place.breaks)
    run_id = at = engine.start(place.graph(engine), INPUT, labels='{"case": "7"}')
    assert tools.run() == place.first
    for _ in range(place.levels - 1):
        (at,) = children(engine, at)
    found = Failed(engine, place, tools, run_id, at)
    assert found.statuses() == ["failed"] * place.levels
    return found


def holds(whole: Any, part: Any) -> bool:
    """Does a value hold a part of it, key by key?"""
    if isinstance(part, dict):
        return isinstance(whole, dict) and all(k in whole and holds(whole[k], v) for k, v in part.items())
    return bool(whole == part)


def rows_of(engine: Engine, run_id: UUID) -> list[Any]:
    """Everything that there is of a run."""
    tables = ("runs", "steps", "history", "approvals", "timers", "signals", "_writes")
    key = {"runs": "id"}
    return [
        engine.rows(
            f"select * from pgorch.{t} t where t.{key.get(t, 'run_id')} = %s order by t::text", run_id
        )
        for t in tables
    ]


def check_completed(failed: Failed, order: str, state: dict[str, Any]) -> None:
    engine = failed.engine
    assert failed.statuses() == ["completed"] * failed.place.levels
    assert engine.order(failed.run_id) == order
    assert holds(engine.state(failed.run_id), state)
    assert [h["seq"] for h in engine.history(failed.run_id)] == list(
        range(1, len(engine.history(failed.run_id)) + 1)
    )


def test_a_retry_does_again_what_failed_and_nothing_else(failed: Failed) -> None:
    failed.mend()
    before = {(s.run_id, s.node, s.item): s.born for s in failed.tools.steps}
    assert retry(failed.engine, failed.at) == "running"
    assert failed.statuses() == ["waiting"] * (failed.place.levels - 1) + ["running"]
    assert failed.tools.run() == failed.place.again
    check_completed(failed, failed.place.order, failed.place.state)
    # What is done again is the same visit: the same idempotency key.
    again = failed.tools.steps[len(failed.place.first.split())]
    assert before[(again.run_id, again.node, again.item)] == again.born
    assert [failed.engine.kinds(run_id).count("run_retried") for run_id in failed.line] == [
        1
    ] * failed.place.levels


def test_what_is_tried_again_has_the_same_arguments(failed: Failed) -> None:
    failed.mend()
    broke = failed.tools.steps[-1]
    retry(failed.engine, failed.at)
    failed.tools.run()
    again = failed.tools.steps[len(failed.place.first.split())]
    assert (again.node, again.item, again.input) == (broke.node, broke.item, broke.input)


def test_a_retry_that_fails_again_can_be_tried_again(failed: Failed) -> None:
    first_again = failed.place.again.split()[0]
    for n in range(1, 4):
        retry(failed.engine, failed.at)
        assert failed.tools.run() == first_again
        assert failed.statuses() == ["failed"] * failed.place.levels
        assert failed.engine.kinds(failed.at).count("run_retried") == n
    failed.mend()
    retry(failed.engine, failed.at)
    assert failed.tools.run() == failed.place.again


def test_a_retry_of_the_topmost_run_takes_up_those_below(failed: Failed) -> None:
    failed.mend()
    assert retry(failed.engine, failed.run_id) in ("running", "waiting")
    assert failed.tools.run() == failed.place.again
    check_completed(failed, failed.place.order, failed.place.state)


def test_patched_arguments_are_given_to_what_failed(failed: Failed) -> None:
    failed.mend()
    retry(failed.engine, failed.at, input=failed.place.input, item=failed.place.item)
    assert failed.tools.run() == failed.place.again
    patched = failed.tools.steps[len(failed.place.first.split())]
    assert patched.input == failed.place.input
    assert failed.statuses() == ["completed"] * failed.place.levels
    (noted,) = failed.engine.rows(
        "select input, output from pgorch.history where run_id = %s and kind = 'run_retried'", failed.at
    )
    assert noted == {"input": failed.place.input, "output": {"action": "retry"}}


def test_what_is_skipped_does_not_run_and_its_output_is_the_given_one(failed: Failed) -> None:
    assert skip(failed.engine, failed.at, output=failed.place.output, item=failed.place.item) == "running"
    failed.mend()
    assert failed.tools.run() == failed.place.skipped
    check_completed(failed, failed.place.skipped_order, failed.place.skipped_state)


def test_skip_of_the_topmost_run_skips_its_node(failed: Failed) -> None:
    failed.mend()
    skip(failed.engine, failed.run_id, output={"whole": 1})
    tops = failed.place.order.split()
    failed.tools.run()
    assert failed.engine.status(failed.run_id) == "completed"
    assert failed.engine.order(failed.run_id).split()[-1] == tops[-1]
    if failed.place.levels > 1:
        assert failed.engine.status(failed.at) == "failed"
        assert failed.tools.done[-1] == tops[-1]


@pytest.mark.parametrize("edited", [{}, {"edited": True}])
def test_a_fork_before_what_failed_is_another_run_and_leaves_the_old_one_alone(
    failed: Failed, edited: dict[str, Any]
) -> None:
    engine = failed.engine
    failed.mend()
    before = [rows_of(engine, run_id) for run_id in failed.line]
    node = failed.tools.steps[-1].node
    new = fork(engine, failed.at, node=node, state=edited)
    first = failed.place.again.split()
    done = failed.tools.run().split()
    alone = {"map": ["m/0", "m/1", "m/2", "z"]}
    if failed.place.item is not None:
        # Named as a node, a map is done from its beginning.
        assert done == alone["map"]
    elif failed.place.levels > 1:
        assert done == ["y", "w"], "only what broke, and no parent waits for it"
    else:
        assert done == first
    assert engine.status(new) == "completed"
    assert holds(engine.state(new), edited)
    assert before == [rows_of(engine, run_id) for run_id in failed.line]
    parent = engine.rows("select parent_run_id, forked_from, labels from pgorch.runs where id = %s", new)[0]
    assert (parent["parent_run_id"], parent["forked_from"]) == (None, failed.at)
    assert {s.run_id for s in failed.tools.steps[len(failed.place.first.split()) :]} == {new}
    own = [h["seq"] for h in engine.history(new)]
    at = engine.value("select forked_at from pgorch.runs where id = %s", new)
    assert own == list(range(at + 1, at + 1 + len(own))), "what was shared is not copied, and counted on from"


def test_a_fork_from_an_entry_keeps_the_items_and_branches_that_were_done(failed: Failed) -> None:
    engine = failed.engine
    failed.mend()
    ends = [h for h in engine.history(failed.at) if h["kind"] in ("step_failed", "item_failed")]
    new = fork(engine, failed.at, seq=ends[0]["seq"] - 1)
    done = failed.tools.run()
    assert done == " ".join(failed.place.again.split()[: -(failed.place.levels - 1) or None])
    assert engine.status(new) == "completed"


def test_a_fork_of_the_topmost_run_has_child_runs_of_its_own(failed: Failed) -> None:
    engine = failed.engine
    failed.mend()
    (end,) = [h for h in engine.history(failed.run_id) if h["kind"] == "step_failed"]
    before = [rows_of(engine, run_id) for run_id in failed.line]
    new = fork(engine, failed.run_id, seq=end["seq"] - 1)
    failed.tools.run()
    assert engine.status(new) == "completed"
    assert holds(engine.state(new), failed.place.state)
    assert len(children(engine, new)) == len(children(engine, failed.run_id))
    assert before == [rows_of(engine, run_id) for run_id in failed.line]


def test_a_fork_from_the_beginning_does_everything_anew(failed: Failed) -> None:
    failed.mend()
    new = fork(failed.engine, failed.run_id, seq=0)
    done = failed.tools.run().split()
    assert done[: len(failed.place.first.split())] == failed.place.first.split()
    assert failed.engine.status(new) == "completed"
    assert holds(failed.engine.state(new), failed.place.state)
