"""Results that cannot be taken: the call is refused whole, and the step can still be handed in."""

from typing import Any

import psycopg
import pytest

from tests.support.engine import Engine, chain

TOO_LARGE = {"x": [f"{n:08x}" for n in range(110_000)]}


def deep(levels: int) -> Any:
    value: Any = "bottom"
    for _ in range(levels):
        value = {"a": value}
    return value


@pytest.mark.parametrize("fast", [True, False])
@pytest.mark.parametrize("outcome", ["success", "error"])
def test_a_result_that_is_too_large_is_refused(engine: Engine, outcome: str, fast: bool) -> None:
    run_id = engine.start(chain("a b"))
    if not fast:
        engine.without_fast_path()
    step = engine.worker.claim_one()
    value = TOO_LARGE if outcome == "success" else TOO_LARGE | {"type": "Broken", "message": ""}
    with pytest.raises(psycopg.Error, match="limit") as caught:
        engine.worker.advance([(step, outcome, value)])
    assert caught.value.sqlstate == "OR006"
    assert engine.history(run_id) == []
    engine.worker.fail(step, "ResultRefused", retryable=False)
    assert engine.error(run_id)["type"] == "ResultRefused"


def test_a_result_that_is_nested_too_deep_is_refused(engine: Engine) -> None:
    run_id = engine.start(chain("a b"))
    engine.without_fast_path()
    step = engine.worker.claim_one()
    with pytest.raises(psycopg.Error, match="nested") as caught:
        engine.worker.succeed(step, deep(80))
    assert caught.value.sqlstate == "OR006"
    engine.worker.succeed(step, deep(60))
    assert engine.status(run_id) == "running"


def test_good_results_of_a_refused_call_count_when_they_are_handed_in_alone(engine: Engine) -> None:
    graph = engine.graph(chain("a b"))
    good, bad = engine.start(graph, bucket=0), engine.start(graph, bucket=0)
    steps = {s.run_id: s for s in engine.worker.claim(2)}
    with pytest.raises(psycopg.Error):
        engine.worker.advance([(steps[good], "success", {"n": 1}), (steps[bad], "success", TOO_LARGE)])
    assert engine.order(good) == ""
    assert engine.worker.succeed(steps[good], {"n": 1}) == []
    engine.worker.fail(steps[bad], "ResultRefused", retryable=False)
    assert (engine.order(good), engine.status(bad)) == ("a", "failed")


def test_a_success_without_any_value_is_refused(engine: Engine) -> None:
    run_id = engine.start(chain("a b"))
    step = engine.worker.claim_one()
    query = (
        "select * from pgorch.advance(%s::int, %s::uuid, array[%s]::bigint[], array[%s]::uuid[],"
        " array['success'], array[null]::jsonb[], 0)"
    )
    with pytest.raises(psycopg.Error, match="no outcome"):
        engine.rows(query, step.bucket, engine.worker.id, step.step_id, step.lease_token)
    engine.worker.succeed(step, None)
    assert engine.output(run_id, "a") is None


def test_a_large_result_within_the_limit_is_taken(engine: Engine) -> None:
    value = {"x": [f"{n:08x}" for n in range(50_000)]}
    run_id = engine.start(chain("a b"))
    [b] = engine.worker.succeed(engine.worker.claim_one(), value, want=1)
    assert b.state == value
    assert engine.output(run_id, "a") == value
