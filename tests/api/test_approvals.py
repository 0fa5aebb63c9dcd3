"""Decisions by people over HTTP: who a key is decides what its bearer may decide."""

from typing import Any
from uuid import UUID

import httpx
import pytest
from starlette.applications import Starlette

from pgorch.api.app import create_app
from tests.api.driving import assert_problem, client_of, make_key
from tests.people.conftest import People
from tests.support.engine import Engine, definition
from tests.support.examples import WIRE_TRANSFER

NOWHERE = "01a20a30-7fc9-7a00-a57c-bbf704f52800"
PLAIN = definition([{"id": "ok", "type": "approval", "title": "Go on?"}])


@pytest.fixture
def people(engine: Engine) -> People:
    return People(engine)


class Callers:
    """Calls the API as somebody with some roles."""

    def __init__(self, app: Starlette, database: str) -> None:
        self._app = app
        self._database = database
        self._keys: dict[tuple[str, ...], str] = {}

    async def __call__(
        self, method: str, path: str, body: Any = None, *, name: str = "bob", roles: str = "approver finance"
    ) -> httpx.Response:
        who = (name, *roles.split())
        if who not in self._keys:
            self._keys[who] = make_key(self._database, *who[1:], principal=name)
        async with client_of(self._app, self._keys[who]) as client:
            return await client.request(method, path, json=body)


@pytest.fixture
def call(app: Starlette, database: str) -> Callers:
    return Callers(app, database)


@pytest.fixture
def run_id(people: People) -> UUID:
    """A wire transfer of ann's that waits for two signatures."""
    return people.ask(WIRE_TRANSFER, {"amount": 40000, "payee": "ACME"}, actor="ann")


async def inbox(call: Callers, query: str = "", **who: str) -> list[str]:
    answer = await call("GET", f"/v1/approvals{query}", **who)
    assert answer.status_code == 200, answer.text
    return [approval["title"] for approval in answer.json()["approvals"]]


async def test_a_transfer_is_signed_by_two_who_have_the_role(
    call: Callers, people: People, run_id: UUID
) -> None:
    path = f"/v1/approvals/{people.open(run_id)}"
    shown = (await call("GET", path)).json()
    assert shown["form"]["required"] == ["note"]
    assert (shown["assignees"], shown["quorum"], shown["votes"]) == (["role:finance"], 2, [])

    first = await call("POST", f"{path}/decide", {"decision": "approved", "data": {"note": "ok"}})
    assert first.status_code == 200, first.text
    assert (first.json()["status"], first.json()["missing"]) == ("open", 1)
    again = await call("POST", f"{path}/decide", {"decision": "approved", "data": {"note": "ok"}})
    assert "bob has approved sign_off already" in assert_problem(again, 409, "wrong-state")["detail"]

    body = {"decision": "approved", "data": {"note": "me too", "amount": 3, "payee": "me"}}
    second = await call("POST", f"/graph/resume/{run_id}", body, name="eve")
    assert (second.json()["status"], second.json()["missing"]) == ("approved", 0)
    people.engine.run()
    assert people.engine.order(run_id) == "draft sign_off send"
    assert people.engine.state(run_id) == {"amount": 3, "payee": "ACME", "note": "me too"}
    assert people.actions(run_id) == [("bob", "vote"), ("eve", "approve")]
    shown = (await call("GET", path)).json()
    assert (shown["status"], [vote["by"] for vote in shown["votes"]]) == ("approved", ["bob", "eve"])


async def test_data_that_does_not_fit_the_form_is_told_with_pointers_into_the_body(
    call: Callers, people: People, run_id: UUID
) -> None:
    for path in (f"/v1/approvals/{people.open(run_id)}/decide", f"/graph/resume/{run_id}"):
        answer = await call("POST", path, {"decision": "approved", "data": {"amount": 50001}})
        problem = assert_problem(answer, 422, "invalid-value")
        assert [(e["pointer"], e["code"]) for e in problem["errors"]] == [
            ("/data/note", "required"),
            ("/data/amount", "maximum"),
        ]
    # Without a body nothing is given for the form either.
    assert_problem(await call("POST", f"/graph/resume/{run_id}"), 422, "invalid-value")
    assert people.show(people.open(run_id))["votes"] == []


async def test_who_is_not_asked_or_started_the_run_may_not_decide(
    call: Callers, people: People, run_id: UUID
) -> None:
    path = f"/v1/approvals/{people.open(run_id)}/decide"
    body = {"decision": "approved", "data": {"note": "ok"}}
    for name, roles, why in (
        ("carl", "approver", "carl is not asked"),
        ("carl", "admin", "carl is not asked"),
        ("finance", "approver", "finance is not asked"),
        ("ann", "approver finance", "ann started run"),
    ):
        answer = await call("POST", path, body, name=name, roles=roles)
        assert why in assert_problem(answer, 403, "not-allowed")["detail"]
    assert people.engine.status(run_id) == "awaiting_approval"


async def test_nobody_says_in_a_request_who_he_is(call: Callers, people: People, run_id: UUID) -> None:
    path = f"/v1/approvals/{people.open(run_id)}"
    for member in ("actor", "roles", "by", "assignees"):
        body = {"decision": "approved", "data": {"note": "ok"}, member: ["finance"]}
        assert_problem(await call("POST", f"{path}/decide", body), 422, "invalid-value")
    body = {"comment": "hello", "actor": "ann"}
    assert_problem(await call("POST", f"{path}/comment", body), 422, "invalid-value")


async def test_the_inbox_shows_what_waits_for_the_caller(call: Callers, people: People) -> None:
    def ask(title: str, **more: Any) -> UUID:
        node = {"id": "ok", "type": "approval", "title": title, **more}
        return people.ask(definition([node], name=title), actor="ann")

    ask("finance", assignees=["role:finance"], deadline="2 days")
    ask("bob", assignees=["user:bob", "user:ann"], deadline="1 day")
    ask("anybody", quorum=2)
    ask("not ann", exclude_initiator=True)
    everything = ["finance", "bob", "anybody", "not ann"]
    assert await inbox(call) == everything
    assert await inbox(call, "?mine=true") == everything
    assert await inbox(call, "?mine=true", roles="approver") == ["bob", "anybody", "not ann"]
    assert await inbox(call, "?mine=true", name="ann", roles="approver") == ["bob", "anybody"]
    assert await inbox(call, "?mine=false", name="ann", roles="approver") == everything
    assert await inbox(call, "?assignee=user:ann") == ["bob"]
    assert await inbox(call, "?assignee=role:finance&graph=bob") == []
    assert await inbox(call, "?graph=finance") == ["finance"]
    assert await inbox(call, "?overdue=true") == []
    people.engine.jump("1 day")
    assert await inbox(call, "?overdue=true") == ["bob"]
    approvals = (await call("GET", "/v1/approvals?graph=anybody")).json()["approvals"]
    await call("POST", f"/v1/approvals/{approvals[0]['approval_id']}/decide", {"decision": "approved"})
    assert await inbox(call, "?mine=true&graph=anybody") == []
    assert await inbox(call, "?mine=true&graph=anybody", name="eve") == ["anybody"]
    for query in ("?mine=yes", "?overdue=1", "?assigne=user:bob"):
        assert_problem(await call("GET", f"/v1/approvals{query}"), 422, "invalid-value")


async def test_an_approval_is_passed_on_and_commented(call: Callers, people: People, run_id: UUID) -> None:
    path = f"/v1/approvals/{people.open(run_id)}"
    commented = await call("POST", f"{path}/comment", {"comment": "Which account?"}, roles="operator")
    assert commented.json() == {"approval_id": str(people.open(run_id))}
    body = {"assignees": ["user:carl", "user:dora"], "comment": "on holiday"}
    assert_problem(
        await call("POST", f"{path}/reassign", body, name="eve", roles="approver"), 403, "not-allowed"
    )
    assert (await call("POST", f"{path}/reassign", body)).status_code == 200
    events = (await call("GET", path)).json()["events"]
    assert [(e["kind"], e.get("actor")) for e in events] == [
        ("approval_requested", None),
        ("approval_commented", "bob"),
        ("approval_reassigned", "bob"),
    ]
    assert (await call("GET", path)).json()["assignees"] == ["user:carl", "user:dora"]
    assert people.actions(run_id) == [("bob", "comment"), ("bob", "reassign")]
    operator = await call("POST", f"{path}/reassign", {"assignees": ["role:x"]}, name="o", roles="operator")
    assert operator.status_code == 200
    for assignees in ([], ["carl"], None):
        answer = await call("POST", f"{path}/reassign", {"assignees": assignees}, roles="operator")
        assert_problem(answer, 422, "invalid-value")
    assert_problem(await call("POST", f"{path}/comment", {"comment": ""}), 422, "invalid-value")


async def test_too_late_is_told(call: Callers, people: People, run_id: UUID) -> None:
    people.engine.jump("48 hours")
    answer = await call("POST", f"/graph/resume/{run_id}", {"decision": "approved", "data": {"note": "ok"}})
    assert "too late" in assert_problem(answer, 409, "wrong-state")["detail"]


async def test_an_approval_of_another_run_is_refused(call: Callers, people: People) -> None:
    graph = people.engine.graph(PLAIN)
    mine, other = people.engine.start(graph, bucket=0), people.engine.start(graph, bucket=0)
    body = {"decision": "approved", "approval_id": str(people.open(other))}
    answer = await call("POST", f"/v1/runs/{mine}/decide", body)
    assert "belongs to another run" in assert_problem(answer, 404, "not-found")["detail"]


async def test_what_does_not_exist_is_not_found(call: Callers) -> None:
    path = f"/v1/approvals/{NOWHERE}"
    for method, each, body in (
        ("GET", path, None),
        ("POST", f"{path}/decide", {"decision": "approved"}),
        ("POST", f"{path}/reassign", {"assignees": ["user:x"]}),
        ("POST", f"{path}/comment", {"comment": "x"}),
    ):
        assert_problem(await call(method, each, body, roles="admin"), 404, "not-found")


async def test_without_keys_the_caller_is_the_user_of_the_database(people: People, database: str) -> None:
    user = people.engine.value("select session_user::text")
    yes = people.ask(definition([{"id": "ok", "type": "approval", "assignees": [f"user:{user}"]}]))
    no = people.ask(definition([{"id": "ok", "type": "approval", "assignees": ["user:bob"]}]))
    app = create_app(database, no_auth=True)
    async with app.router.lifespan_context(app), client_of(app) as client:
        mine = (await client.get("/v1/approvals?mine=true")).json()["approvals"]
        assert [approval["run_id"] for approval in mine] == [str(yes)]
        assert (await client.post(f"/graph/resume/{yes}")).status_code == 200
        assert_problem(await client.post(f"/graph/resume/{no}"), 403, "not-allowed")


async def test_who_may_not_decide_has_nothing_in_his_own_inbox(call: Callers, people: People) -> None:
    people.ask(definition([{"id": "ok", "type": "approval", "title": "anybody"}]))
    for roles in ("viewer", "operator"):
        assert await inbox(call, "?mine=true", roles=roles) == []
        assert await inbox(call, "", roles=roles) == ["anybody"]
    assert await inbox(call, "?mine=true", roles="admin") == ["anybody"]


@pytest.mark.parametrize("more", [{"quorum": 2}, {"form": {"type": "object"}}])
async def test_a_request_without_body_is_no_vote(call: Callers, people: People, more: dict[str, Any]) -> None:
    run_id = people.ask(definition([{"id": "ok", "type": "approval", **more}]))
    problem = assert_problem(await call("POST", f"/graph/resume/{run_id}"), 422, "invalid-value")
    assert "no plain approval" in problem["detail"]
    assert people.actions(run_id) == []
    answer = await call("POST", f"/graph/resume/{run_id}", {"decision": "approved"})
    assert answer.status_code == 200
