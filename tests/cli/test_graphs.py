import json
from collections.abc import Callable
from pathlib import Path

from tests.cli.conftest import Cli
from tests.support.engine import Engine, chain

Write = Callable[[str, str], Path]

BROKEN = """{"name": "broken",
 "nodes": [
  {"id": "a", "function": "fetch"},
  {"id": "b", "function": "fetsh"}],
 "edges": [
  {"source": "a", "target": "bb"},
  {"source": "a", "target": "b",
   "condition": "$.x = 1"}],
 "start_node": "a"}"""


def test_a_graph_is_created_from_a_file_and_the_same_content_is_the_same_version(
    cli: Cli, engine: Engine, write: Write
) -> None:
    engine.register("a", "b")
    file = write("graph.json", json.dumps(chain("a b") | {"name": "pair"}))
    first = cli("graphs", "create", file)
    again = cli("graphs", "create", file)
    assert (first.code, first.json["version"], first.json["created"]) == (0, 1, True)
    assert (again.json["graph_id"], again.json["created"]) == (first.json["graph_id"], False)


def test_a_graph_is_created_from_stdin(cli: Cli, engine: Engine) -> None:
    engine.register("a")
    said = cli("graphs", "create", "-", "-o", "table", stdin=json.dumps(chain("a") | {"name": "single"}))
    assert said.code == 0
    assert said.out.startswith("single@1 created: ")


def test_each_error_of_a_graph_names_file_line_column_and_the_near_name(
    cli: Cli, engine: Engine, write: Write
) -> None:
    engine.register("fetch")
    file = write("broken.json", BROKEN)
    said = cli("graphs", "create", file)
    assert said.code == 1
    assert f"{file}:4:27: " in said.err
    assert 'Did you mean "fetch"?' in said.err
    assert f"{file}:6:29: " in said.err
    assert f"{file}:8:17: " in said.err
    assert cli("graphs", "list").json == []


def test_validating_says_the_same_without_creating_and_ends_with_1(
    cli: Cli, engine: Engine, write: Write
) -> None:
    engine.register("fetch")
    said = cli("graphs", "validate", write("broken.json", BROKEN))
    assert said.code == 1
    places = {error["path"]: (error["line"], error["column"]) for error in said.json}
    assert places["/nodes/1/function"] == (4, 27)
    assert places["/edges/1/condition"] == (8, 17)


def test_a_valid_graph_is_said_to_be_valid(cli: Cli, engine: Engine, write: Write) -> None:
    engine.register("a")
    file = write("graph.json", json.dumps(chain("a")))
    assert cli("graphs", "validate", file).json == []
    assert cli("graphs", "validate", file, "-o", "table").out == f"{file} is valid.\n"


def test_a_file_that_is_not_json_is_refused_with_line_and_column(cli: Cli, write: Write) -> None:
    said = cli("graphs", "create", write("graph.json", '{"nodes": [],\n  oops}'))
    assert said.code == 1
    assert "line 2, column 3" in said.err


def test_a_file_that_is_not_there_is_a_mistake_in_the_usage(cli: Cli, tmp_path: Path) -> None:
    said = cli("graphs", "create", tmp_path / "no.json")
    assert said.code == 2
    assert "No such file" in said.err


def test_a_graph_is_shown_by_name_version_and_id(cli: Cli, engine: Engine) -> None:
    graph = chain("a b") | {"name": "pair"}
    graph_id = engine.graph(graph)
    for name in ("pair", "pair@1", graph_id):
        assert cli("graphs", "show", name).json["definition"] == graph
    assert cli("graphs", "show", "pair", "-o", "table").out.startswith("name")


def test_an_unknown_graph_is_refused_with_the_near_name(cli: Cli, engine: Engine) -> None:
    engine.graph(chain("a") | {"name": "invoices"})
    said = cli("graphs", "show", "invoice")
    assert said.code == 1
    assert 'Did you mean "invoices"?' in said.err


def test_the_list_has_the_latest_versions_unless_all_are_asked_for(cli: Cli, engine: Engine) -> None:
    engine.graph(chain("a") | {"name": "one"})
    engine.graph(chain("a b") | {"name": "one"})
    assert [row["version"] for row in cli("graphs", "list").json] == [2]
    assert [row["version"] for row in cli("graphs", "list", "--all").json] == [2, 1]
    assert "one" in cli("graphs", "list", "-o", "table").out
