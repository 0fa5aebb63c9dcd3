"""What the types of nodes do: map, wait, graph and compensate, each with its normal and its failing side."""

from typing import Any, ClassVar
from uuid import UUID

import pytest
from psycopg.types.json import Jsonb

from tests.language.both import ended
from tests.support.engine import Engine, Fails, Step, chain, definition

ITEM = {"item": "${$item}", "index": "${$index}"}


def the_map(**more: Any) -> dict[str, Any]:
    node = {"id": "m", "type": "map", "function": "f", "items": "${$.list}", "input": ITEM, "into": "out"}
    return definition([node | more, "z"], ["m>z"])


def tick(engine: Engine) -> None:
    for bucket in engine.buckets:
        engine.value("select pgorch.tick(%s)", bucket)


def pass_time(engine: Engine, by: str) -> None:
    engine.jump(by)
    tick(engine)
    engine.worker.enlist()


def signal(engine: Engine, run_id: UUID, name: str, payload: Any) -> None:
    engine.value("select pgorch.signal(%s, %s, %s)", run_id, name, Jsonb(payload))


def error_type(engine: Engine, run_id: UUID) -> str:
    assert engine.status(run_id) == "failed"
    return str(engine.error(run_id)["type"])


def children(engine: Engine, run_id: UUID) -> list[UUID]:
    rows = engine.rows("select id from pgorch.runs where parent_run_id = %s order by created_at, id", run_id)
    return [row["id"] for row in rows]


class TestMap:
    def test_each_item_is_a_step_and_the_output_is_in_their_order(self, engine: Engine) -> None:
        run_id = engine.start(the_map(), {"list": ["x", "y", "z"]})
        steps = sorted(engine.worker.claim(10), key=lambda s: s.argument["index"])
        assert [s.argument for s in steps] == [{"item": i, "index": n} for n, i in enumerate("xyz")]
        for step in reversed(steps):
            engine.worker.succeed(step, {"was": step.argument["item"]})
        assert engine.state(run_id)["out"] == [{"was": "x"}, {"was": "y"}, {"was": "z"}]
        engine.run()
        assert (engine.status(run_id), engine.order(run_id)) == ("completed", "m z")

    def test_an_empty_list_is_done_at_once(self, engine: Engine) -> None:
        run_id = engine.start(the_map(), {"list": []})
        assert engine.state(run_id)["out"] == []
        engine.run()
        assert engine.order(run_id) == "m z"

    @pytest.mark.parametrize("items", ["text", {"a": 1}, 5, None])
    def test_what_is_no_list_fails_the_step(self, engine: Engine, items: Any) -> None:
        run_id = engine.start(the_map(), {"list": items})
        assert engine.status(run_id) == "failed"

    def test_so_many_at_once_and_no_more(self, engine: Engine) -> None:
        run_id = engine.start(the_map(concurrency=2), {"list": list(range(5))})
        most = 0
        at_hand = engine.worker.claim(100)
        while at_hand:
            most = max(most, len(at_hand))
            engine.worker.succeed(at_hand.pop(0), 1)
            at_hand += [s for s in engine.worker.claim(100) if s.tool == "f"]
        assert most == 2
        assert engine.state(run_id)["out"] == [1] * 5

    @pytest.mark.parametrize(
        ("tolerate", "failing", "borne"),
        [(0, 1, False), (1, 1, True), (1, 2, False), ("40%", 2, True), ("40%", 3, False), ("100%", 5, True)],
    )
    def test_so_many_failures_are_borne(
        self, engine: Engine, tolerate: Any, failing: int, borne: bool
    ) -> None:
        run_id = engine.start(the_map(tolerate=tolerate), {"list": list(range(5))})

        def f(step: Step) -> int:
            if step.argument["index"] < failing:
                raise Fails
            return 1

        engine.run({"f": f})
        assert engine.status(run_id) == ("completed" if borne else "failed")
        if borne:
            assert engine.state(run_id)["out"][failing:] == [1] * (5 - failing)
            assert len(engine.state(run_id)["out"]) == 5

    def test_one_failure_too_many_cancels_the_other_items(self, engine: Engine) -> None:
        run_id = engine.start(the_map(), {"list": [1, 2, 3]})
        one, two, _ = engine.worker.claim(10)
        engine.worker.fail(one, retryable=False)
        assert engine.status(run_id) == "failed"
        [refused] = engine.worker.succeed(two, 1)
        assert refused.kind == "refused"

    def test_an_item_has_attempts_of_its_own(self, engine: Engine) -> None:
        retry = {"max_attempts": 2, "initial_interval": "1 second"}
        run_id = engine.start(the_map(retry=retry), {"list": [1, 2]})
        one, two = engine.worker.claim(10)
        engine.worker.fail(one)
        engine.worker.succeed(two, 2)
        engine.jump("2 seconds")
        [again] = engine.worker.claim(10)
        assert (again.argument, again.attempt) == (one.argument, 2)
        engine.worker.succeed(again, 1)
        assert engine.state(run_id)["out"] == [1, 2]

    def test_an_item_that_has_ended_is_not_repeated_after_a_crash(self, engine: Engine) -> None:
        run_id = engine.start(the_map(), {"list": [1, 2, 3]})
        first, *_ = sorted(engine.worker.claim(10), key=lambda s: s.argument["index"])
        engine.worker.succeed(first, "before")
        engine.jump("1 minute")
        other = engine.new_worker(name="other")
        other.beat_everywhere()
        claimed = other.claim(10)
        assert sorted(s.argument["index"] for s in claimed) == [1, 2]
        for step in claimed:
            other.succeed(step, "after")
        assert engine.state(run_id)["out"] == ["before", "after", "after"]


class TestWait:
    def test_for_a_while(self, engine: Engine) -> None:
        run_id = engine.start(definition([{"id": "w", "type": "wait", "for": "2 hours"}, "z"], ["w>z"]))
        pass_time(engine, "119 minutes")
        assert engine.status(run_id) == "waiting"
        pass_time(engine, "2 minutes")
        engine.run()
        assert engine.order(run_id) == "w z"

    def test_for_a_while_that_the_state_says(self, engine: Engine) -> None:
        graph = definition([{"id": "w", "type": "wait", "for": "${$.pause}"}])
        run_id = engine.start(graph, {"pause": "1 hour"})
        pass_time(engine, "61 minutes")
        assert engine.status(run_id) == "completed"

    def test_until_a_time(self, engine: Engine) -> None:
        graph = definition([{"id": "w", "type": "wait", "until": "${$.at}"}])
        at = engine.value("select to_jsonb(pgorch.clock_now() + '3 days')")
        run_id = engine.start(graph, {"at": at})
        pass_time(engine, "71 hours")
        assert engine.status(run_id) == "waiting"
        pass_time(engine, "2 hours")
        assert engine.status(run_id) == "completed"

    def test_until_a_time_that_is_past_does_not_wait(self, engine: Engine) -> None:
        graph = definition([{"id": "w", "type": "wait", "until": "2020-01-01T00:00:00Z"}, "z"], ["w>z"])
        run_id = engine.start(graph)
        tick(engine)
        engine.run()
        assert engine.order(run_id) == "w z"

    WAIT: ClassVar = {"id": "w", "type": "wait", "signal": "go", "deadline": "1 hour"}

    def test_a_signal_ends_the_wait_and_its_payload_is_the_output(self, engine: Engine) -> None:
        run_id = engine.start(definition([self.WAIT, "z"], ["w>z"]), {"x": 1})
        signal(engine, run_id, "stop", {"x": 3})
        assert engine.status(run_id) == "waiting", "another name"
        signal(engine, run_id, "go", {"x": 2})
        assert engine.state(run_id) == {"x": 2}
        engine.run()
        assert engine.order(run_id) == "w z"

    def test_an_early_signal_is_not_lost(self, engine: Engine) -> None:
        run_id = engine.start(definition(["a", self.WAIT], ["a>w"]))
        signal(engine, run_id, "go", {"x": 2})
        engine.run()
        assert (engine.status(run_id), engine.state(run_id)) == ("completed", {"x": 2})

    def test_a_signal_ends_one_wait(self, engine: Engine) -> None:
        waits = [{"id": n, "type": "wait", "signal": "go", "into": n} for n in ("v", "w")]
        run_id = engine.start(definition(["a", *waits], ["a>v", "v>w"]))
        engine.run()
        signal(engine, run_id, "go", 1)
        assert engine.status(run_id) == "waiting"
        signal(engine, run_id, "go", 2)
        assert engine.state(run_id) == {"v": 1, "w": 2}

    def test_a_signal_that_does_not_come_in_time_expires(self, engine: Engine) -> None:
        run_id = engine.start(definition([self.WAIT, "y", "z"], ["w>z", ("w>y", {"on": "expired"})]))
        pass_time(engine, "61 minutes")
        engine.run()
        assert ended(engine.history(run_id)) == ["w expired", "y success"]
        assert engine.status(run_id) == "completed"


class TestGraph:
    def start(self, engine: Engine, below: dict[str, Any], **more: Any) -> UUID:
        engine.graph(below)
        node = {"id": "g", "type": "graph", "graph": below["name"], **more}
        return engine.start(definition([node, "z"], ["g>z"]), {"x": 1})

    def test_a_child_run_has_its_own_state_and_gives_its_output(self, engine: Engine) -> None:
        below = chain("b c") | {"output": {"y": "${$.y}"}}
        run_id = self.start(engine, below, input={"in": "${$.x}"})
        b = engine.worker.claim_one("b")
        assert b.state == {"in": 1}
        assert engine.status(run_id) == "waiting"
        engine.worker.succeed(b, {"y": 2})
        engine.run()
        assert engine.order(run_id) == "g z"
        assert engine.state(run_id) == {"x": 1, "y": 2}
        [child] = children(engine, run_id)
        assert (engine.order(child), engine.status(child)) == ("b c", "completed")

    def test_its_failure_comes_up(self, engine: Engine) -> None:
        run_id = self.start(engine, chain("b"))
        engine.worker.fail(engine.worker.claim_one("b"), retryable=False)
        assert engine.status(run_id) == "failed"
        assert ended(engine.history(run_id)) == ["g error"]

    def test_it_may_be_tried_again(self, engine: Engine) -> None:
        run_id = self.start(engine, chain("b"), retry={"max_attempts": 2, "initial_interval": "1 second"})
        engine.worker.fail(engine.worker.claim_one("b"))
        pass_time(engine, "2 seconds")
        engine.run()
        assert engine.status(run_id) == "completed"
        assert [engine.status(c) for c in children(engine, run_id)] == ["failed", "completed"]

    def test_cancel_goes_down(self, engine: Engine) -> None:
        run_id = self.start(engine, chain("b"))
        [child] = children(engine, run_id)
        engine.cancel(run_id)
        assert (engine.status(run_id), engine.status(child)) == ("cancelled", "cancelled")

    def test_a_failure_beside_it_goes_down_too(self, engine: Engine) -> None:
        below = chain("b")
        engine.graph(below)
        nodes = ["a", {"id": "g", "type": "graph", "graph": below["name"]}, "c"]
        run_id = engine.start(definition(nodes, ["a>g", "a>c"]))
        engine.worker.succeed(engine.worker.claim_one("a"), {})
        engine.worker.fail(engine.worker.claim_one("c"), retryable=False)
        assert [engine.status(c) for c in children(engine, run_id)] == ["cancelled"]

    def test_the_version_is_pinned_when_the_graph_is_created(self, engine: Engine) -> None:
        below = chain("b")
        engine.graph(below)
        above = engine.graph(definition([{"id": "g", "type": "graph", "graph": below["name"]}]))
        engine.graph(chain("other") | {"name": below["name"]})
        run_id = engine.start(above)
        engine.run()
        assert [engine.order(c) for c in children(engine, run_id)] == ["b"]

    def test_a_graph_that_is_created_again_takes_the_new_version_of_its_child(self, engine: Engine) -> None:
        below = chain("b")
        engine.graph(below)
        above = definition([{"id": "g", "type": "graph", "graph": below["name"]}])
        engine.graph(above)
        engine.graph(chain("other") | {"name": below["name"]})
        run_id = engine.start(engine.graph(above))
        engine.run()
        assert [engine.order(c) for c in children(engine, run_id)] == ["other"]

    def test_a_decision_below_is_waited_for(self, engine: Engine) -> None:
        run_id = self.start(engine, definition([{"id": "ok", "type": "approval"}]))
        assert engine.status(run_id) == "waiting"
        [child] = children(engine, run_id)
        assert engine.status(child) == "awaiting_approval"
        engine.approve(child)
        engine.run()
        assert engine.order(run_id) == "g z"


class TestCompensate:
    SAGA = definition(
        [{"id": n, "compensate": f"undo_{n}", "input": {"n": n}} for n in "abc"] + ["z"],
        ["a>b", "b>c", "c>z"],
    )

    def undo_all(self, engine: Engine, fails: str = "") -> list[str]:
        """The tools that undo, in their order."""
        called = []
        while steps := engine.worker.claim(10):
            [step] = steps
            called.append(str(step.tool))
            if step.tool == fails:
                engine.worker.fail(step, retryable=False)
            else:
                engine.worker.succeed(step, {})
        return called

    def broken(self, engine: Engine, at: str) -> UUID:
        run_id = engine.start(self.SAGA)
        for node in "abcz":
            step = engine.worker.claim_one(node)
            if node == at:
                engine.worker.fail(step, retryable=False)
                break
            engine.worker.succeed(step, {"done": node})
        return run_id

    @pytest.mark.parametrize(
        ("at", "undone"), [("a", []), ("b", ["undo_a"]), ("z", ["undo_c", "undo_b", "undo_a"])]
    )
    def test_what_was_done_is_undone_newest_first(self, engine: Engine, at: str, undone: list[str]) -> None:
        run_id = self.broken(engine, at)
        assert self.undo_all(engine) == undone
        assert error_type(engine, run_id) == "Broken"

    def test_the_tool_is_given_the_recorded_input_and_output(self, engine: Engine) -> None:
        self.broken(engine, "b")
        [undo] = engine.worker.claim(1)
        given = undo.argument
        assert (undo.node, undo.tool) == ("a", "undo_a")
        assert (given["input"], given["output"]) == ({"n": "a"}, {"done": "a"})

    def test_a_run_that_completes_undoes_nothing(self, engine: Engine) -> None:
        run_id = engine.start(self.SAGA)
        engine.run()
        assert engine.status(run_id) == "completed"
        assert [h for h in engine.history(run_id) if h["kind"] == "step_undone"] == []

    def test_an_error_that_an_edge_takes_undoes_nothing(self, engine: Engine) -> None:
        graph = definition([{"id": "a", "compensate": "undo_a"}, "b", "c"], ["a>b", ("b>c", {"on": "error"})])
        run_id = engine.start(graph)
        engine.worker.succeed(engine.worker.claim_one("a"), {})
        engine.worker.fail(engine.worker.claim_one("b"), retryable=False)
        engine.run()
        assert (engine.status(run_id), engine.order(run_id)) == ("completed", "a b c")

    def test_what_cannot_be_undone_does_not_keep_the_rest(self, engine: Engine) -> None:
        run_id = self.broken(engine, "z")
        assert self.undo_all(engine, fails="undo_b") == ["undo_c", "undo_b", "undo_a"]
        assert error_type(engine, run_id) == "Broken"
        kinds = [h["kind"] for h in engine.history(run_id) if h["kind"] in ("step_undone", "undo_failed")]
        assert kinds == ["step_undone", "undo_failed", "step_undone"]

    def test_each_visit_in_a_loop_is_undone(self, engine: Engine) -> None:
        nodes = [{"id": "a", "compensate": "undo_a", "input": {"n": "${$.n}"}}, "b"]
        graph = definition(nodes, [("a>a", {"condition": "$.n < 2", "limit": 5}), "a>b"])
        engine.start(graph, {"n": 0})
        for n in (1, 2):
            engine.worker.succeed(engine.worker.claim_one("a"), {"n": n})
        engine.worker.fail(engine.worker.claim_one("b"), retryable=False)
        given = []
        while steps := engine.worker.claim(1):
            given.append(steps[0].argument["input"])
            engine.worker.succeed(steps[0], {})
        assert given == [{"n": 1}, {"n": 0}]

    @pytest.mark.parametrize("compensate", [True, False])
    def test_a_cancelled_run_undoes_when_asked(self, engine: Engine, compensate: bool) -> None:
        run_id = engine.start(self.SAGA)
        engine.worker.succeed(engine.worker.claim_one("a"), {})
        engine.value("select pgorch.cancel(p_run_id => %s, p_compensate => %s)", run_id, compensate)
        assert self.undo_all(engine) == (["undo_a"] if compensate else [])
        assert engine.status(run_id) == "cancelled"

    def test_a_crash_while_undoing_repeats_only_what_was_under_way(self, engine: Engine) -> None:
        run_id = self.broken(engine, "z")
        engine.worker.succeed(engine.worker.claim_one("c"), {})
        engine.worker.claim_one("b")
        engine.jump("1 minute")
        engine._worker = engine.new_worker(name="other")
        engine.worker.beat_everywhere()
        assert self.undo_all(engine) == ["undo_b", "undo_a"]
        assert engine.status(run_id) == "failed"
