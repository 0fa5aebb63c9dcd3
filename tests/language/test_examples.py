"""The examples of the graph language, as they are documented, do what is promised of them."""

from collections.abc import Iterator
from typing import Any
from uuid import UUID

import psycopg
import pytest

from tests.support.engine import Engine, Fails, Step, definition
from tests.support.examples import WIRE_TRANSFER

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

RESEARCH: dict[str, Any] = {
    "name": "research",
    "nodes": [
        {"id": "plan", "function": "plan"},
        {"id": "web", "function": "search_web", "timeout": "2 minutes", "into": "web"},
        {"id": "docs", "function": "search_docs", "into": "docs"},
        {"id": "sql", "function": "query_warehouse", "into": "sql"},
        {"id": "write", "function": "write_report", "join": {"at_least": 2}},
    ],
    "edges": [
        {"source": "plan", "target": "web"},
        {"source": "plan", "target": "docs"},
        {"source": "plan", "target": "sql"},
        {"source": "web", "target": "write"},
        {"source": "docs", "target": "write"},
        {"source": "sql", "target": "write"},
    ],
    "start_node": "plan",
}

CHECK_FILES: dict[str, Any] = {
    "name": "check_files",
    "nodes": [
        {"id": "list", "function": "list_files"},
        {
            "id": "check",
            "type": "map",
            "items": "${$.files}",
            "function": "check_file",
            "concurrency": 5,
            "tolerate": 1,
            "into": "reports",
        },
        {"id": "summary", "function": "summarise"},
        {"id": "alert", "function": "alert_owner"},
    ],
    "edges": [
        {"source": "list", "target": "check"},
        {"source": "check", "target": "summary"},
        {"source": "check", "target": "alert", "on": "error"},
    ],
    "start_node": "list",
}

BOOK_TRIP: dict[str, Any] = {
    "name": "book_trip",
    "nodes": [
        {"id": "flight", "function": "book_flight", "compensate": "cancel_flight"},
        {"id": "hotel", "function": "book_hotel", "compensate": "cancel_hotel"},
        {
            "id": "pay",
            "function": "charge_card",
            "compensate": "refund_card",
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

PAID: dict[str, Any] = {
    "id": "paid",
    "type": "wait",
    "row": {"table": "shop.orders", "key": "${$input.order_id}", "condition": '$.status == "paid"'},
    "deadline": "7 days",
}

DEDUPE: dict[str, Any] = {
    "id": "dedupe",
    "sql": "select etl.dedupe($1, $2)",
    "input": ["${$.table}", "${$.keys}"],
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


@pytest.mark.parametrize("order", [("web", "docs"), ("sql", "web"), ("docs", "sql")])
def test_research_is_written_when_two_of_three_have_answered(engine: Engine, order: tuple[str, str]) -> None:
    run_id = engine.start(RESEARCH)
    engine.worker.succeed(engine.worker.claim_one("plan"), {})
    for node in order:
        assert engine.order(run_id).split()[-1] != "write"
        engine.worker.succeed(engine.worker.claim_one(node), f"from {node}")
    write = engine.worker.claim_one("write")
    assert set(write.state) == set(order)
    engine.worker.succeed(write, {"report": "done"})
    assert engine.status(run_id) == "running", "the third is still searching"
    engine.run()
    assert engine.status(run_id) == "completed"
    assert engine.order(run_id).split().count("write") == 1, "the third does not start the report again"


def test_research_without_two_answers_fails(engine: Engine) -> None:
    """Rule R2: an error without an edge for it fails the run, however many answers would still do."""
    run_id = engine.start(RESEARCH)
    engine.worker.succeed(engine.worker.claim_one("plan"), {})
    engine.worker.fail(engine.worker.claim_one("web"), retryable=False)
    assert engine.status(run_id) == "failed"


@pytest.mark.parametrize(
    ("broken", "order"),
    [((), "list check summary"), ((7,), "list check summary"), ((2, 7), "list check alert")],
)
def test_one_broken_file_is_borne_and_two_take_the_error_edge(
    engine: Engine, broken: tuple[int, ...], order: str
) -> None:
    files = [{"number": n} for n in range(12)]
    run_id = engine.start(CHECK_FILES)
    most = 0

    def check_file(step: Step) -> dict[str, Any]:
        given = step.argument
        number = int(given.get("item", given)["number"])
        if number in broken:
            raise Fails("Unreadable")
        return {"checked": number}

    def choose(at_hand: list[Step]) -> list[Step]:
        nonlocal most
        most = max(most, len(at_hand))
        return [at_hand[-1]]

    engine.run({"list_files": {"files": files}, "check_file": check_file}, choose=choose)
    assert engine.order(run_id) == order
    assert engine.status(run_id) == "completed"
    assert most == 5, "five at a time"
    if "summary" in order:
        reports = engine.state(run_id)["reports"]
        assert [r["checked"] for n, r in enumerate(reports) if n not in broken] == [
            n for n in range(12) if n not in broken
        ]
        assert len(reports) == 12


def transfer(engine: Engine) -> UUID:
    run_id = engine.start(WIRE_TRANSFER, {"amount": 500, "payee": "ACME"}, actor="clerk")
    engine.run()
    return run_id


def say(engine: Engine, run_id: UUID, who: str, decision: str, data: dict[str, Any]) -> None:
    engine.decide(run_id, decision, data, actor=who, roles=["finance"])
    engine.run()


def test_wire_transfer_is_sent_when_two_approve(engine: Engine) -> None:
    run_id = transfer(engine)
    [approval] = engine.approvals(run_id)
    assert approval["title"] == "Release 500 to ACME"
    assert approval["show"] == {"amount": 500, "payee": "ACME"}
    say(engine, run_id, "ann", "approved", {"note": "fine"})
    assert engine.order(run_id) == "draft", "one of two has approved"
    say(engine, run_id, "bob", "approved", {"note": "fine too", "amount": 400})
    assert engine.order(run_id) == "draft sign_off send"
    assert engine.state(run_id)["amount"] == 400, "the edited amount is what is sent"


@pytest.mark.parametrize(
    ("who", "roles", "data"),
    [
        ("clerk", ["finance"], {"note": "mine"}),
        ("eve", ["marketing"], {"note": "not asked"}),
        ("ann", ["finance"], {}),
        ("ann", ["finance"], {"note": "much", "amount": 60000}),
    ],
    ids=["the initiator", "another role", "without the note", "too much"],
)
def test_wire_transfer_is_not_approved_by(
    engine: Engine, who: str, roles: list[str], data: dict[str, Any]
) -> None:
    run_id = transfer(engine)
    with pytest.raises(psycopg.Error) as caught:
        engine.decide(run_id, "approved", data, actor=who, roles=roles)
    assert caught.value.sqlstate in ("OR006", "OR007")
    assert engine.status(run_id) == "awaiting_approval"


def test_wire_transfer_may_be_revised_twice_and_then_expires(engine: Engine) -> None:
    run_id = transfer(engine)
    for _ in range(3):
        say(engine, run_id, "ann", "rejected", {"retry": True})
    assert engine.order(run_id) == "draft sign_off revise sign_off revise sign_off expire"
    assert engine.status(run_id) == "completed"


def test_wire_transfer_that_is_rejected_for_good_expires(engine: Engine) -> None:
    run_id = transfer(engine)
    say(engine, run_id, "ann", "rejected", {"retry": False})
    assert engine.order(run_id) == "draft sign_off expire"


def test_wire_transfer_that_nobody_decides_expires_after_48_hours(engine: Engine) -> None:
    run_id = transfer(engine)
    pass_time(engine, "47 hours")
    assert engine.status(run_id) == "awaiting_approval"
    pass_time(engine, "61 minutes")
    engine.run()
    assert engine.order(run_id) == "draft sign_off expire"
    with pytest.raises(psycopg.Error):
        engine.decide(run_id, "approved", {"note": "late"}, actor="ann", roles=["finance"])


def pass_time(engine: Engine, by: str) -> None:
    """The clock runs ahead, and what is due is done."""
    engine.jump(by)
    for bucket in engine.buckets:
        engine.value("select pgorch.tick(%s)", bucket)
    engine.worker.enlist()


@pytest.mark.parametrize(
    ("declines", "expected", "status", "undone"),
    [
        (0, "flight hotel pay ticket", "completed", []),
        (1, "flight hotel pay other_card pay ticket", "completed", []),
        (2, "flight hotel pay other_card pay", "failed", ["cancel_hotel", "cancel_flight"]),
    ],
)
def test_book_trip_asks_once_for_another_card(
    engine: Engine, declines: int, expected: str, status: str, undone: list[str]
) -> None:
    left = [declines]
    called = []

    def charge_card(_: Step) -> dict[str, str]:
        if left[0]:
            left[0] -= 1
            raise Fails("CardDeclined", retryable=True)
        return {"paid": "yes"}

    def undo(step: Step) -> None:
        called.append(step.tool)

    run_id = engine.start(BOOK_TRIP)
    engine.run({"charge_card": charge_card, "cancel_flight": undo, "cancel_hotel": undo, "refund_card": undo})
    assert (engine.order(run_id), engine.status(run_id)) == (expected, status)
    assert called == undone


def test_book_trip_gives_the_money_back_when_there_is_no_ticket(engine: Engine) -> None:
    def issue_ticket(_: Step) -> object:
        raise Fails("SoldOut")

    run_id = engine.start(BOOK_TRIP)
    engine.run({"issue_ticket": issue_ticket})
    undone = [h["node"] for h in engine.history(run_id) if h["kind"] == "step_undone"]
    assert undone == ["pay", "hotel", "flight"]
    assert engine.error(run_id)["type"] == "SoldOut"


@pytest.fixture
def orders(engine: Engine) -> Iterator[None]:
    """shop.orders, with an order 7 that is open."""
    engine.connection.execute("create schema shop create table orders (id integer primary key, status text)")
    engine.connection.execute("insert into shop.orders values (7, 'open'), (8, 'open')")
    yield
    engine.connection.execute("drop schema shop cascade")


@pytest.mark.usefixtures("orders")
def test_a_run_waits_for_a_row_to_be_paid(engine: Engine) -> None:
    run_id = engine.start(definition([PAID, "ship"], ["paid>ship"]), {"order_id": 7})
    assert engine.status(run_id) == "waiting"
    engine.connection.execute("update shop.orders set status = 'paid' where id = 8")
    engine.connection.execute("update shop.orders set status = 'asked' where id = 7")
    assert engine.status(run_id) == "waiting"
    with engine.connection.transaction(force_rollback=True):
        engine.connection.execute("update shop.orders set status = 'paid' where id = 7")
    assert engine.status(run_id) == "waiting", "a change that is taken back wakes nobody"
    engine.connection.execute("update shop.orders set status = 'paid' where id = 7")
    assert engine.status(run_id) == "running", "with the commit of the change"
    engine.run()
    assert engine.order(run_id) == "paid ship"


@pytest.mark.usefixtures("orders")
def test_a_row_that_is_paid_already_is_not_waited_for(engine: Engine) -> None:
    engine.connection.execute("update shop.orders set status = 'paid' where id = 7")
    run_id = engine.start(definition([PAID, "ship"], ["paid>ship"]), {"order_id": 7})
    engine.run()
    assert engine.order(run_id) == "paid ship"


@pytest.mark.usefixtures("orders")
def test_a_row_that_is_never_paid_expires(engine: Engine) -> None:
    run_id = engine.start(definition([PAID, "ship"], ["paid>ship"]), {"order_id": 7})
    pass_time(engine, "8 days")
    assert (engine.status(run_id), engine.error(run_id)["type"]) == ("failed", "Expired")


def test_a_statement_may_be_a_step(engine: Engine) -> None:
    engine.connection.execute("create schema etl")
    engine.connection.execute(
        "create function etl.dedupe(p_table text, p_keys jsonb) returns jsonb language sql"
        " as $$ select jsonb_build_object('removed', jsonb_array_length(p_keys), 'from', p_table) $$"
    )
    try:
        graph = definition(["a", DEDUPE, "b"], ["a>dedupe", "dedupe>b"])
        run_id = engine.start(graph, {"table": "people", "keys": ["name", "mail"]})
        engine.worker.succeed(engine.worker.claim_one("a"), {})
        for bucket in engine.buckets:
            engine.value("select pgorch.run_sql_steps(%s)", bucket)
        engine.run()
        assert engine.order(run_id) == "a dedupe b"
        assert engine.state(run_id) | {"removed": 2, "from": "people"} == engine.state(run_id)
    finally:
        engine.connection.execute("drop schema etl cascade")


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
