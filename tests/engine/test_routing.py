"""Which edges are taken when a node ends: rules R1 to R3, and R7's end of a run."""

import pytest

from tests.support.engine import Engine, Fails, Step, chain, definition

ERROR_EDGE = {"on": "error"}


def test_nodes_of_a_chain_run_in_order_and_the_run_completes(engine: Engine) -> None:
    run_id = engine.start(chain("a b c"))
    engine.run()
    assert engine.order(run_id) == "a b c"
    assert engine.status(run_id) == "completed"
    assert engine.kinds(run_id) == ["step_completed"] * 3 + ["run_completed"]


def test_a_run_of_one_node_completes_with_its_output(engine: Engine) -> None:
    run_id = engine.start(definition("a"), {"x": 1})
    engine.run({"a": {"y": 2}})
    assert engine.state(run_id) == {"x": 1, "y": 2}
    assert engine.status(run_id) == "completed"


def test_edges_without_condition_are_all_taken(engine: Engine) -> None:
    run_id = engine.start(definition("a b c d", ["a>b", "a>c", "a>d"]))
    engine.worker.succeed(engine.worker.claim_one(), {})
    assert {s["node"] for s in engine.live(run_id)} == {"b", "c", "d"}
    engine.run()
    assert engine.status(run_id) == "completed"


@pytest.mark.parametrize(("x", "expected"), [(1, "a b"), (2, "a c"), (3, "a d")])
def test_the_first_true_condition_wins_and_the_edge_without_one_is_the_else(
    engine: Engine, x: int, expected: str
) -> None:
    conditions = [("a>b", {"condition": "$.x < 2"}), ("a>c", {"condition": "$.x < 3"}), "a>d"]
    run_id = engine.start(definition("a b c d", conditions), {"x": x})
    engine.run()
    assert engine.order(run_id) == expected


def test_the_else_is_tried_last_wherever_it_stands(engine: Engine) -> None:
    run_id = engine.start(definition("a b c", ["a>b", ("a>c", {"condition": "$.x == 1"})]), {"x": 1})
    engine.run()
    assert engine.order(run_id) == "a c"


def test_of_two_true_conditions_only_the_first_is_taken(engine: Engine) -> None:
    conditions = [("a>b", {"condition": "$.x > 0"}), ("a>c", {"condition": "$.x > 0"})]
    run_id = engine.start(definition("a b c", conditions), {"x": 1})
    engine.run()
    assert engine.order(run_id) == "a b"


def test_branch_all_takes_every_true_edge_and_every_one_without_condition(engine: Engine) -> None:
    nodes = [{"id": "a", "branch": "all"}, "b", "c", "d"]
    conditions = [("a>b", {"condition": "$.x > 0"}), ("a>c", {"condition": "$.x > 5"}), "a>d"]
    run_id = engine.start(definition(nodes, conditions), {"x": 1})
    engine.run()
    assert sorted(engine.order(run_id).split()) == ["a", "b", "d"]


def test_conditions_see_what_the_node_itself_wrote(engine: Engine) -> None:
    run_id = engine.start(definition("a b c", [("a>b", {"condition": "$.x == 2"}), "a>c"]), {"x": 1})
    engine.run({"a": {"x": 2}})
    assert engine.order(run_id) == "a b"


def test_a_condition_may_be_an_object_that_the_state_contains(engine: Engine) -> None:
    graph = engine.graph(definition("a b c", [("a>b", {"condition": {"kind": {"name": "big"}}}), "a>c"]))
    big = engine.start(graph, {"kind": {"name": "big", "more": 1}})
    small = engine.start(graph, {"kind": {"name": "small"}})
    engine.run()
    assert (engine.order(big), engine.order(small)) == ("a b", "a c")


def test_conditions_read_the_input_the_nodes_and_the_run(engine: Engine) -> None:
    edges = [
        ("a>b", {"condition": '$input.x == 1 && $nodes.a.output.y == 2 && $run.initiator != "" && $.x == 5'}),
        "a>c",
    ]
    run_id = engine.start(definition("a b c", edges), {"x": 1})
    engine.run({"a": {"x": 5, "y": 2}})
    assert engine.order(run_id) == "a b"


def test_a_node_counts_its_visits_and_attempts_for_conditions(engine: Engine) -> None:
    again = {"condition": '$nodes.a.visits < 3 && $nodes.a.status == "completed" && $nodes.a.attempts == 1'}
    run_id = engine.start(definition("a b", [("a>a", again), "a>b"]))
    engine.run()
    assert engine.order(run_id) == "a a a b"


def test_no_matching_edge_fails_the_run(engine: Engine) -> None:
    run_id = engine.start(definition("a b", [("a>b", {"condition": "$.x == 2"})]), {"x": 1})
    engine.run()
    assert engine.status(run_id) == "failed"
    assert engine.error(run_id)["type"] == "NoMatchingEdge"
    assert engine.error(run_id)["node"] == "a"
    assert engine.kinds(run_id) == ["step_completed", "run_failed"]


def test_an_error_without_error_edge_fails_the_run_with_it(engine: Engine) -> None:
    run_id = engine.start(chain("a b"))
    engine.worker.fail(engine.worker.claim_one(), "Broken", "no paper", retryable=False)
    assert engine.status(run_id) == "failed"
    assert engine.error(run_id) | {"type": "Broken", "message": "no paper", "node": "a"} == engine.error(
        run_id
    )
    assert engine.kinds(run_id) == ["step_failed", "run_failed"]


def test_an_error_takes_only_edges_for_errors(engine: Engine) -> None:
    run_id = engine.start(definition("a b c", ["a>b", ("a>c", ERROR_EDGE)]))
    engine.worker.fail(engine.worker.claim_one(), retryable=False)
    engine.run()
    assert engine.order(run_id) == "a c"
    assert engine.status(run_id) == "completed"
    assert engine.kinds(run_id)[0] == "step_failed"


def test_success_takes_no_edge_for_errors(engine: Engine) -> None:
    run_id = engine.start(definition("a b c", ["a>b", ("a>c", ERROR_EDGE)]))
    engine.run()
    assert engine.order(run_id) == "a b"


def test_success_of_a_node_with_error_edges_alone_ends_the_path(engine: Engine) -> None:
    run_id = engine.start(definition("a b", [("a>b", ERROR_EDGE)]))
    engine.run()
    assert (engine.order(run_id), engine.status(run_id)) == ("a", "completed")


@pytest.mark.parametrize("fails", [True, False])
def test_an_edge_for_always_is_taken_after_success_and_after_errors(engine: Engine, fails: bool) -> None:
    run_id = engine.start(definition("a b", [("a>b", {"on": "always"})]))
    step = engine.worker.claim_one()
    if fails:
        engine.worker.fail(step, retryable=False)
    else:
        engine.worker.succeed(step, {})
    engine.run()
    assert (engine.order(run_id), engine.status(run_id)) == ("a b", "completed")


def test_conditions_of_error_edges_read_the_error(engine: Engine) -> None:
    edges = [
        ("a>b", {"on": "error", "condition": '$error.type == "Declined"'}),
        ("a>c", {"on": "error"}),
    ]
    graph = engine.graph(definition("a b c", edges))
    declined, other = engine.start(graph, {"n": 1}), engine.start(graph, {"n": 2})

    def a(step: Step) -> object:
        raise Fails("Declined" if step.state["n"] == 1 else "Timeout")

    engine.run({"a": a})
    assert (engine.order(declined), engine.order(other)) == ("a b", "a c")


def test_an_unmatched_error_edge_fails_the_run_and_names_the_cause(engine: Engine) -> None:
    edges = [("a>b", {"on": "error", "condition": '$error.type == "Declined"'})]
    run_id = engine.start(definition("a b", edges))
    engine.worker.fail(engine.worker.claim_one(), "Timeout", retryable=False)
    assert engine.status(run_id) == "failed"
    assert "Timeout" in str(engine.error(run_id))


@pytest.mark.parametrize(
    ("condition", "input"),
    [
        ("$.amount <= 100", {"amount": "50"}),
        ("$.amount / $.parts > 1", {"amount": 5, "parts": 0}),
        ('$.when.datetime() < "2026-01-01".datetime()', {"when": "no date"}),
    ],
)
def test_a_condition_that_is_unknown_fails_the_step_and_never_takes_the_else(
    engine: Engine, condition: str, input: dict[str, object]
) -> None:
    run_id = engine.start(definition("a b c", [("a>b", {"condition": condition}), "a>c"]), input)
    engine.run()
    assert engine.status(run_id) == "failed"
    assert engine.error(run_id)["type"] == "ConditionUnknown"
    assert engine.order(run_id) == "a"


def test_a_condition_on_a_missing_key_is_false(engine: Engine) -> None:
    run_id = engine.start(definition("a b c", [("a>b", {"condition": "$.missing == 1"}), "a>c"]))
    engine.run()
    assert engine.order(run_id) == "a c"


def test_an_unknown_condition_takes_the_error_edge(engine: Engine) -> None:
    edges = [
        ("a>b", {"condition": "$.x < 1"}),
        "a>c",
        ("a>d", {"on": "error", "condition": '$error.type == "ConditionUnknown"'}),
    ]
    run_id = engine.start(definition("a b c d", edges), {"x": "text"})
    engine.run({"a": {"written": True}})
    assert (engine.order(run_id), engine.status(run_id)) == ("a d", "completed")
    assert "written" not in engine.state(run_id), "a step that failed writes nothing"


def test_conditions_after_a_true_one_are_not_looked_at(engine: Engine) -> None:
    edges = [("a>b", {"condition": "$.x == 1"}), ("a>c", {"condition": "$.text < 1"})]
    run_id = engine.start(definition("a b c", edges), {"x": 1, "text": "no number"})
    engine.run()
    assert engine.order(run_id) == "a b"


def test_a_failed_branch_ends_its_siblings_with_the_run(engine: Engine) -> None:
    run_id = engine.start(definition("a b c", ["a>b", "a>c"]))
    engine.worker.succeed(engine.worker.claim_one(), {})
    b, c = sorted(engine.worker.claim(2), key=lambda s: str(s.node))
    engine.worker.fail(b, retryable=False)
    assert engine.status(run_id) == "failed"
    assert engine.live(run_id) == []
    [refused] = engine.worker.succeed(c, {"late": True})
    assert refused.kind == "refused"
    assert "late" not in engine.state(run_id)


def test_the_run_completes_only_when_the_last_branch_has_ended(engine: Engine) -> None:
    run_id = engine.start(definition("a b c", ["a>b", "a>c"]))
    engine.worker.succeed(engine.worker.claim_one(), {})
    b, c = engine.worker.claim(2)
    engine.worker.succeed(b, {})
    assert engine.status(run_id) == "running"
    engine.worker.succeed(c, {})
    assert engine.status(run_id) == "completed"
