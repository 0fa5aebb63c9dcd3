"""Pictures of graphs and runs."""

import re
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pgorch.drawing import Mark, as_mermaid, as_text, picture_of
from pgorch.drawing.mermaid import escaped
from tests.support.engine import chain, definition

QUALITY = definition(
    ["profile", {"id": "clean", "function": "clean_data"}, "publish", "quarantine"],
    [
        ("profile>publish", {"condition": "$.quality >= 0.95"}),
        ("profile>clean", {"condition": "$.quality < 0.95", "limit": 3}),
        "profile>quarantine",
        "clean>profile",
    ],
    name="quality",
)
FORK = definition("a b c d e", ["a>b", "a>c", "b>d", "c>d", "d>e"], name="fork")

# What a chart may consist of: labels are the only place for text, and hold no sign that means anything.
LABEL = r'"(?:[^\W]|[ .,:/()=+!?*×…$-]|#\d+;)*"'
NODE = r"n\d+"
LINE = re.compile(
    rf"flowchart TD|    {NODE}(?:\[{LABEL}\]|\{{\{{{LABEL}\}}\}}|\(\[{LABEL}\]\)|\[/{LABEL}/\]"
    rf"|\[\[{LABEL}\]\]|\({LABEL}\)|>{LABEL}\])|    begin\(\( \)\) --> {NODE}"
    rf"|    {NODE} --> (?:\|{LABEL}\| )?{NODE}"
    rf"|    classDef \w+ [\w:#,. -]+|    class {NODE}(?:,{NODE})* \w+"
)


def test_a_loop_with_branches_as_text() -> None:
    assert as_text(picture_of(QUALITY)).splitlines() == [
        "quality",
        "• profile",
        "├─ $.quality >= 0.95 → publish",
        "├─ $.quality < 0.95, at most 3× → clean",
        "└─ else → quarantine",
        "   • publish",
        "   • clean  (clean_data)",
        "   └─ ↺ back to profile",
        "   • quarantine",
    ]


def test_branches_are_indented_and_go_on_at_the_left_where_they_meet() -> None:
    marks = {"a": Mark("done", 1), "b": Mark("failed", 2), "c": Mark("live", 0), "d": Mark("waiting", 1)}
    assert as_text(picture_of(FORK), marks).splitlines() == [
        "fork",
        "✔ a  done",
        "├─ → b",
        "└─ → c",
        "   ✖ b  failed ×2",
        "   └─ → d",
        "   ▶ c  running",
        "   └─ → d",
        "◷ d  waiting ×1",
        "│",
        "○ e",
    ]


def test_a_chain_is_not_indented_however_long_it_is() -> None:
    names = " ".join(f"n{n}" for n in range(3000))
    lines = as_text(picture_of(chain(names))).splitlines()[1:]
    assert lines == [line for n in range(3000) for line in (f"• n{n}", "│")][:-1]


def test_outcomes_types_and_labels_are_shown() -> None:
    graph = definition(
        [
            {"id": "ask", "type": "approval"},
            {"id": "old", "function": "wait_for_approval"},
            {"id": "each", "type": "map", "function": "check"},
            {"id": "child", "type": "graph", "graph": "other"},
            {"id": "rows", "sql": "select 1"},
        ],
        [
            ("ask>old", {"on": "approved"}),
            ("ask>each", {"on": "rejected", "label": "no"}),
            ("old>child", {"condition": {"a": 1}}),
            ("old>rows", {"sourceHandle": "error"}),
        ],
        name="",
    )
    assert as_text(picture_of(graph)).splitlines() == [
        "• ask  (approval)",
        "├─ approved → old",
        "└─ rejected, no → each",
        "   • old  (approval)",
        '   ├─ state contains {"a": 1} → child',
        "   └─ error → rows",
        "      • child  (graph other)",
        "      • rows  (sql)",
        "   • each  (map of check)",
    ]


def test_a_run_as_mermaid() -> None:
    chart = as_mermaid(picture_of(QUALITY), {"profile": Mark("done", 2), "clean": Mark("live", 1)})
    assert chart.splitlines()[:11] == [
        "flowchart TD",
        '    n0["profile ×2"]',
        '    n1["clean (clean_data)"]',
        '    n2["publish"]',
        '    n3["quarantine"]',
        "    begin(( )) --> n0",
        '    n0 --> |"$.quality #62;= 0.95"| n2',
        '    n0 --> |"$.quality #60; 0.95, at most 3×"| n1',
        '    n0 --> |"else"| n3',
        "    n1 --> n0",
        "    classDef done fill:#d7f0dd,stroke:#2b7a3f,color:#143d20",
    ]
    assert "    class n1 live" in chart.splitlines()


@pytest.mark.parametrize(
    "text",
    [
        'a"] --> x["b',
        "<script>alert(1)</script>",
        "%%{init: {}}%%",
        "`**md**`",
        "$$x$$",
        "a\nclick n0 call x()",
        "#quot;",
        "a;b",
        "a|b",
        "\\",
    ],
)
def test_text_of_users_cannot_leave_its_label(text: str) -> None:
    assert re.fullmatch(LABEL, f'"{escaped(text)}"')
    assert "$$" not in escaped(text)


@given(
    st.lists(st.text(min_size=1, max_size=100), min_size=1, max_size=6, unique=True), st.text(max_size=200)
)
def test_every_line_of_a_chart_is_one_of_the_few_that_there_are(ids: list[str], label: str) -> None:
    types = ["task", "approval", "wait", "map", "graph", "pass", "fail"]
    nodes: list[Any] = [{"id": id, "type": types[n % 7], "function": id[::-1]} for n, id in enumerate(ids)]
    edges = [{"source": a, "target": b, "label": label} for a, b in pairwise(ids)]
    graph = {"name": label, "nodes": nodes, "edges": edges, "start_node": ids[0]}
    chart = as_mermaid(picture_of(graph), {id: Mark("done", 3) for id in ids})
    assert chart.endswith("\n")
    assert all(LINE.fullmatch(line) for line in chart[:-1].split("\n")), chart
    text = as_text(picture_of(graph), {})
    assert all(c.isprintable() or c == "\n" for c in text)
    assert sum(line.lstrip().startswith("○ ") for line in text.split("\n")) >= len(ids)
