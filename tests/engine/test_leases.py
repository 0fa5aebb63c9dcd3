"""Leases: who may hand in a result, and what happens to the steps of workers that die."""

import contextlib
import uuid
from typing import Any

import psycopg
import pytest

from tests.support.engine import Engine, Step, chain, definition
from tests.support.races import open_connection, wait_until

TWICE = {"max_attempts": 2, "initial_interval": "1 second", "jitter": 0}


def die(engine: Engine, step: Step | None = None) -> Step:
    """A worker claims the step and dies of it; the first worker notices. Then so long that it can be claimed
    again, however many have died of it."""
    victim = engine.new_worker(name="victim")
    claimed = step or victim.claim_one()
    engine.jump("31 seconds")
    engine.worker.enlist()
    engine.worker.beat_everywhere()
    engine.jump("2 seconds")
    return claimed


def test_a_step_is_leased_to_one_worker_only(engine: Engine) -> None:
    engine.start(definition("a"))
    assert len(engine.worker.claim(5)) == 1
    assert engine.new_worker().claim(5) == []


def test_a_lease_that_is_over_goes_to_another_worker(engine: Engine) -> None:
    run_id = engine.start(definition("a"))
    lost = die(engine)
    again = engine.worker.claim_one()
    assert again.lease_token != lost.lease_token
    assert (again.attempt, again.born) == (2, lost.born)
    engine.worker.succeed(again, {})
    assert engine.kinds(run_id) == ["attempt_lost", "step_completed", "run_completed"]


def test_a_living_worker_keeps_its_steps(engine: Engine) -> None:
    engine.start(definition("a"))
    other = engine.new_worker()
    step = other.claim_one()
    engine.jump("20 seconds")
    assert other.beat(step.bucket)["alive"] is True
    engine.jump("20 seconds")
    engine.worker.enlist()
    engine.worker.beat_everywhere()
    assert engine.worker.claim() == []
    assert other.succeed(step, {}) == []


def test_a_clock_that_goes_back_leaves_no_lease_that_lasts_for_hours(engine: Engine) -> None:
    engine.start(definition("a"))
    victim = engine.new_worker(name="victim")
    step = victim.claim_one()
    engine.jump("3 hours")
    victim.beat(step.bucket)
    engine.value("select pgorch.set_clock('0 seconds')")
    other = engine.new_worker()
    other.beat_everywhere()
    assert other.claim() == []
    engine.jump("100 seconds")
    other.beat_everywhere()
    assert other.claim_one().attempt == 2


def test_a_worker_that_was_declared_dead_is_told_so(engine: Engine) -> None:
    victim = engine.new_worker()
    engine.jump("31 seconds")
    engine.worker.enlist()
    engine.worker.beat_everywhere()
    assert victim.beat()["alive"] is False


def test_a_worker_that_is_late_but_not_declared_dead_lives_on(engine: Engine) -> None:
    late = engine.new_worker()
    engine.jump("31 seconds")
    assert late.beat()["alive"] is True


def test_the_late_result_of_a_dead_worker_is_refused(engine: Engine) -> None:
    run_id = engine.start(definition("a"))
    victim = engine.new_worker()
    lost = victim.claim_one()
    die(engine, lost)
    [refused] = victim.succeed(lost, {"late": True})
    assert (refused.kind, refused.step_id) == ("refused", lost.step_id)
    assert engine.order(run_id) == ""
    engine.worker.succeed(engine.worker.claim_one(), {"late": False})
    assert engine.state(run_id) == {"late": False}


def test_a_superseded_token_is_refused_though_the_worker_lives(engine: Engine) -> None:
    run_id = engine.start(definition([{"id": "a", "retry": TWICE}]))
    first = engine.worker.claim_one()
    engine.worker.fail(first)
    engine.jump("2 seconds")
    second = engine.worker.claim_one()
    assert second.step_id == first.step_id
    [refused] = engine.worker.succeed(first, {"from": "first"})
    assert refused.kind == "refused"
    engine.worker.succeed(second, {"from": "second"})
    assert engine.state(run_id) == {"from": "second"}


def test_a_result_counts_once(engine: Engine) -> None:
    run_id = engine.start(chain("a b"))
    step = engine.worker.claim_one()
    engine.worker.succeed(step, {"n": 1})
    [refused] = engine.worker.succeed(step, {"n": 2})
    assert refused.kind == "refused"
    assert (engine.order(run_id), engine.state(run_id)) == ("a", {"n": 1})


def test_the_token_of_a_visit_does_not_serve_the_next_in_the_same_row(engine: Engine) -> None:
    run_id = engine.start(definition("a b", [("a>a", {"condition": "$.again == true"}), "a>b"]))
    first = engine.worker.claim_one()
    [second] = engine.worker.succeed(first, {"again": True}, want=1)
    assert (second.node, second.step_id) == ("a", first.step_id)
    [refused] = engine.worker.succeed(first, {"again": False})
    assert refused.kind == "refused"
    assert engine.order(run_id) == "a"


@pytest.mark.parametrize("outcome", ["success", "error", "release"])
def test_another_workers_token_does_not_help(engine: Engine, outcome: str) -> None:
    run_id = engine.start(definition([{"id": "a", "input": {}}]))
    step = engine.worker.claim_one()
    value = {"type": "X", "message": ""} if outcome == "error" else {}
    [refused] = engine.new_worker().advance([(step, outcome, value)])
    assert refused.kind == "refused"
    assert engine.live(run_id)[0]["status"] == "running"


def test_another_workers_token_does_not_help_on_the_fast_path(engine: Engine) -> None:
    run_id = engine.start(chain("a b"))
    step = engine.worker.claim_one()
    [refused] = engine.new_worker().advance([(step, "success", {})])
    assert refused.kind == "refused"
    assert engine.order(run_id) == ""


def test_an_invented_token_is_refused(engine: Engine) -> None:
    run_id = engine.start(chain("a b"))
    step = engine.worker.claim_one()
    invented = Step(**(vars(step) | {"lease_token": uuid.uuid4()}))
    [refused] = engine.worker.succeed(invented, {})
    assert refused.kind == "refused"
    assert engine.order(run_id) == ""


def test_one_refused_result_does_not_hold_up_the_others(engine: Engine) -> None:
    graph = engine.graph(chain("a b"))
    first, second = engine.start(graph, bucket=0), engine.start(graph, bucket=0)
    steps = engine.worker.claim(2)
    bad = Step(**(vars(steps[0]) | {"lease_token": uuid.uuid4()}))
    rows = engine.worker.advance([(bad, "success", {}), (steps[1], "success", {})])
    assert [r.kind for r in rows] == ["refused"]
    assert sorted([engine.order(first), engine.order(second)]) == ["", "a"]


def test_a_result_given_twice_in_one_call_counts_once(engine: Engine) -> None:
    run_id = engine.start(chain("a b c"))
    step = engine.worker.claim_one()
    # The call may be refused as a whole; handed in one by one, as a worker then does, the first counts.
    with contextlib.suppress(psycopg.errors.UniqueViolation):
        engine.worker.advance([(step, "success", {"n": 1}), (step, "success", {"n": 1})])
    engine.worker.succeed(step, {"n": 1})
    assert (engine.order(run_id), engine.state(run_id)) == ("a", {"n": 1})


def test_a_released_step_can_be_claimed_at_once_and_its_attempt_does_not_count(engine: Engine) -> None:
    run_id = engine.start(definition("a"))
    engine.worker.release(engine.worker.claim_one())
    again = engine.new_worker().claim_one()
    assert again.attempt == 1
    assert engine.history(run_id) == []


def test_a_worker_that_leaves_gives_its_steps_back(engine: Engine) -> None:
    graph = engine.graph(definition("a"))
    for _ in range(3):
        engine.start(graph)
    leaving = engine.new_worker()
    assert len(leaving.claim(3)) == 3
    assert leaving.leave() == 3
    assert leaving.id not in {w["worker_id"] for w in engine.rows("select * from pgorch.worker_list")}
    assert len(engine.worker.claim(3)) == 3


def test_a_worker_that_leaves_uses_up_no_attempt(engine: Engine) -> None:
    run_id = engine.start(definition([{"id": "a", "retry": {"max_attempts": 2, "jitter": 0}}]))
    for _ in range(3):
        leaving = engine.new_worker()
        leaving.claim(1)
        leaving.leave()
    engine.worker.fail(engine.worker.claim_one(), "Broken", "once", True)
    assert engine.status(run_id) == "running"


def test_a_worker_that_leaves_waits_for_nobody(engine: Engine, database: str) -> None:
    run_id = engine.start(definition("a"))
    leaving = engine.new_worker()
    leaving.claim(1)
    with psycopg.connect(database) as holder:
        holder.execute("select from pgorch.steps for update")
        assert leaving.leave() == 0
        holder.rollback()
    assert [s["status"] for s in engine.live(run_id)] == ["running"]
    engine.worker.beat_everywhere()
    assert engine.worker.claim_one().run_id == run_id


def test_what_is_leased_to_one_that_left_is_found_later_as_well(engine: Engine) -> None:
    run_id = engine.start(definition("a"))
    leaving = engine.new_worker()
    step = leaving.claim_one()
    leaving.leave()
    # As by a call of advance() that was under way meanwhile.
    late = (
        "update pgorch.steps set worker_id = %s, lease_token = %s, lane_queue = null, lane_tool = null,"
        " attempt = attempt + 1, started_at = pgorch.clock_now()"
    )
    for _ in range(2):
        engine.jump("4 minutes")
        engine.worker.enlist()
        engine.worker.beat_everywhere()
        engine.connection.execute(late.encode(), [leaving.id, step.lease_token])
    engine.jump("6 minutes")
    engine.worker.enlist()
    engine.worker.beat_everywhere()
    engine.jump("3 seconds")
    assert engine.worker.claim_one().run_id == run_id


def test_steps_of_a_worker_that_nobody_knows_are_found_by_the_next_that_comes(engine: Engine) -> None:
    engine.start(definition("a"))
    unknown = engine.new_worker()
    unknown.claim_one()
    engine.connection.execute("delete from pgorch._worker_leases where worker_id = %s", [unknown.id])
    other = engine.new_worker()
    other.beat_everywhere()
    assert other.claim_one().attempt == 2


def test_a_lease_outlasts_its_worker_by_ten_minutes_and_goes(engine: Engine) -> None:
    known = "select count(*) from pgorch._worker_leases where worker_id = %s"
    leaving = engine.new_worker()
    leaving.leave()
    for minutes, kept in ((9, True), (6, False)):
        engine.jump(f"{minutes} minutes")
        engine.worker.enlist()
        engine.worker.beat_everywhere()
        assert bool(engine.value(known, leaving.id)) is kept


def test_not_each_heartbeat_writes(engine: Engine) -> None:
    written = "select array_agg(xmin::text || ctid::text) from pgorch._worker_leases"
    engine.worker.enlist()
    engine.worker.beat_everywhere()
    before = engine.value(written)
    engine.jump("0.5 seconds")
    assert engine.worker.beat()["alive"] is True
    assert engine.value(written) == before
    engine.jump(f"{engine.worker.lease_seconds / 4} seconds")
    engine.worker.beat_everywhere()
    assert engine.value(written) != before


def test_a_worker_that_has_left_gets_nothing(engine: Engine) -> None:
    engine.start(definition("a"))
    leaving = engine.new_worker()
    leaving.leave()
    assert leaving.claim(1) == []
    assert len(engine.worker.claim(1)) == 1


def test_a_step_that_kills_three_workers_is_quarantined(engine: Engine) -> None:
    run_id = engine.start(definition([{"id": "a", "retry": {"max_attempts": 10}}, "b"], ["a>b"]))
    for death in range(3):
        die(engine)
        assert [s["deaths"] for s in engine.live(run_id)] == [death + 1]
    assert engine.live(run_id)[0]["status"] == "quarantined"
    quarantined = engine.worker.claim_one()
    assert quarantined.kind == "quarantined"
    assert "3" in str(quarantined.message)
    error = {"type": "WorkerLost", "message": quarantined.message, "retryable": False}
    engine.worker.advance([(quarantined, "error", error)])
    assert engine.status(run_id) == "failed"
    assert engine.error(run_id)["type"] == "WorkerLost"
    assert engine.kinds(run_id) == ["attempt_lost"] * 3 + ["step_failed", "run_failed"]


def test_who_dies_with_a_quarantined_step_did_not_die_of_it(engine: Engine) -> None:
    run_id = engine.start(definition("a"))
    for _ in range(4):
        die(engine)
    assert engine.kinds(run_id) == ["attempt_lost"] * 3
    assert [(s["deaths"], s["attempt"]) for s in engine.live(run_id)] == [(3, 3)]
    engine.run()
    assert engine.kinds(run_id) == ["attempt_lost"] * 3 + ["step_failed", "run_failed"]


def test_a_quarantined_step_may_lead_along_an_error_edge(engine: Engine) -> None:
    run_id = engine.start(definition("a b", [("a>b", {"on": "error"})]))
    for _ in range(3):
        die(engine)
    engine.run()
    assert (engine.order(run_id), engine.status(run_id)) == ("a b", "completed")


def test_a_worker_without_the_tool_may_hand_in_what_is_quarantined(engine: Engine) -> None:
    run_id = engine.start(definition("a"), bucket=0)
    for _ in range(3):
        die(engine)
    stranger = engine.new_worker(tools=["another"])
    assert stranger.beat()["work_waiting"] is True
    [step] = stranger.claim(1)
    assert step.kind == "quarantined"
    stranger.fail(step, "WorkerLost", retryable=False)
    assert engine.status(run_id) == "failed"


def test_suspects_are_taken_one_at_a_time_so_that_the_culprit_shows(engine: Engine) -> None:
    graph = engine.graph(definition("a"))
    for _ in range(4):
        engine.start(graph, bucket=0)
    for _ in range(2):
        victim = engine.new_worker()
        claimed = victim.claim(4)
        engine.jump("31 seconds")
        engine.worker.enlist()
        engine.worker.beat_everywhere()
        assert claimed
    assert {s["deaths"] for s in engine.rows("select deaths from pgorch.live_steps")} == {2}
    # Not at once, so that a step that kills does not take down workers as fast as they are started.
    assert engine.worker.claim(4) == []
    engine.jump("2 seconds")
    assert len(engine.worker.claim(4)) == 1
    assert len(engine.new_worker().claim(4)) == 1


def test_deaths_do_not_use_up_the_attempts_of_a_retry_policy(engine: Engine) -> None:
    run_id = engine.start(definition([{"id": "a", "retry": TWICE}]))
    die(engine)
    engine.worker.fail(engine.worker.claim_one())
    engine.jump("2 seconds")
    engine.worker.succeed(engine.worker.claim_one(), {})
    assert engine.status(run_id) == "completed"
    assert [h["attempt"] for h in engine.history(run_id)][:3] == [1, 2, 3]


def test_deaths_are_forgotten_when_the_step_is_done(engine: Engine) -> None:
    run_id = engine.start(chain("a b"))
    die(engine)
    engine.worker.succeed(engine.worker.claim_one(), {}, want=1)
    [b] = engine.live(run_id)
    assert (b["node"], b["deaths"], b["attempt"]) == ("b", 0, 1)


def test_a_marker_that_is_no_longer_held_frees_the_steps_at_once(engine: Engine, database: str) -> None:
    engine.start(definition("a"))
    victim = engine.new_worker()
    with open_connection(database) as session:
        session.execute("select pg_advisory_lock(4711)")
        victim.enlist(marker=4711)
        victim.claim_one()
        engine.worker.beat_everywhere()
        assert engine.worker.claim() == [], "its session lives"
    wait_until(lambda: engine.value("select count(*) from pg_locks where objid = 4711") == 0)
    engine.worker.beat_everywhere()
    assert len(engine.worker.claim()) == 1


def test_a_marker_that_nobody_holds_is_not_believed(engine: Engine) -> None:
    engine.start(definition("a"))
    victim = engine.new_worker()
    victim.enlist(marker=4712)
    step = victim.claim_one()
    engine.worker.beat_everywhere()
    assert engine.worker.claim() == []
    assert victim.succeed(step, {}) == []


def test_beats_tell_of_work_that_waits_in_the_workers_lanes(engine: Engine) -> None:
    engine.register("a", "b")
    only_b = engine.new_worker(tools=["b"])
    graph = engine.graph(definition("a"))
    assert engine.worker.beat()["work_waiting"] is False
    engine.start(graph, bucket=0)
    assert engine.worker.beat()["work_waiting"] is True
    assert only_b.beat()["work_waiting"] is False


def test_a_cancelled_step_is_revoked_at_the_next_beat_and_once(engine: Engine) -> None:
    run_id = engine.start(definition("a"), bucket=0)
    step = engine.worker.claim_one()
    engine.cancel(run_id)
    assert engine.worker.beat()["revoked"] == [step.step_id]
    assert engine.worker.beat()["revoked"] == []


@pytest.mark.parametrize("queues", [[], [""], ["!a"], [None]])
def test_a_worker_serves_queues_with_names(engine: Engine, queues: Any) -> None:
    with pytest.raises(Exception, match="queue") as caught:
        engine.new_worker(queues=queues)
    assert getattr(caught.value, "sqlstate", None) == "OR006"


def test_a_worker_that_leaves_while_its_run_is_resumed_strands_no_step(engine: Engine, database: str) -> None:
    run_id, other = engine.start(chain("a b")), engine.new_worker()
    engine.worker.claim_one("a")
    engine.value("select pgorch.pause(%s)", run_id)
    with open_connection(database, autocommit=False) as operator:
        operator.execute("select pgorch.resume(%s)", (run_id,))
        # The run is paused and not paused: who leaves cannot know in which lane its step belongs.
        assert engine.worker.leave() == 0
        operator.commit()
    other.beat_everywhere()
    assert engine.rows("select held, deaths from pgorch.steps") == [{"held": None, "deaths": 0}]
    assert other.claim_one("a").attempt == 2
    assert engine.kinds(run_id) == ["run_paused", "run_resumed"]


def test_a_long_lease_is_not_cut_by_somebody_with_a_short_one(engine: Engine) -> None:
    patient = engine.new_worker(lease_seconds=300)
    engine.worker.beat_everywhere()
    left = engine.value(
        "select extract(epoch from min(l.expires_at) - pgorch.clock_now()) from pgorch._worker_leases l"
        " where l.worker_id = %s",
        patient.id,
    )
    assert 290 < left <= 330
