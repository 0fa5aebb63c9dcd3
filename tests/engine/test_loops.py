"""Loops and limits: rule R5 and the meaning of `limit`."""

import pytest

from tests.support.engine import Engine, definition


def test_a_loop_goes_round_until_its_condition_is_false(engine: Engine) -> None:
    run_id = engine.start(definition("a b", [("a>a", {"condition": "$.n < 4"}), "a>b"]), {"n": 0})
    engine.run({"a": lambda s: {"n": s.state["n"] + 1}})
    assert engine.order(run_id) == "a a a a b"


def test_a_limit_ends_a_loop_and_the_next_edge_is_tried(engine: Engine) -> None:
    edges = [("a>b", {"condition": "$.bad == true", "limit": 3}), "a>c", "b>a"]
    run_id = engine.start(definition("a b c", edges), {"bad": True})
    engine.run()
    assert engine.order(run_id) == "a b a b a b a c"


def test_a_limit_that_is_used_up_without_another_edge_fails_the_run(engine: Engine) -> None:
    edges = [("a>a", {"condition": "$.bad == true", "limit": 2})]
    run_id = engine.start(definition("a", edges), {"bad": True})
    engine.run()
    assert engine.order(run_id) == "a a a"
    assert engine.error(run_id)["type"] == "NoMatchingEdge"


def test_an_inner_limit_counts_anew_for_every_entry_of_the_inner_loop(engine: Engine) -> None:
    edges = [
        ("inner>inner", {"condition": "$.again == true", "limit": 2}),
        "inner>outer",
        ("outer>inner", {"condition": "$.again == true", "limit": 2}),
        "outer>z",
    ]
    run_id = engine.start(definition("inner outer z", edges), {"again": True})
    engine.run()
    # Both loops begin at the same node, and so they are one loop: the limit counts over all of it.
    done = engine.order(run_id).split()
    assert done[-1] == "z"
    assert done.count("outer") == 3


def test_limits_of_nested_loops_with_headers_of_their_own_count_per_entry(engine: Engine) -> None:
    edges = [
        "head>inner",
        ("inner>inner", {"condition": "$.again == true", "limit": 2}),
        "inner>tail",
        ("tail>head", {"condition": "$.again == true", "limit": 2}),
        "tail>z",
    ]
    run_id = engine.start(definition("head inner tail z", edges), {"again": True})
    engine.run()
    assert engine.order(run_id) == " ".join(["head inner inner inner tail"] * 3 + ["z"])


def test_the_limit_of_an_outer_loop_is_not_forgotten_in_the_inner_one(engine: Engine) -> None:
    edges = [
        "head>inner",
        ("inner>inner", {"condition": "$.n < 1"}),
        ("inner>head", {"condition": "$.n < 100", "limit": 1}),
        "inner>z",
    ]
    run_id = engine.start(definition("head inner z", edges), {"n": 0})
    engine.run({"inner": lambda s: {"n": s.state["n"] + 1}})
    assert engine.order(run_id) == "head inner head inner z"


def test_a_limit_outside_every_loop_counts_over_the_run(engine: Engine) -> None:
    run_id = engine.start(definition("a b c", [("a>b", {"condition": "true == true", "limit": 1}), "a>c"]))
    engine.run()
    assert engine.order(run_id) == "a b"


def test_two_edges_with_limits_are_counted_apart(engine: Engine) -> None:
    edges = [
        ("a>b", {"condition": "$.n >= 0", "limit": 2}),
        ("a>c", {"condition": "$.n >= 0", "limit": 1}),
        "a>z",
        "b>a",
        "c>a",
    ]
    run_id = engine.start(definition("a b c z", edges), {"n": 0})
    engine.run()
    assert engine.order(run_id) == "a b a b a c a z"


def test_error_edges_may_have_limits(engine: Engine) -> None:
    edges = [
        ("a>b", {"on": "error", "condition": '$error.type == "Broken"', "limit": 2}),
        ("a>z", {"on": "error"}),
        "b>a",
    ]
    run_id = engine.start(definition("a b z", edges))
    for _ in range(3):
        engine.worker.fail(engine.worker.claim_one("a"), retryable=False)
        if engine.status(run_id) == "running" and engine.live(run_id)[0]["node"] == "b":
            engine.worker.succeed(engine.worker.claim_one("b"), {})
    engine.run()
    assert engine.order(run_id) == "a b a b a z"
    assert engine.status(run_id) == "completed"


@pytest.mark.parametrize("rounds", [1, 50])
def test_a_loop_may_be_long(engine: Engine, rounds: int) -> None:
    edges = [("a>b", {"condition": f"$.n < {rounds}"}), "b>a", "a>z"]
    run_id = engine.start(definition("a b z", edges), {"n": 0})
    engine.run({"a": lambda s: {"n": s.state["n"] + 1}})
    assert engine.order(run_id).split() == ["a", "b"] * (rounds - 1) + ["a", "z"]


def test_a_run_stays_with_its_version_of_the_graph(engine: Engine) -> None:
    first = definition("a b c", ["a>b", "b>c"])
    run_id = engine.start(first)
    second = first | {"edges": [{"source": "a", "target": "c"}, {"source": "c", "target": "b"}]}
    engine.graph(second)
    later = engine.start(str(first["name"]))
    engine.run()
    assert (engine.order(run_id), engine.order(later)) == ("a b c", "a c b")


def test_a_branch_that_goes_back_knows_what_its_siblings_have_used_up(engine: Engine) -> None:
    run_id = engine.start(definition("a b", [("a>b", {"limit": 1}), ("a>a", {"limit": 1})]))
    engine.run()
    assert engine.order(run_id) == "a a"
    assert engine.error(run_id)["type"] == "NoMatchingEdge"
