"""The state of a run at any entry of its history."""

from typing import Any
from uuid import UUID

import psycopg
import pytest
from psycopg.types.json import Jsonb

from tests.support.engine import Engine, Fails, Step, chain, definition


def last(engine: Engine, run_id: UUID) -> int:
    return int(engine.history(run_id)[-1]["seq"])


def state_at(engine: Engine, run_id: UUID, seq: int) -> Any:
    return engine.value("select pgorch.state_at(%s, %s)", run_id, seq)


def test_the_state_is_put_together_up_to_any_entry(engine: Engine) -> None:
    run_id = engine.start(chain("a b c"), {"n": 0})
    engine.run({"a": {"x": 1}, "b": {"x": 2, "y": [1]}, "c": {"n": 5}})
    assert [state_at(engine, run_id, seq) for seq in range(5)] == [
        {"n": 0},
        {"n": 0, "x": 1},
        {"n": 0, "x": 2, "y": [1]},
        {"n": 5, "x": 2, "y": [1]},
        {"n": 5, "x": 2, "y": [1]},
    ]
    assert state_at(engine, run_id, 4) == engine.state(run_id)


def test_what_failed_wrote_nothing_and_what_goes_into_a_key_is_there(engine: Engine) -> None:
    def broken(step: Step) -> None:
        raise Fails

    graph = definition(
        ["a", {"id": "b", "into": "kept"}, {"id": "ok", "type": "approval", "into": "said"}, "c"],
        [("a>b", {"on": "error"}), "b>ok", "ok>c"],
    )
    run_id = engine.start(graph)
    engine.run({"a": broken, "b": 7})
    engine.approve(run_id, {"note": "fine"})
    engine.run({"c": "no object"})
    end = last(engine, run_id)
    assert state_at(engine, run_id, 1) == {}
    assert state_at(engine, run_id, 2) == {"kept": 7}
    assert state_at(engine, run_id, end) == engine.state(run_id)


def test_of_a_decision_with_a_form_the_state_has_what_the_form_names(engine: Engine) -> None:
    ask = {"id": "ok", "type": "approval", "form": {"type": "object", "properties": {"amount": {}}}}
    node = "jsonb_populate_record(null::pgorch.nodes, %s)"
    entry = "jsonb_populate_record(null::pgorch.history, %s)"
    output = {"decision": "approved", "data": {"amount": 5, "more": 1}}
    ended = Jsonb({"kind": "approval_decided", "output": output})
    written = f"select pgorch._written_by_entry({node}, {entry})"
    assert engine.value(written, Jsonb(ask), ended) == {"amount": 5}
    rejected = Jsonb({"kind": "approval_decided", "output": output | {"decision": "rejected"}})
    assert engine.value(written, Jsonb(ask), rejected) == {}


def test_branches_and_a_state_that_was_folded_give_what_the_run_has(engine: Engine) -> None:
    graph = definition("a b c d", ["a>b", "a>c", "b>d", "c>d"])
    run_id = engine.start(graph, {"big": "x" * 5000})
    engine.run({"a": {"a": "y" * 3000}, "b": {"b": "z" * 3000}, "c": {"c": 1}, "d": {"a": None}})
    assert state_at(engine, run_id, last(engine, run_id)) == engine.state(run_id)


def test_two_states_are_compared_key_by_key(engine: Engine) -> None:
    run_id = engine.start(chain("a b"), {"same": 1, "gone": {"deep": 1}})
    engine.run({"a": {"new": None, "gone": {"deep": 2}}})
    rows = engine.rows("select * from pgorch.diff_states(%s, 0, 1)", run_id)
    assert rows == [
        {"key": "gone", "before": {"deep": 1}, "after": {"deep": 2}},
        {"key": "new", "before": None, "after": None},
    ]
    assert (
        engine.value(
            "select d.before is null and d.after = 'null' from pgorch.diff_states(%s, 0, 1) d"
            " where d.key = 'new'",
            run_id,
        )
        is True
    )
    assert engine.rows("select * from pgorch.diff_states(%s, 1, 2)", run_id) == []
    assert len(engine.rows("select * from pgorch.diff_states(%s, 1, 0)", run_id)) == 2


@pytest.mark.parametrize("seq", [-1, 99, None])
def test_an_entry_that_is_not_there_is_refused(engine: Engine, seq: int | None) -> None:
    run_id = engine.start(chain("a"))
    with pytest.raises(psycopg.Error) as caught:
        engine.value("select pgorch.state_at(%s, %s)", run_id, seq)
    assert caught.value.sqlstate == "OR006"
    with pytest.raises(psycopg.Error) as caught:
        engine.value("select pgorch.state_at(%s, 0)", UUID(int=0))
    assert caught.value.sqlstate == "OR003"


def test_a_fork_has_the_states_of_what_it_was_forked_from_and_of_its_own_edits(engine: Engine) -> None:
    old = engine.start(chain("a b c"), {"n": 0})
    engine.run({"a": {"x": 1}, "b": {"x": 2}, "c": {"x": 3}})
    new = engine.value("select pgorch.fork(%s, p_seq => 2, p_state => %s)", old, Jsonb({"x": 10}))
    engine.run({"c": {"y": 4}})
    assert [h["kind"] for h in engine.history(new)] == [
        "run_forked",
        "state_edited",
        "step_completed",
        "run_completed",
    ]
    assert [state_at(engine, new, seq) for seq in range(7)] == [
        {"n": 0},
        {"n": 0, "x": 1},
        {"n": 0, "x": 2},
        {"n": 0, "x": 2},
        {"n": 0, "x": 10},
        {"n": 0, "x": 10, "y": 4},
        {"n": 0, "x": 10, "y": 4},
    ]
    assert state_at(engine, new, 6) == engine.state(new)
    assert state_at(engine, old, 3) == engine.state(old) == {"n": 0, "x": 3}
    lines = [row["what"] for row in engine.rows("select * from pgorch.timeline(%s)", new)]
    assert lines[0].startswith(f"forked from {old} after its entry 2: a run of ")
    assert lines[1:] == [
        "a completed",
        "b completed",
        "the run was forked",
        "the state was edited",
        "c completed",
        "the run completed",
    ]
    progress = engine.rows("select node, visits from pgorch.run_progress(%s)", new)
    assert [(row["node"], row["visits"]) for row in progress] == [("a", 1), ("b", 1), ("c", 1)]


def test_before_a_move_outputs_went_where_the_version_of_that_time_put_them(engine: Engine) -> None:
    graph = definition([{"id": "a", "into": "first"}, "b"], ["a>b"], name="moving")
    run_id = engine.start(graph)
    engine.worker.succeed(engine.worker.claim_one(), 1)
    engine.graph(definition([{"id": "a", "into": "second"}, "b"], ["a>b"], name="moving"))
    engine.value("select pgorch.move(%s, 'moving@2')", run_id)
    engine.run({"b": {"x": 1}})
    assert engine.status(run_id) == "completed"
    assert state_at(engine, run_id, last(engine, run_id)) == engine.state(run_id) == {"first": 1, "x": 1}


def test_reducers_bring_values_together_as_they_did_in_the_run(engine: Engine) -> None:
    graph = definition(
        "a b c d",
        ["a>b", "a>c", "b>d", "c>d"],
        reducers={"found": "append", "cost": "sum", "last": "last"},
    )
    run_id = engine.start(graph, {"found": ["x"]})
    engine.run(
        {
            "a": {"cost": 1},
            "b": {"found": ["b"], "cost": 2, "last": "b"},
            "c": {"found": "c", "cost": 3, "last": "c"},
        }
    )
    assert engine.status(run_id) == "completed"
    end = last(engine, run_id)
    assert state_at(engine, run_id, end) == engine.state(run_id)
    assert state_at(engine, run_id, end)["cost"] == 6
    assert state_at(engine, run_id, 1) == {"found": ["x"], "cost": 1}
