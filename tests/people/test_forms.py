"""What people fill in: checked before it counts, and only what the form names reaches the state."""

import json
from typing import Any

import psycopg
import pytest

from tests.people.conftest import People
from tests.support.engine import definition

FORM = {
    "type": "object",
    "properties": {
        "amount": {"type": "number", "maximum": 50000},
        "note": {"type": "string", "minLength": 1},
    },
    "required": ["note"],
}
OK: dict[str, Any] = {"id": "ok", "type": "approval", "form": FORM}


def asking(**more: Any) -> dict[str, Any]:
    return definition([OK | more, "b", "c"], ["ok>b", ("ok>c", {"on": "rejected"})])


def test_what_the_form_names_is_merged_into_the_state(people: People) -> None:
    run_id = people.ask(asking(), {"amount": 10, "payee": "ACME"})
    people.engine.approve(run_id, {"amount": 20, "note": "less", "payee": "me", "admin": True})
    assert people.engine.state(run_id) == {"amount": 20, "note": "less", "payee": "ACME"}


def test_with_into_it_is_put_under_that_key(people: People) -> None:
    run_id = people.ask(asking(into="sign_off"), {"amount": 10})
    people.engine.approve(run_id, {"note": "fine", "other": 1})
    assert people.engine.state(run_id) == {"amount": 10, "sign_off": {"note": "fine"}}


def test_data_that_does_not_fit_is_refused_with_everything_that_is_wrong(people: People) -> None:
    run_id = people.ask(asking())
    with pytest.raises(psycopg.Error, match=r"does not fit the form of ok: .*and 1 more") as caught:
        people.engine.approve(run_id, {"amount": 60000})
    assert caught.value.sqlstate == "OR006"
    problems = json.loads(caught.value.diag.message_detail or "")
    assert {(p["path"], p["code"]) for p in problems} == {
        ("/data/note", "required"),
        ("/data/amount", "maximum"),
    }
    assert people.engine.status(run_id) == "awaiting_approval"
    assert people.actions(run_id) == []


def test_a_form_with_required_properties_cannot_be_approved_without_data(people: People) -> None:
    run_id = people.ask(asking())
    with pytest.raises(psycopg.Error, match='"note" is missing'):
        people.engine.approve(run_id)
    assert people.engine.status(run_id) == "awaiting_approval"


def test_a_form_that_requires_nothing_can_be(people: People) -> None:
    run_id = people.ask(asking(form={"type": "object", "properties": {"note": {"type": "string"}}}), {"n": 1})
    people.engine.approve(run_id)
    assert people.engine.state(run_id) == {"n": 1}


def test_a_rejection_need_not_fit_the_form_and_writes_nothing(people: People) -> None:
    run_id = people.ask(asking(), {"amount": 10})
    people.engine.reject(run_id, {"retry": True, "amount": 99999}, comment="too much")
    people.engine.run()
    assert people.engine.order(run_id) == "ok c"
    assert people.engine.state(run_id) == {"amount": 10}


def test_conditions_read_all_of_the_data(people: People) -> None:
    edges = [("ok>b", {"condition": "$decision.express == true && $.amount == 7"}), "ok>c"]
    run_id = people.ask(definition([OK, "b", "c"], edges))
    people.engine.approve(run_id, {"note": "fine", "amount": 7, "express": True})
    people.engine.run()
    assert people.engine.order(run_id) == "ok b"


def test_the_form_is_asked_with_the_question(people: People) -> None:
    run_id = people.ask(asking(title="Pay?", assignees=["user:ann"]))
    [shown] = people.engine.value("select pgorch.run_document(%s)", run_id)["approvals"]
    assert (shown["title"], shown["form"], shown["assignees"]) == ("Pay?", FORM, ["user:ann"])
    assert people.show(people.open(run_id))["form"] == FORM


def test_in_a_graph_with_forks_two_forms_that_write_one_key_conflict(people: People) -> None:
    nodes = ["a", OK | {"id": "x"}, OK | {"id": "y"}, "z"]
    run_id = people.ask(definition(nodes, ["a>x", "a>y", "x>z", "y>z"]))
    for approval in people.engine.approvals(run_id):
        people.engine.approve(run_id, {"note": "fine"}, approval_id=approval["id"])
    assert people.engine.error(run_id)["type"] == "StateConflict"


@pytest.mark.parametrize("name", ["approved_by", "comment", "by", "decision"])
def test_data_cannot_say_what_pgorch_says_of_the_decision(people: People, name: str) -> None:
    ok = {"id": "ok", "type": "approval"}
    edges: list[Any] = [("ok>b", {"condition": f'exists($decision.{name}[*] ? (@ == "boss"))'}), "ok>c"]
    run_id = people.ask(definition([ok, "b", "c"], edges))
    people.engine.approve(run_id, {name: ["boss"], "mine": 1}, actor="intern")
    assert [step["node"] for step in people.engine.live(run_id)] == ["c"]
    taken = people.engine.rows("select * from pgorch.explain(%s, 'ok')", run_id)
    assert [row["target"] for row in taken if row["taken"]] == ["c"]
