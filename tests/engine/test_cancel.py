"""Cancelling."""

from uuid import uuid4

import psycopg
import pytest

from tests.support.engine import Engine, chain, definition


def test_a_run_whose_step_nobody_has_taken_is_cancelled(engine: Engine) -> None:
    run_id = engine.start(chain("a b"))
    assert engine.cancel(run_id) == "cancelled"
    assert engine.status(run_id) == "cancelled"
    assert engine.worker.claim(9) == []
    assert engine.kinds(run_id) == ["run_cancelled"]


def test_a_step_under_way_is_revoked_and_its_result_refused(engine: Engine) -> None:
    run_id = engine.start(chain("a b"), bucket=0)
    step = engine.worker.claim_one()
    engine.cancel(run_id)
    assert engine.worker.beat()["revoked"] == [step.step_id]
    [refused] = engine.worker.succeed(step, {"late": True}, want=1)
    assert refused.kind == "refused"
    assert (engine.state(run_id), engine.kinds(run_id)) == ({}, ["run_cancelled"])


def test_an_open_approval_is_closed(engine: Engine) -> None:
    run_id = engine.start(definition([{"id": "ok", "type": "approval"}]))
    engine.cancel(run_id)
    assert [a["status"] for a in engine.approvals(run_id)] == ["cancelled"]
    with pytest.raises(psycopg.Error, match="cancelled") as caught:
        engine.approve(run_id)
    assert caught.value.sqlstate == "OR002"


def test_a_step_under_retry_is_not_tried_again(engine: Engine) -> None:
    node = {"id": "a", "retry": {"max_attempts": 3, "initial_interval": "1 second", "jitter": 0}}
    run_id = engine.start(definition([node]))
    engine.worker.fail(engine.worker.claim_one())
    engine.cancel(run_id)
    engine.jump("1 hour")
    engine.worker.enlist()
    assert engine.worker.claim(9) == []


def test_all_branches_and_joins_go(engine: Engine) -> None:
    run_id = engine.start(definition("a b c d", ["a>b", "a>c", "b>d", "c>d"]))
    engine.worker.succeed(engine.worker.claim_one("a"), {})
    engine.worker.succeed(engine.worker.claim_one("b"), {})
    engine.worker.claim_one("c")
    engine.cancel(run_id)
    assert engine.live(run_id) == []


def test_the_history_tells_who_cancelled_and_why(engine: Engine) -> None:
    run_id = engine.start(definition("a"))
    engine.cancel(run_id, "wrong file")
    last = engine.history(run_id)[-1]
    assert last["actor"] == engine.value("select session_user::text")
    assert last["error"]["message"] == "wrong file"


@pytest.mark.parametrize("end", ["completed", "failed", "cancelled"])
def test_a_run_that_has_ended_cannot_be_cancelled(engine: Engine, end: str) -> None:
    run_id = engine.start(definition("a"))
    if end == "cancelled":
        engine.cancel(run_id)
    elif end == "completed":
        engine.run()
    else:
        engine.worker.fail(engine.worker.claim_one(), retryable=False)
    with pytest.raises(psycopg.Error, match=end) as caught:
        engine.cancel(run_id)
    assert caught.value.sqlstate == "OR002"
    assert engine.status(run_id) == end


def test_an_unknown_run_is_not_found(engine: Engine) -> None:
    with pytest.raises(psycopg.Error) as caught:
        engine.cancel(uuid4())
    assert caught.value.sqlstate == "OR003"


def test_a_cancel_that_is_rolled_back_changes_nothing(engine: Engine) -> None:
    run_id = engine.start(definition("a"))
    with engine.connection.transaction(force_rollback=True):
        engine.cancel(run_id)
    engine.run()
    assert engine.status(run_id) == "completed"
