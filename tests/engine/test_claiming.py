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


def look(engine: Engine, cursor: str | None, want: int = 5, asleep: bool = False) -> tuple[int, str | None]:
    """How many steps came, and the cursor for the next look."""
    rows = engine.rows(
        "select * from pgorch.advance(0, %s, '{}', '{}', '{}', '{}', %s, p_asleep => %s, p_cursor => %s)",
        engine.worker.id, want, asleep, cursor,
    )  # fmt: skip
    looked = [r["message"] for r in rows if r["kind"] == "looked"]
    return sum(r["kind"] == "step" for r in rows), looked[0] if looked else cursor


def became_claimable(engine: Engine, seconds_ago: float) -> None:
    """A start whose transaction took so long to commit."""
    engine.start(engine.graph(definition("a")), bucket=0)
    engine.connection.execute(
        "update pgorch.steps set ready_at = pgorch.clock_now() - make_interval(secs => %s)"
        " where lane_tool is not null",
        [seconds_ago],
    )


def with_a_full_look_from(engine: Engine, cursor: str | None, interval: str) -> str:
    """The cursor, as if the last full look had been so costly that the next may be made so much later."""
    changed = "select (c[1:2] || (c[2] + %s::interval) || c[4:5])::text from (select %s::timestamptz[]) t(c)"
    return str(engine.value(changed, interval, cursor))


@pytest.mark.parametrize(("committed", "looked"), [(0.2, "0 seconds"), (1.5, "0.3 seconds")])
def test_a_look_behind_the_cursor_finds_what_became_claimable_since(
    engine: Engine, committed: float, looked: str
) -> None:
    engine.worker.enlist()
    _, cursor = look(engine, None)
    became_claimable(engine, committed)
    engine.jump(looked)
    assert look(engine, cursor)[0] == 1


@pytest.mark.parametrize("when", ["falling asleep", "a second later"])
def test_a_step_that_was_committed_late_is_found_by_a_full_look(engine: Engine, when: str) -> None:
    engine.worker.enlist()
    _, cursor = look(engine, None)
    cursor = with_a_full_look_from(engine, cursor, "0 seconds")
    became_claimable(engine, 60)
    assert look(engine, cursor) == (0, cursor), "it lies before the cursor"
    if when == "a second later":
        engine.jump("1.1 seconds")
    assert look(engine, cursor, asleep=when == "falling asleep")[0] == 1


def test_full_looks_that_take_long_are_made_seldom(engine: Engine) -> None:
    engine.worker.enlist()
    _, cursor = look(engine, None)
    cursor = with_a_full_look_from(engine, cursor, "20 seconds")
    became_claimable(engine, 60)
    engine.jump("10 seconds")
    got, cursor = look(engine, cursor, asleep=True)
    assert got == 0
    engine.jump("11 seconds")
    assert look(engine, cursor, asleep=True)[0] == 1


def test_a_worker_that_is_busy_for_a_moment_stays_listed_as_asleep(engine: Engine) -> None:
    asleep = "select bool_or(asleep) from pgorch.worker_list"
    engine.worker.enlist()
    _, cursor = look(engine, None, asleep=True)
    engine.start(engine.graph(definition("a")), bucket=0)
    engine.jump("0.5 seconds")
    got, cursor = look(engine, cursor)
    assert got == 1
    assert engine.value(asleep) is True
    engine.jump("2 seconds")
    look(engine, cursor)
    assert engine.value(asleep) is False


def test_what_a_full_look_left_behind_is_found_once_the_newer_ones_are_gone(engine: Engine) -> None:
    for seconds_ago, priority in ((60, 0), (0, 5)):
        engine.start(engine.graph(definition("a")), bucket=0, priority=priority)
        engine.connection.execute(
            "update pgorch.steps set ready_at = pgorch.clock_now() - make_interval(secs => %s)"
            " where priority = %s",
            [seconds_ago, priority],
        )
    engine.worker.enlist()
    got, cursor = look(engine, None, want=1)
    assert got == 1
    assert look(engine, cursor, want=1)[0] == 1


def test_without_a_look_only_the_steps_that_follow_come(engine: Engine) -> None:
    graph = engine.graph(chain("a b"))
    engine.start(graph, bucket=0)
    a = engine.worker.claim_one()
    urgent = engine.start(graph, bucket=0, priority=9)
    rows = engine.rows(
        "select * from pgorch.advance(0, %s, %s, %s, array['success'], array['{}']::jsonb[], 5,"
        " p_look => false)",
        engine.worker.id,
        [a.step_id],
        [a.lease_token],
    )
    assert [(r["run_id"], r["node"]) for r in rows] == [(a.run_id, "b")]
    assert engine.worker.claim_one().run_id == urgent


def test_the_state_of_a_run_comes_once_for_its_branches(engine: Engine) -> None:
    graph = engine.graph(definition("a b c d", ["a>b", "a>c", "a>d"]))
    first, second = (engine.start(graph, {"n": n}, bucket=0) for n in (1, 2))
    engine.worker.advance([(s, "success", {}) for s in engine.worker.claim(2)])
    rows = engine.rows("select * from pgorch.advance(0, %s, '{}', '{}', '{}', '{}', 10)", engine.worker.id)
    given = [(r["run_id"], r["state"]) for r in rows if r["kind"] == "step"]
    assert given == [
        (first, {"n": 1}),
        (first, None),
        (first, None),
        (second, {"n": 2}),
        (second, None),
        (second, None),
    ]
