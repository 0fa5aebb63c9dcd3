"""Results that are routed as a set leave the same behind as those that are settled one by one."""

from collections import Counter
from typing import Any

import psycopg
import pytest

from tests.support.engine import Engine, Fails, Step, definition


def mapped(id: str, function: str, **more: Any) -> dict[str, Any]:
    return {"id": id, "type": "map", "function": function, "items": "${$.items}", "into": id, **more}


GRAPHS: dict[str, tuple[dict[str, Any], list[dict[str, Any]]]] = {
    "chain": (definition("a b c d", ["a>b", "b>c", "c>d"]), [{"n": 1}, {}]),
    "if": (
        definition("a b c d", [("a>b", {"condition": "$.n < 2"}), "a>c", "b>d", "c>d"]),
        [{"n": 1}, {"n": 2}, {"n": "text"}, {}],
    ),
    "containment": (
        definition("a b c", [("a>b", {"condition": {"n": 1}}), "a>c"]),
        [{"n": 1}, {"n": 2}],
    ),
    "no edge matches": (definition("a b", [("a>b", {"condition": "$.n == 1"})]), [{"n": 1}, {"n": 2}]),
    "loop without limit": (
        definition("a b", [("a>a", {"condition": "$.sum < 3"}), "a>b"]),
        [{"n": 1, "sum": 0}, {"n": 2, "sum": 0}],
    ),
    "loop with limit": (
        definition("a b c", [("a>b", {"condition": "$.n == 1", "limit": 2}), "a>c", "b>a"]),
        [{"n": 1}, {"n": 2}],
    ),
    "into": (definition([{"id": "a", "into": "x"}, "b"], ["a>b"]), [{"n": 1}]),
    "error edge": (definition("a fails c", ["a>fails", ("fails>c", {"on": "error"})]), [{}]),
    "error": (definition("a fails", ["a>fails"]), [{}]),
    "queues": (definition([{"id": "a", "priority": 3}, {"id": "b", "priority": -3}], ["a>b"]), [{}]),
    "fork": (definition("a b c d", ["a>b", "a>c", "b>d", "c>d"]), [{}]),
    "fan": (
        definition(
            ["a", *({"id": n, "into": n} for n in "bcdef"), "g", "h"],
            [*(f"a>{n}" for n in "bcdef"), *(f"{n}>g" for n in "bcd"), "e>h", "f>h", "g>h"],
        ),
        [{}],
    ),
    "fan in a loop": (
        definition(
            ["a", *({"id": n, "into": n} for n in "bcd"), "g"],
            [
                *(f"a>{n}" for n in "bcd"),
                *(f"{n}>g" for n in "bcd"),
                ("g>a", {"condition": "$.sum < 3", "limit": 4}),
            ],
        ),
        [{"sum": 0}],
    ),
    "branches that write the same key": (
        definition(
            ["a", *({"id": n, "into": "x"} for n in "bcd"), "e"],
            [*(f"a>{n}" for n in "bcd"), *(f"{n}>e" for n in "bcd")],
        ),
        [{}],
    ),
    "any of two": (
        definition(
            ["a", *({"id": n, "into": n} for n in "bcd"), {"id": "e", "join": "any"}],
            [*(f"a>{n}" for n in "bcd"), *(f"{n}>e" for n in "bcd")],
        ),
        [{}],
    ),
    "map": (definition([mapped("m", "f"), "b"], ["m>b"]), [{"items": [3, {"x": 4}, [5]]}, {"items": []}]),
    "map, two at once": (
        definition(
            [mapped("m", "f", concurrency=2, input={"x": "${$item}", "i": "${$index}"}), "b"], ["m>b"]
        ),
        [{"items": list(range(9))}],
    ),
    "map in a loop": (
        definition(
            ["a", mapped("m", "f", concurrency=3)], ["a>m", ("m>a", {"condition": "$.sum < 3", "limit": 5})]
        ),
        [{"items": list(range(7)), "sum": 0}],
    ),
    "maps side by side": (
        definition(
            ["a", mapped("m", "f", concurrency=2), mapped("n", "f", concurrency=3), "d"],
            ["a>m", "a>n", "m>d", "n>d"],
        ),
        [{"items": list(range(7))}],
    ),
    "map with failures": (
        definition([mapped("m", "odd", tolerate=3, concurrency=4), "b"], ["m>b", ("m>b", {"on": "error"})]),
        [{"items": list(range(6))}, {"items": list(range(12))}],
    ),
    "map with a bad template": (
        definition([mapped("m", "f", concurrency=2, input={"x": "${$item.x + 1}"}), "b"], ["m>b"]),
        [{"items": [{"x": 1}, {"x": 2}, {"x": 3}, {"x": "no number"}, {"x": 5}]}],
    ),
}


def a(step: Step) -> dict[str, Any]:
    state = step.state
    return {"sum": state.get("sum", 0) + 1, "seen": state.get("n")}


def fails(_: Step) -> Any:
    raise Fails("Broken")


def odd(step: Step) -> Any:
    if step.argument["item"] % 2:
        raise Fails("Odd")
    return step.argument["item"]


def what_is_left(engine: Engine, run_id: object) -> dict[str, Any]:
    """Everything but ids and times."""
    [run] = engine.rows("select status, live, seq, error from pgorch.runs where id = %s", run_id)
    history = engine.rows(
        "select seq, kind, node, visit, item, attempt, output, error, actor, worker_id is null as nobody,"
        " started_at is null as unstarted from pgorch.history where run_id = %s order by seq",
        run_id,
    )
    state = engine.value("select pgorch.run_state(%s)", run_id)
    return {"run": run, "history": history, "state": state}


@pytest.mark.parametrize("batch", [1, 100])
@pytest.mark.parametrize("name", GRAPHS)
def test_both_paths_leave_the_same_behind(engine: Engine, name: str, batch: int) -> None:
    graph, inputs = GRAPHS[name]
    graph_id = engine.graph(graph)
    left = []
    for slow in (False, True):
        if slow:
            engine.without_fast_path()
        runs = [engine.start(graph_id, i) for i in inputs]
        engine.run({"a": a, "fails": fails, "f": lambda s: s.argument, "odd": odd}, batch=batch)
        left.append([what_is_left(engine, r) for r in runs])
    assert left[0] == left[1]
    assert all(r["run"]["live"] == 0 for r in left[0])


def test_plain_nodes_do_take_the_fast_path(engine: Engine) -> None:
    graph_id = engine.graph(GRAPHS["if"][0])
    flags = engine.rows("select id, fast_out, fast_in from pgorch.nodes where graph_id = %s", graph_id)
    assert all(f["fast_out"] and f["fast_in"] for f in flags), flags


def test_a_batch_of_plain_and_other_results_is_routed_in_one_call(engine: Engine) -> None:
    plain = engine.graph(GRAPHS["chain"][0])
    forked = engine.graph(GRAPHS["fork"][0])
    runs = [engine.start(g, bucket=0) for g in (plain, forked) * 5]
    steps = engine.worker.claim(10)
    came = engine.worker.advance([(s, "success", {}) for s in steps], want=100)
    assert sorted(str(s.node) for s in came) == ["b"] * 10 + ["c"] * 5
    engine.run(batch=100)
    for run_id in runs:
        assert engine.status(run_id) == "running", "what this worker was given is still under way"


def calls(engine: Engine) -> Counter[str]:
    """How often functions of the engine were called in this transaction."""
    rows = engine.rows("select funcname, calls from pg_stat_xact_user_functions where schemaname = 'pgorch'")
    return Counter({row["funcname"]: row["calls"] for row in rows})


def test_branches_that_end_together_arrive_at_their_join_as_a_set(engine: Engine) -> None:
    names = [f"b{number}" for number in range(40)]
    nodes = ["a", *({"id": name, "function": "b", "into": name} for name in names), "last"]
    run_id = engine.start(definition(nodes, [f"{s}>{t}" for n in names for s, t in (("a", n), (n, "last"))]))
    engine.worker.succeed(engine.worker.claim_one("a"), {})
    branches = engine.worker.claim(100)
    with engine.connection.transaction():
        engine.connection.execute("set local track_functions = 'pl'")
        before = calls(engine)
        engine.worker.advance([(s, "success", s.node) for s in branches[:30]])
        [last] = engine.worker.advance([(s, "success", s.node) for s in branches[30:]], want=10)
        called = calls(engine) - before
    assert called["_settle_arrivals"] == 2
    assert called["_settle"] == called["_leave_node"] == called["_append"] == 0
    assert (last.node, last.state) == ("last", {name: name for name in names})
    assert engine.value("select seq from pgorch.runs where id = %s", run_id) == 41


def test_values_of_every_kind_survive_both_paths(engine: Engine) -> None:
    output = {
        "int": 9007199254740992,
        "float": 0.1,
        "text": "ü😀\\\"'\n",
        "null": None,
        "list": [1, [2, {"a": None}]],
        "empty": {},
        "": "empty key",
        "ä key": True,
    }
    graph = engine.graph(definition("x y", ["x>y"]))
    for slow in (False, True):
        if slow:
            engine.without_fast_path()
        run_id = engine.start(graph)
        engine.run({"x": output})
        assert engine.state(run_id) == output
        assert engine.output(run_id, "x") == output


@pytest.mark.parametrize("number", ["9007199254740993", "1e400"])
@pytest.mark.parametrize("slow", [False, True])
def test_a_number_that_clients_cannot_read_exactly_is_refused_on_both_paths(
    engine: Engine, number: str, slow: bool
) -> None:
    run_id = engine.start(engine.graph(definition("x y", ["x>y"])))
    if slow:
        engine.without_fast_path()
    step = engine.worker.claim_one("x")
    with pytest.raises(psycopg.DatabaseError) as refused:
        engine.connection.execute(
            "select * from pgorch.advance(%s, %s, %s, %s, array['success'], %s::text[]::jsonb[], 0)",
            (step.bucket, engine.worker.id, [step.step_id], [step.lease_token], [f'{{"n": {number}}}']),
        )
    assert refused.value.sqlstate == "OR006"
    assert engine.state(run_id) == {}
