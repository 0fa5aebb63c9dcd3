"""What a run has done is undone, newest first, if it fails or is cancelled with compensation."""

from typing import Any
from uuid import UUID

import psycopg
import pytest

from tests.operator.verbs import Tools, call, children, fork, skip, tick
from tests.support.engine import Engine, definition

RETRY = {"max_attempts": 2, "initial_interval": "1 minute", "jitter": 0}


def undoable(*ids: str) -> list[dict[str, Any]]:
    return [{"id": n, "compensate": f"un_{n}", "into": n} for n in ids]


def saga(**more: Any) -> dict[str, Any]:
    return definition([*undoable("a", "b"), "c"], ["a>b", "b>c"], **more)


def failing(engine: Engine, *broken: str, **outputs: Any) -> Tools:
    return Tools(engine, outputs, lambda s: str(s.tool) in broken)


def cancel(engine: Engine, run_id: UUID, **more: Any) -> str:
    return str(call(engine, "cancel", run_id, compensate=True, **more))


def undone(engine: Engine, run_id: UUID) -> list[str]:
    return [f"{h['kind']} {h['node']}" for h in engine.history(run_id) if "und" in str(h["kind"])]


def test_newest_first_and_then_the_run_fails_with_its_own_error(engine: Engine) -> None:
    run_id = engine.start(saga())
    assert failing(engine, "c").run() == "a b c undo b undo a"
    assert engine.error(run_id) == {
        "type": "Broken",
        "message": "c is broken",
        "retryable": False,
        "node": "c",
    }
    assert engine.kinds(run_id)[2:] == [
        "step_failed", "compensation_started", "step_undone", "step_undone", "run_failed"]  # fmt: skip


def test_a_step_is_undone_with_its_own_arguments_and_output_by_name(engine: Engine) -> None:
    graph = definition([{"id": "a", "compensate": "un", "input": {"x": "${$.x}", "n": None}}, "c"], ["a>c"])
    engine.start(graph, {"x": 1, "y": 2})
    tools = failing(engine, "c", a={"id": 7, "y": 3})
    tools.run()
    given = tools.last("a")
    assert (given.role, given.tool) == ("undo", "un")
    # The keys of input and output, both as a whole, and behind them the state.
    whole = {"input": {"x": 1, "n": None}, "output": {"id": 7, "y": 3}}
    assert given.argument == {"x": 1, "n": None, "id": 7, "y": 3, **whole}


def test_undoing_has_the_retries_of_its_tool(engine: Engine) -> None:
    engine.register(
        {
            "name": "un_b",
            "retry": {"max_attempts": 3, "initial_interval": "1 minute", "backoff_factor": 1, "jitter": 0},
        }
    )
    run_id = engine.start(saga())
    tools = Tools(engine)
    engine.worker.succeed(engine.worker.claim_one())
    engine.worker.succeed(engine.worker.claim_one())
    engine.worker.fail(engine.worker.claim_one(), retryable=False)
    for _ in range(2):
        step = engine.worker.claim_one()
        assert step.tool == "un_b"
        engine.worker.fail(step)
        assert engine.worker.claim() == []
        engine.jump("61 seconds")
        engine.worker.enlist()
    assert tools.run() == "undo b undo a"
    assert undone(engine, run_id) == ["step_undone b", "step_undone a"]


def test_what_cannot_be_undone_is_told_and_the_next_goes_on(engine: Engine) -> None:
    run_id = engine.start(saga())
    assert failing(engine, "c", "un_b").run() == "a b c undo b undo a"
    (left,) = engine.error(run_id)["not_undone"]
    assert (left["node"], left["error"]["message"]) == ("b", "undo b is broken")
    assert undone(engine, run_id) == ["undo_failed b", "step_undone a"]


def test_it_is_told_of_a_cancelled_run_too(engine: Engine) -> None:
    run_id = engine.start(saga())
    tools = failing(engine, "un_a")
    engine.worker.succeed(engine.worker.claim_one())
    assert cancel(engine, run_id) == "running"
    tools.run()
    assert engine.status(run_id) == "cancelled"
    (end,) = [h for h in engine.history(run_id) if h["kind"] == "run_cancelled"]
    assert [n["node"] for n in end["error"]["not_undone"]] == ["a"]


def test_each_visit_of_a_loop_is_undone(engine: Engine) -> None:
    graph = definition(
        [*undoable("a"), "b", "c"], ["a>b", ("b>a", {"limit": 2, "condition": "true == true"}), "b>c"]
    )
    run_id = engine.start(graph)
    numbers = iter(range(3))
    tools = failing(engine, "c", a=lambda s: {"n": next(numbers)})
    assert tools.run() == "a b a b a b c undo a undo a undo a"
    assert [s.input["n"] for s in tools.steps[-3:]] == [2, 1, 0]
    items = engine.rows(
        "select item from pgorch.history where run_id = %s and kind = 'step_undone' order by seq", run_id
    )
    assert [i["item"] for i in items] == [5, 3, 1]


def test_parallel_branches_are_undone_one_after_the_other_in_the_order_of_their_ends(engine: Engine) -> None:
    graph = definition(["s", *undoable("x", "y"), "z", "j"], ["s>x", "s>y", "s>z", "x>j", "y>j", "z>j"])
    run_id = engine.start(graph)
    order = ["s", "y", "x", "z"]
    failing(engine, "z").run(
        choose=lambda steps: [min(steps, key=lambda s: order.index(str(s.node)) if s.role != "undo" else 9)]
    )
    assert undone(engine, run_id) == ["step_undone x", "step_undone y"]


def test_what_is_under_way_when_the_run_fails_is_stopped_and_not_undone(engine: Engine) -> None:
    graph = definition(["s", *undoable("x", "y"), "z", "j"], ["s>x", "s>y", "s>z", "x>j", "y>j", "z>j"])
    run_id = engine.start(graph)
    engine.worker.succeed(engine.worker.claim_one())
    steps = {s.node: s for s in engine.worker.claim(10)}
    engine.worker.succeed(steps["x"])
    engine.worker.fail(steps["z"], retryable=False)
    assert engine.worker.beat(steps["y"].bucket)["revoked"] == [steps["y"].step_id]
    assert [r.kind for r in engine.worker.succeed(steps["y"])] == ["refused"]
    assert Tools(engine).run() == "undo x"
    assert engine.status(run_id) == "failed"


def test_cancel_undoes_only_when_asked(engine: Engine) -> None:
    for compensate, performed in ((False, ""), (True, "undo b undo a")):
        run_id = engine.start(saga())
        for _ in range(2):
            engine.worker.succeed(engine.worker.claim_one())
        call(engine, "cancel", run_id, compensate=compensate, reason="no more")
        assert Tools(engine).run() == performed
        assert engine.status(run_id) == "cancelled"
        (end,) = [h for h in engine.history(run_id) if h["kind"] == "run_cancelled"]
        assert end["error"]["message"] == "no more"


def test_while_it_is_undone_a_run_can_be_ended_at_once_but_not_undone_twice(engine: Engine) -> None:
    run_id = engine.start(saga())
    for _ in range(2):
        engine.worker.succeed(engine.worker.claim_one())
    cancel(engine, run_id)
    step = engine.worker.claim_one()
    with pytest.raises(psycopg.Error, match="is being undone already"):
        cancel(engine, run_id)
    engine.cancel(run_id)
    assert [r.kind for r in engine.worker.succeed(step)] == ["refused"]
    assert undone(engine, run_id) == []


def test_a_crash_while_undoing_repeats_what_was_under_way(engine: Engine) -> None:
    run_id = engine.start(saga())
    for _ in range(2):
        engine.worker.succeed(engine.worker.claim_one())
    engine.worker.fail(engine.worker.claim_one(), retryable=False)
    assert engine.new_worker(name="doomed").claim_one().tool == "un_b"
    engine.jump("1 hour")
    engine.worker.enlist()
    engine.worker.beat_everywhere()
    assert Tools(engine).run() == "undo b undo a"
    assert engine.kinds(run_id).count("attempt_lost") == 1
    assert engine.status(run_id) == "failed"


def test_an_undo_that_kills_its_workers_is_given_up_and_the_next_goes_on(engine: Engine) -> None:
    run_id = engine.start(saga())
    for _ in range(2):
        engine.worker.succeed(engine.worker.claim_one())
    engine.worker.fail(engine.worker.claim_one(), retryable=False)
    for _ in range(3):
        assert engine.new_worker(name="doomed").claim_one().tool == "un_b"
        engine.jump("1 hour")
        engine.worker.enlist()
        engine.worker.beat_everywhere()
        # Whom two have died of waits for a moment.
        engine.jump("3 seconds")
    assert Tools(engine).run() == "undo a"
    assert engine.error(run_id)["not_undone"][0]["error"]["type"] == "WorkerLost"


def test_an_operator_skips_an_undo_that_does_not_succeed(engine: Engine) -> None:
    run_id = engine.start(saga())
    for _ in range(2):
        engine.worker.succeed(engine.worker.claim_one())
    engine.worker.fail(engine.worker.claim_one(), retryable=False)
    skip(engine, run_id)
    assert Tools(engine).run() == "undo a"
    assert engine.status(run_id) == "failed"


def test_progress_can_be_seen(engine: Engine) -> None:
    run_id = engine.start(saga())
    for _ in range(2):
        engine.worker.succeed(engine.worker.claim_one())
    engine.worker.fail(engine.worker.claim_one(), retryable=False)
    (live,) = engine.live(run_id)
    assert (live["node"], engine.status(run_id)) == ("b", "running")
    engine.worker.succeed(engine.worker.claim_one())
    assert engine.live(run_id)[0]["node"] == "a"
    assert undone(engine, run_id) == ["step_undone b"]


def test_a_run_that_takes_too_long_is_undone_and_undoing_may_take_its_time(engine: Engine) -> None:
    run_id = engine.start(saga(timeout="1 day"))
    for _ in range(2):
        engine.worker.succeed(engine.worker.claim_one())
    engine.jump("1 day")
    engine.worker.enlist()
    assert tick(engine) == 1
    assert engine.status(run_id) == "running"
    engine.jump("1 day")
    engine.worker.enlist()
    assert tick(engine) == 0
    assert Tools(engine).run() == "undo b undo a"
    assert engine.error(run_id)["type"] == "RunTimeout"


def test_a_paused_run_that_is_cancelled_with_compensation_goes_on_to_undo(engine: Engine) -> None:
    run_id = engine.start(saga())
    engine.worker.succeed(engine.worker.claim_one())
    call(engine, "pause", run_id)
    assert cancel(engine, run_id) == "running"
    assert Tools(engine).run() == "undo a"
    assert engine.status(run_id) == "cancelled"


def test_undoing_is_paused_and_resumed(engine: Engine) -> None:
    run_id = engine.start(saga())
    for _ in range(2):
        engine.worker.succeed(engine.worker.claim_one())
    engine.worker.fail(engine.worker.claim_one(), retryable=False)
    call(engine, "pause", run_id)
    assert engine.worker.claim() == []
    call(engine, "resume", run_id)
    step = engine.worker.claim_one()
    call(engine, "pause", run_id)
    engine.worker.succeed(step)
    assert engine.worker.claim() == []
    assert engine.status(run_id) == "paused"
    call(engine, "resume", run_id)
    assert Tools(engine).run() == "undo a"


def family(engine: Engine) -> UUID:
    """A parent with its child under way beside z; the child has done x."""
    below = definition([*undoable("x"), "y"], ["x>y"])
    engine.graph(below)
    graph = definition(
        ["s", {"id": "g", "type": "graph", "graph": below["name"]}, "z", "j"], ["s>g", "s>z", "g>j", "z>j"]
    )
    run_id = engine.start(graph)
    engine.worker.succeed(engine.worker.claim_one("s"))
    engine.worker.succeed(engine.worker.claim_one("x"))
    return run_id


@pytest.mark.parametrize("paused", [False, True])
def test_a_parent_that_fails_has_its_live_children_undone(engine: Engine, paused: bool) -> None:
    run_id = family(engine)
    (child,) = children(engine, run_id)
    z = engine.worker.claim_one("z")
    if paused:
        call(engine, "pause", run_id)
    engine.worker.fail(z, retryable=False)
    assert (engine.status(run_id), engine.status(child)) == ("failed", "running")
    assert Tools(engine).run() == "undo x"
    assert engine.status(child) == "cancelled"


@pytest.mark.parametrize("compensate", [False, True])
def test_cancelling_a_parent_undoes_its_live_children_if_asked(engine: Engine, compensate: bool) -> None:
    run_id = family(engine)
    (child,) = children(engine, run_id)
    call(engine, "cancel", run_id, compensate=compensate)
    assert engine.status(run_id) == "cancelled"
    assert Tools(engine).run() == ("undo x" if compensate else "")
    assert engine.status(child) == "cancelled"
    assert tick(engine) <= 1
    assert engine.rows("select * from pgorch.timers") == []


def test_a_child_that_fails_is_undone_before_its_parent_hears_of_it(engine: Engine) -> None:
    below = definition([*undoable("x"), "y"], ["x>y"])
    engine.graph(below)
    graph = definition([*undoable("a"), {"id": "g", "type": "graph", "graph": below["name"]}], ["a>g"])
    run_id = engine.start(graph)
    assert failing(engine, "y").run() == "a x y undo x undo a"
    assert engine.status(run_id) == "failed"


def test_a_fork_of_an_undone_run_does_not_undo_what_it_shares(engine: Engine) -> None:
    run_id = engine.start(saga())
    tools = failing(engine, "c")
    tools.run()
    again = fork(engine, run_id, node="b")
    assert tools.run() == "b c undo b"
    assert engine.status(again) == "failed"
    with pytest.raises(psycopg.Error, match="began to undo"):
        fork(engine, run_id, seq=5)


def test_what_was_performed_is_undone_even_if_it_failed_by_its_edges(engine: Engine) -> None:
    pay = {"id": "pay", "compensate": "refund", "input": {"order": 7}}
    run_id = engine.start(definition([pay, "z"], [("pay>z", {"condition": "$.amount > 5"})]))
    tools = Tools(engine, {"pay": {"amount": "50"}})
    assert tools.run() == "pay undo pay"
    assert engine.error(run_id)["type"] == "ConditionUnknown"
    assert tools.last("pay").input == {
        "order": 7, "amount": "50", "input": {"order": 7}, "output": {"amount": "50"}}  # fmt: skip


def test_what_was_performed_is_undone_even_if_it_was_the_second_to_write_a_key(engine: Engine) -> None:
    nodes: list[Any] = ["s", *(n | {"into": "x"} for n in undoable("a", "b"))]
    run_id = engine.start(definition(nodes, ["s>a", "s>b"]))
    Tools(engine).run()
    assert engine.error(run_id)["type"] == "StateConflict"
    assert sorted(undone(engine, run_id)) == ["step_undone a", "step_undone b"]


@pytest.mark.parametrize("way", ["broken", "skipped"])
def test_what_was_not_performed_is_not_undone(engine: Engine, way: str) -> None:
    edges: list[Any] = [("a>b", {"condition": "$.x > 1"}), ("a>c", {"on": "error"})]
    run_id = engine.start(definition([*undoable("a"), "b", "c"], edges), {"x": "text"})
    if way == "skipped":
        skip(engine, run_id)
    tools = failing(engine, "a", "c")
    assert tools.run() == ("c" if way == "skipped" else "a c")
    assert engine.status(run_id) == "failed"


def race(engine: Engine) -> UUID:
    """A child that has done x, beside z; whoever comes first to j cancels the other."""
    below = definition([*undoable("x"), "y"], ["x>y"])
    engine.graph(below)
    child = {"id": "g", "type": "graph", "graph": below["name"]}
    nodes = ["s", child, "z", {"id": "j", "join": "any", "cancel_rest": True}]
    run_id = engine.start(definition(nodes, ["s>g", "s>z", "g>j", "z>j"]))
    engine.worker.succeed(engine.worker.claim_one("s"))
    engine.worker.succeed(engine.worker.claim_one("x"))
    return run_id


@pytest.mark.parametrize("failed", [False, True], ids=["under way", "being undone"])
def test_a_child_that_a_join_no_longer_waits_for_is_undone(engine: Engine, failed: bool) -> None:
    run_id = race(engine)
    (child,) = children(engine, run_id)
    z = engine.worker.claim_one("z")
    if failed:
        engine.worker.fail(engine.worker.claim_one("y"), retryable=False)
    engine.worker.succeed(z)
    assert sorted(Tools(engine).run().split()) == ["j", "undo", "x"]
    assert (engine.status(run_id), engine.status(child)) == ("completed", "failed" if failed else "cancelled")
    assert undone(engine, child) == ["step_undone x"]


def test_a_child_that_is_being_undone_goes_on_when_its_parent_is_cancelled(engine: Engine) -> None:
    run_id = race(engine)
    (child,) = children(engine, run_id)
    engine.worker.fail(engine.worker.claim_one("y"), retryable=False)
    engine.cancel(run_id)
    assert (engine.status(run_id), engine.status(child)) == ("cancelled", "running")
    assert Tools(engine).run() == "undo x"
    assert engine.status(child) == "failed"
