"""Which steps a worker gets, and in what order."""

from uuid import UUID

import pytest

from tests.support.engine import Engine, chain, definition


def runs_in_claim_order(engine: Engine, want: int) -> list[UUID | None]:
    return [engine.worker.claim_one().run_id for _ in range(want)]


def test_older_steps_come_first(engine: Engine) -> None:
    graph = engine.graph(definition("a"))
    runs = [engine.start(graph, bucket=0) for _ in range(5)]
    assert runs_in_claim_order(engine, 5) == runs


def test_higher_priority_comes_first(engine: Engine) -> None:
    graph = engine.graph(definition("a"))
    low, high, middle = (engine.start(graph, priority=p, bucket=0) for p in (-5, 10, 0))
    assert runs_in_claim_order(engine, 3) == [high, middle, low]


def test_the_priority_of_a_node_goes_before_the_runs(engine: Engine) -> None:
    plain = engine.start(definition("a"), priority=1, bucket=0)
    urgent = engine.start(definition([{"id": "a", "priority": 5}]), bucket=0)
    assert runs_in_claim_order(engine, 2) == [urgent, plain]


def test_priority_counts_across_tools_and_queues(engine: Engine) -> None:
    first = engine.start(definition("a"), bucket=0)
    second = engine.start(definition("b"), priority=3, queue="other", bucket=0)
    worker = engine.new_worker(queues=["default", "other"])
    assert [worker.claim_one().run_id, worker.claim_one().run_id] == [second, first]


def test_a_worker_gets_no_more_than_it_wants(engine: Engine) -> None:
    graph = engine.graph(definition("a"))
    engine.value("select pgorch.start_many(%s, array_fill('{}'::jsonb, array[5]), p_bucket => 0)", graph)
    assert [len(engine.worker.claim(n)) for n in (0, 2, 9, 1)] == [0, 2, 3, 0]


def test_a_worker_gets_only_steps_of_its_tools(engine: Engine) -> None:
    engine.start(definition("a"))
    b = engine.start(definition("b"))
    only_b = engine.new_worker(tools=["b"])
    assert [s.run_id for s in only_b.claim(9)] == [b]


def test_a_worker_gets_only_steps_of_its_queues(engine: Engine) -> None:
    graph = engine.graph(definition("a"))
    engine.start(graph)
    slow = engine.start(graph, queue="slow")
    assert [s.run_id for s in engine.new_worker(queues=["slow"]).claim(9)] == [slow]


def test_the_queue_of_a_node_goes_before_the_runs(engine: Engine) -> None:
    run_id = engine.start(definition([{"id": "a", "queue": "gpu"}, "b"], ["a>b"]), queue="slow")
    assert engine.new_worker(queues=["slow"]).claim(9) == []
    gpu = engine.new_worker(queues=["gpu"])
    gpu.succeed(gpu.claim_one("a"), {})
    [b] = engine.new_worker(queues=["slow"]).claim(9)
    assert (b.run_id, b.node) == (run_id, "b")


def test_the_next_step_goes_to_the_worker_that_ended_the_last(engine: Engine) -> None:
    graph = engine.graph(chain("a b c"))
    first, _second = engine.start(graph, bucket=0), engine.start(graph, bucket=0)
    [b] = engine.worker.succeed(engine.worker.claim_one(), {"x": 1}, want=1)
    assert (b.run_id, b.node, b.attempt, b.state) == (first, "b", 1, {"x": 1})


def test_something_more_urgent_goes_before_the_next_step_of_the_run(engine: Engine) -> None:
    graph = engine.graph(chain("a b"))
    engine.start(graph, bucket=0)
    a = engine.worker.claim_one()
    urgent = engine.start(graph, priority=5, bucket=0)
    [came] = engine.worker.succeed(a, {}, want=1)
    assert (came.run_id, came.node) == (urgent, "a")
    assert engine.worker.claim_one().node == "b"


def test_a_next_step_that_this_worker_cannot_run_waits_for_another(engine: Engine) -> None:
    engine.start(chain("a b"))
    only_a, only_b = engine.new_worker(tools=["a"]), engine.new_worker(tools=["b"])
    assert only_a.succeed(only_a.claim_one(), {"x": 1}, want=5) == []
    b = only_b.claim_one()
    assert (b.node, b.state) == ("b", {"x": 1})


def test_a_worker_that_wants_nothing_more_gets_nothing(engine: Engine) -> None:
    run_id = engine.start(chain("a b"))
    assert engine.worker.succeed(engine.worker.claim_one(), {}, want=0) == []
    assert [s["status"] for s in engine.live(run_id)] == ["ready"]


def test_a_claimed_step_tells_what_a_worker_needs(engine: Engine) -> None:
    node = {"id": "n", "function": "f", "timeout": "90 seconds", "input": {"x": "${$.x}"}}
    run_id = engine.start(definition([node]), {"x": 1})
    step = engine.worker.claim_one()
    assert (step.kind, step.run_id, step.node, step.tool) == ("step", run_id, "n", "f")
    assert (step.attempt, step.born, step.timeout_seconds) == (1, 0, 90)
    assert (step.input, step.state) == ({"x": 1}, {"x": 1})


@pytest.mark.parametrize("fast", [True, False])
def test_the_timeout_of_a_node_comes_with_a_step_that_follows(engine: Engine, fast: bool) -> None:
    engine.start(definition(["a", {"id": "b", "timeout": "PT2M"}], ["a>b"]))
    if not fast:
        engine.without_fast_path()
    [b] = engine.worker.succeed(engine.worker.claim_one(), {}, want=1)
    assert b.timeout_seconds == 120


def test_a_worker_that_has_nothing_to_do_is_notified_of_new_work(engine: Engine) -> None:
    graph = engine.graph(chain("a b"))
    engine.connection.execute("listen pgorch_work")
    engine.start(graph, bucket=0)
    assert list(engine.connection.notifies(timeout=0)) == [], "nobody sleeps"
    a = engine.worker.claim_one()
    assert engine.worker.advance([], 1, asleep=True) == []
    engine.start(graph, bucket=0)
    assert [n.payload for n in engine.connection.notifies(timeout=5, stop_after=1)] == ["0"]
    engine.worker.succeed(a, {})


def test_a_worker_that_asks_again_is_no_longer_asleep(engine: Engine) -> None:
    engine.register("a")
    asleep = "select bool_or(asleep) from pgorch.worker_list"
    engine.worker.advance([], 1, asleep=True)
    assert engine.value(asleep) is True
    engine.worker.advance([], 1)
    assert engine.value(asleep) is False


def test_steps_that_two_workers_claim_are_never_the_same(engine: Engine) -> None:
    graph = engine.graph(definition("a"))
    engine.value("select pgorch.start_many(%s, array_fill('{}'::jsonb, array[40]), p_bucket => 0)", graph)
    workers = [engine.new_worker() for _ in range(4)]
    claimed = [s.step_id for w in workers for s in w.claim(10)]
    assert len(set(claimed)) == len(claimed) == 40
