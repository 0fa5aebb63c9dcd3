"""Conditions, templates and what they read."""

from typing import Any

import pytest

from tests.graphs.graphs import Graphs, tasks
from tests.support.engine import definition


def choice(condition: Any, type: str = "task", on: str = "success") -> dict[str, Any]:
    """A graph whose first edge has the condition."""
    node = {"id": "a", "type": type} | ({"function": "f"} if type == "task" else {})
    others = [{"id": n, "function": "f"} for n in ("b", "c")]
    return definition([node, *others], [("a>b", {"condition": condition, "on": on}), ("a>c", {"on": on})])


@pytest.mark.parametrize(
    "condition",
    [
        "$.score >= 0.8",
        '$.status == "done" && !($.retries > 3 || exists($.error))',
        '$."step-one".ok == true',
        "exists($.items[*] ? (@.price > 10))",
        '$.name like_regex "^a.*z$" flag "i"',
        '$.name starts with "a"',
        "($.x > 1) is unknown",
        "strict $.x > 1",
        "$.items.size() > 2",
        "$.** ? (@.a == 1).b == 2",
        "$input.x == $.x",
        "$run.version > 1",
        "$nodes.a.output.x == 1",
        '$nodes."a".visits > 1',
        "$.x == $.y * 2 + 1",
        "$.deep" + ".a" * 900 + " == 1",
        {"status": "done"},
        {"a": {"b": [1]}},
    ],
)
def test_conditions_that_are_right(graphs: Graphs, condition: Any) -> None:
    assert graphs.errors(choice(condition)) == []
    assert graphs.create(choice(condition))["created"]


@pytest.mark.parametrize(
    ("condition", "position", "hint"),
    [
        ("$.x = 5", 5, "Compare with =="),
        ("$.x == 5 && $.y = 6", 17, "Compare with =="),
        ('$.x = 5 || $.y == "="', 5, "Compare with =="),
        ("$.x === 5", 7, "Compare with == or !="),
        ("$.x > 5 and $.y > 6", 9, "Write && for and"),
        ("$.x > 5 OR $.y > 6", 9, "|| for or"),
        ("$.x == 'done'", 8, "double quotes"),
        ("$.step-one == 5", 8, '$."step-one"'),
        ("quality > 5", 1, "write $.quality"),
        ("$.x ==", 7, "SQL/JSON path"),
        ("($.x == 5", 10, "SQL/JSON path"),
        ("$.x == 5)", 9, "SQL/JSON path"),
        ("$.x in (1, 2)", 5, "Write the comparisons out"),
        ("$.a.1b == 3", 4, "begins with a digit"),
        ('$.ä == "ö" && $.y = 6', 19, "Compare with =="),
    ],
)
def test_a_mistake_is_told_with_its_place_and_what_to_write(
    graphs: Graphs, condition: str, position: int, hint: str
) -> None:
    error = graphs.error(choice(condition))
    assert (error["path"], error["code"]) == ("/edges/0/condition", "bad_condition")
    assert f"at character {position}" in error["message"]
    assert hint in error["hint"]


@pytest.mark.parametrize("condition", ["", "   ", '$.x like_regex "["', "$.x == 1e999999999", "\\", '"'])
def test_other_texts_are_no_conditions_either(graphs: Graphs, condition: str) -> None:
    assert graphs.error(choice(condition))["code"] == "bad_condition"


@pytest.mark.parametrize(
    "condition",
    ["$.x", "$", "5", '"text"', "$.x + 1", "$.items ? (@ > 3)", "strict $.x", "$.x.size()", "$input.x"],
)
def test_a_plain_path_is_no_condition(graphs: Graphs, condition: str) -> None:
    error = graphs.error(choice(condition))
    assert (error["path"], error["code"]) == ("/edges/0/condition", "not_a_predicate")
    assert "exists($.done)" in error["hint"]


@pytest.mark.parametrize(
    "condition",
    [
        "$.a == " + "1 + " * 600 + "1",
        "$.** ? (@.a == 1).** == 2",
        "exists($.**{2}.**)",
        "(" * 21 + "$.a == 1" + ")" * 21,
    ],
)
def test_conditions_have_limits(graphs: Graphs, condition: str) -> None:
    error = graphs.error(choice(condition))
    assert (error["path"], error["code"]) == ("/edges/0/condition", "bad_condition")


def test_stars_and_brackets_in_strings_do_not_count(graphs: Graphs) -> None:
    assert graphs.errors(choice('$.a == "** ** ((((((((((((((((((((((((((((("')) == []


@pytest.mark.parametrize(
    ("condition", "message", "hint"),
    [
        ("$inpt.x == 1", "$inpt is no root", 'Did you mean "$input"?'),
        ("$x == 1", "$x is no root", "a key of the state is $.x"),
        ("false == true || $typo.x == 1", "$typo is no root", "Roots are"),
        ('$error.type == "X"', '"on": "error" or "always"', "$nodes.<id>.error"),
        ("$decision.again == true", "out of an approval", "$nodes.<id>.output"),
    ],
)
def test_an_unknown_root_is_found_even_where_evaluation_would_not_look(
    graphs: Graphs, condition: str, message: str, hint: str
) -> None:
    error = graphs.error(choice(condition))
    assert (error["path"], error["code"]) == ("/edges/0/condition", "unknown_root")
    assert message in error["message"]
    assert hint in error["hint"]


@pytest.mark.parametrize("root", ["$item", "$index"])
def test_roots_of_maps_are_known_in_their_input_only(graphs: Graphs, root: str) -> None:
    assert graphs.faults(choice(f"{root} == 1")) == {("/edges/0/condition", "unknown_root")}


@pytest.mark.parametrize(
    ("condition", "type", "on", "right"),
    [
        ('$error.type == "X"', "task", "error", True),
        ('$error.type == "X"', "task", "always", True),
        ('$error.type == "X"', "approval", "rejected", False),
        ("$decision.again == true", "approval", "rejected", True),
        ("$decision.again == true", "approval", "approved", True),
        ("$decision.again == true", "approval", "always", True),
        ("$decision.again == true", "approval", "error", False),
        ("$decision.again == true", "task", "always", False),
    ],
)
def test_error_and_decision_are_known_where_there_is_one(
    graphs: Graphs, condition: str, type: str, on: str, right: bool
) -> None:
    faults = set() if right else {("/edges/0/condition", "unknown_root")}
    assert graphs.faults(choice(condition, type, on)) == faults


def with_input(template: Any) -> dict[str, Any]:
    return definition(
        [{"id": "a", "function": "f"}, {"id": "b", "function": "f", "input": template}], ["a>b"]
    )


@pytest.mark.parametrize(
    "template",
    [
        "${$.x}",
        "no path",
        "$${ not a path",
        "costs $5 {or so}",
        {"a": ["${$input.x} and ${$nodes.a.output.y}", {"b": 5, "c": None}]},
        '${$.items[*] ? (@.name == "}")}',
        "${ $run.id }",
        "${$.a.**{2}}",
        5,
        None,
        [],
    ],
)
def test_templates_that_are_right(graphs: Graphs, template: Any) -> None:
    assert graphs.errors(with_input(template)) == []
    assert graphs.create(with_input(template))["created"]


@pytest.mark.parametrize(
    ("template", "path", "code", "words"),
    [
        ("${$.x", "/nodes/1/input", "bad_template", "without the }"),
        ("${$.a} ${", "/nodes/1/input", "bad_template", "without the }"),
        ('${$.a == "}', "/nodes/1/input", "bad_template", "without the }"),
        ({"k": ["ok", "${$.x +}"]}, "/nodes/1/input/k/1", "bad_template", "at character 6"),
        ({"a/b": "${}"}, "/nodes/1/input/a~1b", "bad_template", "not understood"),
        ("${x}", "/nodes/1/input", "bad_template", "not understood"),
        ("${$typo}", "/nodes/1/input", "unknown_root", "$typo is no root"),
        ("${$error.type}", "/nodes/1/input", "unknown_root", "failed node only"),
        ("${$decision.x}", "/nodes/1/input", "unknown_root", "the approval only"),
        ("${$item}", "/nodes/1/input", "unknown_root", "of a map only"),
        ("${$nodes.aa.output}", "/nodes/1/input", "unknown_node", '"aa"'),
        ("${$nodes.b.output}", "/nodes/1/input", "bad_reference", "cannot come before"),
        ("${$nodes}", "/nodes/1/input", "bad_reference", "not followed by"),
        ("${$nodes.*.output}", "/nodes/1/input", "bad_reference", "not followed by"),
        ("${$." + "a" * 2000 + "}", "/nodes/1/input", "bad_template", "2,000"),
    ],
)
def test_a_mistake_in_a_template(graphs: Graphs, template: Any, path: str, code: str, words: str) -> None:
    error = graphs.error(with_input(template))
    assert (error["path"], error["code"]) == (path, code)
    assert words in error["message"]


def test_templates_of_titles_shows_and_messages_are_checked(graphs: Graphs) -> None:
    graph = definition(
        [
            {"id": "a", "type": "approval", "title": "${$.x", "show": {"y": "${$.y +}"}},
            {"id": "b", "type": "fail", "message": "${$typo}"},
        ],
        ["a>b"],
    )
    assert graphs.faults(graph) == {
        ("/nodes/0/title", "bad_template"),
        ("/nodes/0/show/y", "bad_template"),
        ("/nodes/1/message", "unknown_root"),
    }


def test_a_reference_must_come_before_its_reader(graphs: Graphs) -> None:
    def reads(reader: str, node: str) -> set[tuple[str, str]]:
        graph = tasks("s a b j c", ["s>a", "s>b", "a>j", "b>j", ("j>c", {"condition": "$.x == 1"}), "j>s"])
        graph["edges"][-1]["limit"] = 3
        graph["nodes"]["sabjc".index(reader)]["input"] = f"${{$nodes.{node}.output}}"
        return graphs.faults(graph)

    assert reads("a", "b") == set(), "in the round before"
    assert reads("s", "s") == set()
    assert reads("c", "a") == set()
    assert reads("a", "c") == {("/nodes/1/input", "bad_reference")}
    assert reads("c", "c") == {("/nodes/4/input", "bad_reference")}


def test_a_condition_may_read_the_node_that_it_leaves(graphs: Graphs) -> None:
    assert graphs.errors(choice("$nodes.a.output.x == 1")) == []
    assert graphs.faults(choice("$nodes.b.output.x == 1")) == {("/edges/0/condition", "bad_reference")}
    assert graphs.faults(choice("$nodes.z.output.x == 1")) == {("/edges/0/condition", "unknown_node")}
    assert graphs.faults(choice("exists($nodes)")) == {("/edges/0/condition", "bad_reference")}


def test_a_reference_in_a_string_is_none(graphs: Graphs) -> None:
    graph = choice('$.x == "$nodes.zz.output"')
    assert graphs.errors(graph) == []
    assert graphs.stored(graph)["node_refs"] == []
