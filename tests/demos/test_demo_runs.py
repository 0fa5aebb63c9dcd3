"""Transfers, trips and conversations of the demos, with their real tools, as pgorch.testing plays them."""

import json
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from demos.agent.stand_in_model import StandInModel
from demos.agent.story import COMPLAINT, REASON
from pgorch.errors import InvalidValue
from pgorch.testing import Database, approved, rejected
from pgorch.tool import load_app
from tests.demos.test_demo_graphs import definition

TRIP = {"flight": 9, "hotel": 5, "ada-1": 100, "ada-2": 5000, "bob-1": 5000, "cleo-1": 5000}
FINANCE: dict[str, Any] = {"roles": ["finance"]}


def play(db: Database, demo: str, input: dict[str, Any], **more: Any) -> Any:
    tools = load_app(f"demos.{demo}.tools")
    return db.run(definition(demo), input, **({"tools": tools} | more))


# Saga -------------------------------------------------------------------------------------------------------


def world(db: Database) -> dict[str, int]:
    rows = db.connection.execute(
        """
        select 'flight', seats::int from trips.flights union all select 'hotel', rooms from trips.hotels
        union all select number, balance::int from trips.cards
        """
    ).fetchall()
    return dict(rows)


@pytest.mark.parametrize(
    ("traveller", "price", "path", "undone", "changed"),
    [
        ("cleo", 80, "flight hotel pay", "pay hotel flight", {}),
        ("bob", 80, "flight hotel", "hotel flight", {}),
        ("ada", 80, "flight hotel pay ticket", "", {"flight": 8, "hotel": 4, "ada-1": 20}),
        ("ada", 480, "flight hotel other_card pay ticket", "", {"flight": 8, "hotel": 4, "ada-2": 4520}),
        ("ada", 9000, "flight hotel other_card", "hotel flight", {}),
    ],
)
def test_a_trip_is_booked_or_leaves_nothing_behind(
    pgorch_db: Database, traveller: str, price: int, path: str, undone: str, changed: dict[str, int]
) -> None:
    run = play(pgorch_db, "saga", {"traveller": traveller, "card": f"{traveller}-1", "price": price})
    done = [entry.node for entry in run.history if entry.kind == "step_completed"]
    assert (" ".join(done), " ".join(run.undone)) == (path, undone)
    assert run.status == ("failed" if undone else "completed")
    assert world(pgorch_db) == TRIP | changed


# Wire transfer ----------------------------------------------------------------------------------------------


def transfer(db: Database, *decisions: Any) -> Any:
    return play(db, "wire_transfer", {"invoice": 4711}, actor="drew", decisions={"sign_off": list(decisions)})


def sent(db: Database) -> list[float]:
    rows = db.connection.execute("select amount::float from transfers.sent").fetchall()
    return [row[0] for row in rows]


AGAIN = rejected({"retry": True, "amount": 4120.55}, comment="The comma slipped.", by="ada", **FINANCE)


def test_a_transfer_is_put_right_and_released_by_two(pgorch_db: Database) -> None:
    signatures = [approved({"note": "ok"}, by=who, **FINANCE) for who in ("ada", "carol")]
    run = transfer(pgorch_db, AGAIN, *signatures)
    assert run.path == ["draft", "sign_off", "revise", "sign_off", "send"]
    assert (run.state["revised"], sent(pgorch_db)) == ("The comma slipped.", [4120.55])


def test_a_third_rejection_cancels_the_transfer(pgorch_db: Database) -> None:
    run = transfer(pgorch_db, AGAIN, AGAIN, AGAIN)
    assert run.path == ["draft", *["sign_off", "revise"] * 2, "sign_off", "expire"]
    assert (run.state["outcome"], sent(pgorch_db)) == ("cancelled", [])


def test_a_transfer_that_nobody_decides_is_cancelled_after_48_hours(pgorch_db: Database) -> None:
    run = transfer(pgorch_db)
    run.advance_clock("47 hours")
    assert run.status == "awaiting_approval"
    run.advance_clock("2 hours")
    assert (run.path, run.state["outcome"]) == (["draft", "sign_off", "expire"], "cancelled")


# Agent ------------------------------------------------------------------------------------------------------


@pytest.fixture
def model(monkeypatch: pytest.MonkeyPatch, pgorch_dsn: str) -> Iterator[StandInModel]:
    model = StandInModel()
    model.start()
    monkeypatch.setenv("PGORCH_AGENT_URL", model.address)
    monkeypatch.setenv("PGORCH_DSN", pgorch_dsn)
    yield model
    model.stop()


def talk(db: Database, **more: Any) -> Any:
    return play(db, "agent", {"messages": [{"role": "user", "content": COMPLAINT}]}, **more)


def refunds(db: Database) -> list[float]:
    rows = db.connection.execute("select amount::float from agent.refunds").fetchall()
    return [row[0] for row in rows]


def edited(**arguments: Any) -> dict[str, Any]:
    return {"calls": [{"id": "call_3", "name": "refund", "arguments": {"number": 1042, **arguments}}]}


def test_the_agent_refunds_what_a_person_allows(pgorch_db: Database, model: StandInModel) -> None:
    run = talk(pgorch_db, decisions={"review": approved(edited(amount=89.5))})
    assert run.path == ["model", "act", "model", "review", "act", "model", "answer"]
    assert (run.status, refunds(pgorch_db)) == ("completed", [89.5])
    assert run.output == {"answer": "I am sorry. 89.50 for order 1042 are on their way to you."}
    roles = [message["role"] for message in run.state["messages"]]
    assert roles == ["user", "assistant", "tool", "tool", "assistant", "tool", "assistant"]
    assert model.turns == {1: 1, 2: 1, 3: 1}


def test_the_agent_is_told_why_it_may_not(pgorch_db: Database, model: StandInModel) -> None:
    run = talk(pgorch_db, decisions={"review": rejected(comment=REASON)})
    assert run.path == ["model", "act", "model", "review", "refuse", "model", "answer"]
    assert (run.status, refunds(pgorch_db)) == ("completed", [])
    assert REASON in run.output["answer"]


@pytest.mark.parametrize(
    ("crash", "turns", "calls"),
    [
        ("model:2", {1: 1, 2: 2, 3: 1}, {"look_up_order": 2, "refund": 1}),
        ("act:2", {1: 1, 2: 1, 3: 1}, {"look_up_order": 3, "refund": 1}),
        ("act:3", {1: 1, 2: 1, 3: 1}, {"look_up_order": 2, "refund": 2}),
    ],
)
def test_a_crash_repeats_only_the_call_that_it_cut_off(
    pgorch_db: Database, model: StandInModel, crash: str, turns: dict[int, int], calls: dict[str, int]
) -> None:
    run = talk(pgorch_db, decisions={"review": approved()}, crash_at=crash)
    assert model.turns == turns
    assert Counter(call.args["name"] for call in run.calls("call_tool")) == calls
    assert refunds(pgorch_db) == [179.0]


def test_edits_that_are_no_calls_are_refused(pgorch_db: Database, model: StandInModel) -> None:
    run = talk(pgorch_db)
    wrong: tuple[dict[str, Any], ...] = ({"calls": []}, {"calls": [{"name": "refund"}]}, {"calls": "none"})
    for data in wrong:
        with pytest.raises(InvalidValue):
            run.approve("review", data)
    assert run.status == "awaiting_approval"


@pytest.mark.parametrize(
    ("name", "arguments", "said"),
    [
        ("launch", "{}", "There is no tool launch, only look_up_order, refund."),
        ("look_up_order", '{"number": 7}', "There is no order 7."),
        ("look_up_order", '{"number": "many"}', "number"),
        ("look_up_order", "{", "unreadable"),
    ],
)
def test_a_call_that_cannot_be_made_is_answered(
    pgorch_db: Database, model: StandInModel, name: str, arguments: str, said: str
) -> None:
    wrong = {"id": "x", "function": {"name": name, "arguments": arguments}}
    answers = [
        {"role": "assistant", "content": None, "tool_calls": [wrong]},
        {"role": "assistant", "content": "I give up."},
    ]
    model.reply = lambda request: {"choices": [{"message": answers.pop(0)}]}  # type: ignore[method-assign]
    run = talk(pgorch_db)
    assert run.path == ["model", "act", "model", "answer"]
    assert said in json.loads(run.state["messages"][2]["content"])["error"]


def test_a_model_that_never_ends_is_given_up_after_ten_turns(
    pgorch_db: Database, model: StandInModel
) -> None:
    call = {"id": "x", "function": {"name": "look_up_order", "arguments": '{"number": 1042}'}}
    again = {"role": "assistant", "content": None, "tool_calls": [call]}
    model.reply = lambda request: {"choices": [{"message": again}]}  # type: ignore[method-assign]
    run = talk(pgorch_db)
    assert (run.status, run.error["type"]) == ("failed", "TooManyTurns")
    assert run.path.count("act") == 10


@pytest.mark.parametrize(("code", "attempts"), [(400, 1), (503, 4)])
def test_what_a_model_refuses_is_not_asked_again_and_what_fails_is(
    pgorch_db: Database, model: StandInModel, monkeypatch: pytest.MonkeyPatch, code: int, attempts: int
) -> None:
    def fail(request: urllib.request.Request, timeout: float) -> Any:
        raise urllib.error.HTTPError(request.full_url, code, "no", {}, None)  # type: ignore[arg-type]

    monkeypatch.setattr("demos.agent.tools.urllib.request.urlopen", fail)
    run = talk(pgorch_db)
    assert run.status == "failed"
    assert f"The model answered {code}" in run.error["message"]
    assert len(run.calls("call_model")) == attempts


@pytest.mark.parametrize(
    ("path", "body", "code"), [("/completions", b"{}", 404), ("/chat/completions", b"{", 400)]
)
def test_the_stand_in_refuses_what_is_no_chat(model: StandInModel, path: str, body: bytes, code: int) -> None:
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(model.address + path, body, timeout=10)
    with refused.value as answer:
        assert (answer.code, model.turns) == (code, {})


def test_the_tables_of_the_demos_may_be_made_twice(pgorch_db: Database) -> None:
    for demo in ("saga", "wire_transfer", "agent"):
        script = (Path(__file__).parents[2] / "demos" / demo / "tables.sql").read_bytes()
        for _ in range(2):
            pgorch_db.connection.execute(script)
