"""What people did is written down, with what they did it to, and stays."""

import psycopg
import pytest

from tests.people.conftest import People
from tests.support.engine import definition

ASKING = definition([{"id": "ok", "type": "approval"}, "b"], ["ok>b"])


def test_a_decision_is_noted_with_who_what_when_and_from_what_to_what(people: People) -> None:
    run_id = people.ask(ASKING | {"name": "audited"})
    people.engine.jump("1 day")
    before = people.engine.value("select pgorch.clock_now()")
    approval_id = people.engine.reject(run_id, {"n": 1}, actor="ann", comment="no")
    [row] = people.engine.rows("select * from pgorch.audit where run_id = %s", run_id)
    assert (row["actor"], row["action"], row["approval_id"]) == ("ann", "reject", approval_id)
    assert (row["before"], row["after"]) == ({"status": "open"}, {"status": "rejected", "data": {"n": 1}})
    assert row["comment"] == "no"
    assert row["source"] == people.engine.value("select session_user::text")
    assert before <= row["at"] <= people.engine.value("select pgorch.clock_now()")


def test_cancelling_is_noted(people: People) -> None:
    run_id = people.ask(ASKING | {"name": "cancelled"})
    people.engine.cancel(run_id, "mistake")
    [row] = people.engine.rows("select * from pgorch.audit where run_id = %s", run_id)
    assert (row["action"], row["comment"]) == ("cancel", "mistake")
    assert row["before"] == {"status": "awaiting_approval"}
    assert row["after"]["status"] == "cancelled"


def test_what_is_rolled_back_was_not_done(people: People) -> None:
    run_id = people.ask(ASKING | {"name": "rolled_back"})
    with people.engine.connection.transaction(force_rollback=True):
        people.engine.approve(run_id)
        assert len(people.actions(run_id)) == 1
    assert people.actions(run_id) == []


def test_what_is_refused_was_not_done(people: People) -> None:
    run_id = people.ask(ASKING | {"name": "refused"})
    people.engine.approve(run_id, actor="ann")
    with pytest.raises(psycopg.Error):
        people.engine.approve(run_id, actor="bob")
    assert people.actions(run_id) == [("ann", "approve")]


@pytest.mark.parametrize("statement", ["update pgorch.audit set actor = 'bob'", "delete from pgorch.audit"])
def test_a_user_who_was_granted_everything_cannot_change_it(people: People, statement: str) -> None:
    run_id = people.ask(ASKING | {"name": "kept"})
    people.engine.cancel(run_id)
    eve = people.role("eve")
    with people.session_of(eve):
        people.engine.connection.execute(statement.encode())
    assert [action for _, action in people.actions(run_id)] == ["cancel"]


def test_a_row_cannot_say_that_another_session_wrote_it(people: People) -> None:
    eve = people.role("eve")
    insert = (
        "insert into pgorch.audit (bucket, at, actor, source, action) values (0, now(), %s, %s, 'approve')"
    )
    with people.session_of(eve):
        people.engine.connection.execute(insert.encode(), [eve, eve])
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            people.engine.connection.execute(insert.encode(), ["ann", "postgres"])


def test_its_owner_has_no_right_to_change_it_either(people: People) -> None:
    rights = people.engine.value("""
        select array_agg(a.privilege_type order by a.privilege_type)
        from pg_class c cross join lateral aclexplode(c.relacl) a
        where c.oid = 'pgorch.audit'::regclass and a.grantee = c.relowner""")
    assert {"INSERT", "SELECT"} <= set(rights)
    assert not {"UPDATE", "DELETE", "TRUNCATE"} & set(rights)


def test_the_audit_is_listed_newest_first(people: People) -> None:
    first, second = people.ask(ASKING | {"name": "one"}), people.ask(ASKING | {"name": "two"})
    people.engine.approve(first, actor="ann")
    people.engine.reject(second, actor="bob", comment="no")
    people.engine.cancel(first)

    def listed(**options: object) -> list[tuple[str, str]]:
        call = ", ".join(f"p_{name} => %s" for name in options)
        rows = people.engine.rows(f"select * from pgorch.list_audit({call})", *options.values())
        return [(row["actor"], row["action"]) for row in rows if row["run_id"]]

    user = people.engine.value("select session_user::text")
    assert listed() == [(user, "cancel"), ("bob", "reject"), ("ann", "approve")]
    assert listed(run_id=first) == [(user, "cancel"), ("ann", "approve")]
    assert listed(actor="bob") == [("bob", "reject")]
    assert listed(action="approve") == [("ann", "approve")]
    [newest] = people.engine.rows("select * from pgorch.list_audit(p_limit => 1)")
    assert listed(before=newest["id"], limit=1) == [("bob", "reject")]
