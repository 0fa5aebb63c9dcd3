"""The commands that look at runs and graphs."""

import io
import json
from collections.abc import Callable
from pathlib import Path
from uuid import UUID

from rich.console import Console

from pgorch.cli.session import session
from pgorch.cli.watching import watch_live
from tests.cli.conftest import Cli
from tests.support.engine import Engine, chain, definition

Write = Callable[[str, str], Path]
CHECKED = definition("a b c", [("a>b", {"condition": "$.x > 1"}), "a>c"], name="checked")


def finished(engine: Engine) -> UUID:
    run_id = engine.start(CHECKED, {"n": 1})
    engine.run({"a": {"x": 1}, "c": {"n": 2}})
    return run_id


def test_states_of_before_and_what_changed(cli: Cli, engine: Engine) -> None:
    run_id = finished(engine)
    assert cli("runs", "state", run_id).json == {"n": 2, "x": 1}
    assert cli("runs", "state", run_id, "--at", 1).json == {"n": 1, "x": 1}
    assert cli("runs", "diff", run_id, 1, 2).json == [{"key": "n", "before": 1, "after": 2}]
    assert cli("runs", "diff", run_id, 2, 3, "-o", "table").out == "The states are the same.\n"
    said = cli("runs", "state", run_id, "--at", 9)
    assert (said.code, "(OR006)" in said.err) == (1, True)


def test_why_a_run_went_where_it_went(cli: Cli, engine: Engine) -> None:
    run_id = finished(engine)
    edges = cli("runs", "explain", run_id, "a").json
    assert [(e["target"], e["taken"], e["found"]) for e in edges] == [
        ("b", False, {"$.x": 1}),
        ("c", True, None),
    ]
    table = cli("runs", "explain", run_id, "a", "--at", 1, "-o", "table").out
    assert "no condition before it holds: it is the else" in table
    assert cli("runs", "explain", run_id, "c", "-o", "table").out == "No edge leads on from this node.\n"


def test_why_a_graph_would_go_somewhere(cli: Cli, engine: Engine, write: Write) -> None:
    engine.graph(CHECKED)
    state = write("state.json", '{"x": 5}')
    edges = cli("graphs", "explain", "checked", "a", "--state", f"@{state}").json
    assert [e["target"] for e in edges if e["taken"]] == ["b"]
    edges = cli("graphs", "explain", "checked", "a", "--outcome", "error").json
    assert [e["target"] for e in edges if e["taken"]] == []
    assert cli("graphs", "explain", "checked", "d").code == 1


def test_a_timeline_a_tree_and_an_export(cli: Cli, engine: Engine) -> None:
    run_id = finished(engine)
    assert [line["what"] for line in cli("runs", "timeline", run_id).json][1:] == [
        "a completed",
        "c completed",
        "the run completed",
    ]
    assert "a completed" in cli("runs", "timeline", run_id, "-o", "table").out
    parent = engine.start(definition([{"id": "inner", "type": "graph", "graph": "checked"}], name="outer"))
    child = engine.value("select id from pgorch.runs where parent_run_id = %s", parent)
    lines = cli("runs", "tree", parent, "-o", "table").out.splitlines()
    assert lines == [f"{parent}  outer@1  waiting", f"└─ {child}  checked@1  running"]
    assert [row["depth"] for row in cli("runs", "tree", parent).json] == [0, 1]
    assert cli("runs", "export", parent).json["children"] == [str(child)]
    assert cli("runs", "tree", run_id, "-o", "table").out.startswith(
        f"{run_id}  checked@1  completed  ended "
    )


def test_labels_are_set_and_runs_found_by_them(cli: Cli, engine: Engine) -> None:
    run_id, other = finished(engine), engine.start(CHECKED, {"n": 3})
    assert cli("runs", "label", run_id, "team=billing", "order=a=b").json == {
        "team": "billing",
        "order": "a=b",
    }
    assert [r["run_id"] for r in cli("runs", "list", "--label", "order=a=b").json] == [str(run_id)]
    assert [r["run_id"] for r in cli("runs", "list", "--state", "n=3").json] == [str(other)]
    assert cli("runs", "list", "--state", "n=3", "--label", "team=billing").json == []
    started = cli("run", "checked", "--label", "team=sales", "--label", "x=y").json["run_id"]
    assert [r["run_id"] for r in cli("runs", "list", "--label", "team=sales").json] == [started]
    assert cli("runs", "label", run_id).json == {}
    assert cli("runs", "label", run_id, "team").code == 2
    assert cli("runs", "list", "--state", "n").code == 2


def test_graphs_and_runs_are_drawn(cli: Cli, engine: Engine) -> None:
    run_id = finished(engine)
    assert cli("graphs", "show", "checked", "--format", "text").out.splitlines() == [
        "checked@1",
        "• a",
        "├─ $.x > 1 → b",
        "└─ else → c",
        "   • b",
        "   • c",
    ]
    assert cli("graphs", "show", "checked", "--format", "mermaid").out.startswith("flowchart TD\n")
    assert cli("graphs", "show", "checked", "--format", "json").json["name"] == "checked"
    drawn = cli("runs", "show", run_id, "--format", "text").out.splitlines()
    assert drawn[0] == f"checked@1, run {run_id}: completed"
    assert drawn[1] == "✔ a  done"
    assert drawn[-2:] == ["   ○ b", "   ✔ c  done"]
    assert "class n0,n2 done" in cli("runs", "show", run_id, "--format", "mermaid").out
    assert cli("runs", "show", run_id, "--format", "json").json["run_id"] == str(run_id)
    assert cli("runs", "show", "00000000-0000-7000-8000-000000000000", "--format", "text").code == 1


def test_versions_of_a_graph_are_compared(cli: Cli, engine: Engine, write: Write) -> None:
    engine.graph(CHECKED)
    newer = json.loads(json.dumps(CHECKED))
    newer["nodes"][0]["retry"] = {"max_attempts": 3}
    newer["nodes"].append({"id": "d", "function": "a"})
    newer["edges"][1] = {"source": "a", "target": "d"}
    newer["edges"][0]["condition"] = "$.x > 2"
    newer["edges"].append({"source": "d", "target": "c"})
    engine.graph(newer)
    said = cli("graphs", "diff", "checked@1", "checked@2", "-o", "table")
    assert said.code == 1
    assert said.out.splitlines() == [
        '~ node a, retry: nothing → {"max_attempts": 3}',
        "+ node d",
        '~ edge a → b, condition: "$.x > 1" → "$.x > 2"',
        "- edge a → c",
        "+ edge a → d",
        "+ edge d → c",
    ]
    same = cli("graphs", "diff", "checked@2", write("graph.json", json.dumps(newer)), "-o", "table")
    assert (same.code, same.out) == (0, "They are the same.\n")
    newer["edges"].reverse()
    turned = cli("graphs", "diff", "checked@2", write("turned.json", json.dumps(newer))).json
    assert [change["what"] for change in turned] == ["order of the edges"]


def test_a_run_is_watched_as_a_picture_in_a_terminal(cli: Cli, engine: Engine, database: str) -> None:
    run_id = finished(engine)
    screen = io.StringIO()
    console = Console(file=screen, force_terminal=True, width=100, height=40, highlight=False)
    with session(database) as db:
        assert watch_live(db, run_id, timeout=30, console=console) == "completed"
    assert "✔ c  done" in screen.getvalue()
    assert "run_completed" in screen.getvalue()


def test_retention_is_shown_set_and_named_by_doctor(cli: Cli, engine: Engine) -> None:
    assert cli("retention", "show").json == {"keep": "30 days"}
    assert cli("retention", "set", "1 year", "-o", "table").out == "finished runs go after 1 year\n"
    assert cli("retention", "set", "never").json == {"keep": None}
    assert cli("retention", "set", "soon").code == 1
    found = {row["check"]: row for row in cli("doctor").json}
    assert found["retention"]["found"].startswith("finished runs are kept for ever")


def test_commands_on_a_run_that_is_not_there_say_so(cli: Cli, engine: Engine) -> None:
    engine.graph(chain("a"))
    unknown = "00000000-0000-7000-8000-000000000000"
    for command in (
        ["diff", unknown, 0, 1],
        ["explain", unknown, "a"],
        ["timeline", unknown],
        ["tree", unknown],
        ["export", unknown],
        ["label", unknown, "a=b"],
        ["state", unknown, "--at", 0],
    ):
        said = cli("runs", *command)
        assert (said.code, "(OR003)" in said.err) == (1, True), command
