"""Decisions by people."""

import concurrent.futures
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest

from tests.support.engine import Engine, definition
from tests.support.races import open_connection

OK = {"id": "ok", "type": "approval"}
PLAIN = definition(["a", OK, "b", "c"], ["a>ok", "ok>b", ("ok>c", {"on": "rejected"})])


def waiting(engine: Engine, graph: Any = PLAIN, input: Any = None) -> UUID:
    run_id = engine.start(graph, input)
    engine.run()
    assert engine.status(run_id) == "awaiting_approval"
    return run_id


def test_an_approval_takes_the_edges_of_success(engine: Engine) -> None:
    run_id = waiting(engine)
    engine.approve(run_id)
    engine.run()
    assert (engine.order(run_id), engine.status(run_id)) == ("a ok b", "completed")


def test_a_rejection_takes_the_edges_for_rejected(engine: Engine) -> None:
    run_id = waiting(engine)
    engine.reject(run_id)
    engine.run()
    assert (engine.order(run_id), engine.status(run_id)) == ("a ok c", "completed")


def test_a_rejection_without_such_an_edge_fails_the_run(engine: Engine) -> None:
    run_id = waiting(engine, definition([OK, "b"], ["ok>b"]))
    engine.reject(run_id)
    assert engine.status(run_id) == "failed"
    assert engine.error(run_id)["type"] == "Rejected"


def test_edges_named_approved_are_those_of_success(engine: Engine) -> None:
    run_id = waiting(engine, definition([OK, "b"], [("ok>b", {"on": "approved"})]))
    engine.approve(run_id)
    engine.run()
    assert engine.order(run_id) == "ok b"


@pytest.mark.parametrize("decision", ["approved", "rejected"])
def test_an_edge_for_always_follows_any_decision(engine: Engine, decision: str) -> None:
    run_id = waiting(engine, definition([OK, "b"], [("ok>b", {"on": "always"})]))
    engine.decide(run_id, decision)
    engine.run()
    assert engine.order(run_id) == "ok b"


def test_a_waiting_run_holds_no_step_that_a_worker_could_take(engine: Engine) -> None:
    run_id = waiting(engine)
    assert engine.worker.claim(9) == []
    [step] = engine.live(run_id)
    assert (step["kind"], step["status"], step["worker_id"]) == ("approval", "waiting", None)


def test_a_decision_is_kept_with_its_actor_data_and_comment(engine: Engine) -> None:
    run_id = waiting(engine)
    approval_id = engine.approve(run_id, {"amount": 5}, comment="fine")
    [approval] = engine.approvals(run_id)
    user = engine.value("select session_user::text")
    assert (approval["id"], approval["status"], approval["decided_by"]) == (approval_id, "approved", user)
    assert (approval["data"], approval["comment"]) == ({"amount": 5}, "fine")
    [decided] = [h for h in engine.history(run_id) if h["kind"] == "approval_decided"]
    assert decided["actor"] == user
    assert decided["output"]["decision"] == "approved"


def test_the_owner_of_the_schema_may_decide_for_somebody_else(engine: Engine) -> None:
    run_id = waiting(engine)
    engine.approve(run_id, actor="ann@example.com")
    assert engine.approvals(run_id)[0]["decided_by"] == "ann@example.com"


def test_anybody_else_may_not(engine: Engine) -> None:
    run_id = waiting(engine)
    role = f"somebody_{uuid4().hex[:8]}"
    engine.connection.execute(f"create role {role}".encode())
    try:
        engine.connection.execute(f"grant usage on schema pgorch to {role}".encode())
        engine.connection.execute(
            f"grant select, insert, update, delete on all tables in schema pgorch to {role}".encode()
        )
        engine.connection.execute(f"set session authorization {role}".encode())
        with pytest.raises(psycopg.Error, match="may not act as") as caught:
            engine.approve(run_id, actor="ann@example.com")
        assert caught.value.sqlstate == "OR007"
        engine.connection.execute("reset session authorization")
    finally:
        engine.connection.execute("reset session authorization")
        engine.connection.execute(f"drop owned by {role}".encode())
        engine.connection.execute(f"drop role {role}".encode())
    assert engine.status(run_id) == "awaiting_approval"


def test_conditions_read_the_decision_and_its_data(engine: Engine) -> None:
    edges = [
        ("ok>b", {"condition": '$decision.urgent == true && $decision.decision == "approved"'}),
        "ok>c",
    ]
    graph = engine.graph(definition([OK, "b", "c"], edges))
    urgent, other = waiting(engine, graph), waiting(engine, graph)
    engine.approve(urgent, {"urgent": True})
    engine.approve(other)
    engine.run()
    assert (engine.order(urgent), engine.order(other)) == ("ok b", "ok c")


def test_the_data_cannot_pretend_to_be_the_decision(engine: Engine) -> None:
    edges = [("ok>b", {"on": "rejected", "condition": '$decision.decision == "approved"'})]
    run_id = waiting(engine, definition([OK, "b", "c"], [*edges, ("ok>c", {"on": "rejected"})]))
    engine.reject(run_id, {"decision": "approved", "by": "the boss"})
    engine.run()
    assert engine.order(run_id) == "ok c"


def test_data_of_a_decision_does_not_reach_the_state_unasked(engine: Engine) -> None:
    run_id = waiting(engine, input={"amount": 1})
    engine.approve(run_id, {"amount": 1000000})
    assert engine.state(run_id) == {"amount": 1}


def test_an_approval_with_into_puts_the_decision_under_its_key(engine: Engine) -> None:
    run_id = waiting(engine, definition([OK | {"into": "sign_off"}]))
    engine.approve(run_id, {"amount": 5}, comment="fine")
    kept = engine.state(run_id)["sign_off"]
    assert (kept["decision"], kept["data"], kept["comment"]) == ("approved", {"amount": 5}, "fine")


def test_title_and_show_are_rendered_when_the_question_is_asked(engine: Engine) -> None:
    node = OK | {
        "title": "Pay ${$.amount}?",
        "show": {"amount": "${$.amount}", "list": ["${$.who}"], "no": None},
    }
    run_id = waiting(engine, definition([node]), {"amount": 5, "who": "ACME"})
    [approval] = engine.approvals(run_id)
    assert (approval["title"], approval["show"]) == ("Pay 5?", {"amount": 5, "list": ["ACME"], "no": None})
    [asked] = [h for h in engine.history(run_id) if h["kind"] == "approval_requested"]
    assert asked["output"]["show"] == approval["show"]


def test_a_title_that_cannot_be_rendered_fails_the_step_before_anybody_is_asked(engine: Engine) -> None:
    run_id = engine.start(definition([OK | {"title": "Pay ${$.missing}?"}]))
    assert engine.status(run_id) == "failed"
    assert engine.approvals(run_id) == []


def test_a_second_decision_is_refused_and_names_the_first_decider(engine: Engine) -> None:
    run_id = waiting(engine)
    engine.approve(run_id, actor="ann")
    with pytest.raises(psycopg.Error, match="ann") as caught:
        engine.reject(run_id, actor="bob")
    assert caught.value.sqlstate == "OR002"
    assert engine.approvals(run_id)[0]["decided_by"] == "ann"


def test_a_run_that_waits_for_nothing_says_what_it_does_instead(engine: Engine) -> None:
    run_id = engine.start(PLAIN)
    with pytest.raises(psycopg.Error, match="running") as caught:
        engine.approve(run_id)
    assert caught.value.sqlstate == "OR002"


def test_an_unknown_run_is_not_found(engine: Engine) -> None:
    with pytest.raises(psycopg.Error, match="no run") as caught:
        engine.approve(uuid4())
    assert caught.value.sqlstate == "OR003"


@pytest.mark.parametrize("decision", ["", "yes", "APPROVED", None, "expired"])
def test_a_decision_is_approved_or_rejected_and_nothing_else(engine: Engine, decision: Any) -> None:
    run_id = waiting(engine)
    with pytest.raises(psycopg.Error, match="no decision") as caught:
        engine.decide(run_id, decision)
    assert caught.value.sqlstate == "OR006"
    assert engine.status(run_id) == "awaiting_approval"


@pytest.mark.parametrize("data", [[], "text", 5, True])
def test_the_data_of_a_decision_is_an_object(engine: Engine, data: Any) -> None:
    run_id = waiting(engine)
    with pytest.raises(psycopg.Error, match="object") as caught:
        engine.approve(run_id, data)
    assert caught.value.sqlstate == "OR006"


def test_of_several_open_approvals_one_must_be_named(engine: Engine) -> None:
    nodes = ["a", {"id": "x", "type": "approval"}, {"id": "y", "type": "approval"}, "z"]
    run_id = waiting(engine, definition(nodes, ["a>x", "a>y", "x>z", "y>z"]))
    ids = {a["node"]: a["id"] for a in engine.approvals(run_id)}
    with pytest.raises(psycopg.Error) as caught:
        engine.approve(run_id)
    assert caught.value.sqlstate == "OR002"
    assert all(str(i) in str(caught.value) for i in ids.values())
    engine.approve(run_id, approval_id=ids["y"])
    assert engine.status(run_id) == "awaiting_approval"
    engine.approve(run_id)
    engine.run()
    assert engine.order(run_id) == "a y x z"


def test_an_approval_of_another_run_is_not_found(engine: Engine) -> None:
    graph = engine.graph(definition([OK]))
    mine, other = waiting(engine, graph), waiting(engine, graph)
    with pytest.raises(psycopg.Error) as caught:
        engine.approve(mine, approval_id=engine.approvals(other)[0]["id"])
    assert caught.value.sqlstate == "OR003"
    assert engine.status(other) == "awaiting_approval"


def test_a_decided_approval_cannot_be_decided_again_though_the_run_waits_for_another(engine: Engine) -> None:
    run_id = waiting(engine, definition([OK, "b"], ["ok>b", ("ok>ok", {"on": "rejected", "limit": 2})]))
    first = engine.approvals(run_id)[0]["id"]
    engine.reject(run_id)
    assert engine.status(run_id) == "awaiting_approval"
    with pytest.raises(psycopg.Error) as caught:
        engine.approve(run_id, approval_id=first)
    assert caught.value.sqlstate == "OR002"


def test_a_decision_that_is_rolled_back_leaves_the_question_open(engine: Engine) -> None:
    run_id = waiting(engine)
    with engine.connection.transaction(force_rollback=True):
        engine.approve(run_id)
        assert engine.status(run_id) == "running"
    assert engine.status(run_id) == "awaiting_approval"
    engine.reject(run_id)


def test_a_decision_commits_with_the_callers_own_row(engine: Engine) -> None:
    run_id = waiting(engine)
    engine.connection.execute("create table orders (id int)")
    with engine.connection.transaction():
        engine.connection.execute("insert into orders values (1)")
        engine.approve(run_id)
    assert engine.value("select count(*) from orders") == 1
    engine.connection.execute("drop table orders")
    assert engine.status(run_id) == "running"


def test_of_twenty_deciders_one_wins(engine: Engine, database: str) -> None:
    run_id = waiting(engine)

    def decide(n: int) -> str | None:
        with open_connection(database) as connection:
            try:
                Engine(connection).decide(run_id, "approved" if n % 2 else "rejected", actor=f"person{n}")
            except psycopg.Error as problem:
                return problem.sqlstate
            return f"person{n}"

    with concurrent.futures.ThreadPoolExecutor(20) as pool:
        answers = sorted(str(a) for a in pool.map(decide, range(20)))
    assert answers == ["OR002"] * 19 + [engine.approvals(run_id)[0]["decided_by"]]


def test_short_forms_for_psql_approve_and_reject(engine: Engine) -> None:
    graph = engine.graph(PLAIN)
    yes, no = waiting(engine, graph), waiting(engine, graph)
    engine.value("select pgorch.approve(%s)", yes)
    engine.value("select pgorch.reject(%s, 'too much')", no)
    engine.run()
    assert (engine.order(yes), engine.order(no)) == ("a ok b", "a ok c")
    assert engine.approvals(no)[0]["comment"] == "too much"


def test_an_unknown_condition_after_a_decision_fails_the_step_and_not_the_decider(engine: Engine) -> None:
    edges = [("ok>b", {"condition": "$decision.amount < 5"}), "ok>c"]
    run_id = waiting(engine, definition([OK, "b", "c"], edges))
    engine.approve(run_id, {"amount": "five"})
    assert engine.status(run_id) == "failed"
    assert engine.error(run_id)["type"] == "ConditionUnknown"
