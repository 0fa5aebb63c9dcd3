"""Maps: every item a step of its own."""

from collections import Counter
from typing import Any

import pytest

from tests.support.engine import Engine, Fails, Step, definition


def mapped(**more: Any) -> dict[str, Any]:
    node = {"id": "m", "type": "map", "function": "f", "items": "${$.items}", "into": "out", **more}
    return definition([node, "after", "alert"], ["m>after", ("m>alert", {"on": "error"})])


def double(step: Step) -> Any:
    return step.argument["item"] * 2


def test_outputs_are_in_the_order_of_the_items_whatever_the_order_of_the_ends(engine: Engine) -> None:
    run_id = engine.start(mapped(), {"items": [1, 2, 3, 4]})
    engine.run({"f": double}, choose=lambda steps: [max(steps, key=lambda s: s.item or 0)])
    assert engine.state(run_id)["out"] == [2, 4, 6, 8]
    assert engine.order(run_id) == "m after"
    ended = "select item from pgorch.history where kind = 'item_completed' order by seq"
    assert [h["item"] for h in engine.rows(ended)] == [3, 2, 1, 0]


def test_no_items_are_an_empty_list(engine: Engine) -> None:
    run_id = engine.start(mapped(), {"items": []})
    engine.run()
    assert engine.state(run_id)["out"] == []
    assert engine.status(run_id) == "completed"


def test_only_so_many_items_are_under_way_at_once(engine: Engine) -> None:
    run_id = engine.start(mapped(concurrency=2), {"items": list(range(5))})
    seen: list[int] = []
    worker = engine.worker
    at_hand = worker.claim(100)
    while at_hand:
        seen.append(len([s for s in at_hand if s.node == "m"]))
        came = worker.advance([(at_hand[0], "success", at_hand[0].item)], want=100)
        at_hand = [*at_hand[1:], *came]
    assert max(seen) == 2
    assert engine.state(run_id)["out"] == [0, 1, 2, 3, 4]


def fails_at(*bad: int) -> Any:
    def tool(step: Step) -> Any:
        if step.item in bad:
            raise Fails("Broken", "bad file", retryable=False)
        return step.item

    return tool


@pytest.mark.parametrize(
    ("borne", "bad", "order", "out"),
    [
        ({"tolerate": 1}, [2], "m after", [0, 1, None, 3]),
        ({"tolerate": 1}, [1, 2], "m alert", None),
        ({"tolerate": "50%"}, [1, 2], "m after", [0, None, None, 3]),
        ({"tolerate": "49%"}, [1, 2], "m alert", None),
        ({}, [0], "m alert", None),
    ],
)
def test_so_many_failures_are_borne(engine: Engine, borne: Any, bad: list[int], order: str, out: Any) -> None:
    run_id = engine.start(mapped(**borne), {"items": [0, 1, 2, 3]})
    engine.run({"f": fails_at(*bad)})
    assert engine.order(run_id) == order
    assert engine.state(run_id).get("out") == out
    assert engine.status(run_id) == "completed"


def test_when_too_many_fail_the_others_are_stopped_and_their_worker_is_told(engine: Engine) -> None:
    engine.start(mapped(), {"items": [0, 1, 2]})
    steps = engine.worker.claim(100)
    assert len(steps) == 3
    engine.worker.fail(steps[0], retryable=False)
    assert sorted(engine.worker.beat(steps[0].bucket)["revoked"]) == sorted(s.step_id for s in steps[1:])
    refused = engine.worker.succeed(steps[1])
    assert [r.kind for r in refused] == ["refused"]


def test_an_item_is_retried_by_itself(engine: Engine) -> None:
    run_id = engine.start(
        mapped(retry={"max_attempts": 2, "initial_interval": "1 second"}), {"items": [0, 1]}
    )
    tried: list[Any] = []

    def tool(step: Step) -> Any:
        tried.append((step.item, step.attempt))
        if step.item == 1 and step.attempt == 1:
            raise Fails("Broken", "once", retryable=True)
        return step.item

    engine.run({"f": tool})
    engine.jump("2 seconds")
    engine.run({"f": tool})
    assert tried == [(0, 1), (1, 1), (1, 2)]
    assert engine.state(run_id)["out"] == [0, 1]


def test_the_template_of_an_item_sees_it_and_its_index_and_the_state(engine: Engine) -> None:
    graph = mapped(input={"x": "${$item.x}", "i": "${$index}", "all": "${$.name}-${$input.name}"})
    run_id = engine.start(graph, {"items": [{"x": 5}, {"x": 6}], "name": "n"})
    engine.run({"f": lambda s: s.input})
    assert engine.state(run_id)["out"] == [{"x": 5, "i": 0, "all": "n-n"}, {"x": 6, "i": 1, "all": "n-n"}]


def test_without_a_template_the_keys_of_an_item_lie_over_the_state(engine: Engine) -> None:
    run_id = engine.start(mapped(), {"items": [{"x": 5}], "x": 1, "y": 2})
    given: list[Any] = []
    engine.run({"f": lambda s: given.append(s.argument)})
    assert given == [{"items": [{"x": 5}], "x": 5, "y": 2, "item": {"x": 5}, "index": 0}]
    assert engine.status(run_id) == "completed"


@pytest.mark.parametrize("items", [{"a": 1}, "text", 5, None])
def test_items_that_are_no_list_fail_the_node(engine: Engine, items: Any) -> None:
    run_id = engine.start(mapped(), {"items": items})
    engine.run()
    assert engine.order(run_id) == "m alert"


def test_a_map_in_a_loop_maps_anew_in_each_round(engine: Engine) -> None:
    graph = definition(
        [{"id": "m", "type": "map", "function": "f", "items": "${$.items}", "into": "out"}, "next", "end"],
        ["m>next", ("next>m", {"condition": "$.n < 3", "limit": 5}), "next>end"],
    )
    run_id = engine.start(graph, {"items": [1], "n": 0})
    engine.run({"f": double, "next": lambda s: {"n": s.state["n"] + 1, "items": [*s.state["items"], 1]}})
    assert engine.order(run_id) == "m next m next m next end"
    assert engine.state(run_id)["out"] == [2, 2, 2]


def test_two_maps_side_by_side_do_not_mix(engine: Engine) -> None:
    graph = definition(
        [
            "a",
            *({"id": m, "type": "map", "function": m, "items": "${$.items}", "into": m} for m in ("x", "y")),
            "j",
        ],
        ["a>x", "a>y", "x>j", "y>j"],
    )
    run_id = engine.start(graph, {"items": [1, 2, 3]})
    engine.run({"x": double, "y": lambda s: -s.argument["item"]}, batch=4)
    assert engine.state(run_id)["x"] == [2, 4, 6]
    assert engine.state(run_id)["y"] == [-1, -2, -3]
    assert engine.order(run_id).endswith(" j")


def written(engine: Engine) -> Counter[str]:
    """How many rows of steps and runs this session has written, as far as it has not told the server yet."""
    rows = engine.rows(
        "select relname, n_tup_ins as inserted, n_tup_del as deleted, n_tup_upd as updated,"
        " n_tup_upd - n_tup_hot_upd as indexed"
        " from pg_stat_xact_user_tables where schemaname = 'pgorch' and relname in ('steps', 'runs')"
    )
    return Counter({f"{r['relname']} {k}": n for r in rows for k, n in r.items() if k != "relname"})


def test_items_that_ended_well_are_taken_as_a_set_and_the_next_ones_begin_in_their_rows(
    engine: Engine,
) -> None:
    run_id = engine.start(mapped(concurrency=100), {"items": list(range(1000))})
    steps = engine.worker.claim(100)
    with engine.connection.transaction():
        before = written(engine)
        came = engine.worker.advance([(s, "success", s.item) for s in steps], want=100)
        done = written(engine) - before
    assert [s.item for s in came] == list(range(100, 200))
    assert {s.step_id for s in came} == {s.step_id for s in steps}
    assert not {s.lease_token for s in came} & {s.lease_token for s in steps}
    # A row for each item, twice the map's own, and no new entry in an index.
    assert done == {"steps updated": 102, "runs updated": 1}
    # What the worker had before is over.
    assert [r.kind for r in engine.worker.succeed(steps[0])] == ["refused"]
    assert engine.value("select seq from pgorch.runs where id = %s", run_id) == 100


def test_items_wait_in_their_lane_while_others_do(engine: Engine) -> None:
    other = engine.graph(definition("x"))
    run_id = engine.start(mapped(concurrency=2), {"items": [0, 1, 2, 3]}, bucket=0)
    first, second = engine.worker.claim(2)
    engine.start(other, bucket=0)
    came = engine.worker.advance([(first, "success", 0)], want=1)
    assert [s.node for s in came] == ["x"]
    came += engine.worker.advance([(second, "success", 1)], want=1)
    assert [s.item for s in came] == [None, 2], "what waited longest comes first"
    came = engine.worker.advance([(s, "success", {}) for s in came], want=0)
    assert came == [], "a worker that wants nothing is given nothing"
    engine.run()
    assert engine.state(run_id)["out"] == [0, 1, {}, {}]


def test_an_item_that_goes_straight_on_knows_what_another_branch_has_written(engine: Engine) -> None:
    graph = definition(
        [
            "a",
            {
                "id": "m",
                "type": "map",
                "function": "f",
                "items": "${$.items}",
                "concurrency": 1,
                "into": "out",
            },
            "b",
            "j",
        ],
        ["a>m", "a>b", "m>j", "b>j"],
    )
    engine.start(graph, {"items": [0, 1]})
    engine.worker.succeed(engine.worker.claim_one("a"), {})
    item, beside = sorted(engine.worker.claim(2), key=lambda s: str(s.node), reverse=True)
    engine.worker.succeed(beside, {"news": 1})
    [following] = engine.worker.succeed(item, 0, want=1)
    assert (following.item, following.state["news"]) == (1, 1)


@pytest.mark.parametrize("batch", [1, 200])
def test_two_workers_share_a_map(engine: Engine, batch: int) -> None:
    run_id = engine.start(mapped(concurrency=20), {"items": list(range(100))})
    workers = [engine.worker, engine.new_worker(name="second")]
    at_hand = [worker.claim(10) for worker in workers]
    while any(at_hand):
        for number, worker in enumerate(workers):
            ended, left = at_hand[number][:batch], at_hand[number][batch:]
            if ended:
                came = worker.advance([(s, "success", s.item) for s in ended], want=len(ended))
                at_hand[number] = left + came
    engine.run()
    assert engine.state(run_id)["out"] == list(range(100))
    shares = "select count(*) as items from pgorch.history where kind = 'item_completed' group by worker_id"
    assert [row["items"] for row in engine.rows(shares)] == [50, 50]


def test_ten_thousand_items_do_no_harm(engine: Engine) -> None:
    run_id = engine.start(mapped(), {"items": list(range(10_000))})
    engine.run({"f": double}, batch=200)
    assert engine.state(run_id)["out"] == [2 * n for n in range(10_000)]
