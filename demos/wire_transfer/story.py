"""The wire transfer demo, told and checked."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
from psycopg.conninfo import make_conninfo

from demos.machinery import Machinery
from demos.story import Api, Refused, ask, claim, steps_of, tell, wait_for

HERE = Path(__file__).parent
ROLES = {
    "drew": ["operator", "approver", "finance"],
    "ada": ["approver", "finance"],
    "ben": ["approver"],
    "zoe": ["approver", "cfo"],
}
NOTHING_SENT: list[tuple[str, float, str]] = []


def play(machinery: Machinery, yes: bool) -> None:
    """One transfer is put right and released by two, one expires. Disproved if it goes otherwise."""
    graph = json.loads((HERE / "graph.json").read_text())
    graph_id = machinery.api.post("/graph/create", graph)["graph_id"]
    machinery.execute((HERE / "tables.sql").read_text())
    machinery.execute((HERE / "people.sql").read_text())
    tell("A transfer needs two signatures of the role finance, and not of who asked for it.")
    tell("drew, ada, ben and zoe come over HTTP, each with a key; carol is a database user in psql.")
    people = _people(machinery)

    transfer = {"graph_id": graph_id, "initial_state": {"invoice": 4711}}
    run_id = people["drew"].post("/graph/run", transfer)["run_id"]
    _check_refusals(people, run_id)
    _send_back(machinery, people["ada"], run_id)
    _sign(machinery, people, run_id)
    _sign_in_psql(machinery, run_id, yes)
    _let_expire(machinery, people, graph_id)


def _check_refusals(people: dict[str, Api], run_id: str) -> None:
    asked = _asked(people["ada"], run_id)
    claim(
        'it asks: "Release 41205.5 to Nordlicht GmbH"', asked["title"] == "Release 41205.5 to Nordlicht GmbH"
    )
    claim("drew has the role and may not decide: he started it", _refusal(people["drew"], run_id) == 403)
    claim(
        "ben may decide approvals and is not asked: he is not of finance",
        _refusal(people["ben"], run_id) == 403,
    )
    claim("ada is, but the form wants a note", _refusal(people["ada"], run_id, data={}) == 422)


def _send_back(machinery: Machinery, ada: Api, run_id: str) -> None:
    reason = {"comment": "The comma slipped.", "data": {"retry": True, "amount": 4120.55}}
    ada.post(f"/graph/resume/{run_id}", {"decision": "rejected", **reason})
    document = machinery.settled(run_id, "awaiting_approval")
    claim(
        "ada sends it back with the right amount: it is revised, and asks once more",
        steps_of(document) == ["draft", "sign_off", "revise"]
        and _asked(ada, run_id)["title"] == "Release 4120.55 to Nordlicht GmbH",
    )


def _sign(machinery: Machinery, people: dict[str, Api], run_id: str) -> None:
    approved = {"decision": "approved", "data": {"note": "matches the invoice"}}
    answer = people["ada"].post(f"/graph/resume/{run_id}", approved)
    claim(
        "ada signs. One of two: it stays open, and nothing is sent",
        answer["status"] == "open" and _sent(machinery, run_id) == NOTHING_SENT,
    )
    claim("she cannot sign twice", _refusal(people["ada"], run_id, data={"note": "once more"}) == 409)


def _sign_in_psql(machinery: Machinery, run_id: str, yes: bool) -> None:
    tell("carol signs in psql, and writes her book in the same transaction:")
    statements = [
        f"insert into transfers.book (run_id, amount) values ('{run_id}', 4120.55)",
        f"select pgorch.approve('{run_id}', '{{\"note\": \"budget is there\"}}')",
    ]
    for line in ("begin", *statements):
        tell(f"    {line};")
    with _psql(machinery, "carol") as carol:
        for statement in statements:
            carol.execute(statement.encode())
        carol.rollback()
    tell("    rollback;")
    claim(
        "rolled back: her book is empty, and the transfer is as open as before",
        _book(machinery) == [] and machinery.api.state(run_id)["status"] == "awaiting_approval",
    )
    decision: str | None = "approved"
    if not yes:
        command = (
            f"psql '{_dsn_of(machinery, 'carol')}' -c \"{statements[1].replace(chr(34), chr(92) + chr(34))}\""
        )
        decision = ask("Shall carol release it?", lambda: machinery.api.state(run_id), [command])
    if decision == "rejected":
        statements[1] = f"select pgorch.reject('{run_id}', 'Not this month.')"
    if decision:
        with _psql(machinery, "carol") as carol:
            for statement in statements:
                carol.execute(statement.encode())
            carol.commit()
        claim("committed: the decision and her row are there", _book(machinery) == [("carol", 4120.55)])
    document = machinery.settled(run_id, "completed")
    if document["state"]["outcome"] == "sent":
        final = [event for event in document["history"] if event["kind"] == "approval_decided"][-1]["output"]
        claim(
            "two signatures, two doors: ada's and carol's release it",
            final["approved_by"] == ["ada", "carol"] and steps_of(document)[-2:] == ["sign_off", "send"],
        )
        sent = [("Nordlicht GmbH", 4120.55, "budget is there")]
        claim("the money is sent once, and it is the right amount", _sent(machinery, run_id) == sent)
    else:
        claim("rejected for good: nothing is sent", _sent(machinery, run_id) == NOTHING_SENT)


def _let_expire(machinery: Machinery, people: dict[str, Api], graph_id: str) -> None:
    transfer = {"graph_id": graph_id, "initial_state": {"invoice": 4712}}
    run_id = people["drew"].post("/graph/run", transfer)["run_id"]
    asked = _asked(people["ada"], run_id)
    claim(
        "another transfer waits; zoe, the cfo, is not asked",
        _refusal(people["zoe"], run_id, data={"note": "!"}) == 403,
    )
    machinery.pass_time("25 hours")
    wait_for("A reminder goes out", lambda: "approval_reminded" in _kinds(machinery, run_id))
    answer = people["zoe"].post(
        f"/graph/resume/{run_id}", {"decision": "approved", "data": {"note": "from me"}}
    )
    claim("25 hours later it is brought to mind, and zoe may sign as well", answer["status"] == "open")
    machinery.pass_time("24 hours")
    document = machinery.settled(run_id, "completed")
    claim(
        "49 hours, one signature: the deadline has passed, and the transfer is cancelled",
        document["state"]["outcome"] == "cancelled"
        and [event["kind"] for event in document["history"] if event.get("node") == "sign_off"][-1]
        == "step_expired"
        and _sent(machinery, run_id) == NOTHING_SENT,
    )
    late = {"decision": "approved", "data": {"note": "sorry"}}
    try:
        people["ada"].post(f"/v1/approvals/{asked['approval_id']}/decide", late)
        said = ""
    except Refused as refusal:
        said = str(refusal)
    claim(
        "ada's late signature is refused, with the deadline",
        "409" in said and "before its deadline at" in said,
    )


def _people(machinery: Machinery) -> dict[str, Api]:
    keys = {
        name: machinery.rows("select key from pgorch.create_key(%s, %s::text[])", name, roles)[0]["key"]
        for name, roles in ROLES.items()
    }
    machinery.start_guarded_api()
    return {name: machinery.await_guarded_api(key) for name, key in keys.items()}


def _asked(api: Api, run_id: str) -> Any:
    """The open question of a run."""
    return wait_for(
        "The run asks",
        lambda: next((one for one in api.get("/v1/approvals")["approvals"] if one["run_id"] == run_id), None),
    )


def _refusal(api: Api, run_id: str, **more: Any) -> int:
    """The code with which an approval is refused, or 0."""
    try:
        api.post(f"/graph/resume/{run_id}", {"decision": "approved", "data": {"note": "ok"}, **more})
    except Refused as refusal:
        return refusal.code
    return 0


def _kinds(machinery: Machinery, run_id: str) -> list[str]:
    return [event["kind"] for event in machinery.api.state(run_id)["history"]]


def _sent(machinery: Machinery, run_id: str) -> list[tuple[str, float, str]]:
    rows = machinery.rows("select payee, amount, note from transfers.sent where run_id = %s", run_id)
    return [(row["payee"], float(row["amount"]), row["note"]) for row in rows]


def _book(machinery: Machinery) -> list[tuple[str, float]]:
    rows = machinery.rows("select who, amount from transfers.book")
    return [(row["who"], float(row["amount"])) for row in rows]


def _dsn_of(machinery: Machinery, user: str) -> str:
    return make_conninfo(machinery.dsn, user=user)


@contextmanager
def _psql(machinery: Machinery, user: str) -> Iterator[psycopg.Connection[Any]]:
    """A session of this database user, in a transaction."""
    connection = psycopg.connect(_dsn_of(machinery, user))
    try:
        yield connection
    finally:
        connection.close()
