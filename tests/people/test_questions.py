"""Reassigning, commenting, and what is remembered of both."""

from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest

from tests.people.conftest import People
from tests.support.engine import definition


def asking(**more: Any) -> dict[str, Any]:
    return definition([{"id": "ok", "type": "approval", **more}, "b"], ["ok>b"])


def reassign(people: People, approval_id: UUID, assignees: list[str], **options: Any) -> None:
    arguments = {"p_approval_id": approval_id, "p_assignees": assignees}
    arguments |= {f"p_{key}": value for key, value in options.items()}
    call = ", ".join(f"{name} => %s" for name in arguments)
    people.engine.value(f"select pgorch.reassign({call})", *arguments.values())


def test_an_assignee_passes_an_approval_on(people: People) -> None:
    run_id = people.ask(asking(assignees=["user:ann"]))
    approval_id = people.open(run_id)
    reassign(people, approval_id, ["user:bob", "role:cfo", "user:bob"], actor="ann", comment="on holiday")
    assert people.engine.approvals(run_id)[0]["assignees"] == ["user:bob", "role:cfo"]
    with pytest.raises(psycopg.Error, match="ann is not asked"):
        people.engine.approve(run_id, actor="ann")
    people.engine.approve(run_id, actor="bob")
    [event] = [h for h in people.engine.history(run_id) if h["kind"] == "approval_reassigned"]
    assert (event["actor"], event["output"]["from"], event["output"]["to"], event["output"]["comment"]) == (
        "ann",
        ["user:ann"],
        ["user:bob", "role:cfo"],
        "on holiday",
    )
    [row] = people.engine.rows("select * from pgorch.audit where action = 'reassign'")
    assert (row["actor"], row["run_id"], row["approval_id"]) == ("ann", run_id, approval_id)
    assert row["before"] == {"assignees": ["user:ann"]}
    assert row["after"] == {"assignees": ["user:bob", "role:cfo"]}
    assert row["comment"] == "on holiday"


@pytest.mark.parametrize("role", ["operator", "admin"])
def test_operators_and_administrators_may_pass_it_on(people: People, role: str) -> None:
    run_id = people.ask(asking(assignees=["user:ann"]))
    reassign(people, people.open(run_id), ["user:bob"], actor="olga", roles=[role])
    assert people.engine.approvals(run_id)[0]["assignees"] == ["user:bob"]


def test_the_owner_of_the_schema_may(people: People) -> None:
    run_id = people.ask(asking(assignees=["user:ann"]))
    reassign(people, people.open(run_id), ["user:bob"])
    assert people.engine.approvals(run_id)[0]["assignees"] == ["user:bob"]


def test_nobody_else_may(people: People) -> None:
    eve = people.role("eve")
    run_id = people.ask(asking(assignees=["user:ann"]))
    approval_id = people.open(run_id)
    with pytest.raises(psycopg.Error, match="eve may not reassign") as caught:
        reassign(people, approval_id, ["user:eve"], actor="eve", roles=["approver"])
    assert caught.value.sqlstate == "OR007"
    with people.session_of(eve), pytest.raises(psycopg.Error, match="may not reassign"):
        reassign(people, approval_id, [f"user:{eve}"])
    assert people.engine.approvals(run_id)[0]["assignees"] == ["user:ann"]


def test_who_started_the_run_and_is_excluded_does_not_choose_who_decides(people: People) -> None:
    run_id = people.ask(asking(assignees=["user:ann"], exclude_initiator=True), actor="ann")
    with pytest.raises(psycopg.Error, match="may not reassign"):
        reassign(people, people.open(run_id), ["user:friend"], actor="ann", roles=["admin"])


@pytest.mark.parametrize(
    "assignees",
    [
        [],
        ["ann"],
        ["user:"],
        ["group:ann"],
        ["user:ann", None],
        ["user:a\nb"],
        ["user:" + "x" * 201],
        ["user:a"] * 101,
    ],
)
def test_assignees_are_users_and_roles(people: People, assignees: list[str]) -> None:
    run_id = people.ask(asking())
    with pytest.raises(psycopg.Error) as caught:
        reassign(people, people.open(run_id), assignees)
    assert caught.value.sqlstate == "OR006"
    assert people.engine.approvals(run_id)[0]["assignees"] is None


def test_approvals_that_were_given_stay(people: People) -> None:
    run_id = people.ask(asking(assignees=["user:ann", "user:bob"], quorum=2))
    people.engine.approve(run_id, actor="ann")
    reassign(people, people.open(run_id), ["user:eve"], actor="bob")
    people.engine.approve(run_id, actor="eve")
    assert people.engine.status(run_id) == "running"


def test_a_comment_is_seen_by_all_who_look(people: People) -> None:
    run_id = people.ask(asking())
    approval_id = people.open(run_id)
    people.engine.value("select pgorch.comment(%s, 'Is this ACME Ltd.?', p_actor => 'ann')", approval_id)
    asked, commented = people.show(approval_id)["events"]
    assert asked["kind"] == "approval_requested"
    assert (commented["kind"], commented["actor"], commented["output"]["comment"]) == (
        "approval_commented",
        "ann",
        "Is this ACME Ltd.?",
    )
    assert people.engine.status(run_id) == "awaiting_approval"
    assert people.actions(run_id) == [("ann", "comment")]


@pytest.mark.parametrize("text", ["", None, "x" * 10001])
def test_a_comment_has_a_text_of_reasonable_length(people: People, text: str | None) -> None:
    run_id = people.ask(asking())
    with pytest.raises(psycopg.Error) as caught:
        people.engine.value("select pgorch.comment(%s, %s)", people.open(run_id), text)
    assert caught.value.sqlstate == "OR006"


@pytest.mark.parametrize("call", ["reassign(%s, '{user:bob}')", "comment(%s, 'late')"])
def test_nothing_is_done_with_an_approval_that_is_decided(people: People, call: str) -> None:
    run_id = people.ask(asking())
    approval_id = people.engine.approve(run_id, actor="ann")
    with pytest.raises(psycopg.Error, match="was approved by ann") as caught:
        people.engine.value(f"select pgorch.{call}", approval_id)
    assert caught.value.sqlstate == "OR002"


@pytest.mark.parametrize(
    "call",
    [
        "reassign(%s, '{user:bob}')",
        "comment(%s, 'hello')",
        "approval_document(%s)",
        "approve(p_approval_id => %s)",
    ],
)
def test_an_approval_that_does_not_exist_is_not_found(people: People, call: str) -> None:
    with pytest.raises(psycopg.Error, match="no approval") as caught:
        people.engine.value(f"select pgorch.{call}", uuid4())
    assert caught.value.sqlstate == "OR003"


def test_the_document_tells_how_it_was_decided(people: People) -> None:
    run_id = people.ask(
        asking(title="Pay ${$.amount}?", show={"amount": "${$.amount}"}), {"amount": 5}, actor="ann"
    )
    approval_id = people.engine.reject(run_id, {"why": "budget"}, actor="bob", comment="no")
    shown = people.show(approval_id)
    expected = {
        "run_id": str(run_id),
        "title": "Pay 5?",
        "show": {"amount": 5},
        "initiator": "ann",
        "status": "rejected",
        "decided_by": "bob",
        "data": {"why": "budget"},
        "comment": "no",
        "overdue": False,
    }
    assert {key: shown[key] for key in expected} == expected
    assert [event["kind"] for event in shown["events"]] == ["approval_requested", "approval_decided"]


def test_an_approval_is_not_passed_on_to_fewer_people_than_must_approve(people: People) -> None:
    approval_id = people.open(people.ask(asking(quorum=2)))
    for few in (["user:cy"], ["user:cy", "user:cy"]):
        with pytest.raises(psycopg.Error, match="2 people must approve") as refused:
            reassign(people, approval_id, few, actor="ann")
        assert refused.value.diag.sqlstate == "OR006"
    reassign(people, approval_id, ["role:cfo"], actor="ann")
    reassign(people, approval_id, ["user:cy", "user:di"], actor="cy", roles=["cfo"])


def test_those_who_have_approved_count_when_it_is_passed_on(people: People) -> None:
    run_id = people.ask(asking(quorum=2))
    people.engine.approve(run_id, actor="ann")
    with pytest.raises(psycopg.Error, match="2 people must approve"):
        reassign(people, people.open(run_id), ["user:ann"], actor="ann")
    reassign(people, people.open(run_id), ["user:bob"], actor="ann")
    people.engine.approve(run_id, actor="bob")
    assert people.engine.approvals(run_id)[0]["status"] == "approved"


@pytest.mark.parametrize("show", [None, {"other": 1}])
def test_the_input_of_an_approval_is_shown_where_nothing_else_is(people: People, show: Any) -> None:
    more = {} if show is None else {"show": show}
    run_id = people.ask(asking(title="Go?", input={"amount": "${$.a}"}, **more), {"a": 5})
    shown = people.show(people.open(run_id))
    assert (shown["title"], shown["show"]) == ("Go?", show or {"amount": 5})
