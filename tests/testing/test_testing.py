"""pgorch.testing: the run is real, and only workers, people and time are played."""

from typing import Any

import pytest

from pgorch import Context, Graph, tool
from pgorch.errors import ConfigError, InvalidGraph, InvalidValue, NotAllowed, NotFound
from pgorch.testing import Database, approved, failure, in_turn, rejected
from pgorch.tool import Registry
from tests.support.engine import chain, definition

OK = {"id": "ok", "type": "approval", "title": "Pay ${$.amount}?"}
PAYMENT = definition(
    ["draft", OK, "charge", "drop"], ["draft>ok", "ok>charge", ("ok>drop", {"on": "rejected"})]
)
AGAIN = {"max_attempts": 3, "initial_interval": "10 minutes"}


def test_a_graph_runs_with_fakes_and_given_decisions(pgorch_db: Database) -> None:
    run = pgorch_db.run(
        PAYMENT,
        {"amount": 5},
        tools={"draft": {"drafted": True}, "charge": lambda args: {"charged": args["amount"]}},
        decisions={"ok": "approved"},
    )
    assert run.status == "completed"
    assert run.path == ["draft", "ok", "charge"]
    assert run.state == run.output == {"amount": 5, "drafted": True, "charged": 5}
    assert [(c.tool, c.node, c.attempt) for c in run.calls()] == [
        ("draft", "draft", 1),
        ("charge", "charge", 1),
    ]
    assert "draft → ok → charge" in repr(run)


def test_a_tool_that_is_not_named_does_nothing(pgorch_db: Database) -> None:
    run = pgorch_db.run(chain("a b"))
    assert (run.status, run.path, run.state) == ("completed", ["a", "b"], {})


def test_a_fake_is_given_what_the_template_gives(pgorch_db: Database) -> None:
    graph = definition([{"id": "a", "input": {"n": "${$.x}", "all": "${$input}"}}])
    run = pgorch_db.run(graph, {"x": 1}, tools={"a": lambda args: args["n"]})
    assert run.calls("a")[0].args == {"n": 1, "all": {"x": 1}}


def test_an_approval_without_a_decision_stays_open_until_the_test_decides(pgorch_db: Database) -> None:
    run = pgorch_db.run(PAYMENT, {"amount": 5})
    assert run.status == "awaiting_approval"
    [approval] = run.approvals
    assert (approval.node, approval.title) == ("ok", "Pay 5?")
    run.reject("ok", comment="too much")
    assert run.path == ["draft", "ok", "drop"]
    with pytest.raises(NotFound, match="No approval of ok"):
        run.approve("ok")


def test_a_list_of_decisions_is_one_for_each_visit(pgorch_db: Database) -> None:
    edges = [
        "draft>ok",
        "ok>pay",
        ("ok>draft", {"on": "rejected", "condition": "$decision.again == true", "limit": 5}),
    ]
    run = pgorch_db.run(
        definition(["draft", OK, "pay"], edges),
        {"amount": 5},
        decisions={
            "ok": [rejected({"again": True}), {"decision": "rejected", "data": {"again": True}}, approved()]
        },
    )
    assert run.path == ["draft", "ok"] * 3 + ["pay"]


def test_a_quorum_takes_several_people(pgorch_db: Database) -> None:
    graph = definition([OK | {"quorum": 2, "assignees": ["role:finance"], "exclude_initiator": True}])
    finance = ["finance"]
    run = pgorch_db.run(
        graph,
        {"amount": 5},
        actor="clerk",
        decisions={"ok": [approved(by="ann", roles=finance), approved(by="bob", roles=finance)]},
    )
    assert run.status == "completed"
    alone = pgorch_db.run(
        graph, {"amount": 5}, actor="clerk", decisions={"ok": approved(by="ann", roles=finance)}
    )
    assert alone.status == "awaiting_approval"
    with pytest.raises(NotAllowed):
        alone.approve("ok", by="clerk", roles=["finance"])
    alone.approve("ok", by="eve", roles=["finance"])
    assert alone.status == "completed", "what was refused has changed nothing"


def test_the_form_is_enforced(pgorch_db: Database) -> None:
    form = {"type": "object", "properties": {"note": {"type": "string"}}, "required": ["note"]}
    run = pgorch_db.run(definition([OK | {"form": form}]), {"amount": 5})
    with pytest.raises(InvalidValue):
        run.approve("ok", {})
    run.approve("ok", {"note": "fine", "other": 1})
    assert run.state == {"amount": 5, "note": "fine"}


def test_a_deadline_of_48_hours_passes_at_once(pgorch_db: Database) -> None:
    graph = definition([OK | {"deadline": "48 hours"}, "late"], [("ok>late", {"on": "expired"})])
    run = pgorch_db.run(graph, {"amount": 5})
    run.advance_clock("47 hours")
    assert run.status == "awaiting_approval"
    run.advance_clock("61 minutes")
    assert (run.status, run.path) == ("completed", ["ok", "late"])


def test_what_is_due_in_between_comes_in_its_order(pgorch_db: Database) -> None:
    waits = [{"id": n, "type": "wait", "for": "5 hours"} for n in ("u", "v", "w")]
    run = pgorch_db.run(definition([*waits, "z"], ["u>v", "v>w", "w>z"]))
    assert run.status == "waiting"
    run.advance_clock("11 hours")
    assert run.path == ["u", "v"]
    run.advance_clock("1 day")
    assert (run.status, run.path) == ("completed", ["u", "v", "w", "z"])


def test_pauses_between_attempts_are_jumped_over(pgorch_db: Database) -> None:
    run = pgorch_db.run(
        definition([{"id": "a", "retry": AGAIN}]),
        tools={"a": in_turn(failure("Busy"), failure("Busy"), {"x": 1})},
    )
    assert (run.status, run.state) == ("completed", {"x": 1})
    assert [c.attempt for c in run.calls("a")] == [1, 2, 3]


@pytest.mark.parametrize(
    "fake",
    [failure("CardDeclined", retryable=False), lambda _: (_ for _ in ()).throw(failure("CardDeclined"))],
)
def test_a_fake_may_fail(pgorch_db: Database, fake: Any) -> None:
    edges = [("a>b", {"on": "error", "condition": '$error.type == "CardDeclined"'})]
    run = pgorch_db.run(definition("a b", edges), tools={"a": fake})
    assert (run.status, run.path) == ("completed", ["a", "b"])


def test_an_error_that_nobody_handles_is_that_of_the_run(pgorch_db: Database) -> None:
    run = pgorch_db.run(chain("a b"), tools={"a": ValueError("no")})
    assert run.status == "failed"
    assert run.error is not None
    assert (run.error["type"], run.error["message"], run.error["node"]) == ("ValueError", "no", "a")
    assert run.output is None


def test_what_was_done_is_undone(pgorch_db: Database) -> None:
    nodes = [{"id": n, "compensate": f"undo_{n}"} for n in "ab"] + ["c"]
    run = pgorch_db.run(definition(nodes, ["a>b", "b>c"]), tools={"a": {"ref": 7}, "c": failure("Sold")})
    assert (run.status, run.undone) == ("failed", ["b", "a"])
    assert run.calls("undo_a")[0].args["output"] == {"ref": 7}


def test_a_worker_that_dies_at_a_step_runs_it_again(pgorch_db: Database) -> None:
    run = pgorch_db.run(chain("a charge b"), crash_at="charge")
    assert (run.status, run.path) == ("completed", ["a", "charge", "b"])
    assert [(c.node, c.attempt) for c in run.calls()] == [("a", 1), ("charge", 1), ("charge", 2), ("b", 1)]
    assert "attempt_lost" in [entry.kind for entry in run.history]


def test_a_worker_that_dies_after_a_step_does_not_repeat_it(pgorch_db: Database) -> None:
    run = pgorch_db.run(chain("a charge b"), crash_after="charge")
    assert run.status == "completed"
    assert len(run.calls("charge")) == 1


def test_a_certain_visit_may_crash(pgorch_db: Database) -> None:
    graph = definition("a b", [("a>a", {"condition": "$.n < 3", "limit": 9}), "a>b"])
    run = pgorch_db.run(graph, tools={"a": in_turn({"n": 1}, {"n": 9}, {"n": 2}, {"n": 3})}, crash_at=["a:2"])
    assert run.path == ["a", "a", "a", "b"]
    assert [c.attempt for c in run.calls("a")] == [1, 1, 2, 1]


def test_signals_end_waits_early_or_when_the_test_says(pgorch_db: Database) -> None:
    waits = [{"id": n, "type": "wait", "signal": f"{n}ed", "into": n} for n in ("pay", "pack")]
    run = pgorch_db.run(definition(["a", *waits], ["a>pay", "pay>pack"]), signals={"payed": {"by": "ann"}})
    assert (run.status, run.path) == ("waiting", ["a", "pay"])
    run.signal("packed", 5)
    assert run.state == {"pay": {"by": "ann"}, "pack": 5}


def test_child_runs_are_played_too(pgorch_db: Database) -> None:
    pgorch_db.create_graph(definition([OK, "below"], ["ok>below"]) | {"name": "lower"})
    upper = definition([{"id": "g", "type": "graph", "graph": "lower"}, "z"], ["g>z"])
    run = pgorch_db.run(upper, {"amount": 1}, tools={"below": {"deep": True}}, decisions={"ok": "approved"})
    assert (run.status, run.state) == ("completed", {"amount": 1, "deep": True})
    [child] = run.children
    assert child.path == ["ok", "below"]
    assert [c.tool for c in run.calls()] == ["below", "z"]


def test_a_map_calls_its_tool_for_each_item(pgorch_db: Database) -> None:
    node = {
        "id": "m",
        "type": "map",
        "function": "double",
        "items": "${$.list}",
        "input": {"n": "${$item}"},
        "into": "out",
    }
    run = pgorch_db.run(definition([node]), {"list": [1, 2, 3]}, tools={"double": lambda args: args["n"] * 2})
    assert run.state["out"] == [2, 4, 6]


def test_a_run_can_be_cancelled(pgorch_db: Database) -> None:
    run = pgorch_db.run(PAYMENT, {"amount": 1})
    assert run.cancel("changed my mind").status == "cancelled"


# Real tools ------------------------------------------------------------------------------------------------


def app() -> Registry:
    registry = Registry()

    @registry.tool
    async def price(items: list[str]) -> dict[str, Any]:
        return {"amount": 40 * len(items)}

    @registry.tool(transactional=True)
    def book(amount: int, ctx: Context) -> dict[str, Any]:
        ctx.connection.execute("insert into bookings values (%s)", [amount])
        return {"booked": ctx.node}

    return registry


def bookings(db: Database) -> list[Any]:
    return [row[0] for row in db.connection.execute("select amount from bookings").fetchall()]


def test_real_tools_are_called_as_a_worker_would(pgorch_db: Database) -> None:
    pgorch_db.connection.execute("create table bookings (amount integer)")
    run = pgorch_db.run(chain("price book"), {"items": ["cup", "pot"]}, tools=app())
    assert run.state == {"items": ["cup", "pot"], "amount": 80, "booked": "book"}
    assert bookings(pgorch_db) == [80]


def test_what_a_transactional_tool_writes_is_there_once_after_a_crash(pgorch_db: Database) -> None:
    pgorch_db.connection.execute("create table bookings (amount integer)")
    run = pgorch_db.run(chain("price book"), {"items": ["cup"]}, tools=app(), crash_at="book")
    assert len(run.calls("book")) == 2
    assert bookings(pgorch_db) == [40]


def test_a_fake_of_a_real_tool_is_given_its_arguments(pgorch_db: Database) -> None:
    pgorch_db.run(chain("price"), {"items": []}, tools=app())
    run = pgorch_db.run(
        chain("price book"), {"items": ["cup"], "more": 1}, tools={"book": {"booked": "not really"}}
    )
    assert run.calls("book")[0].args == {"amount": 40}, "neither the rest of the state nor the context"


def test_arguments_that_do_not_fit_fail_the_step_of_a_fake_too(pgorch_db: Database) -> None:
    pgorch_db.run(chain("price"), {"items": []}, tools=app())
    run = pgorch_db.run(chain("book"), {"amount": "much"}, tools={"book": {}})
    assert run.error is not None
    assert run.error["type"] == "InvalidArguments"


SQL = definition([{"id": "insert", "sql": "insert into bookings values ($1)", "input": ["${$.amount}"]}])


def test_sql_steps_are_performed(pgorch_db: Database) -> None:
    pgorch_db.connection.execute("create table bookings (amount integer)")
    run = pgorch_db.run(SQL, {"amount": 5}, crash_at="insert")
    assert run.status == "completed"
    assert [call.args for call in run.calls()] == [[5], [5]]
    assert bookings(pgorch_db) == [5]


def test_sql_steps_may_be_faked(pgorch_db: Database) -> None:
    run = pgorch_db.run(SQL, {"amount": 5}, tools={"pgorch.sql": lambda args: {"inserted": args}})
    assert run.state == {"amount": 5, "inserted": [5]}


def test_a_function_with_the_decorator_is_called_as_itself(pgorch_db: Database) -> None:
    @tool
    def add(x: int, y: int = 2) -> dict[str, int]:
        return {"sum": x + y}

    assert pgorch_db.run(chain("add"), {"x": 1}, tools={"add": add}).state == {"x": 1, "sum": 3}
    assert pgorch_db.run(chain("add"), {"x": 2}, tools=[add]).state == {"x": 2, "sum": 4}


def test_graphs_may_be_written_in_python(pgorch_db: Database) -> None:
    graph = Graph("small")
    graph.task("a", "f")
    assert pgorch_db.run(graph, tools={"f": 1}).path == ["a"]


# What a test does wrong ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "hint"),
    [
        ({"tools": {"chrage": {}}}, "charge"),
        ({"decisions": {"okay": "approved"}}, "ok"),
        ({"crash_at": "charg"}, "charge"),
    ],
)
def test_misspelt_names_are_refused(pgorch_db: Database, options: dict[str, Any], hint: str) -> None:
    with pytest.raises(ConfigError) as caught:
        pgorch_db.run(PAYMENT, {"amount": 1}, **options)
    assert hint in str(caught.value.hint)


def test_what_is_no_decision_is_refused(pgorch_db: Database) -> None:
    with pytest.raises(ConfigError, match="is no decision"):
        pgorch_db.run(PAYMENT, {"amount": 1}, decisions={"ok": 5})


def test_a_graph_that_is_not_valid_is_refused_with_all_errors(pgorch_db: Database) -> None:
    graph = definition("a b", ["a>x"])
    with pytest.raises(InvalidGraph) as caught:
        pgorch_db.run(graph)
    assert len(caught.value.errors) == 2
    assert pgorch_db.run(chain("a")).status == "completed", "the database can still be used"


def test_answers_that_are_used_up_are_an_error_of_the_test(pgorch_db: Database) -> None:
    graph = definition("a", [("a>a", {"limit": 3, "condition": "$.go == true"})])
    with pytest.raises(ConfigError, match="called more often"):
        pgorch_db.run(graph, {"go": True}, tools={"a": in_turn(1, 2)})
