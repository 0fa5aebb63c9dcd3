"""Deadlines and reminders."""

from typing import Any

import psycopg
import pytest

from tests.people.conftest import People
from tests.support.engine import definition

EDGES = ["ok>b", ("ok>c", {"on": "rejected"}), ("ok>d", {"on": "expired"})]


def asking(**more: Any) -> dict[str, Any]:
    node = {"id": "ok", "type": "approval", "deadline": "48 hours", **more}
    return definition([node, "b", "c", "d"], EDGES)


def timers(people: People) -> list[str]:
    return [r["kind"] for r in people.engine.rows("select kind from pgorch.timers order by due_at")]


def test_a_late_decision_is_refused_though_nobody_has_swept(people: People) -> None:
    run_id = people.ask(asking())
    approval_id = people.open(run_id)
    people.engine.jump("48 hours")
    for query in (
        "select pgorch.approve(p_approval_id => %s)",
        "select pgorch.reject(p_approval_id => %s)",
        "select pgorch.reassign(%s, '{user:ann}')",
    ):
        with pytest.raises(psycopg.Error, match=r"the deadline of ok was at .* too late") as caught:
            people.engine.value(query, approval_id)
        assert caught.value.sqlstate == "OR002"
    assert people.engine.status(run_id) == "awaiting_approval"


def test_a_decision_just_in_time_counts(people: People) -> None:
    run_id = people.ask(asking())
    people.engine.jump("47 hours 59 minutes")
    people.engine.approve(run_id)
    people.engine.run()
    assert people.engine.order(run_id) == "ok b"


def test_an_expired_approval_takes_the_edges_for_expired(people: People) -> None:
    run_id = people.ask(asking())
    people.engine.jump("48 hours")
    people.tick()
    [approval] = people.engine.approvals(run_id)
    assert (approval["status"], approval["decided_by"]) == ("expired", None)
    [ended] = [h for h in people.engine.history(run_id) if h["kind"] == "step_expired"]
    assert (ended["node"], ended["output"]["decision"], ended["actor"]) == ("ok", "expired", None)
    assert people.engine.worker.claim_one().node == "d"
    assert people.engine.state(run_id) == {}
    with pytest.raises(psycopg.Error, match="nobody decided ok before its deadline") as caught:
        people.engine.approve(run_id)
    assert caught.value.sqlstate == "OR002"


def test_without_such_an_edge_the_run_fails(people: People) -> None:
    node = {"id": "ok", "type": "approval", "deadline": "1 hour"}
    run_id = people.ask(definition([node, "b"], ["ok>b"]))
    people.engine.jump("1 hour")
    people.tick()
    assert people.engine.error(run_id)["type"] == "Expired"


def test_votes_that_are_too_few_do_not_save_it(people: People) -> None:
    run_id = people.ask(asking(quorum=2))
    people.engine.approve(run_id, actor="ann")
    people.engine.jump("48 hours")
    people.tick()
    [ended] = [h for h in people.engine.history(run_id) if h["kind"] == "step_expired"]
    assert ended["output"]["approved_by"] == ["ann"]


def test_a_decision_takes_the_timers_with_it(people: People) -> None:
    run_id = people.ask(asking(remind={"after": "24 hours"}))
    assert timers(people) == ["remind", "deadline"]
    people.engine.approve(run_id)
    assert timers(people) == []


def test_so_does_the_end_of_the_run(people: People) -> None:
    run_id = people.ask(asking(remind={"after": "24 hours"}))
    people.engine.cancel(run_id)
    assert timers(people) == []
    with pytest.raises(psycopg.Error, match="is cancelled"):
        people.engine.approve(run_id)


@pytest.mark.parametrize("function", ["_expire_approval", "_remind"])
def test_a_timer_that_comes_after_the_decision_changes_nothing(people: People, function: str) -> None:
    run_id = people.ask(asking())
    approval_id = people.engine.approve(run_id)
    before = people.engine.history(run_id)
    people.engine.value(
        f"select pgorch.{function}(r.bucket, r, %s, pgorch.clock_now()) from pgorch.runs r where r.id = %s",
        approval_id,
        run_id,
    )
    assert people.engine.history(run_id) == before
    assert people.engine.approvals(run_id)[0]["status"] == "approved"


def test_a_reminder_is_an_event_and_asks_others_as_well(people: People) -> None:
    run_id = people.ask(
        asking(
            assignees=["user:ann", "role:cfo"], remind={"after": "24 hours", "to": ["role:cfo", "user:bob"]}
        )
    )
    with pytest.raises(psycopg.Error, match="not asked"):
        people.engine.approve(run_id, actor="bob")
    people.engine.jump("24 hours")
    people.tick()
    [reminded] = [h for h in people.engine.history(run_id) if h["kind"] == "approval_reminded"]
    assert reminded["output"]["to"] == ["role:cfo", "user:bob"]
    [approval] = people.engine.approvals(run_id)
    assert approval["assignees"] == ["user:ann", "role:cfo", "user:bob"]
    assert approval["reminded_at"] is not None
    people.engine.approve(run_id, actor="bob")
    assert people.engine.status(run_id) == "running"


def test_a_reminder_does_not_shut_out_anybody_who_may_decide(people: People) -> None:
    run_id = people.ask(asking(remind={"after": "24 hours", "to": ["role:cfo"]}))
    people.engine.jump("24 hours")
    people.tick()
    assert people.engine.approvals(run_id)[0]["assignees"] is None
    people.engine.approve(run_id, actor="anybody")


def test_a_loop_asks_anew_with_a_deadline_of_its_own(people: People) -> None:
    node = {"id": "ok", "type": "approval", "deadline": "1 hour", "assignees": ["user:ann"]}
    run_id = people.ask(definition([node, "b"], [("ok>b", {"on": "rejected", "limit": 2}), "b>ok"]))
    first = people.open(run_id)
    people.engine.jump("50 minutes")
    people.engine.reject(run_id, actor="ann")
    people.engine.run()
    second = people.open(run_id)
    people.engine.jump("50 minutes")
    people.tick()
    assert people.open(run_id) == second != first
    with pytest.raises(psycopg.Error, match="was rejected by ann at"):
        people.engine.approve(run_id, approval_id=first, actor="ann")
    people.engine.approve(run_id, actor="ann")
