"""Forks: another run that goes on as one was at an entry of its history."""

from typing import Any
from uuid import UUID

import psycopg
import pytest

from tests.operator.verbs import Tools, call, children, fork, retry, skip, tick
from tests.support.engine import Engine, Step, chain, definition


def entries(engine: Engine, run_id: UUID) -> int:
    return int(engine.value("select seq from pgorch.runs where id = %s", run_id))


def test_a_fork_at_every_entry_ends_like_the_run_itself(engine: Engine) -> None:
    graph = definition(
        [
            "s",
            {"id": "x", "into": "x"},
            {"id": "q", "type": "approval", "into": "q"},
            {"id": "j", "into": "j"},
            "end",
        ],
        ["s>x", "s>q", "x>j", "q>j", ("j>s", {"condition": "$.n < 2", "limit": 3}), "j>end"],
    )
    tools = Tools(engine, {"s": lambda s: {"n": s.state.get("n", 0) + 1}, "x": lambda s: s.state["n"]})

    def finish(run_id: UUID) -> None:
        tools.run()
        while engine.status(run_id) == "awaiting_approval":
            engine.approve(run_id, actor="anna")
            tools.run()

    run_id = engine.start(graph)
    finish(run_id)
    assert engine.status(run_id) == "completed"
    for seq in range(entries(engine, run_id)):
        copy = fork(engine, run_id, seq=seq)
        finish(copy)
        assert engine.status(copy) == "completed", f"from {seq}"
        assert {k: v for k, v in engine.state(copy).items() if k != "q"} == {
            k: v for k, v in engine.state(run_id).items() if k != "q"
        }
        # Together with what it shares, it has the history of the whole.
        rest = [e["node"] for e in engine.history(run_id) if e["seq"] > seq and e["kind"] == "step_completed"]
        own = [e["node"] for e in engine.history(copy) if e["kind"] == "step_completed"]
        assert sorted(own) == sorted(rest), f"from {seq}"


def test_a_fork_of_a_fork_of_a_fork(engine: Engine) -> None:
    tools = Tools(engine, {n: (lambda s: {s.node: s.state.get("k", 0)}) for n in "abcd"})
    first = engine.start(chain("a b c d"), {"k": 1})
    tools.run()
    second = fork(engine, first, seq=1, state={"k": 2})
    assert tools.run() == "b c d"
    third = fork(engine, second, node="c", state={"k": 3})
    assert tools.run() == "c d"
    fourth = fork(engine, third, node="d", state={"k": 4})
    assert tools.run() == "d"
    assert [engine.state(r) for r in (first, second, third, fourth)] == [
        {"k": 1, "a": 1, "b": 1, "c": 1, "d": 1},
        {"k": 2, "a": 1, "b": 2, "c": 2, "d": 2},
        {"k": 3, "a": 1, "b": 2, "c": 3, "d": 3},
        {"k": 4, "a": 1, "b": 2, "c": 3, "d": 4},
    ]
    # Back to what the fourth shares with the second, and to what it shares with the first.
    fifth = fork(engine, fourth, node="b")
    assert tools.run() == "b c d"
    assert engine.state(fifth)["b"] == 2
    sixth = fork(engine, fourth, node="a")
    assert tools.run() == "a b c d"
    assert engine.state(sixth)["b"] == 1


@pytest.mark.parametrize("join", ["all", "any", {"at_least": 2}])
def test_branches_that_have_come_are_kept_and_those_that_had_not_begin_anew(
    engine: Engine, join: Any
) -> None:
    nodes = ["s", "x", "y", "z", {"id": "j", "join": join}, "end"]
    graph = definition(nodes, ["s>x", "s>y", "s>z", "x>j", "y>j", "z>j", "j>end"])
    run_id = engine.start(graph)
    tools = Tools(engine)
    order = ["s", "x", "y", "z", "j", "end"]

    def first(steps: list[Step]) -> list[Step]:
        return [min(steps, key=lambda s: order.index(str(s.node)))]

    tools.run(choose=first)
    for seq in range(entries(engine, run_id) - 1):
        had = [e["node"] for e in engine.history(run_id) if e["seq"] <= seq and e["kind"] == "step_completed"]
        copy = fork(engine, run_id, seq=seq)
        done = tools.run(choose=first).split()
        assert engine.status(copy) == "completed"
        assert sorted(had + done) == sorted(order), f"from {seq}"


def test_outcomes_of_people_and_clocks_are_taken_as_they_were(engine: Engine) -> None:
    graph = definition(
        [
            {"id": "w", "type": "wait", "signal": "s", "deadline": "1 day"},
            {"id": "q", "type": "approval"},
            "late",
            "no",
            "z",
        ],
        [
            ("w>late", {"on": "expired"}),
            "late>q",
            ("q>no", {"on": "rejected", "condition": '$decision.comment == "bad"'}),
            "q>z",
            "no>z",
        ],
    )
    run_id = engine.start(graph)
    tools = Tools(engine)
    engine.jump("1 day")
    engine.worker.enlist()
    tick(engine)
    tools.run()
    engine.reject(run_id, comment="bad")
    tools.run()
    assert engine.order(run_id) == "w late q no z"
    copy = fork(engine, run_id, node="z")
    assert tools.run() == "z"
    assert (engine.status(copy), engine.approvals(copy)) == ("completed", [])
    again = fork(engine, run_id, node="q")
    assert engine.status(again) == "awaiting_approval"
    engine.approve(again)
    assert tools.run() == "z"
    assert [a["status"] for a in engine.approvals(run_id)] == ["rejected"]


def test_what_was_skipped_retried_and_edited_is_part_of_what_is_shared(engine: Engine) -> None:
    tools = Tools(engine, {}, lambda s: s.node == "b")
    run_id = engine.start(chain("a b c d"))
    tools.run()
    retry(engine, run_id)
    tools.run()
    skip(engine, run_id, output={"b": "given"})
    tools.run()
    assert engine.order(run_id) == "a b b c d"
    copy = fork(engine, run_id, node="d", state={"c": "edited"})
    assert tools.run() == "d"
    assert engine.state(copy) == {"b": "given", "c": "edited"}
    second = fork(engine, copy, node="d")
    tools.run()
    assert engine.state(second) == {"b": "given", "c": "edited"}
    (edited,) = [e["seq"] for e in engine.history(copy) if e["kind"] == "state_edited"]
    third = fork(engine, copy, seq=edited - 1)
    tools.run()
    assert engine.state(third) == {"b": "given"}, "before the edit"


def test_edits_are_seen_by_templates_conditions_and_items(engine: Engine) -> None:
    node = {"id": "m", "type": "map", "function": "f", "items": "${$.list}", "into": "out"}
    graph = definition(
        ["a", node, {"id": "t", "input": {"n": "${$.n}"}}, "z"],
        ["a>m", ("m>t", {"condition": "$.n > 1"}), "m>z"],
    )
    tools = Tools(engine, {"f": lambda s: s.argument["item"]})
    run_id = engine.start(graph, {"list": [1, 2], "n": 0})
    tools.run()
    assert engine.order(run_id) == "a m z"
    items = [e["seq"] for e in engine.history(run_id) if e["kind"] == "item_completed"]
    copy = fork(engine, run_id, seq=items[0], state={"list": [10, 20, 30], "n": 5})
    assert tools.run() == "m/0 m/1 m/2 t"
    assert engine.state(copy)["out"] == [10, 20, 30]
    assert tools.last("t").input == {"n": 5}
    half = fork(engine, run_id, seq=items[0])
    assert tools.run() == "m/1 z"
    assert engine.state(half)["out"] == [1, 2]


def test_a_fork_has_clocks_and_labels_of_its_own(engine: Engine) -> None:
    graph = definition(["a", {"id": "w", "type": "wait", "for": "1 day"}], ["a>w"], timeout="10 days")
    run_id = engine.start(graph, labels='{"team": "x"}', priority=3, queue="q")
    with_queue = engine.new_worker(queues=["q"])
    with_queue.succeed(with_queue.claim_one())
    engine.jump("9 days")
    copy = fork(engine, run_id, seq=1, labels={"team": "y"})
    plain = fork(engine, run_id, seq=1)
    query = "select labels, priority, queue from pgorch.runs where id = %s"
    assert engine.rows(query, copy) == [{"labels": {"team": "y"}, "priority": 3, "queue": "q"}]
    assert engine.rows(query, plain)[0]["labels"] == {"team": "x"}
    engine.jump("1 day")
    engine.worker.enlist()
    tick(engine)
    assert engine.status(copy) == "completed"


def test_idempotency_key_and_parent_stay_with_the_old_run(engine: Engine) -> None:
    run_id = engine.start(chain("a b"), idempotency_key="k")
    Tools(engine).run()
    copy = fork(engine, run_id, seq=1)
    assert engine.rows("select idempotency_key from pgorch.runs where id = %s", copy) == [
        {"idempotency_key": None}
    ]
    Tools(engine).run()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "begins at one place"),
        ({"seq": 1, "node": "b"}, "begins at one place"),
        ({"seq": -1}, "has no entry -1"),
        ({"seq": 3}, "has no entry 3"),
        ({"node": "z"}, "has not been at z"),
        ({"seq": 1, "state": [1]}, "an object of keys and values"),
        ({"seq": 1, "labels": {"a": 1}}, "labels are"),
    ],
)
def test_refusals(engine: Engine, options: dict[str, Any], message: str) -> None:
    run_id = engine.start(chain("a b"))
    Tools(engine).run()
    with pytest.raises(psycopg.Error, match=message):
        fork(engine, run_id, **options)
    assert engine.value("select count(*) from pgorch.runs") == 1


def test_a_live_run_is_forked_where_it_is(engine: Engine) -> None:
    run_id = engine.start(chain("a b c"))
    engine.worker.succeed(engine.worker.claim_one())
    held = engine.worker.claim_one("b")
    copy = fork(engine, run_id, node="b", state={"e": 1})
    mine = engine.worker.claim_one("b")
    assert (mine.run_id, mine.state) == (copy, {"e": 1})
    engine.worker.succeed(mine)
    engine.worker.succeed(held)
    Tools(engine).run()
    assert (engine.state(run_id), engine.state(copy)) == ({}, {"e": 1})


def test_a_paused_run_is_forked_into_one_that_is_not(engine: Engine) -> None:
    run_id = engine.start(chain("a b"))
    call(engine, "pause", run_id)
    copy = fork(engine, run_id, seq=0)
    assert Tools(engine).run() == "a b"
    assert (engine.status(run_id), engine.status(copy)) == ("paused", "completed")


def test_a_fork_that_ends_at_once(engine: Engine) -> None:
    graph = definition(["a", {"id": "p", "type": "pass", "input": {"p": "${$.x}"}}], ["a>p"])
    run_id = engine.start(graph, {"x": 1})
    Tools(engine).run()
    copy = fork(engine, run_id, node="p", state={"x": 2})
    assert engine.status(copy) == "completed"
    assert engine.state(copy)["p"] == 2


ASKED = {"id": "ok", "type": "approval", "exclude_initiator": True, "quorum": 1}


def test_who_started_the_run_may_not_decide_its_forks_either(engine: Engine) -> None:
    run_id = engine.start(definition([ASKED, "b"], ["ok>b"]), actor="ann")
    copy = fork(engine, fork(engine, run_id, seq=0, actor="bob"), seq=0, actor="cy")
    for who in ("ann", "bob", "cy"):
        with pytest.raises(psycopg.Error, match=f"{who} started") as refused:
            engine.approve(copy, actor=who)
        assert refused.value.diag.sqlstate == "OR007"
        approval = engine.approvals(copy)[0]["id"]
        with pytest.raises(psycopg.Error, match="may not reassign"):
            engine.value("select pgorch.reassign(%s, '{user:x}', p_actor => %s)", approval, who)
    engine.approve(copy, actor="dan")


def test_who_started_the_run_may_not_decide_in_the_children_of_its_forks(engine: Engine) -> None:
    child = definition([ASKED])
    engine.graph(child)
    parent = definition([{"id": "c", "type": "graph", "graph": child["name"]}])
    copy = fork(engine, engine.start(parent, actor="ann"), seq=0, actor="bob")
    (below,) = children(engine, copy)
    for who in ("ann", "bob"):
        with pytest.raises(psycopg.Error, match=f"{who} started"):
            engine.approve(below, actor=who)
    engine.approve(below, actor="cy")


def test_a_fork_is_like_its_source_where_a_call_had_several_results(engine: Engine) -> None:
    """The join fires with all that came in the call, and cancels nothing of it."""
    nodes: list[Any] = ["s", {"id": "a", "into": "a"}, {"id": "p", "type": "pass"}, {"id": "b", "into": "b"}]
    nodes += [{"id": "j", "join": "any", "cancel_rest": True, "into": "b"}, "z"]
    graph = definition(nodes, ["s>a", "s>b", "a>j", "b>p", "p>j", "j>z"])
    run_id = engine.start(graph)
    engine.worker.succeed(engine.worker.claim_one(), {})
    engine.worker.advance([(step, "success", 1) for step in engine.worker.claim(10)])
    other = fork(engine, run_id, seq=entries(engine, run_id))
    assert engine.state(other) == engine.state(run_id) == {"a": 1, "b": 1}
    # The join descends from both branches, so it may write what one of them has written.
    Tools(engine, {"j": 5}).run()
    for each in (run_id, other):
        assert (engine.status(each), engine.state(each)) == ("completed", {"a": 1, "b": 5})


def test_a_fork_is_like_its_source_where_one_call_was_late(engine: Engine) -> None:
    nodes: list[Any] = ["s", *({"id": n, "into": n} for n in "ab"), {"id": "j", "join": "any"}, "z"]
    run_id = engine.start(definition(nodes, ["s>a", "s>b", "a>j", "b>j", "j>z"]))
    engine.worker.succeed(engine.worker.claim_one(), {})
    a, b = engine.worker.claim(10)
    engine.worker.succeed(a, 1)
    engine.worker.succeed(b, 2)
    for seq in range(entries(engine, run_id) + 1):
        other = fork(engine, run_id, seq=seq)
        Tools(engine, {"a": 1, "b": 2}).run()
        assert (engine.status(other), engine.state(other)) == ("completed", {"a": 1, "b": 2})
