"""The examples of the graph language do what is promised of them."""

from typing import Any

import pytest

from tests.support.engine import Engine, Fails, Step, definition

DATA_QUALITY: dict[str, Any] = {
    "name": "data_quality",
    "nodes": [
        {"id": "profile", "function": "profile_data"},
        {
            "id": "clean",
            "function": "clean_data",
            "retry": {"max_attempts": 3, "initial_interval": "2 seconds", "backoff_factor": 2},
        },
        {"id": "publish", "function": "finish_pipeline"},
        {"id": "quarantine", "function": "quarantine_data"},
    ],
    "edges": [
        {"source": "profile", "target": "publish", "condition": "$.quality >= 0.95"},
        {"source": "profile", "target": "clean", "condition": "$.quality < 0.95", "limit": 3},
        {"source": "profile", "target": "quarantine"},
        {"source": "clean", "target": "profile"},
    ],
    "start_node": "profile",
}

ROUTE_TICKET: dict[str, Any] = {
    "name": "route_ticket",
    "nodes": [
        {"id": "classify", "function": "classify"},
        {
            "id": "refund",
            "function": "issue_refund",
            "input": {"amount": "${$.amount}", "order": "${$input.order_id}"},
        },
        {"id": "answer", "function": "draft_answer"},
        {"id": "notify", "function": "notify_customer"},
    ],
    "edges": [
        {"source": "classify", "target": "refund", "condition": '$.intent == "refund" && $.amount <= 100'},
        {"source": "classify", "target": "answer", "label": "otherwise"},
        {"source": "refund", "target": "notify"},
        {"source": "answer", "target": "notify"},
    ],
    "start_node": "classify",
}

WIRE_TRANSFER: dict[str, Any] = {
    "name": "wire_transfer",
    "nodes": [
        {"id": "draft", "function": "draft_transfer"},
        {
            "id": "sign_off",
            "type": "approval",
            "title": "Release ${$.amount} to ${$.payee}",
            "show": {"amount": "${$.amount}", "payee": "${$.payee}"},
        },
        {"id": "send", "function": "send_wire"},
        {"id": "revise", "function": "revise_transfer"},
        {"id": "expire", "function": "cancel_transfer"},
    ],
    "edges": [
        {"source": "draft", "target": "sign_off"},
        {"source": "sign_off", "target": "send", "on": "approved"},
        {
            "source": "sign_off",
            "target": "revise",
            "on": "rejected",
            "condition": "$decision.retry == true",
            "limit": 2,
        },
        {"source": "sign_off", "target": "expire", "on": "rejected"},
        {"source": "revise", "target": "sign_off"},
    ],
    "start_node": "draft",
}

BOOK_TRIP: dict[str, Any] = {
    "name": "book_trip",
    "nodes": [
        {"id": "flight", "function": "book_flight"},
        {"id": "hotel", "function": "book_hotel"},
        {
            "id": "pay",
            "function": "charge_card",
            "retry": {"max_attempts": 4, "initial_interval": "1 second", "non_retryable": ["CardDeclined"]},
        },
        {"id": "ticket", "function": "issue_ticket"},
        {"id": "other_card", "function": "ask_other_card"},
    ],
    "edges": [
        {"source": "flight", "target": "hotel"},
        {"source": "hotel", "target": "pay"},
        {"source": "pay", "target": "ticket"},
        {
            "source": "pay",
            "target": "other_card",
            "on": "error",
            "condition": '$error.type == "CardDeclined"',
            "limit": 1,
        },
        {"source": "other_card", "target": "pay"},
    ],
    "start_node": "flight",
}


@pytest.mark.parametrize(
    ("qualities", "expected"),
    [
        ([0.97], "profile publish"),
        ([0.5, 0.96], "profile clean profile publish"),
        ([0.1, 0.1, 0.1, 0.1], "profile clean profile clean profile clean profile quarantine"),
    ],
)
def test_data_quality(engine: Engine, qualities: list[float], expected: str) -> None:
    run_id = engine.start(DATA_QUALITY)
    measured = iter(qualities)
    engine.run({"profile_data": lambda _: {"quality": next(measured)}})
    assert engine.order(run_id) == expected
    assert engine.status(run_id) == "completed"


def test_route_ticket_refunds_a_small_amount(engine: Engine) -> None:
    arguments = []

    def issue_refund(step: Step) -> dict[str, bool]:
        arguments.append(step.argument)
        return {"refunded": True}

    run_id = engine.start(ROUTE_TICKET, {"order_id": 7, "amount": 50})
    engine.run({"classify": {"intent": "refund"}, "issue_refund": issue_refund})
    assert engine.order(run_id) == "classify refund notify"
    assert arguments == [{"amount": 50, "order": 7}]


@pytest.mark.parametrize(("intent", "amount"), [("refund", 101), ("question", 5)])
def test_route_ticket_answers_everything_else(engine: Engine, intent: str, amount: int) -> None:
    run_id = engine.start(ROUTE_TICKET, {"order_id": 7, "amount": amount})
    engine.run({"classify": {"intent": intent}})
    assert engine.order(run_id) == "classify answer notify"


def test_route_ticket_fails_for_an_amount_that_is_text(engine: Engine) -> None:
    run_id = engine.start(ROUTE_TICKET, {"order_id": 7, "amount": "50"})
    engine.run({"classify": {"intent": "refund"}})
    assert engine.status(run_id) == "failed"
    assert engine.error(run_id)["type"] == "ConditionUnknown"


def test_wire_transfer_is_sent_when_approved(engine: Engine) -> None:
    run_id = engine.start(WIRE_TRANSFER, {"amount": 500, "payee": "ACME"})
    engine.run()
    [approval] = engine.approvals(run_id)
    assert approval["title"] == "Release 500 to ACME"
    assert approval["show"] == {"amount": 500, "payee": "ACME"}
    engine.approve(run_id)
    engine.run()
    assert engine.order(run_id) == "draft sign_off send"


def test_wire_transfer_may_be_revised_twice_and_then_expires(engine: Engine) -> None:
    run_id = engine.start(WIRE_TRANSFER, {"amount": 500, "payee": "ACME"})
    for _ in range(3):
        engine.run()
        engine.reject(run_id, {"retry": True})
    engine.run()
    assert engine.order(run_id) == "draft sign_off revise sign_off revise sign_off expire"
    assert engine.status(run_id) == "completed"


def test_wire_transfer_that_is_rejected_for_good_expires(engine: Engine) -> None:
    run_id = engine.start(WIRE_TRANSFER, {"amount": 500, "payee": "ACME"})
    engine.run()
    engine.reject(run_id, {"retry": False})
    engine.run()
    assert engine.order(run_id) == "draft sign_off expire"


@pytest.mark.parametrize(
    ("declines", "expected", "status"),
    [
        (0, "flight hotel pay ticket", "completed"),
        (1, "flight hotel pay other_card pay ticket", "completed"),
        (2, "flight hotel pay other_card pay", "failed"),
    ],
)
def test_book_trip_asks_once_for_another_card(
    engine: Engine, declines: int, expected: str, status: str
) -> None:
    left = [declines]

    def charge_card(_: Step) -> dict[str, str]:
        if left[0]:
            left[0] -= 1
            raise Fails("CardDeclined", retryable=True)
        return {"paid": "yes"}

    run_id = engine.start(BOOK_TRIP)
    engine.run({"charge_card": charge_card})
    assert (engine.order(run_id), engine.status(run_id)) == (expected, status)


def test_a_plain_approval_is_a_task_of_the_function_wait_for_approval(engine: Engine) -> None:
    nodes = ["a", {"id": "ok", "function": "wait_for_approval"}, "b"]
    run_id = engine.start(definition(nodes, ["a>ok", "ok>b"]))
    engine.run()
    assert engine.status(run_id) == "awaiting_approval"
    engine.approve(run_id)
    engine.run()
    assert engine.order(run_id) == "a ok b"


def test_keys_that_editors_add_change_nothing(engine: Engine) -> None:
    graph = definition("a b", ["a>b"])
    graph["nodes"][0] |= {"position": {"x": 1, "y": 2}, "data": {"label": "A"}}
    graph["edges"][0] |= {"style": {"stroke": "red"}, "animated": True}
    run_id = engine.start(graph)
    engine.run()
    assert engine.order(run_id) == "a b"
