"""A run that fails while more comes with the failure: nothing of that is lost, taken up again or undone."""

from typing import Any
from uuid import UUID

import pytest

from tests.language.both import wipe
from tests.operator.verbs import Tools, at, call, fork, never, retry, skip
from tests.support.engine import Engine, Step, definition

ERROR = {"type": "Broken", "message": "x", "retryable": False}
JOINED = (["s", "a", "b", "j"], ["s>a", "s>b", "a>j", "b>j"])


def at_hand(engine: Engine, graph: Any) -> tuple[UUID, dict[str, Step]]:
    """A run after its first step, with the steps that follow."""
    run_id = engine.start(graph)
    engine.worker.succeed(engine.worker.claim_one(), {})
    return run_id, {str(s.node): s for s in engine.worker.claim(10)}


def ends(engine: Engine, run_id: UUID) -> list[str]:
    return [f"{h['node']} {h['kind']}" for h in engine.history(run_id) if h["kind"] != "run_started"]


@pytest.mark.parametrize("order", ["ab", "ba"])
def test_what_ended_in_the_call_of_a_failure_counts(engine: Engine, order: str) -> None:
    run_id, steps = at_hand(engine, definition(*JOINED))
    results = {"a": ("error", ERROR), "b": ("success", {"b_out": 1})}
    engine.worker.advance([(steps[n], *results[n]) for n in order])
    assert ends(engine, run_id)[-1] == "None run_failed"
    assert sorted(ends(engine, run_id)[1:3]) == ["a step_failed", "b step_completed"]
    assert engine.state(run_id) == {"b_out": 1}
    retry(engine, run_id)
    assert Tools(engine, {"a": {"a_out": 1}}).run() == "a j"
    assert engine.status(run_id) == "completed"
    assert engine.state(run_id) == {"a_out": 1, "b_out": 1}


def test_what_ended_in_the_call_of_a_failure_is_undone(engine: Engine) -> None:
    graph = definition(["s", "bad", {"id": "good", "compensate": "unbook"}], ["s>bad", "s>good"])
    run_id, steps = at_hand(engine, graph)
    engine.worker.advance([(steps["bad"], "error", ERROR), (steps["good"], "success", {"x": 1})])
    assert Tools(engine).run() == "undo good"
    assert engine.error(run_id)["node"] == "bad"
    assert ends(engine, run_id)[-2:] == ["good step_undone", "None run_failed"]


def test_what_followed_from_a_success_in_the_call_of_a_failure_begins_after_a_retry(engine: Engine) -> None:
    graph = definition("s a b after last", ["s>a", "s>b", "b>after", "after>last"])
    run_id, steps = at_hand(engine, graph)
    engine.worker.advance([(steps["b"], "success", {}), (steps["a"], "error", ERROR)])
    assert engine.live(run_id) == []
    retry(engine, run_id)
    assert sorted(Tools(engine).run().split()) == ["a", "after", "last"]
    assert engine.order(run_id).split().count("b") == 1


def test_of_two_failures_in_one_call_both_are_taken_up_and_the_first_is_the_runs(engine: Engine) -> None:
    run_id, steps = at_hand(engine, definition(*JOINED))
    engine.worker.advance([(steps[n], "error", ERROR | {"message": n}) for n in "ab"])
    first = ends(engine, run_id)[1].split()[0]
    assert engine.error(run_id)["message"] == first
    assert sorted(ends(engine, run_id)[1:3]) == ["a step_failed", "b step_failed"]
    retry(engine, run_id)
    tools = Tools(engine)
    assert sorted(tools.run().split()) == ["a", "b", "j"]


@pytest.mark.parametrize("edges", [["s>f", "s>b"], ["s>b", "s>f"]], ids=" ".join)
def test_a_branch_beside_a_fail_node_begins_after_it_is_skipped(engine: Engine, edges: list[str]) -> None:
    run_id = engine.start(definition(["s", {"id": "f", "type": "fail"}, "b"], edges))
    tools = Tools(engine)
    assert tools.run() == "s"
    assert retry(engine, run_id) == "failed"
    assert skip(engine, run_id, node="f") == "running"
    assert tools.run() == "b"
    assert engine.status(run_id) == "completed"


def test_arguments_that_were_given_outlive_another_failure(engine: Engine) -> None:
    graph = definition(["s", {"id": "f", "type": "fail"}, "b"], ["s>f", "s>b"])
    run_id = engine.start(graph)
    tools = Tools(engine)
    tools.run()
    retry(engine, run_id, node="b", input={"x": 5})
    skip(engine, run_id, node="f")
    tools.run()
    assert tools.last("b").input == {"x": 5}


def test_a_run_that_went_round_too_often_keeps_its_place(engine: Engine) -> None:
    nothing = {"id": "m", "type": "map", "items": "${$.l}", "function": "t"}
    nodes = ["s", {"id": "p", "type": "pass"}, nothing, "z"]
    graph = definition(nodes, ["s>p", "p>m", ("m>p", {"condition": "$.x == 1"}), "m>z"])
    run_id = engine.start(graph, {"x": 1, "l": []})
    tools = Tools(engine)
    tools.run()
    assert engine.error(run_id)["type"] == "RunawayLoop"
    stopped = engine.value("select stopped from pgorch.runs where id = %s", run_id)
    assert [entry["node"] for entry in stopped] in (["p"], ["m"])
    other = fork(engine, run_id, seq=2, state={"x": 2})
    assert tools.run() == "z"
    assert engine.status(other) == "completed"
    # The invariants take minutes for so many entries.
    wipe(engine)


def test_a_fork_has_what_ended_with_the_failure(engine: Engine) -> None:
    run_id, steps = at_hand(engine, definition(*JOINED))
    engine.worker.advance([(steps["a"], "error", ERROR), (steps["b"], "success", {"b_out": 1})])
    other = fork(engine, run_id, seq=engine.history(run_id)[-2]["seq"])
    assert engine.state(other) == {"b_out": 1}
    assert Tools(engine).run() == "a j"
    assert engine.status(other) == "completed"


def test_several_branches_that_fail_again_are_all_kept(engine: Engine) -> None:
    nodes: list[Any] = ["s", "x", *({"id": n, "input": "${$.x}"} for n in "ab"), "j"]
    graph = definition(nodes, ["s>x", "x>a", "x>b", "a>j", "b>j"])
    run_id = engine.start(graph)
    tools = Tools(engine, {}, at("none"))
    tools.run()
    assert engine.error(run_id)["type"] == "TemplateError"
    assert retry(engine, run_id) == "failed"
    assert skip(engine, run_id, node="a") == "failed"
    assert skip(engine, run_id, node="b") == "running"
    tools.breaks = never
    assert tools.run() == "j"


def test_a_wait_does_not_take_a_signal_in_a_run_that_fails(engine: Engine) -> None:
    wait = {"id": "w", "type": "wait", "signal": "go", "into": "w"}
    run_id = engine.start(definition(["s", {"id": "f", "type": "fail"}, wait], ["s>f", "s>w"]))
    call(engine, "signal", run_id, name="go", payload=1)
    tools = Tools(engine)
    tools.run()
    assert engine.status(run_id) == "failed"
    assert skip(engine, run_id, node="f") == "completed"
    assert engine.state(run_id)["w"] == 1
