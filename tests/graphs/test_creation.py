"""What create_graph stores, and how it counts versions."""

import json

import psycopg
import pytest
from psycopg.types.json import Jsonb

from tests.graphs.graphs import Graphs, tasks
from tests.support.engine import definition, value_of
from tests.support.races import Rival, open_connection, wait_until


def test_the_same_content_is_the_same_version(graphs: Graphs) -> None:
    first = graphs.create(tasks("a b", ["a>b"], name="g"))
    again = graphs.create({"start_node": "a", **tasks("a b", ["a>b"], name="g")})
    assert first["created"]
    assert not again["created"]
    assert (again["graph_id"], again["version"]) == (first["graph_id"], 1)


def test_other_content_under_the_same_name_is_the_next_version(graphs: Graphs) -> None:
    one = graphs.create(tasks("a", name="g"))
    two = graphs.create(tasks("a b", ["a>b"], name="g"))
    other = graphs.create(tasks("a", name="h"))
    assert [g["version"] for g in (one, two, other)] == [1, 2, 1]
    assert len({g["graph_id"] for g in (one, two, other)}) == 3


def test_going_back_to_earlier_content_gives_the_earlier_version(graphs: Graphs) -> None:
    graphs.create(tasks("a", name="g"))
    graphs.create(tasks("a b", ["a>b"], name="g"))
    assert graphs.create(tasks("a", name="g"))["version"] == 1


def test_a_graph_without_name_is_named_after_its_content(graphs: Graphs) -> None:
    graph = tasks("a")
    del graph["name"]
    created = graphs.create(graph)
    digest = graphs.value("select digest from pgorch.graphs where id = %s", created["graph_id"])
    assert created["name"] == "graph-" + digest[:12]
    assert graphs.create(graph)["graph_id"] == created["graph_id"]


def test_the_missions_graph_is_created(graphs: Graphs) -> None:
    created = graphs.create(
        {
            "nodes": [{"id": "a", "function": "profile_data"}, {"id": "b", "function": "wait_for_approval"}],
            "edges": [{"source": "a", "target": "b"}],
            "start_node": "a",
        }
    )
    assert created["created"]
    assert created["version"] == 1


def test_an_invalid_graph_raises_with_all_errors_and_stores_nothing(graphs: Graphs) -> None:
    broken = tasks("a b", ["a>c", ("a>b", {"limit": 0})], name="g")
    with pytest.raises(psycopg.Error) as raised, graphs.connection.transaction():
        graphs.create(broken)
    assert raised.value.sqlstate == "OR004"
    assert json.loads(raised.value.diag.message_detail or "") == graphs.errors(broken)
    assert "2 errors" in str(raised.value)
    assert graphs.value("select count(*) from pgorch.graphs") == 0


def test_the_definition_is_kept_with_what_editors_add(graphs: Graphs) -> None:
    graph = definition(
        [
            {"id": "a", "function": "f", "position": {"x": 1, "y": 2}, "data": {"label": "A"}, "style": {}},
            {"id": "b", "function": "f", "width": 10, "height": 5, "selected": True, "measured": {}},
        ],
        [("a>b", {"type": "smoothstep", "animated": True, "markerEnd": {}, "targetHandle": "left"})],
        viewport={"x": 0, "y": 0, "zoom": 1},
    )
    assert graphs.stored(graph)["definition"] == graph


def test_who_created_it_is_kept(graphs: Graphs) -> None:
    created = graphs.create(tasks("a", name="g"), actor="ann")
    assert graphs.value("select created_by from pgorch.graphs where id = %s", created["graph_id"]) == "ann"
    mine = graphs.create(tasks("a", name="h"))
    user = graphs.value("select session_user")
    assert graphs.value("select created_by from pgorch.graphs where id = %s", mine["graph_id"]) == user


def test_fields_of_nodes_reach_their_columns(graphs: Graphs) -> None:
    nodes = graphs.nodes(
        definition(
            [
                {
                    "id": "a",
                    "function": "f",
                    "input": {"x": "${$.x}"},
                    "into": "result",
                    "timeout": "PT2M",
                    "queue": "gpu",
                    "priority": -5,
                    "branch": "all",
                    "join": "all",
                    "retry": {"max_attempts": 5, "initial_interval": "2 seconds"},
                },
                {"id": "b", "type": "approval", "title": "Pay ${$.x}?", "show": {"x": "${$.x}"}},
                {"id": "c", "function": "wait_for_approval"},
                {"id": "d", "type": "pass"},
                {"id": "e", "type": "fail", "error": "TooBad", "message": "because ${$.x}"},
                {"id": "g", "type": "fail"},
            ],
            ["a>b", "b>c", "c>d", ("d>e", {"condition": "$.x == 1"}), "d>g"],
        )
    )
    a = nodes["a"]
    assert (a["type"], a["function"], a["input"], a["into_key"]) == ("task", "f", {"x": "${$.x}"}, "result")
    assert (a["timeout"].total_seconds(), a["queue"], a["priority"]) == (120, "gpu", -5)
    assert a["branch_all"]
    assert a["retry"] == {
        "max_attempts": 5,
        "initial_seconds": 2,
        "backoff_factor": 2,
        "max_seconds": 200,
        "jitter": 0.1,
    }
    assert (nodes["b"]["title"], nodes["b"]["show"]) == ("Pay ${$.x}?", {"x": "${$.x}"})
    assert [nodes[n]["type"] for n in "bcdeg"] == ["approval", "approval", "pass", "fail", "fail"]
    assert [nodes[n]["function"] for n in "bcdeg"] == [None] * 5
    assert nodes["c"]["queue"] == "default"
    assert nodes["c"]["retry"] is None
    assert nodes["e"]["input"] == {"error": "TooBad", "message": "because ${$.x}"}
    assert nodes["g"]["input"] == {"error": "Failed"}


def test_a_key_with_null_is_a_key_left_out(graphs: Graphs) -> None:
    node = {"id": "a", "function": "f", "input": None, "into": None, "retry": None, "timeout": None}
    stored = graphs.nodes(definition([node | {"queue": None, "title": None, "sql": None}]))["a"]
    assert [stored[k] for k in ("input", "into_key", "retry", "timeout", "queue")] == [None] * 4 + ["default"]


def test_edges_keep_their_order_but_the_else_comes_last(graphs: Graphs) -> None:
    edges = graphs.edges(
        tasks(
            "a b c d e",
            [
                "a>b",
                ("a>c", {"condition": "$.x == 1", "id": "first", "label": "one"}),
                ("a>d", {"condition": {"x": 2}}),
                ("a>e", {"on": "error"}),
            ],
        )
    )
    assert [(e["target"], e["rank"], e["ord"]) for e in edges] == [
        ("b", 3, 0),
        ("c", 1, 1),
        ("d", 2, 2),
        ("e", 4, 3),
    ]
    assert (edges[1]["edge_id"], edges[1]["label"]) == ("first", "one")
    assert [str(e["condition"]) for e in edges] == ["None", '($."x" == 1)', "None", "None"]
    assert [e["contains"] for e in edges] == [None, None, {"x": 2}, None]


def test_approved_is_the_success_of_an_approval(graphs: Graphs) -> None:
    edges = graphs.edges(
        definition(
            [{"id": "a", "type": "approval"}, *({"id": n, "function": "f"} for n in "bcde")],
            [
                ("a>b", {"on": "approved"}),
                ("a>c", {"on": "rejected"}),
                ("a>d", {"sourceHandle": "rejected"}),
                ("a>e", {"on": "error", "sourceHandle": "bottom"}),
            ],
        )
    )
    assert [e["on_outcome"] for e in edges] == ["success", "rejected", "rejected", "error"]


def test_roots_and_nodes_that_conditions_read_are_listed(graphs: Graphs) -> None:
    graph = definition(
        [
            {"id": "a", "function": "f"},
            {"id": "step-two", "function": "f", "input": "${$nodes.a.output.x} and ${$.nodes}"},
            {"id": "c", "function": "f"},
            {"id": "d", "type": "pass"},
        ],
        [
            ("a>step-two", {"condition": '$run.id == "$nodes.c" || $input.x == 1'}),
            ("a>d", {"condition": '$.text == "$error.x"'}),
            ("step-two>c", {"condition": '$nodes."step-two".status == "completed" || $nodes.a.visits > 1'}),
            "step-two>d",
            ("c>d", {"on": "error", "condition": '$error.type == "X"'}),
        ],
    )
    edges = graphs.edges(graph)
    assert [e["roots"] for e in edges] == [["input", "run"], [], ["nodes"], [], ["error"]]
    assert graphs.stored(graph)["node_refs"] == ["a", "step-two"]


def test_twenty_creators_of_one_graph_make_one_version(database: str) -> None:
    graph = tasks("a b", ["a>b"], name="g")
    with open_connection(database) as holder:
        Graphs(holder).register("f")
        with holder.transaction():
            Graphs(holder).create(tasks("a", name="g"))
            rivals = [
                Rival(database, "select * from pgorch.create_graph(%s)", Jsonb(graph)) for _ in range(20)
            ]
            waiting = "select count(*) from pg_locks where locktype = 'advisory' and not granted"
            wait_until(lambda: value_of(holder, waiting) == 20)
        rows = [rival.rows()[0] for rival in rivals]
    assert {r["version"] for r in rows} == {2}
    assert len({r["graph_id"] for r in rows}) == 1
    assert [r["created"] for r in rows].count(True) == 1


def test_a_creation_that_is_rolled_back_leaves_no_gap(graphs: Graphs) -> None:
    graphs.create(tasks("a", name="g"))
    with graphs.connection.transaction(force_rollback=True):
        assert graphs.create(tasks("a b", ["a>b"], name="g"))["version"] == 2
    assert graphs.create(tasks("a c", ["a>c"], name="g"))["version"] == 2


def test_with_an_old_snapshot_the_loser_is_told_to_try_again(database: str) -> None:
    with open_connection(database) as winner, open_connection(database) as loser:
        Graphs(winner).register("f")
        loser.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        with loser.transaction():
            loser.execute("select count(*) from pgorch.graphs")
            Graphs(winner).create(tasks("a", name="g"))
            late = Graphs(loser)
            with pytest.raises(psycopg.errors.SerializationFailure):
                late.create(tasks("a b", ["a>b"], name="g"))
            raise psycopg.Rollback


def test_a_graph_is_found_by_id_name_and_version(graphs: Graphs) -> None:
    one = graphs.create(tasks("a", name="my graph"))
    two = graphs.create(tasks("a b", ["a>b"], name="my graph"))

    def found(text: str) -> object:
        return graphs.value("select pgorch.find_graph(%s)", text)

    assert found(str(one["graph_id"])) == one["graph_id"]
    assert found(str(one["graph_id"]).upper()) == one["graph_id"]
    assert found("my graph") == two["graph_id"]
    assert found("my graph@1") == one["graph_id"]
    assert found("my graph@2") == two["graph_id"]


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("data_qualty", 'Did you mean "data_quality"?'),
        ("data_quality@7", "versions 1 to 1"),
        ("data_qualty@1", 'Did you mean "data_quality"?'),
        ("00000000-0000-7000-8000-000000000000", "name@version"),
        ("", "name@version"),
        (None, "name@version"),
        ("%s %d", "name@version"),
    ],
)
def test_a_graph_that_is_not_there_is_refused_with_near_names(
    graphs: Graphs, text: str | None, hint: str
) -> None:
    graphs.create(tasks("a", name="data_quality"))
    with pytest.raises(psycopg.Error) as raised, graphs.connection.transaction():
        graphs.value("select pgorch.find_graph(%s)", text)
    assert raised.value.sqlstate == "OR003"
    assert hint in (raised.value.diag.message_hint or "")
