"""Who may decide, and who may not."""

from typing import Any
from uuid import UUID

import psycopg
import pytest
from psycopg.types.json import Jsonb

from tests.people.conftest import People
from tests.support.engine import definition


def asking(**more: Any) -> dict[str, Any]:
    return definition([{"id": "ok", "type": "approval", **more}, "b"], ["ok>b"])


def test_an_assigned_user_decides_and_nobody_else(people: People) -> None:
    run_id = people.ask(asking(assignees=["user:ann", "role:finance"]))
    with pytest.raises(psycopg.Error, match=r"bob is not asked .* user:ann, role:finance") as caught:
        people.engine.approve(run_id, actor="bob", roles=["sales"])
    assert caught.value.sqlstate == "OR007"
    with pytest.raises(psycopg.Error, match="bob is not asked"):
        people.engine.reject(run_id, actor="bob")
    assert people.engine.status(run_id) == "awaiting_approval"
    people.engine.approve(run_id, actor="ann")
    assert people.engine.approvals(run_id)[0]["decided_by"] == "ann"


def test_who_has_an_assigned_role_decides(people: People) -> None:
    run_id = people.ask(asking(assignees=["role:finance"]))
    people.engine.approve(run_id, actor="bob", roles=["sales", "finance"])
    assert people.engine.approvals(run_id)[0]["decided_by"] == "bob"


def test_a_user_is_no_role_and_a_role_no_user(people: People) -> None:
    run_id = people.ask(asking(assignees=["role:ann", "user:finance"]))
    with pytest.raises(psycopg.Error, match="not asked"):
        people.engine.approve(run_id, actor="ann", roles=["finance"])


def test_in_sql_the_roles_are_the_database_roles_of_the_session(people: People) -> None:
    finance, sales = people.role("finance"), people.role("sales")
    deputies = people.role("deputies", finance)
    ann, bob = people.role("ann", deputies), people.role("bob", sales)
    run_id = people.ask(asking(assignees=[f"role:{finance}"]))
    with people.session_of(bob), pytest.raises(psycopg.Error, match="not asked") as caught:
        people.engine.approve(run_id)
    assert caught.value.sqlstate == "OR007"
    with people.session_of(ann):
        people.engine.approve(run_id)
    assert people.actions(run_id) == [(ann, "approve")]


def test_a_superuser_is_not_in_every_role(people: People) -> None:
    run_id = people.ask(asking(assignees=["role:pg_monitor"]))
    with pytest.raises(psycopg.Error, match="not asked"):
        people.engine.approve(run_id)


def test_nobody_gives_himself_roles(people: People) -> None:
    ann = people.role("ann")
    run_id = people.ask(asking(assignees=["role:finance"]))
    with people.session_of(ann), pytest.raises(psycopg.Error, match="may not say which roles") as caught:
        people.engine.approve(run_id, roles=["finance"])
    assert caught.value.sqlstate == "OR007"


def test_nobody_is_somebody_else(people: People) -> None:
    ann = people.role("ann")
    run_id = people.ask(asking(assignees=["user:bob"]))
    approval_id = people.open(run_id)
    with people.session_of(ann):
        for query in (
            "select pgorch.decide(%s, 'approved', p_actor => 'bob')",
            "select pgorch.cancel(%s, p_actor => 'bob')",
        ):
            with pytest.raises(psycopg.Error, match="may not act as bob"):
                people.engine.value(query, run_id)
        for query in (
            "select pgorch.reassign(%s, '{user:ann}', p_actor => 'bob')",
            "select pgorch.comment(%s, 'yes', p_actor => 'bob')",
        ):
            with pytest.raises(psycopg.Error, match="may not act as bob") as caught:
                people.engine.value(query, approval_id)
            assert caught.value.sqlstate == "OR007"


def test_a_member_of_pgorch_api_speaks_for_others(people: People) -> None:
    if people.engine.rows("select from pg_roles where rolname = 'pgorch_api'") == []:
        people.add_role("pgorch_api")
    gateway = people.role("gateway", "pgorch_api")
    run_id = people.ask(asking(assignees=["role:finance"]))
    with people.session_of(gateway):
        people.engine.approve(run_id, actor="ann", roles=["finance"])
    [row] = people.engine.rows("select * from pgorch.audit where run_id = %s", run_id)
    assert (row["actor"], row["source"]) == ("ann", gateway)


def test_who_started_the_run_may_be_excluded(people: People) -> None:
    run_id = people.ask(asking(exclude_initiator=True), actor="ann")
    with pytest.raises(psycopg.Error, match="ann started run") as caught:
        people.engine.approve(run_id, actor="ann")
    assert caught.value.sqlstate == "OR007"
    with pytest.raises(psycopg.Error, match="ann started run"):
        people.engine.reject(run_id, actor="ann")
    people.engine.approve(run_id, actor="bob")
    assert people.engine.approvals(run_id)[0]["decided_by"] == "bob"


def test_otherwise_he_may_decide(people: People) -> None:
    run_id = people.ask(asking(), actor="ann")
    people.engine.approve(run_id, actor="ann")
    assert people.engine.status(run_id) == "running"


def test_an_approval_is_decided_by_its_id_alone(people: People) -> None:
    run_id = people.ask(asking())
    approval_id = people.open(run_id)
    assert people.engine.value("select pgorch.approve(p_approval_id => %s)", approval_id) == approval_id
    assert people.engine.status(run_id) == "running"


def test_an_approval_of_another_run_is_refused_with_that_reason(people: People) -> None:
    graph = people.engine.graph(asking())
    mine, other = people.engine.start(graph, bucket=0), people.engine.start(graph, bucket=0)
    with pytest.raises(psycopg.Error, match="belongs to another run"):
        people.engine.approve(mine, approval_id=people.open(other))


def skip(people: People, run_id: UUID, **options: Any) -> Any:
    arguments = {"p_run_id": run_id, **{f"p_{key}": value for key, value in options.items()}}
    call = ", ".join(f"{name} => %s" for name in arguments)
    return people.engine.value(f"select pgorch.skip({call})", *arguments.values())


def test_an_approval_is_skipped_only_by_who_could_decide_it_alone(people: People) -> None:
    engine = people.engine
    asked = {"id": "ok", "type": "approval", "assignees": ["role:finance"], "exclude_initiator": True}
    for more, may in (({}, True), ({"quorum": 2}, False)):
        run_id = people.ask(definition([asked | more, "b"], ["ok>b"]), actor="ann")
        for who in ({"actor": "eve"}, {"actor": "eve", "roles": ["operator"]},
                    {"actor": "ann", "roles": ["finance"]}):  # fmt: skip
            with pytest.raises(psycopg.Error) as refused:
                skip(people, run_id, **who)
            assert refused.value.diag.sqlstate == "OR007"
            [told] = engine.rows(
                "select * from pgorch.bulk('skip', %s, p_dry_run => false, p_actor => %s, p_roles => %s)",
                Jsonb({"graph": engine.value("select name from pgorch.graphs order by id desc limit 1"),
                       "status": "awaiting_approval"}), who["actor"], who.get("roles"),
            )  # fmt: skip
            assert "may not" in told["problem"] or "is not asked" in told["problem"]
        if not may:
            with pytest.raises(psycopg.Error, match="2 people must approve"):
                skip(people, run_id, actor="bob", roles=["finance"])
            skip(people, run_id, actor="root", roles=["admin"])
        else:
            skip(people, run_id, actor="bob", roles=["finance"])
        assert engine.status(run_id) == "running"
    # The owner of the schema, in psql.
    assert skip(people, people.ask(definition([asked]), actor="ann")) == "completed"


def test_a_rejection_that_ended_a_run_is_not_skipped_by_anybody(people: People) -> None:
    asked = {"id": "ok", "type": "approval", "assignees": ["role:finance"]}
    run_id = people.ask(definition([asked, "b"], ["ok>b"]))
    people.engine.reject(run_id, actor="bob", roles=["finance"])
    assert people.engine.status(run_id) == "failed"
    for options in ({}, {"node": "ok"}):
        with pytest.raises(psycopg.Error) as refused:
            skip(people, run_id, actor="eve", roles=["operator"], **options)
        assert refused.value.diag.sqlstate == "OR007"
    assert skip(people, run_id, actor="bob", roles=["finance"]) == "running"


def test_a_database_user_skips_what_he_could_decide(people: People) -> None:
    ann, bob = people.role("ann"), people.role("bob")
    run_id = people.ask(definition([{"id": "ok", "type": "approval", "assignees": [f"user:{ann}"]}]))
    with people.session_of(bob), pytest.raises(psycopg.Error, match="is not asked"):
        skip(people, run_id)
    with people.session_of(ann):
        assert skip(people, run_id) == "completed"


@pytest.mark.parametrize(
    ("more", "plain"),
    [
        ({}, True),
        ({"quorum": 1, "show": {"a": 1}, "title": "Go?"}, True),
        ({"form": {"type": "object", "properties": {"note": {"type": "string"}}}}, False),
        ({"quorum": 2}, False),
    ],
)
def test_yes_without_a_word_approves_a_plain_approval_only(
    people: People, more: dict[str, Any], plain: bool
) -> None:
    run_id = people.ask(definition([{"id": "ok", "type": "approval", **more}, "b"], ["ok>b"]))
    if plain:
        people.engine.value("select pgorch.approve_plain(%s, p_actor => 'ann')", run_id)
        assert people.actions(run_id) == [("ann", "approve")]
        return
    with pytest.raises(psycopg.Error, match="ok is no plain approval") as caught:
        people.engine.value("select pgorch.approve_plain(%s)", run_id)
    assert caught.value.sqlstate == "OR006"
    assert people.actions(run_id) == []
