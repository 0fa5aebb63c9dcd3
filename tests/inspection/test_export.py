"""A run as one document, and its labels."""

from typing import Any
from uuid import UUID

import psycopg
import pytest
from psycopg.types.json import Jsonb

from tests.support.engine import Engine, Fails, Step, chain, definition


def what(engine: Engine, run_id: UUID) -> list[str]:
    return [row["what"] for row in engine.rows("select * from pgorch.timeline(%s)", run_id)]


def test_an_export_has_everything_that_belongs_to_a_run(engine: Engine) -> None:
    graph = definition(["a", {"id": "ok", "type": "approval"}, "b"], ["a>ok", "ok>b"], name="asks")
    run_id = engine.start(graph, {"n": 1})
    engine.run({"a": {"x": None}})
    engine.approve(run_id, {"note": "fine"}, comment="yes")
    document = engine.value("select pgorch.export_run(%s)", run_id)
    assert document["format"] == "pgorch.run.1"
    assert document["run"]["run_id"] == str(run_id)
    assert document["run"]["input"] == {"n": 1}
    assert document["state"] == {"n": 1, "x": None}
    assert document["graph"]["name"] == "asks"
    assert document["graph"]["definition"]["nodes"] == graph["nodes"]
    assert [h["kind"] for h in document["history"]] == [
        "step_completed",
        "approval_requested",
        "approval_decided",
    ]
    assert document["history"][0]["output"] == {"x": None}
    assert [(a["node"], a["status"], a["comment"]) for a in document["approvals"]] == [
        ("ok", "approved", "yes")
    ]
    assert [s["node"] for s in document["steps"]] == ["b"]


def test_an_export_has_no_token_with_which_a_result_could_be_handed_in(engine: Engine) -> None:
    run_id = engine.start(chain("a"))
    token = engine.worker.claim_one().lease_token
    assert str(token) not in str(engine.value("select pgorch.export_run(%s)", run_id))


def family(engine: Engine) -> UUID:
    """A run whose step started one that started another."""
    engine.graph(chain("a") | {"name": "inner"})
    engine.graph(definition([{"id": "one", "type": "graph", "graph": "inner"}], name="middle"))
    graph = definition(["a", {"id": "two", "type": "graph", "graph": "middle"}], ["a>two"], name="outer")
    run_id = engine.start(graph)
    engine.worker.succeed(engine.worker.claim_one(), {})
    return run_id


def test_an_export_names_children_and_forks(engine: Engine) -> None:
    run_id = family(engine)
    document = engine.value("select pgorch.export_run(%s)", run_id)
    child = engine.value("select id from pgorch.runs where parent_run_id = %s", run_id)
    assert (document["children"], document["forks"]) == ([str(child)], [])
    with engine.connection.transaction(force_rollback=True):
        fork = engine.start("inner", bucket=run_id.bytes[15])
        query = "update pgorch.runs set forked_from = %s, forked_at = 0 where id = %s"
        engine.connection.execute(query, [run_id, fork])
        assert engine.value("select pgorch.export_run(%s) -> 'forks'", run_id) == [str(fork)]


def set_labels(engine: Engine, run_id: UUID, labels: Any) -> Any:
    return engine.value("select pgorch.set_labels(%s, %s)", run_id, Jsonb(labels))


def test_labels_are_set_and_taken_away_also_of_a_run_that_has_ended(engine: Engine) -> None:
    run_id = engine.start(chain("a"))
    assert set_labels(engine, run_id, {"customer": "42", "team": ""}) == {"customer": "42", "team": ""}
    engine.run()
    query = "select labels from pgorch.runs where id = %s"
    assert engine.value(query, run_id) == {"customer": "42", "team": ""}
    assert set_labels(engine, run_id, {"customer": "43"}) == {"customer": "43"}
    assert engine.value(query, run_id) == {"customer": "43"}
    assert set_labels(engine, run_id, {}) == {}
    assert engine.value(query, run_id) is None


@pytest.mark.parametrize(
    "labels",
    [
        [],
        "a",
        {"n": 1},
        {"n": None},
        {"": "x"},
        {"n" * 201: "x"},
        {"n": "x" * 1001},
        {str(n): "" for n in range(51)},
    ],
    ids=["list", "text", "number", "null", "no name", "long name", "long text", "many"],
)
def test_what_is_no_label_is_refused(engine: Engine, labels: Any) -> None:
    run_id = engine.start(chain("a"))
    with pytest.raises(psycopg.Error) as caught:
        set_labels(engine, run_id, labels)
    assert caught.value.sqlstate == "OR006"


def test_progress_tells_of_each_node_how_its_last_visit_ended_and_what_is_live(engine: Engine) -> None:
    graph = definition(
        ["a", {"id": "ok", "type": "approval"}, "b", "c", "d"],
        ["a>ok", "a>b", ("b>c", {"on": "error"}), "c>d"],
    )

    def broken(step: Step) -> None:
        raise Fails

    run_id = engine.start(graph)
    engine.run({"b": broken}, choose=lambda steps: [s for s in steps if s.node != "c"][:1] or steps[:1])
    rows = engine.rows("select * from pgorch.run_progress(%s)", run_id)
    assert {row["node"]: (row["state"], row["visits"]) for row in rows} == {
        "a": ("done", 1),
        "b": ("failed", 1),
        "c": ("done", 1),
        "d": ("done", 1),
        "ok": ("waiting", 0),
    }


def test_a_tree_has_children_below_the_run_that_waits_for_them(engine: Engine) -> None:
    run_id = family(engine)
    engine.start("inner")
    rows = engine.rows("select * from pgorch.run_tree(%s)", run_id)
    assert [(row["graph"], row["depth"]) for row in rows] == [("outer", 0), ("middle", 1), ("inner", 2)]
    assert [row["parent_run_id"] for row in rows] == [None, run_id, rows[1]["run_id"]]
    below = engine.rows("select * from pgorch.run_tree(%s)", rows[1]["run_id"])
    assert [(row["graph"], row["depth"]) for row in below] == [("middle", 0), ("inner", 1)]
    engine.run()
    assert {row["status"] for row in engine.rows("select * from pgorch.run_tree(%s)", run_id)} == {
        "completed"
    }
    assert what(engine, run_id)[2].startswith("two started the run ")
