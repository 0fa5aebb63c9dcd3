"""The rules R1 to R8, each with what it allows and what it forbids.

What the engine does beyond them (attempts, leases, batches) is tested in tests/engine, and every single error
of R8 in tests/graphs.
"""

from typing import Any
from uuid import UUID

import psycopg
import pytest
from psycopg.types.json import Jsonb

from tests.language.both import ended
from tests.support.engine import Engine, Fails, Step, chain, definition

OK = {"id": "ok", "type": "approval"}
FORK = ["a>b", "a>c", "b>d", "c>d"]
QUORUM = ["a>b", "a>c", "a>d", "b>j", "c>j", "d>j"]


def fail(_: Step) -> Any:
    raise Fails


def count(step: Step) -> dict[str, int]:
    return {"n": step.state["n"] + 1}


def joined(join: Any, *after: str, **more: Any) -> list[Any]:
    return ["a", "b", "c", "d", {"id": "j", "join": join, **more}, *after]


def forked(engine: Engine, nodes: list[Any], edges: list[Any], input: Any = None) -> UUID:
    """A run whose first step has ended."""
    run_id = engine.start(definition(nodes, edges), input)
    engine.worker.succeed(engine.worker.claim_one("a"), {})
    return run_id


def end(engine: Engine, *nodes: str) -> None:
    """Steps end well, one after the other; a name with ! fails."""
    for node in nodes:
        step = engine.worker.claim_one(node.rstrip("!"))
        if node.endswith("!"):
            engine.worker.fail(step, retryable=False)
        else:
            engine.worker.succeed(step, {})


def live(engine: Engine, run_id: UUID) -> str:
    """The nodes that somebody can perform, decide or send now."""
    rows = engine.rows(
        "select node from pgorch.steps where run_id = %s and kind not in ('join', 'map', 'child')", run_id
    )
    return " ".join(sorted(r["node"] for r in rows))


def error_type(engine: Engine, run_id: UUID) -> str:
    assert engine.status(run_id) == "failed"
    return str(engine.error(run_id)["type"])


class TestR1WhichEdgesAreTaken:
    def test_without_conditions_all_are_taken_in_parallel(self, engine: Engine) -> None:
        run_id = forked(engine, ["a", "b", "c"], ["a>b", "a>c"])
        assert live(engine, run_id) == "b c"

    @pytest.mark.parametrize(("x", "target"), [(1, "b"), (2, "c"), (9, "d")])
    def test_the_first_true_condition_wins_in_the_order_of_the_array(
        self, engine: Engine, x: int, target: str
    ) -> None:
        edges = ["a>d", ("a>b", {"condition": "$.x < 2"}), ("a>c", {"condition": "$.x < 3"})]
        run_id = forked(engine, ["a", "b", "c", "d"], edges, {"x": x})
        assert live(engine, run_id) == target

    def test_branch_all_takes_every_true_edge_and_every_one_without_condition(self, engine: Engine) -> None:
        edges = [("a>b", {"condition": "$.x > 0"}), ("a>c", {"condition": "$.x > 1"}), "a>d", "a>e"]
        nodes = [{"id": "a", "branch": "all"}, "b", "c", "d", "e"]
        run_id = forked(engine, nodes, edges, {"x": 1})
        assert live(engine, run_id) == "b d e"

    def test_only_edges_of_the_outcome_are_candidates(self, engine: Engine) -> None:
        edges = [("a>b", {"condition": "$.x == 1"}), ("a>c", {"on": "error"}), ("a>d", {"on": "error"})]
        run_id = engine.start(definition("a b c d", edges), {"x": 1})
        end(engine, "a!")
        assert live(engine, run_id) == "c d", (
            "the condition belongs to success, so after an error all are taken"
        )

    @pytest.mark.parametrize("first", ["a", "a!"])
    def test_always_is_a_candidate_whatever_the_outcome(self, engine: Engine, first: str) -> None:
        run_id = engine.start(definition("a b", [("a>b", {"on": "always"})]))
        end(engine, first)
        assert live(engine, run_id) == "b"

    def test_an_edge_whose_limit_is_used_up_gives_way_to_the_next(self, engine: Engine) -> None:
        edges = [("a>b", {"condition": "$.x == 1", "limit": 1}), "a>c", "b>a"]
        run_id = engine.start(definition("a b c", edges), {"x": 1})
        engine.run()
        assert engine.order(run_id) == "a b a c"


class TestR2WhereNothingMatches:
    def test_no_candidate_after_success_ends_the_path(self, engine: Engine) -> None:
        run_id = engine.start(definition("a b", [("a>b", {"on": "error"})]))
        end(engine, "a")
        assert engine.status(run_id) == "completed"

    def test_candidates_without_a_match_fail_the_run(self, engine: Engine) -> None:
        run_id = engine.start(definition("a b", [("a>b", {"condition": "$.x == 1"})]))
        end(engine, "a")
        assert error_type(engine, run_id) == "NoMatchingEdge"

    def test_an_error_without_candidates_fails_the_run(self, engine: Engine) -> None:
        run_id = engine.start(chain("a b"))
        end(engine, "a!")
        assert error_type(engine, run_id) == "Broken"

    def test_an_error_that_no_candidate_matches_fails_the_run(self, engine: Engine) -> None:
        run_id = engine.start(
            definition("a b", [("a>b", {"on": "error", "condition": '$error.type == "X"'})])
        )
        end(engine, "a!")
        assert error_type(engine, run_id) == "NoMatchingEdge"

    def test_a_rejection_without_candidates_fails_the_run(self, engine: Engine) -> None:
        run_id = engine.start(definition([OK, "b"], ["ok>b"]))
        engine.reject(run_id)
        assert error_type(engine, run_id) == "Rejected"

    def test_an_approval_that_expires_without_candidates_fails_the_run(self, engine: Engine) -> None:
        run_id = engine.start(definition([OK | {"deadline": "1 hour"}, "b"], ["ok>b"]))
        engine.jump("2 hours")
        tick(engine)
        assert error_type(engine, run_id) == "Expired"

    def test_a_wait_that_expires_without_candidates_fails_the_run(self, engine: Engine) -> None:
        wait = {"id": "w", "type": "wait", "signal": "go", "deadline": "1 hour"}
        run_id = engine.start(definition([wait, "b"], ["w>b"]))
        engine.jump("2 hours")
        tick(engine)
        assert error_type(engine, run_id) == "Expired"

    @pytest.mark.parametrize("way", ["error", "no match", "fail node"])
    def test_the_run_fails_after_what_was_done_is_undone(self, engine: Engine, way: str) -> None:
        nodes = [{"id": "a", "compensate": "undo_a"}, "b", {"id": "f", "type": "fail", "error": "TooBad"}]
        edges = ["a>b", ("b>f", {"condition": '$.way == "fail node"'})]
        run_id = engine.start(definition(nodes, edges), {"way": way})
        end(engine, "a", "b!" if way == "error" else "b")
        assert engine.status(run_id) == "running", "the run is failed only when everything is undone"
        assert live(engine, run_id) == "a"
        engine.run()
        types = {"error": "Broken", "no match": "NoMatchingEdge", "fail node": "TooBad"}
        assert error_type(engine, run_id) == types[way]


class TestR3UnknownConditions:
    CONDITION = ("a>b", {"condition": "$.x < 1"})

    def test_an_unknown_condition_fails_the_step_and_does_not_fall_through(self, engine: Engine) -> None:
        run_id = engine.start(definition("a b c", [self.CONDITION, "a>c"]), {"x": "text"})
        end(engine, "a")
        assert error_type(engine, run_id) == "ConditionUnknown"
        assert ended(engine.history(run_id)) == ["a error"]

    @pytest.mark.parametrize("input", [{"x": 0}, {"x": 5}, {}])
    def test_true_false_and_missing_are_known(self, engine: Engine, input: Any) -> None:
        run_id = engine.start(definition("a b c", [self.CONDITION, "a>c"]), input)
        end(engine, "a")
        assert live(engine, run_id) == ("b" if input == {"x": 0} else "c")

    def test_an_unknown_condition_takes_the_edge_for_errors(self, engine: Engine) -> None:
        edges = [self.CONDITION, "a>c", ("a>d", {"on": "error"})]
        run_id = engine.start(definition("a b c d", edges), {"x": "text"})
        end(engine, "a")
        assert live(engine, run_id) == "d"

    def test_with_branch_all_one_unknown_condition_fails_the_step(self, engine: Engine) -> None:
        nodes = [{"id": "a", "branch": "all"}, "b", "c"]
        run_id = engine.start(definition(nodes, ["a>c", self.CONDITION]), {"x": "text"})
        end(engine, "a")
        assert error_type(engine, run_id) == "ConditionUnknown"

    def test_an_unknown_condition_of_a_rejection_fails_the_run(self, engine: Engine) -> None:
        edges = [("ok>b", {"on": "rejected", "condition": "$decision.n < 1"})]
        run_id = engine.start(definition([OK, "b"], edges))
        engine.reject(run_id, {"n": "text"})
        assert error_type(engine, run_id) == "ConditionUnknown"


class TestR4JoinsOfAll:
    def test_a_join_waits_for_branches_of_unequal_length(self, engine: Engine) -> None:
        run_id = forked(engine, ["a", "b", "c", "c2", "d"], ["a>b", "a>c", "b>d", "c>c2", "c2>d"])
        end(engine, "b", "c")
        assert live(engine, run_id) == "c2"
        end(engine, "c2")
        assert live(engine, run_id) == "d"

    def test_a_join_works_after_an_if_and_else(self, engine: Engine) -> None:
        edges = [("a>b", {"condition": "$.x == 1"}), "a>c", "b>d", "c>d"]
        run_id = forked(engine, ["a", "b", "c", "d"], edges, {"x": 1})
        end(engine, "b")
        assert live(engine, run_id) == "d"

    def test_a_join_works_after_a_branch_that_was_not_taken(self, engine: Engine) -> None:
        edges = ["a>b", "a>c", ("b>b2", {"condition": "$.x == 1"}), "b>d", "b2>d", "c>d"]
        run_id = forked(engine, ["a", "b", "b2", "c", "d"], edges, {"x": 2})
        end(engine, "b")
        assert live(engine, run_id) == "c", "c can still come"
        end(engine, "c")
        assert live(engine, run_id) == "d"

    def test_a_branch_that_ends_elsewhere_is_not_waited_for(self, engine: Engine) -> None:
        edges = ["a>b", "a>c", "b>d", ("c>d", {"condition": "$.x == 1"}), "c>z"]
        run_id = forked(engine, ["a", "b", "c", "d", "z"], edges, {"x": 2})
        end(engine, "b", "c")
        assert live(engine, run_id) == "d z"

    def test_a_node_to_which_no_edge_was_taken_does_not_run(self, engine: Engine) -> None:
        edges = ["a>b", "a>c", ("b>d", {"on": "error"}), ("c>d", {"on": "error"})]
        run_id = forked(engine, ["a", "b", "c", "d"], edges)
        end(engine, "b", "c")
        assert (engine.status(run_id), engine.order(run_id)) == ("completed", "a b c")

    def test_a_join_runs_once_in_each_round(self, engine: Engine) -> None:
        edges = [*FORK, ("d>a", {"condition": "$.n < 2", "limit": 5}), "d>z"]
        run_id = engine.start(definition("a b c d z", edges), {"n": 0})
        engine.run({"d": count})
        assert engine.order(run_id) == "a b c d a b c d z"


class TestR5Loops:
    def test_an_edge_back_opens_a_new_visit(self, engine: Engine) -> None:
        edges = ["a>b", ("b>a", {"condition": "$.n < 3"}), "b>z"]
        run_id = engine.start(definition("a b z", edges), {"n": 0})
        engine.run({"b": count})
        assert engine.order(run_id) == "a b a b a b z"

    def test_a_limit_counts_per_entry_into_the_loop(self, engine: Engine) -> None:
        edges = ["o>i", ("i>i", {"limit": 1, "condition": "$.go == true"}), "i>p"]
        edges += [("p>o", {"limit": 1, "condition": "$.go == true"}), "p>z"]
        run_id = engine.start(definition("o i p z", edges), {"go": True})
        engine.run()
        assert engine.order(run_id) == "o i i p o i i p z"

    @pytest.mark.parametrize(
        "edges",
        [
            ["a>b", "b>a"],
            ["a>b", ("b>a", {"on": "always"})],
            [
                ("a>b", {"condition": "$.x == 1"}),
                "a>c",
                "b>c",
                ("c>b", {"limit": 1}),
                ("b>d", {"on": "error"}),
            ],
        ],
        ids=["no limit and no condition", "always", "two entries"],
    )
    def test_such_a_loop_is_refused(self, engine: Engine, edges: list[Any]) -> None:
        with pytest.raises(psycopg.Error) as caught:
            engine.graph(definition("a b c d", [*edges, ("a>d", {"on": "error"})]))
        assert caught.value.sqlstate == "OR004"


class TestR6AnyAndAtLeast:
    @pytest.mark.parametrize(("join", "needed"), [("any", 1), ({"at_least": 2}, 2), ({"at_least": 3}, 3)])
    def test_a_join_runs_as_soon_as_enough_have_arrived(self, engine: Engine, join: Any, needed: int) -> None:
        run_id = forked(engine, joined(join), QUORUM)
        for node in ("c", "d", "b")[:needed]:
            assert "j" not in live(engine, run_id)
            end(engine, node)
        assert "j" in live(engine, run_id)

    def test_later_arrivals_do_not_run_it_again(self, engine: Engine) -> None:
        run_id = forked(engine, joined("any", "z"), [*QUORUM, "j>z"])
        end(engine, "b", "j", "c", "z")
        assert live(engine, run_id) == "d"
        end(engine, "d")
        assert (engine.status(run_id), engine.order(run_id)) == ("completed", "a b j c z d")

    def test_an_arrival_while_it_runs_does_not_run_it_again_either(self, engine: Engine) -> None:
        run_id = forked(engine, joined("any"), QUORUM)
        end(engine, "b", "c", "d")
        assert live(engine, run_id) == "j"

    def test_a_join_that_cannot_get_enough_is_skipped(self, engine: Engine) -> None:
        edges = ["a>b", "a>c", "a>d", "b>j", ("c>j", {"on": "error"}), ("d>j", {"on": "error"}), "j>z"]
        run_id = forked(engine, joined({"at_least": 2}, "z"), edges)
        end(engine, "b", "c")
        assert engine.status(run_id) == "running", "d can still come"
        end(engine, "d")
        assert engine.status(run_id) == "completed"
        assert ended(engine.history(run_id)) == [
            "a success",
            "b success",
            "c success",
            "d success",
            "j skipped",
        ]

    def test_a_join_behind_a_skipped_one_does_not_wait_for_it(self, engine: Engine) -> None:
        edges = ["a>b", "a>c", "a>d", "b>j", ("c>j", {"on": "error"}), "j>z", "d>z"]
        run_id = forked(engine, joined({"at_least": 2}, "z"), edges)
        end(engine, "b", "d")
        assert live(engine, run_id) == "c"
        end(engine, "c")
        assert live(engine, run_id) == "z"

    def test_a_join_behind_any_does_not_wait_for_the_late(self, engine: Engine) -> None:
        """The late ones cannot come through: the node does not run again."""
        edges = [*QUORUM, ("j>k", {"condition": "$.x == 1"}), "j>z", "k>z"]
        run_id = forked(engine, joined("any", "k", "z"), edges, {"x": 1})
        end(engine, "b", "j", "k")
        assert live(engine, run_id) == "c d z"

    @pytest.mark.parametrize(
        "more",
        [
            ["j>h", ("h>h", {"condition": "$.x == 1", "limit": 2}), "h>z"],
            ["j>h", "h>z", ("c>c", {"condition": "$.x == 1", "limit": 2})],
            ["j>h", "h>k", "k>z", ("k>h", {"condition": "$.x == 1", "limit": 2})],
            [
                "j>h",
                ("h>h", {"condition": "$.x == 1", "limit": 2}),
                "h>z",
                ("c>c", {"condition": "$.x == 1", "limit": 2}),
            ],
        ],
        ids=["a loop of one behind it", "a loop before it", "a loop of two behind it", "loops on both sides"],
    )
    def test_nor_does_it_where_there_are_loops(self, engine: Engine, more: list[Any]) -> None:
        edges = ["a>b", "a>c", "b>j", "c>j", *more]
        nodes = ["a", "b", "c", {"id": "j", "join": "any"}, "h", *(["k"] if "h>k" in more else []), "z"]
        run_id = forked(engine, nodes, edges, {"x": 1})
        end(engine, "b", "j")
        assert live(engine, run_id) == "c h"

    def test_cancel_rest_cancels_the_siblings_once_it_fires(self, engine: Engine) -> None:
        edges = [*QUORUM, "d>e", "a>other"]
        run_id = forked(engine, joined("any", "e", "other", cancel_rest=True), edges)
        c = engine.worker.claim_one("c")
        end(engine, "b")
        assert live(engine, run_id) == "j other", "what does not lead to the join goes on"
        [refused] = engine.worker.succeed(c, {})
        assert refused.kind == "refused"
        end(engine, "j", "other")
        assert (engine.status(run_id), engine.order(run_id)) == ("completed", "a b j other")

    def test_cancel_rest_cancels_open_questions_too(self, engine: Engine) -> None:
        nodes = ["a", "b", OK, {"id": "j", "join": "any", "cancel_rest": True}]
        run_id = forked(engine, nodes, ["a>b", "a>ok", "b>j", "ok>j"])
        end(engine, "b")
        assert [a["status"] for a in engine.approvals(run_id)] == ["cancelled"]
        end(engine, "j")
        assert engine.status(run_id) == "completed"

    def test_each_round_of_a_loop_has_its_own_arrivals(self, engine: Engine) -> None:
        nodes = ["a", "b", "c", {"id": "j", "join": "any", "cancel_rest": True}, "z"]
        edges = ["a>b", "a>c", "b>j", "c>j", ("j>a", {"condition": "$.n < 2", "limit": 5}), "j>z"]
        run_id = engine.start(definition(nodes, edges), {"n": 0})
        engine.run({"j": count})
        assert engine.order(run_id) == "a b j a b j z"


class TestR7EndAndState:
    def test_the_run_completes_when_nothing_is_live(self, engine: Engine) -> None:
        run_id = forked(engine, ["a", "b", "c"], ["a>b", "a>c"])
        end(engine, "b")
        assert engine.status(run_id) == "running"
        end(engine, "c")
        assert engine.status(run_id) == "completed"

    def test_the_output_is_the_state(self, engine: Engine) -> None:
        run_id = engine.start(chain("a"), {"x": 1})
        engine.run({"a": {"y": 2}})
        assert engine.value("select pgorch.run_state(%s)", run_id) == {"x": 1, "y": 2}

    def test_the_output_may_be_a_template(self, engine: Engine) -> None:
        run_id = engine.start(chain("a") | {"output": {"sum": "${$.y}", "of": "${$input.x}"}}, {"x": 1})
        engine.run({"a": {"y": 2}})
        assert engine.value("select output from pgorch.runs where id = %s", run_id) == {"sum": 2, "of": 1}

    @pytest.mark.parametrize(
        ("reducer", "before", "b", "c", "expected"),
        [
            ("append", None, 1, 2, [1, 2]),
            ("append", [0], [1], [2, 3], [0, 1, 2, 3]),
            ("sum", 10, 1, 2, 13),
            ("sum", None, 1, 2, 3),
            ("min", 5, 7, 2, 2),
            ("max", 5, 7, 2, 7),
            ("merge", {"k": 0}, {"b": 1}, {"k": 2}, {"k": 2, "b": 1}),
            ("last", 0, 1, 2, 2),
        ],
    )
    def test_parallel_writers_come_together_by_a_reducer(
        self, engine: Engine, reducer: str, before: Any, b: Any, c: Any, expected: Any
    ) -> None:
        nodes = ["a", {"id": "b", "into": "x"}, {"id": "c", "into": "x"}, "d"]
        graph = definition(nodes, FORK) | {"reducers": {"x": reducer}}
        run_id = engine.start(graph, {} if before is None else {"x": before})
        engine.worker.succeed(engine.worker.claim_one("a"), {})
        engine.worker.succeed(engine.worker.claim_one("b"), b)
        engine.worker.succeed(engine.worker.claim_one("c"), c)
        assert engine.state(run_id)["x"] == expected
        end(engine, "d")
        assert engine.status(run_id) == "completed"

    def test_without_a_reducer_the_second_writer_fails(self, engine: Engine) -> None:
        nodes = ["a", {"id": "b", "into": "x"}, {"id": "c", "into": "x"}, "d"]
        run_id = forked(engine, nodes, FORK)
        engine.worker.succeed(engine.worker.claim_one("b"), 1)
        assert engine.status(run_id) == "running"
        engine.worker.succeed(engine.worker.claim_one("c"), 2)
        assert error_type(engine, run_id) == "StateConflict"
        assert engine.state(run_id)["x"] == 1

    def test_a_late_branch_of_any_conflicts_with_what_followed_the_join(self, engine: Engine) -> None:
        run_id = forked(engine, joined("any"), QUORUM)
        end(engine, "b")
        engine.worker.succeed(engine.worker.claim_one("j"), {"x": 1})
        engine.worker.succeed(engine.worker.claim_one("c"), {"x": 2})
        assert error_type(engine, run_id) == "StateConflict"

    def test_writers_that_follow_each_other_need_none(self, engine: Engine) -> None:
        run_id = engine.start(definition("a b c d", FORK))
        engine.run({"a": {"x": 1}, "b": {"x": 2}, "d": {"x": 3}})
        assert (engine.status(run_id), engine.state(run_id)) == ("completed", {"x": 3})


class TestR8ChecksAtCreation:
    def errors(self, engine: Engine, graph: Any) -> list[dict[str, str]]:
        found = engine.value("select pgorch.validate_graph(%s)", Jsonb(graph))
        assert isinstance(found, list)
        return found

    def test_all_errors_are_told_at_once(self, engine: Engine) -> None:
        engine.register("f")
        graph = {
            "name": "bad",
            "nodes": [
                {"id": "a", "function": "f"},
                {"id": "a", "function": "f"},
                {"id": "b", "function": "f", "timeout": "soon"},
                {"id": "lonely", "function": "f"},
            ],
            "edges": [
                {"source": "a", "target": "nowhere"},
                {"source": "a", "target": "b", "condition": "$.x = 1"},
                {"source": "b", "target": "b", "on": "rejected", "limit": 0},
            ],
            "start_node": "a",
        }
        errors = self.errors(engine, graph)
        assert len({e["path"] for e in errors}) >= 5
        assert all(set(e) == {"path", "code", "message", "hint"} for e in errors)
        with pytest.raises(psycopg.Error) as caught:
            engine.value("select pgorch.create_graph(%s)", Jsonb(graph))
        assert caught.value.sqlstate == "OR004"

    @pytest.mark.parametrize(
        ("nodes", "edges", "more", "path"),
        [
            ("a a", ["a>a"], {}, "/nodes/1/id"),
            ("a b", ["a>x", "a>b"], {}, "/edges/0/target"),
            ("a b", [], {}, "/nodes/1"),
            ([{"id": "a", "function": "ff"}], [], {}, "/nodes/0/function"),
            ("a", ["a>a"], {}, "/edges/0"),
            ("a b", [("a>b", {"condition": "$.x ="})], {}, "/edges/0/condition"),
            ("a b", [("a>b", {"condition": "$.x"})], {}, "/edges/0/condition"),
            ("a b", [("a>b", {"condition": "$nodes.b.visits == 1"})], {}, "/edges/0/condition"),
            ("a b", [("a>b", {"on": "rejected"})], {}, "/edges/0/on"),
            ("a b", [("a>b", {"on": "expired"})], {}, "/edges/0/on"),
            ("a b c", [("a>b", {"condition": "$.x == 1"}), "a>b", "a>c"], {}, None),
            ([{"id": "a", "timeout": "soon"}], [], {}, "/nodes/0/timeout"),
            ([OK | {"deadline": "-1 hours"}], [], {}, "/nodes/0/deadline"),
            ([OK | {"form": {"type": "nothing"}}], [], {}, "/nodes/0/form/type"),
            ("a", [], {"input_schema": {"type": "nothing"}}, "/input_schema/type"),
            ("a", [], {"reducers": {"x": "multiply"}}, "/reducers/x"),
            ([{"id": "a", "join": {"at_least": 0}}], [], {}, "/nodes/0/join"),
            ([{"id": "w", "type": "wait"}], [], {}, "/nodes/0"),
            ([{"id": "w", "type": "wait", "for": "1 hour", "signal": "go"}], [], {}, "/nodes/0"),
            ([{"id": "m", "type": "map", "function": "f"}], [], {}, "/nodes/0"),
            ([{"id": "g", "type": "graph", "graph": "no such graph"}], [], {}, "/nodes/0/graph"),
            ([{"id": "a", "compensate": "ff"}], [], {}, "/nodes/0/compensate"),
        ],
    )
    def test_what_is_wrong_is_refused_where_it_is(
        self, engine: Engine, nodes: Any, edges: list[Any], more: dict[str, Any], path: str | None
    ) -> None:
        engine.register("f")
        graph = definition(nodes, edges, **more)
        for node in graph["nodes"]:
            if node.get("type", "task") == "task" and node["function"] == node["id"]:
                node["function"] = "f"
        paths = [e["path"] for e in self.errors(engine, graph)]
        assert paths
        if path is not None:
            assert any(found == path or found.startswith(f"{path}/") for found in paths), paths

    def test_a_near_name_is_in_the_hint(self, engine: Engine) -> None:
        engine.register("profile_data")
        graph = definition([{"id": "a", "function": "profile_date"}])
        [error] = self.errors(engine, graph)
        assert "profile_data" in error["hint"]

    def test_a_graph_with_everything_in_it_is_accepted(self, engine: Engine) -> None:
        engine.register("f", "undo")
        engine.graph(
            {"name": "below", "nodes": [{"id": "a", "function": "f"}], "start_node": "a", "edges": []}
        )
        nodes = [
            {"id": "a", "function": "f", "compensate": "undo", "timeout": "90s", "heartbeat": "PT30S"},
            {
                "id": "m",
                "type": "map",
                "function": "f",
                "items": "${$.list}",
                "concurrency": 2,
                "tolerate": "10%",
            },
            {"id": "s", "sql": "select $1::int", "input": ["${$.x}"], "into": "s"},
            {"id": "g", "type": "graph", "graph": "below", "input": {"x": "${$.x}"}},
            {"id": "w", "type": "wait", "for": "${$.pause}"},
            {"id": "u", "type": "wait", "until": "2030-01-01T00:00:00Z"},
            {
                "id": "ok",
                "type": "approval",
                "deadline": "48 hours",
                "assignees": ["role:finance"],
                "quorum": 2,
            },
            {"id": "j", "type": "pass", "join": {"at_least": 2}, "cancel_rest": True},
            {"id": "no", "type": "fail", "error": "Refused"},
        ]
        edges: list[Any] = ["a>m", "a>s", "a>g", "m>j", "s>j", "g>j", "j>w", "w>u", "u>ok"]
        edges += [("ok>no", {"on": "rejected"}), ("ok>no", {"on": "expired"})]
        more = {
            "reducers": {"list": "append"},
            "retry": {"max_attempts": 2},
            "timeout": "3 days",
            "output": {"x": "${$.x}"},
            "input_schema": {"type": "object", "properties": {"x": {"type": "integer"}}},
        }
        graph = {"name": "everything", "nodes": nodes, "start_node": "a", **more}
        graph["edges"] = definition("x", edges)["edges"]
        assert self.errors(engine, graph) == []


def tick(engine: Engine) -> None:
    for bucket in engine.buckets:
        engine.value("select pgorch.tick(%s)", bucket)
