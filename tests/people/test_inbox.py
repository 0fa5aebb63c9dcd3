"""What waits, and for whom."""

from typing import Any

from tests.people.conftest import People
from tests.support.engine import definition


def asking(**more: Any) -> dict[str, Any]:
    return definition([{"id": "ok", "type": "approval", **more}], [])


def titles(people: People, view: str, where: str = "true") -> list[str]:
    query = f"select title from pgorch.{view} where {where} order by requested_at, approval_id"
    return [row["title"] for row in people.engine.rows(query)]


def test_everybody_sees_what_waits_for_him_oldest_first(people: People) -> None:
    finance = people.role("finance")
    ann, bob = people.role("ann", finance), people.role("bob")
    people.ask(asking(title="by role", assignees=[f"role:{finance}"]))
    people.ask(asking(title="by name", assignees=[f"user:{ann}"]))
    people.ask(asking(title="bob alone", assignees=[f"user:{bob}"]))
    people.ask(asking(title="anybody"))
    people.ask(asking(title="not ann", exclude_initiator=True), actor=ann)
    with people.session_of(ann):
        assert titles(people, "my_approvals") == ["by role", "by name", "anybody"]
    with people.session_of(bob):
        assert titles(people, "my_approvals") == ["bob alone", "anybody", "not ann"]
    assert titles(people, "waiting_approvals") == ["by role", "by name", "bob alone", "anybody", "not ann"]


def test_what_somebody_has_approved_does_not_wait_for_him_any_more(people: People) -> None:
    ann, bob = people.role("ann"), people.role("bob")
    run_id = people.ask(asking(title="two", quorum=2))
    with people.session_of(ann):
        people.engine.approve(run_id)
        assert titles(people, "my_approvals") == []
    with people.session_of(bob):
        assert titles(people, "my_approvals") == ["two"]
        assert people.engine.value("select approved_by from pgorch.my_approvals") == [ann]


def test_what_can_be_decided_is_what_the_inbox_shows(people: People) -> None:
    ann = people.role("ann")
    for assignees in (None, [f"user:{ann}"], [f"role:{ann}"], ["user:bob"]):
        run_id = people.ask(asking(title="t", assignees=assignees))
        with people.session_of(ann):
            if titles(people, "my_approvals"):
                people.engine.approve(run_id)
        assert people.engine.status(run_id) == (
            "awaiting_approval" if assignees == ["user:bob"] else "completed"
        )


def test_overdue_is_what_should_be_brought_to_mind_or_has_expired(people: People) -> None:
    people.ask(asking(title="reminder", remind={"after": "1 hour"}, deadline="3 hours"))
    people.ask(asking(title="deadline", deadline="2 hours"))
    people.ask(asking(title="never"))
    assert titles(people, "waiting_approvals", "overdue") == []
    people.engine.jump("1 hour")
    assert titles(people, "waiting_approvals", "overdue") == ["reminder"]
    people.engine.jump("1 hour")
    assert titles(people, "waiting_approvals", "overdue") == ["reminder", "deadline"]
    assert titles(people, "waiting_approvals", "not overdue") == ["never"]


def test_decided_ones_are_gone(people: People) -> None:
    yes, over = people.ask(asking()), people.ask(asking(deadline="1 hour"))
    people.engine.approve(yes)
    people.engine.jump("1 hour")
    people.tick()
    assert people.engine.status(over) == "failed"
    assert titles(people, "waiting_approvals") == []
