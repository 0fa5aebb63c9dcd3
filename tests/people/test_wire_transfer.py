"""The wire transfer of the documents: a form, two signatures, a deadline, and a way back at most twice."""

from typing import Any
from uuid import UUID

import psycopg
import pytest

from tests.people.conftest import People
from tests.support.examples import WIRE_TRANSFER

FINANCE = {"roles": ["finance"]}


@pytest.fixture
def run_id(people: People) -> UUID:
    return people.ask(WIRE_TRANSFER, {"amount": 40000, "payee": "ACME"}, actor="ann")


def test_two_signatures_release_it(people: People, run_id: UUID) -> None:
    engine = people.engine
    assert people.show(people.open(run_id))["title"] == "Release 40000 to ACME"
    engine.approve(run_id, {"note": "checked", "amount": 30000}, actor="bob", **FINANCE)
    engine.approve(run_id, {"note": "me too"}, actor="eve", **FINANCE)
    engine.run()
    assert (engine.order(run_id), engine.status(run_id)) == ("draft sign_off send", "completed")
    assert engine.state(run_id) == {"amount": 30000, "payee": "ACME", "note": "me too"}
    assert people.actions(run_id) == [("bob", "vote"), ("eve", "approve")]


def test_three_rejections_end_in_expire(people: People, run_id: UUID) -> None:
    engine = people.engine
    for _ in range(3):
        engine.reject(run_id, {"retry": True}, actor="bob", comment="wrong account", **FINANCE)
        engine.run()
    assert engine.order(run_id) == "draft sign_off revise sign_off revise sign_off expire"
    assert engine.status(run_id) == "completed"


def test_a_rejection_for_good_ends_there_too(people: People, run_id: UUID) -> None:
    engine = people.engine
    engine.reject(run_id, {"retry": False}, actor="bob", **FINANCE)
    engine.run()
    assert engine.order(run_id) == "draft sign_off expire"


def test_so_does_the_deadline_after_the_chief_was_asked_as_well(people: People, run_id: UUID) -> None:
    engine = people.engine
    engine.jump("24 hours")
    people.tick()
    assert engine.approvals(run_id)[0]["assignees"] == ["role:finance", "role:cfo"]
    engine.approve(run_id, {"note": "fine"}, actor="carl", roles=["cfo"])
    engine.jump("24 hours")
    with pytest.raises(psycopg.Error, match="too late"):
        engine.approve(run_id, {"note": "fine"}, actor="bob", **FINANCE)
    people.tick()
    engine.run()
    assert [h["node"] for h in engine.history(run_id) if h["kind"] in ("step_completed", "step_expired")] == [
        "draft",
        "sign_off",
        "expire",
    ]


@pytest.mark.parametrize(
    ("data", "options", "why"),
    [
        ({"note": "mine"}, {"actor": "ann", "roles": ["finance"]}, "ann started run"),
        ({"note": "mine"}, {"actor": "bob", "roles": ["sales"]}, "not asked"),
        ({"note": "mine"}, {"actor": "carl", "roles": ["cfo"]}, "not asked"),
        ({}, {"actor": "bob", "roles": ["finance"]}, "does not fit the form"),
        ({"note": "", "amount": 50001}, {"actor": "bob", "roles": ["finance"]}, "does not fit the form"),
    ],
)
def test_what_is_not_as_the_graph_says_is_refused(
    people: People, run_id: UUID, data: Any, options: Any, why: str
) -> None:
    with pytest.raises(psycopg.Error, match=why):
        people.engine.approve(run_id, data, **options)
    assert people.show(people.open(run_id))["votes"] == []
