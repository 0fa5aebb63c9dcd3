"""Templates of arguments: ${...}."""

from typing import Any

import pytest

from tests.support.engine import Engine, Step, definition


def argument_of(
    engine: Engine, arguments: Any, state: dict[str, Any] | None = None, output: Any = None
) -> Any:
    """What the second node of a chain gets for its template."""
    run_id = engine.start(definition(["a", {"id": "b", "input": arguments}], ["a>b"]), state)
    seen: list[Any] = []

    def b(step: Step) -> dict[str, Any]:
        seen.append(step.input)
        return {}

    engine.run({"a": {} if output is None else output, "b": b})
    assert engine.status(run_id) == "completed", engine.error(run_id)
    return seen[0]


@pytest.mark.parametrize("value", [1, 1.5, "text", True, None, [1, "2"], {"k": [1]}])
def test_a_string_that_is_one_path_keeps_the_type_of_its_value(engine: Engine, value: Any) -> None:
    assert argument_of(engine, {"x": "${$.value}"}, {"value": value}) == {"x": value}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("${$.amount} to ${$.payee}", "500 to ACME"),
        ("<${$.flag}>", "<true>"),
        ("<${$.nothing}>", "<null>"),
        ("<${$.list}>", "<[1, 2]>"),
        ("no path", "no path"),
        ("$${$.amount}", "${$.amount}"),
        ("costs $${ and ${$.amount}", "costs ${ and 500"),
        ("$5 and ${$.amount}$", "$5 and 500$"),
        ("", ""),
        ('${$."odd key"}', "found"),
        ('${$."brace}"}', "held"),
    ],
)
def test_other_strings_are_interpolated(engine: Engine, text: str, expected: str) -> None:
    state = {
        "amount": 500,
        "payee": "ACME",
        "flag": True,
        "nothing": None,
        "list": [1, 2],
        "odd key": "found",
        "brace}": "held",
    }
    assert argument_of(engine, {"x": text}, state) == {"x": expected}


def test_templates_reach_into_lists_and_objects(engine: Engine) -> None:
    template = {"list": ["${$.a}", {"deep": "${$.b}"}, 3], "plain": {"n": 1.5, "none": None}}
    assert argument_of(engine, template, {"a": 1, "b": 2}) == {
        "list": [1, {"deep": 2}, 3],
        "plain": {"n": 1.5, "none": None},
    }


def test_an_empty_template_gives_no_arguments(engine: Engine) -> None:
    assert argument_of(engine, {}, {"a": 1}) == {}


def test_templates_read_every_root(engine: Engine) -> None:
    found = argument_of(
        engine,
        {
            "state": "${$.x}",
            "input": "${$input.x}",
            "output": "${$nodes.a.output.x}",
            "visits": "${$nodes.a.visits}",
            "graph_version": "${$run.version}",
        },
        {"x": 1},
        {"x": 2},
    )
    assert found == {"state": 2, "input": 1, "output": 2, "visits": 1, "graph_version": 1}


def test_run_names_the_run_and_its_initiator(engine: Engine) -> None:
    template = {"id": "${$run.id}", "who": "${$run.initiator}", "graph": "${$run.graph}"}
    graph = definition([{"id": "a", "input": template}])
    run_id = engine.start(graph)
    user = engine.value("select session_user::text")
    assert engine.worker.claim_one().input == {"id": str(run_id), "who": user, "graph": graph["name"]}


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("$.items[*].n", [1, 2]),
        ("$.items[*].missing", []),
        ("$.items[*] ? (@.n > 1)", [{"n": 2}]),
        ("$.items[0]", {"n": 1}),
        ("$.items[0 to 1].n", [1, 2]),
        ("$.items.size()", 2),
    ],
)
def test_a_path_that_may_find_many_gives_a_list(engine: Engine, path: str, expected: Any) -> None:
    state = {"items": [{"n": 1}, {"n": 2}]}
    assert argument_of(engine, {"x": f"${{{path}}}"}, state) == {"x": expected}


@pytest.mark.parametrize("text", ["${$.missing}", "text ${$.missing}", "${$.x.y.z}", "${$.x / $.zero}"])
def test_a_path_that_finds_nothing_fails_the_step(engine: Engine, text: str) -> None:
    graph = definition(["a", {"id": "b", "input": {"x": text}}], ["a>b"])
    run_id = engine.start(graph, {"x": 1, "zero": 0})
    engine.run()
    assert engine.status(run_id) == "failed"
    assert engine.error(run_id)["type"] == "TemplateError"
    assert engine.error(run_id)["node"] == "b"


def test_a_template_error_takes_the_error_edge(engine: Engine) -> None:
    nodes = ["a", {"id": "b", "input": {"x": "${$.missing}"}}, "c"]
    edges = ["a>b", ("b>c", {"on": "error", "condition": '$error.type == "TemplateError"'})]
    run_id = engine.start(definition(nodes, edges))
    engine.run()
    assert (engine.order(run_id), engine.status(run_id)) == ("a b c", "completed")


def test_a_template_error_at_the_start_fails_the_run_and_not_the_caller(engine: Engine) -> None:
    run_id = engine.start(definition([{"id": "a", "input": {"x": "${$.missing}"}}]))
    assert engine.status(run_id) == "failed"
    assert engine.error(run_id)["type"] == "TemplateError"


def test_a_retried_step_gets_the_same_arguments(engine: Engine) -> None:
    node = {
        "id": "a",
        "input": {"x": "${$.x}"},
        "retry": {"max_attempts": 2, "initial_interval": "1 second", "jitter": 0},
    }
    engine.start(definition([node]), {"x": 1})
    engine.worker.fail(engine.worker.claim_one())
    engine.jump("2 seconds")
    assert engine.worker.claim_one().input == {"x": 1}
