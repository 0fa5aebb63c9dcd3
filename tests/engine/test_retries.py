"""Failed attempts: when the next one is made, and when none is."""

from typing import Any

import pytest

from tests.support.engine import Engine, definition


def policy(**more: Any) -> dict[str, Any]:
    return {"max_attempts": 4, "initial_interval": "10 seconds", "backoff_factor": 2, "jitter": 0} | more


def task(**more: Any) -> dict[str, Any]:
    return {"id": "a", "retry": policy(**more)}


def fail_once(engine: Engine, **error: Any) -> float | None:
    """Fails the step that is due; seconds until the next attempt, or None if there is none."""
    answers = engine.worker.fail(engine.worker.claim_one(), **error)
    return answers[0].delay_seconds if answers else None


def test_without_a_policy_there_is_one_attempt(engine: Engine) -> None:
    run_id = engine.start(definition("a"))
    assert fail_once(engine) is None
    assert engine.status(run_id) == "failed"


def test_a_failed_attempt_is_made_again_after_its_delay_and_not_before(engine: Engine) -> None:
    run_id = engine.start(definition([task()]))
    assert fail_once(engine) == 10
    engine.jump("9 seconds")
    assert engine.worker.claim() == []
    engine.jump("2 seconds")
    again = engine.worker.claim_one()
    assert again.attempt == 2
    engine.worker.succeed(again, {})
    assert engine.status(run_id) == "completed"
    assert engine.kinds(run_id) == ["attempt_failed", "step_completed", "run_completed"]


def test_delays_grow_by_the_factor_until_the_attempts_are_used_up(engine: Engine) -> None:
    run_id = engine.start(definition([task()]))
    delays = []
    for _ in range(4):
        delays.append(fail_once(engine))
        engine.jump("1 hour")
    assert delays == [10, 20, 40, None]
    assert engine.status(run_id) == "failed"
    assert engine.kinds(run_id) == ["attempt_failed"] * 3 + ["step_failed", "run_failed"]
    assert [h["attempt"] for h in engine.history(run_id)][:4] == [1, 2, 3, 4]


def test_delays_have_a_ceiling(engine: Engine) -> None:
    engine.start(definition([task(max_interval="15 seconds")]))
    assert fail_once(engine) == 10
    engine.jump("1 hour")
    assert fail_once(engine) == 15


def test_a_huge_factor_does_not_overflow(engine: Engine) -> None:
    run_id = engine.start(definition([task(max_attempts=200, backoff_factor=100, max_interval="1 second")]))
    for _ in range(199):
        assert fail_once(engine) == 1
        engine.jump("2 seconds")
    assert fail_once(engine) is None
    assert engine.status(run_id) == "failed"


def test_jitter_spreads_the_delays_within_its_share(engine: Engine) -> None:
    graph = engine.graph(definition([task(jitter=0.5)]))
    for _ in range(30):
        engine.start(graph, bucket=0)
    steps = engine.worker.claim(30)
    error = {"type": "Broken", "message": "", "retryable": True}
    delays = [a.delay_seconds or 0 for a in engine.worker.advance([(s, "error", error) for s in steps])]
    assert len(delays) == 30
    assert all(5 <= d <= 15 for d in delays)
    assert len(set(delays)) > 20


def test_an_error_that_is_not_retryable_ends_the_step(engine: Engine) -> None:
    engine.start(definition([task()]))
    assert fail_once(engine, retryable=False) is None


def test_a_type_among_the_non_retryable_ends_the_step(engine: Engine) -> None:
    graph = engine.graph(definition([task(non_retryable=["Declined"])]))
    engine.start(graph)
    assert fail_once(engine, type="Declined") is None
    engine.start(graph)
    assert fail_once(engine, type="Timeout") == 10


def test_only_types_of_retry_on_are_tried_again(engine: Engine) -> None:
    graph = engine.graph(definition([task(retry_on=["Timeout"])]))
    engine.start(graph)
    assert fail_once(engine, type="Declined") is None
    engine.start(graph)
    assert fail_once(engine, type="Timeout") == 10


def test_an_error_may_say_when_to_come_back(engine: Engine) -> None:
    engine.start(definition([task()]))
    assert fail_once(engine, retry_after=3.5) == 3.5


@pytest.mark.parametrize("retry_after", ["soon", None, True, -5])
def test_nonsense_about_when_to_come_back_does_no_harm(engine: Engine, retry_after: Any) -> None:
    engine.start(definition([task()]))
    assert fail_once(engine, retry_after=retry_after) in (10, 0)


def test_the_policy_of_the_node_goes_before_the_tools_and_the_graphs(engine: Engine) -> None:
    def seconds(n: int) -> dict[str, Any]:
        return policy(initial_interval=f"{n} seconds")

    engine.register({"name": "a", "retry": seconds(2)}, {"name": "b"})
    for nodes, expected in (
        ([{"id": "a", "retry": seconds(1)}], 1),
        ([{"id": "a"}], 2),
        ([{"id": "b"}], 3),
    ):
        engine.start(definition(nodes, retry=seconds(3)))
        assert fail_once(engine) == expected


def test_attempts_count_anew_in_the_next_visit(engine: Engine) -> None:
    graph = definition([task(initial_interval="1 second"), "b"], [("a>b", {"condition": "$.n < 2"}), "b>a"])
    graph["edges"].append({"source": "a", "target": "z"})
    graph["nodes"].append({"id": "z", "function": "z"})
    run_id = engine.start(graph, {"n": 0})
    for n in (1, 2):
        assert fail_once(engine) == 1
        engine.jump("2 seconds")
        engine.worker.succeed(engine.worker.claim_one("a"), {"n": n})
        if n == 1:
            engine.worker.succeed(engine.worker.claim_one("b"), {})
    attempts = [h["attempt"] for h in engine.history(run_id) if h["node"] == "a"]
    assert attempts == [1, 2, 1, 2]


def test_a_visit_keeps_its_name_over_its_attempts(engine: Engine) -> None:
    graph = definition([task(initial_interval="1 second")], [("a>a", {"condition": "$.again == true"})])
    engine.start(
        graph
        | {
            "nodes": [*graph["nodes"], {"id": "z", "function": "z"}],
            "edges": [*graph["edges"], {"source": "a", "target": "z"}],
        },
        {"again": True},
    )
    first = engine.worker.claim_one()
    engine.worker.fail(first)
    engine.jump("2 seconds")
    second = engine.worker.claim_one()
    assert (second.born, second.attempt) == (first.born, 2)
    [third] = engine.worker.succeed(second, {}, want=1)
    assert (third.node, third.attempt) == ("a", 1)
    assert third.born != first.born


def test_a_step_under_retry_is_seen_as_such(engine: Engine) -> None:
    run_id = engine.start(definition([task()]))
    fail_once(engine)
    [step] = engine.live(run_id)
    assert (step["status"], step["attempt"]) == ("retrying", 1)
    assert engine.status(run_id) == "running"


@pytest.mark.parametrize("error", [{}, [], "text", None, {"type": 5}])
def test_an_error_without_a_type_is_refused(engine: Engine, error: Any) -> None:
    engine.start(definition([task()]))
    step = engine.worker.claim_one()
    with pytest.raises(Exception, match="no outcome") as caught:
        engine.worker.advance([(step, "error", error)])
    assert getattr(caught.value, "sqlstate", None) == "OR006"
    engine.worker.succeed(step, {})


@pytest.mark.parametrize("outcome", ["done", "", "SUCCESS", None])
def test_an_unknown_outcome_is_refused(engine: Engine, outcome: Any) -> None:
    engine.start(definition("a"))
    step = engine.worker.claim_one()
    with pytest.raises(Exception, match="no outcome"):
        engine.worker.advance([(step, outcome, {})])
    engine.worker.succeed(step, {})
