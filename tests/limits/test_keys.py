"""Concurrency keys: so many steps with one key at once, over all runs."""

from uuid import UUID

import psycopg
import pytest
from psycopg.rows import DictRow

from tests.limits.limiting import claim, hand_in, in_rounds, keyed, start, start_many
from tests.support.engine import Engine, Step, Worker, definition
from tests.support.races import open_connection

RETRY = {"max_attempts": 3, "initial_interval": "10 seconds", "jitter": 0}


def customers(steps: list[Step]) -> str:
    return " ".join(sorted(str(s.state["customer"]) for s in steps))


def test_of_each_key_no_more_are_under_way_than_the_number(engine: Engine) -> None:
    start(engine, keyed(engine, 2), ["ann", "ann", "ann", "bob", "ann"])
    first = claim(engine.worker)
    assert customers(first) == "ann ann bob"
    assert claim(engine.worker) == []
    assert customers(hand_in(engine.worker, first[:1], want=9)) == "ann"
    assert claim(engine.worker) == []


def test_places_are_given_in_order_and_urgent_ones_first(engine: Engine) -> None:
    graph = keyed(engine, 1)
    runs = start(engine, graph, ["x"] * 3) + start(engine, graph, ["x"], priority=5)
    order = []
    while steps := claim(engine.worker):
        order += [s.run_id for s in steps]
        hand_in(engine.worker, steps)
    assert order == [runs[3], *runs[:3]]


def test_a_key_that_is_only_part_of_a_text_is_rendered(engine: Engine) -> None:
    start(engine, keyed(engine, 1, "eu/${$.customer}"), ["ann", "bob", "ann"])
    assert customers(claim(engine.worker)) == "ann bob"
    assert {r["key"] for r in engine.rows("select key from pgorch.concurrency_key_list")} == {
        "eu/ann",
        "eu/bob",
    }


def test_a_key_can_be_fixed_so_that_it_limits_the_node(engine: Engine) -> None:
    start(engine, keyed(engine, 2, "all"), ["ann", "bob", "cid"])
    assert len(claim(engine.worker)) == 2


def test_numbers_and_booleans_are_keys_by_their_text(engine: Engine) -> None:
    start(engine, keyed(engine, 1), [1, "1", True, "true", 2.5])
    assert customers(claim(engine.worker)) == "1 2.5 True"


@pytest.mark.parametrize("value", [None, {"id": 1}, ["x"], "", "x" * 201])
def test_what_is_no_key_fails_the_step(engine: Engine, value: object) -> None:
    [run] = start(engine, keyed(engine, 1), [value])
    assert engine.status(run) == "failed"
    assert engine.error(run)["type"] == "TemplateError"
    assert "the concurrency key of a must be" in engine.error(run)["message"]


def test_a_key_that_finds_nothing_fails_the_step(engine: Engine) -> None:
    run = engine.start(keyed(engine, 1), {"other": 1})
    assert engine.error(run)["type"] == "TemplateError"


def test_a_key_belongs_to_its_node_in_all_versions_of_its_graph(engine: Engine) -> None:
    one = keyed(engine, 1, graph=definition("a", name="orders"))
    two = keyed(engine, 1, graph=definition([{"id": "a", "priority": 0}], name="orders"))
    other = keyed(engine, 1, graph=definition("a", name="returns"))
    for graph in (one, two, other):
        start(engine, graph, ["ann"])
    claimed = claim(engine.worker)
    graphs = {str(engine.value("select graph_id from pgorch.runs where id = %s", s.run_id)) for s in claimed}
    assert graphs == {one, other}


def test_a_place_is_free_again_when_its_step_has_failed_for_good(engine: Engine) -> None:
    start(engine, keyed(engine, 1), ["ann", "ann"])
    [first] = claim(engine.worker)
    engine.worker.fail(first, retryable=False)
    assert len(claim(engine.worker)) == 1


def test_a_step_that_waits_for_its_next_attempt_gives_up_its_place(engine: Engine) -> None:
    graph = definition([{"id": "a", "retry": RETRY}])
    one, two = start(engine, keyed(engine, 1, graph=graph), ["ann", "ann"])
    [first] = claim(engine.worker)
    [later] = engine.worker.fail(first)
    assert (later.kind, later.delay_seconds) == ("later", 10)
    [second] = claim(engine.worker)
    assert second.run_id == two
    engine.jump("11 seconds")
    engine.worker.enlist()
    assert claim(engine.worker) == [], "the place is the other's now"
    [again] = hand_in(engine.worker, [second], want=9)
    assert (again.run_id, again.attempt) == (one, 2)


def test_a_retry_gets_its_place_when_it_is_due_though_nothing_else_happens(engine: Engine) -> None:
    start(engine, keyed(engine, 1, graph=definition([{"id": "a", "retry": RETRY}])), ["ann"])
    engine.worker.fail(claim(engine.worker)[0])
    assert claim(engine.worker) == []
    engine.jump("11 seconds")
    engine.worker.enlist()
    assert [s.attempt for s in claim(engine.worker)] == [2]


def test_a_heartbeat_gives_places_and_tells_that_work_waits(engine: Engine) -> None:
    start(engine, keyed(engine, 1, graph=definition([{"id": "a", "retry": RETRY}])), ["ann"])
    engine.worker.fail(claim(engine.worker)[0])
    assert not engine.worker.beat()["work_waiting"]
    engine.jump("11 seconds")
    assert engine.worker.beat()["work_waiting"]


def test_a_cancelled_run_frees_its_place_and_leaves_its_place_in_the_row(engine: Engine) -> None:
    runs = start(engine, keyed(engine, 1), ["ann"] * 3)
    claim(engine.worker)
    engine.cancel(runs[1])
    engine.cancel(runs[0])
    assert [s.run_id for s in claim(engine.worker)] == [runs[2]]


def test_a_dead_worker_frees_its_places(engine: Engine) -> None:
    start(engine, keyed(engine, 1), ["ann"] * 2)
    victim = engine.new_worker(lease_seconds=5)
    [held] = claim(victim)
    assert claim(engine.worker) == []
    engine.jump("6 seconds")
    engine.worker.enlist()
    engine.worker.beat(0)
    [taken] = claim(engine.worker)
    assert (taken.run_id, taken.attempt) == (held.run_id, 2)


@pytest.mark.parametrize("how", ["leave", "release"])
def test_what_is_given_back_frees_its_place(engine: Engine, how: str) -> None:
    start(engine, keyed(engine, 1), ["ann"] * 2)
    other = engine.new_worker()
    [held] = claim(other)
    assert other.leave() == 1 if how == "leave" else other.release(held) == []
    assert [s.run_id for s in claim(engine.worker)] == [held.run_id]


def test_a_step_that_killed_two_workers_waits_for_a_place_and_runs_alone(engine: Engine) -> None:
    start(engine, keyed(engine, 5), ["ann"] * 2)
    engine.connection.execute(
        "update pgorch.steps set deaths = 2 where id = (select min(id) from pgorch.steps)"
    )
    one = claim(engine.worker)
    assert len(one) == 2
    lanes = "select lane_queue from pgorch.steps order by id"
    engine.worker.leave()
    engine.worker.enlist()
    engine.worker.beat(0)
    assert [r["lane_queue"] for r in engine.rows(lanes)] == ["!default", "default"]


def test_a_step_that_killed_three_workers_is_quarantined_and_frees_its_place(engine: Engine) -> None:
    runs = start(engine, keyed(engine, 1), ["ann"] * 2)
    engine.connection.execute(
        "update pgorch.steps set deaths = 2 where id = (select min(id) from pgorch.steps)"
    )
    claim(engine.new_worker(lease_seconds=5))
    engine.jump("6 seconds")
    engine.worker.enlist()
    engine.worker.beat(0)
    engine.run()
    assert engine.error(runs[0])["type"] == "WorkerLost"
    assert engine.status(runs[1]) == "completed"


def test_the_number_of_a_key_counts_over_a_chain_of_nodes(engine: Engine) -> None:
    """A plain step before and after: the place is taken at the entry and free at the end."""
    graph = keyed(engine, 1, node="b", graph=definition("a b c", ["a>b", "b>c"]))
    runs = start(engine, graph, ["ann"] * 3)
    hand_in(engine.worker, claim(engine.worker))
    [b] = claim(engine.worker)
    assert b.node == "b"
    came = hand_in(engine.worker, [b], want=9)
    assert sorted(str(s.node) for s in came) == ["b", "c"]
    hand_in(engine.worker, came)
    engine.run()
    assert {engine.status(r) for r in runs} == {"completed"}


def test_many_workers_never_have_more_under_way_than_the_number(engine: Engine, database: str) -> None:
    graph = keyed(engine, 3)
    for customer in ("ann", "bob", "cid"):
        start_many(engine, graph, customer, 30)
    rounds = in_rounds(engine, database)
    assert [len(r) for r in rounds] == [9] * 10


def admit_in(first: psycopg.Connection[DictRow], worker: Worker) -> list[DictRow]:
    query = "select * from pgorch.advance(0, %s, '{}', '{}', '{}', '{}', 9)"
    return [r for r in first.execute(query, [worker.id]).fetchall() if r["kind"] == "step"]


def test_two_who_give_places_at_once_give_each_of_them_once(engine: Engine, database: str) -> None:
    graph = keyed(engine, 1)
    start(engine, graph, ["ann"])
    one, two = engine.new_worker(), engine.new_worker()
    with open_connection(database, autocommit=False) as first:
        assert len(admit_in(first, one)) == 1
        start(engine, graph, ["ann"])
        assert claim(two) == []
        first.commit()
    assert claim(two) == []


def test_a_long_transaction_that_gives_places_keeps_no_worker_from_its_lease(
    engine: Engine, database: str
) -> None:
    graph, free = keyed(engine, 1), engine.graph(definition("b"))
    start(engine, graph, ["ann"])
    one, two = engine.new_worker(), engine.new_worker()
    lease = "select expires_at from pgorch._worker_leases where bucket = 0 and worker_id = %s"
    with open_connection(database, autocommit=False) as first:
        assert len(admit_in(first, one)) == 1
        start(engine, graph, ["ann", "bob"])
        beside = engine.start(free, bucket=0)
        engine.connection.execute("set lock_timeout = '300ms'")
        before = engine.value(lease, two.id)
        assert two.beat(0)["alive"]
        assert engine.value(lease, two.id) > before
        rows = two.advance([], 9, bucket=0)
        assert [r.run_id for r in rows if r.kind == "step"] == [beside]
        noted = engine.rows("select due_at > pgorch.clock_now() as later from pgorch._key_changes order by 1")
        assert [n["later"] for n in noted] == [False, True, True], "what the first one takes is left"
        engine.jump("1 second")
        rows = two.advance([], 9, bucket=0)
        assert [(r.kind, r.delay_seconds) for r in rows] == [("later", 0.5)]
        first.rollback()
    engine.jump("1 second")
    assert len(claim(two)) == 2, "one of each customer"


def test_who_gives_places_passes_over_a_step_that_is_being_cancelled(engine: Engine, database: str) -> None:
    one, two = start(engine, keyed(engine, 1), ["ann", "ann"])
    with open_connection(database, autocommit=False) as first:
        first.execute("select pgorch.cancel(%s)", [one])
        assert [s.run_id for s in claim(engine.worker)] == [two]
        first.rollback()
    assert claim(engine.worker) == [], "the place is taken"


def test_a_step_that_was_passed_over_and_not_cancelled_gets_a_place_soon(
    engine: Engine, database: str
) -> None:
    [run] = start(engine, keyed(engine, 1), ["ann"])
    with open_connection(database, autocommit=False) as first:
        first.execute("select pgorch.cancel(%s)", [run])
        assert claim(engine.worker) == []
        first.rollback()
    engine.jump("1.1 seconds")
    assert [s.run_id for s in claim(engine.worker)] == [run]


def test_one_customers_thousands_do_not_keep_back_another_ones_ten(engine: Engine) -> None:
    graph = keyed(engine, 10_000)
    start_many(engine, graph, "big", 5000)
    at_hand = claim(engine.worker, 20)
    start_many(engine, graph, "small", 10)
    done: list[str] = []
    while done.count("small") < 10:
        done += [s.state["customer"] for s in at_hand]
        at_hand = hand_in(engine.worker, at_hand, want=20)
    assert done.count("big") < 300


def test_a_number_above_the_window_is_reached_in_one_go(engine: Engine) -> None:
    start_many(engine, keyed(engine, 300), "big", 350)
    claimed = 0
    rows = engine.worker.advance([], 500, bucket=0)
    while any(r.kind == "later" and r.delay_seconds == 0 for r in rows):
        claimed += sum(r.kind == "step" for r in rows)
        rows = engine.worker.advance([], 500 - claimed, bucket=0)
    claimed += sum(r.kind == "step" for r in rows)
    assert claimed == 300


def test_the_number_can_be_another_one_in_the_next_version(engine: Engine) -> None:
    start(engine, keyed(engine, 1, graph=definition("a", name="orders")), ["ann"] * 2)
    [first] = claim(engine.worker)
    two = keyed(engine, 3, graph=definition("a", name="orders"))
    start(engine, two, ["ann"] * 2)
    assert claim(engine.worker) == [], "who waits longest is of the first version"
    assert len(hand_in(engine.worker, [first], want=9)) == 1
    engine.jump("1.1 seconds")
    assert len(claim(engine.worker)) == 2


def test_a_paused_run_gives_up_its_place_and_lines_up_anew(engine: Engine) -> None:
    runs = start(engine, keyed(engine, 1), ["ann"] * 3)
    engine.worker.release(claim(engine.worker)[0])
    engine.value("select pgorch.pause(%s)", runs[0])
    [second] = claim(engine.worker)
    assert second.run_id == runs[1]
    engine.value("select pgorch.resume(%s)", runs[0])
    assert claim(engine.worker) == []
    assert [s.run_id for s in hand_in(engine.worker, [second], want=9)] == [runs[0]]


def test_a_run_that_is_resumed_before_its_retry_is_due_gets_its_place_then(engine: Engine) -> None:
    [run] = start(engine, keyed(engine, 1, graph=definition([{"id": "a", "retry": RETRY}])), ["ann"])
    engine.worker.fail(claim(engine.worker)[0])
    engine.value("select pgorch.pause(%s)", run)
    claim(engine.worker)
    engine.value("select pgorch.resume(%s)", run)
    assert claim(engine.worker) == []
    engine.jump("11 seconds")
    engine.worker.enlist()
    assert [s.attempt for s in claim(engine.worker)] == [2]


def test_a_step_that_waits_for_a_place_is_seen_to_do_so(engine: Engine) -> None:
    runs = start(engine, keyed(engine, 1), ["ann"] * 3)
    claim(engine.worker)
    [row] = engine.rows("select * from pgorch.concurrency_key_list")
    assert (row["node"], row["key"], row["concurrency"]) == ("a", "ann", 1)
    assert (row["under_way"], row["ready"], row["waiting"], row["retrying"]) == (1, 0, 2, 0)
    [step] = engine.live(runs[1])
    assert (step["status"], step["problem"]) == ("limited", None)
    assert engine.rows("select * from pgorch.stuck_runs") == []


def key_changes(engine: Engine) -> int:
    return int(engine.value("select count(*) from pgorch._key_changes"))


def test_nothing_is_noted_where_there_are_no_keys(engine: Engine) -> None:
    run: UUID = engine.start(definition("a b c", ["a>b", "a>c"]))
    engine.run()
    engine.cancel(engine.start(definition("a")))
    assert engine.status(run) == "completed"
    assert key_changes(engine) == 0


def test_a_failed_run_that_is_retried_waits_for_a_place_again(engine: Engine) -> None:
    one, two = start(engine, keyed(engine, 1), ["ann", "ann"])
    engine.worker.fail(claim(engine.worker)[0], retryable=False)
    [second] = claim(engine.worker)
    engine.value("select pgorch.retry(%s)", one)
    assert (second.run_id, claim(engine.worker)) == (two, [])
    assert [s.run_id for s in hand_in(engine.worker, [second], want=9)] == [one]
