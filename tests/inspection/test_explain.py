"""Why an edge is taken or not."""

from typing import Any
from uuid import UUID

import psycopg
import pytest
from psycopg.types.json import Jsonb

from tests.support.engine import Engine, Fails, Row, Step, definition

QUALITY = definition(
    ["profile", "clean", "publish", "quarantine"],
    [
        ("profile>publish", {"condition": "$.quality >= 0.95"}),
        ("profile>clean", {"condition": "$.quality < 0.95", "limit": 3}),
        "profile>quarantine",
        "clean>profile",
    ],
)


def explained(engine: Engine, run_id: UUID, node: str, seq: int | None = None) -> list[Row]:
    return engine.rows("select * from pgorch.explain(%s, %s, %s)", run_id, node, seq)


def of_graph(engine: Engine, graph: str, node: str, state: Any, *more: Any) -> list[Row]:
    marks = ", ".join(["%s"] * (3 + len(more)))
    return engine.rows(f"select * from pgorch.explain_graph({marks})", graph, node, Jsonb(state), *more)


def taken(rows: list[Row]) -> list[str]:
    return [row["target"] for row in rows if row["taken"]]


def why(rows: list[Row]) -> dict[str, str]:
    return {row["target"]: row["why"] for row in rows}


def test_a_condition_is_shown_with_the_value_that_it_found(engine: Engine) -> None:
    rows = of_graph(engine, engine.graph(QUALITY), "profile", {"quality": 0.5})
    assert taken(rows) == ["clean"]
    assert [(r["ord"], r["found"], r["holds"], r["limit"], r["used"]) for r in rows] == [
        (0, {"$.quality": 0.5}, False, None, None),
        (1, {"$.quality": 0.5}, True, 3, 0),
        (2, None, None, None, None),
    ]
    assert why(rows) == {
        "publish": "its condition does not hold",
        "clean": "its condition holds",
        "quarantine": "edge 1 is tried before it and holds",
    }


def test_what_is_not_there_is_told_from_what_does_not_fit(engine: Engine) -> None:
    rows = of_graph(engine, engine.graph(QUALITY), "profile", {"qualty": 1})
    assert taken(rows) == ["quarantine"]
    assert why(rows)["publish"] == "its condition does not hold: nothing is where it looks"
    assert why(rows)["quarantine"] == "no condition before it holds: it is the else"


def test_an_unknown_condition_says_so_and_nothing_is_taken(engine: Engine) -> None:
    rows = of_graph(engine, engine.graph(QUALITY), "profile", {"quality": "0.5"})
    assert taken(rows) == []
    assert rows[0]["holds"] is None
    assert "UNKNOWN" in rows[0]["why"]
    assert "edge 0 cannot be decided" in rows[1]["why"]
    assert rows[0]["found"] == {"$.quality": "0.5"}


def test_edges_for_other_outcomes_are_shown_as_such(engine: Engine) -> None:
    graph = engine.graph(definition("a b c d", ["a>b", "a>c", ("a>d", {"on": "error"})]))
    rows = of_graph(engine, graph, "a", {})
    assert taken(rows) == ["b", "c"]
    assert why(rows)["d"] == "it is for error, and the outcome is success"
    assert taken(of_graph(engine, graph, "a", {}, "error")) == ["d"]


def test_every_path_of_a_condition_is_shown_roots_and_lists_too(engine: Engine) -> None:
    condition = '$.items[*].price > 5 && $input."or-der" == "a $.b" || exists($.deep.x ? (@ > 1))'
    graph = engine.graph(definition("a b", [("a>b", {"condition": condition})]))
    state = {"items": [{"price": 1}, {"price": 9}], "deep": {"x": 0}}
    rows = of_graph(engine, graph, "a", state, "success", Jsonb({"input": {"or-der": "x"}}))
    assert rows[0]["found"] == {"$.items[*].price": [1, 9], '$input."or-der"': "x", "$.deep.x": 0}
    assert rows[0]["holds"] is False


def test_a_condition_that_is_an_object_shows_its_keys(engine: Engine) -> None:
    graph = engine.graph(definition("a b", [("a>b", {"condition": {"status": "ok", "n": 1}})]))
    rows = of_graph(engine, graph, "a", {"status": "bad", "more": 1})
    assert rows[0]["found"] == {"$.status": "bad"}
    assert rows[0]["holds"] is False


def test_branch_all_takes_every_edge_that_holds(engine: Engine) -> None:
    graph = definition(
        [{"id": "a", "branch": "all"}, "b", "c", "d"],
        [("a>b", {"condition": "$.n > 1"}), ("a>c", {"condition": "$.n > 2"}), "a>d"],
    )
    rows = of_graph(engine, engine.graph(graph), "a", {"n": 2})
    assert taken(rows) == ["b", "d"]


def test_a_run_is_explained_as_it_was_when_the_node_ended(engine: Engine) -> None:
    run_id = engine.start(QUALITY, {"quality": 0})
    engine.run({"profile": {"quality": 0.1}, "clean": {"quality": 1}, "quarantine": {"quality": 1}})
    assert engine.order(run_id) == "profile clean " * 3 + "profile quarantine"
    rows = explained(engine, run_id, "profile")
    assert taken(rows) == ["quarantine"]
    assert why(rows)["clean"] == "its limit of 3 is used up"
    assert (rows[1]["used"], rows[1]["found"]) == (3, {"$.quality": 0.1})
    assert {row["as_of"] for row in rows} == {7}
    third = explained(engine, run_id, "profile", 6)
    assert taken(third) == ["clean"]
    assert (third[1]["used"], third[1]["as_of"]) == (2, 5)


def test_limits_are_counted_anew_when_a_loop_is_entered_anew(engine: Engine) -> None:
    graph = definition(
        "outer inner again end",
        [
            "outer>inner",
            ("inner>again", {"condition": "$.inner == true", "limit": 1}),
            "again>inner",
            ("inner>outer", {"condition": "$.outer == true", "limit": 1}),
            "inner>end",
        ],
    )
    run_id = engine.start(graph, {"inner": True, "outer": True})
    engine.run()
    assert engine.order(run_id) == "outer inner again inner outer inner again inner end"
    inner = [h["seq"] for h in engine.history(run_id) if h["node"] == "inner"]
    used = [[row["used"] for row in explained(engine, run_id, "inner", seq)] for seq in inner]
    assert used == [[0, 0, None], [1, 0, None], [0, 1, None], [1, 1, None]]


def test_what_is_live_is_explained_with_the_state_of_now(engine: Engine) -> None:
    run_id = engine.start(QUALITY, {"quality": 0.99})
    rows = explained(engine, run_id, "profile")
    assert taken(rows) == ["publish"]
    assert rows[0]["as_of"] is None


def test_a_step_that_failed_by_its_condition_shows_which(engine: Engine) -> None:
    graph = definition("a b c", [("a>b", {"condition": "$.n > 1"}), ("a>c", {"on": "error"})])
    run_id = engine.start(graph)
    engine.run({"a": {"n": "many"}})
    rows = explained(engine, run_id, "a")
    assert taken(rows) == ["c"]
    assert "UNKNOWN" in why(rows)["b"]
    assert rows[0]["found"] == {"$.n": "many"}


def test_decisions_errors_and_nodes_are_those_of_that_time(engine: Engine) -> None:
    graph = definition(
        ["a", {"id": "ok", "type": "approval"}, "again", "end", "rescue"],
        [
            ("a>ok", {"condition": "$nodes.a.visits >= 1"}),
            ("ok>again", {"on": "rejected", "condition": "$decision.retry == true", "limit": 2}),
            ("ok>end", {"on": "rejected"}),
            "again>ok",
            ("end>rescue", {"on": "error", "condition": '$error.type == "Broken"'}),
        ],
    )

    def broken(step: Step) -> None:
        raise Fails

    run_id = engine.start(graph)
    engine.run()
    engine.reject(run_id, {"retry": True})
    engine.run()
    engine.reject(run_id, {"retry": False})
    engine.run({"end": broken})
    assert engine.status(run_id) == "completed"
    assert explained(engine, run_id, "a")[0]["found"] == {"$nodes.a.visits": 1}
    decided = explained(engine, run_id, "ok")
    assert taken(decided) == ["end"]
    assert (decided[0]["found"], decided[0]["used"]) == ({"$decision.retry": False}, 1)
    assert taken(explained(engine, run_id, "end")) == ["rescue"]
    assert explained(engine, run_id, "end")[0]["found"] == {"$error.type": "Broken"}


def test_a_graph_or_node_or_outcome_that_is_not_there_is_refused(engine: Engine) -> None:
    graph = engine.graph(QUALITY)
    for arguments, code in (
        ((graph, "profil", {}), "OR003"),
        (("nothing", "profile", {}), "OR003"),
        ((graph, "profile", {}, "good"), "OR006"),
        ((graph, "profile", []), "OR006"),
    ):
        with pytest.raises(psycopg.Error) as caught:
            of_graph(engine, *arguments)
        assert caught.value.sqlstate == code
    run_id = engine.start(graph)
    with pytest.raises(psycopg.Error, match="has no node nothing"):
        explained(engine, run_id, "nothing")


def test_a_join_that_too_few_could_reach_is_explained_as_skipped(engine: Engine) -> None:
    graph = definition(
        ["a", "b", "c", {"id": "d", "join": {"at_least": 2}}, "e"],
        ["a>b", "a>c", ("b>d", {"condition": "$.go == true"}), ("b>e", {}), "c>d", "d>e"],
    )
    graph["edges"][3] = {"source": "b", "target": "e"}
    run_id = engine.start(graph, {"go": False})
    engine.run()
    assert "step_skipped" in engine.kinds(run_id)
    rows = explained(engine, run_id, "d")
    assert taken(rows) == []
    assert "was skipped" in rows[0]["why"]


@pytest.mark.parametrize("output", [5, "text", True, None, [1]])
def test_a_node_is_explained_whatever_its_output_is(engine: Engine, output: Any) -> None:
    run_id = engine.start(definition("a b", ["a>b"]))
    engine.run({"a": output})
    # As a session does that has asked nothing before.
    engine.connection.execute("discard plans")
    assert taken(explained(engine, run_id, "a")) == ["b"]
