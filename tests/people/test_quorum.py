"""Where several people must approve."""

import concurrent.futures
from typing import Any

import psycopg
import pytest

from tests.people.conftest import People
from tests.support.engine import Engine, definition
from tests.support.races import open_connection


def asking(**more: Any) -> dict[str, Any]:
    node = {"id": "ok", "type": "approval", "quorum": 2, **more}
    return definition([node, "b", "c"], ["ok>b", ("ok>c", {"on": "rejected"})])


def test_the_run_goes_on_when_so_many_have_approved(people: People) -> None:
    run_id = people.ask(asking())
    people.engine.approve(run_id, actor="ann")
    assert people.engine.status(run_id) == "awaiting_approval"
    people.engine.approve(run_id, actor="bob")
    people.engine.run()
    assert people.engine.order(run_id) == "ok b"
    assert people.actions(run_id) == [("ann", "vote"), ("bob", "approve")]


def test_votes_are_shown_and_remembered(people: People) -> None:
    run_id = people.ask(asking(into="sign_off"))
    approval_id = people.engine.approve(run_id, {"n": 1}, actor="ann", comment="fine")
    [vote] = people.show(approval_id)["votes"]
    assert (vote["by"], vote["data"], vote["comment"]) == ("ann", {"n": 1}, "fine")
    [shown] = people.engine.value("select pgorch.run_document(%s)", run_id)["approvals"]
    assert (shown["quorum"], [v["by"] for v in shown["votes"]]) == (2, ["ann"])
    [voted] = [h for h in people.engine.history(run_id) if h["kind"] == "approval_voted"]
    assert (voted["actor"], voted["output"]["votes"], voted["output"]["quorum"]) == ("ann", 1, 2)
    people.engine.approve(run_id, actor="bob")
    assert people.engine.state(run_id)["sign_off"]["approved_by"] == ["ann", "bob"]


def test_one_person_does_not_count_twice(people: People) -> None:
    run_id = people.ask(asking())
    people.engine.approve(run_id, actor="ann")
    with pytest.raises(psycopg.Error, match="ann has approved ok already: 1 of 2") as caught:
        people.engine.approve(run_id, actor="ann")
    assert caught.value.sqlstate == "OR002"
    assert people.engine.status(run_id) == "awaiting_approval"


def test_one_rejection_decides(people: People) -> None:
    run_id = people.ask(asking(quorum=3))
    people.engine.approve(run_id, actor="ann")
    people.engine.reject(run_id, actor="bob")
    people.engine.run()
    assert people.engine.order(run_id) == "ok c"


def test_what_a_later_one_gives_goes_over_what_an_earlier_one_gave(people: People) -> None:
    form = {"type": "object", "properties": {p: {} for p in "abc"}}
    run_id = people.ask(asking(form=form), {"a": 0, "d": 0})
    people.engine.approve(run_id, {"a": 1, "b": 1, "d": 1}, actor="ann")
    assert people.engine.state(run_id) == {"a": 0, "d": 0}
    people.engine.approve(run_id, {"b": 2, "c": 2}, actor="bob")
    assert people.engine.state(run_id) == {"a": 1, "b": 2, "c": 2, "d": 0}


def test_each_approval_must_fit_the_form(people: People) -> None:
    run_id = people.ask(asking(form={"required": ["note"], "properties": {"note": {"type": "string"}}}))
    people.engine.approve(run_id, {"note": "fine"}, actor="ann")
    with pytest.raises(psycopg.Error, match="does not fit the form"):
        people.engine.approve(run_id, actor="bob")
    assert len(people.show(people.open(run_id))["votes"]) == 1


def test_what_they_give_together_must_fit_it_too(people: People) -> None:
    form = {"properties": {"a": {}, "b": {}}, "oneOf": [{"required": ["a"]}, {"required": ["b"]}]}
    run_id = people.ask(asking(form=form))
    people.engine.approve(run_id, {"a": 1}, actor="ann")
    with pytest.raises(psycopg.Error, match="does not fit the form"):
        people.engine.approve(run_id, {"b": 1}, actor="bob")
    people.engine.approve(run_id, {"a": 2}, actor="bob")
    assert people.engine.state(run_id) == {"a": 2}


def test_a_late_decision_names_all_who_approved(people: People) -> None:
    run_id = people.ask(asking())
    people.engine.approve(run_id, actor="ann")
    people.engine.approve(run_id, actor="bob")
    with pytest.raises(psycopg.Error, match="was approved by ann, bob at"):
        people.engine.reject(run_id, actor="eve")


def test_of_fifty_deciders_at_once_the_first_two_approve(people: People, database: str) -> None:
    run_id = people.ask(asking())

    def decide(n: int) -> str | None:
        with open_connection(database) as connection:
            try:
                Engine(connection).approve(run_id, actor=f"person{n}")
            except psycopg.Error as problem:
                return problem.sqlstate
            return "counted"

    with concurrent.futures.ThreadPoolExecutor(50) as pool:
        answers = sorted(str(a) for a in pool.map(decide, range(50)))
    assert answers == ["OR002"] * 48 + ["counted"] * 2
    assert len(people.engine.approvals(run_id)[0]["data"] or {}) == 0
    assert people.engine.value("select count(*) from pgorch.votes") == 2


@pytest.mark.parametrize("reject", [False, True])
def test_of_fifty_at_once_one_wins_and_is_named(people: People, database: str, reject: bool) -> None:
    run_id = people.ask(asking(quorum=1))

    def decide(n: int) -> str:
        with open_connection(database) as connection:
            try:
                Engine(connection).decide(
                    run_id, "rejected" if reject and n % 2 else "approved", actor=f"person{n}"
                )
            except psycopg.Error as problem:
                return str(problem.diag.message_primary)
            return f"person{n}"

    with concurrent.futures.ThreadPoolExecutor(50) as pool:
        answers = list(pool.map(decide, range(50)))
    winner = people.engine.approvals(run_id)[0]["decided_by"]
    assert answers.count(winner) == 1
    assert sum(f"by {winner} at" in answer for answer in answers) == 49
