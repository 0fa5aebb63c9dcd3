"""Limits of queues and tools: so many steps at once, so many attempts in a time."""

from typing import Any

import psycopg
import pytest

from tests.limits.limiting import at_once, claim, hand_in, in_rounds, keyed, limit, start_many
from tests.support.engine import Engine, Worker, chain, definition
from tests.support.races import Rival, open_connection, wait_until

ADVANCE = "select * from pgorch.advance(0, %s, '{}', '{}', '{}', '{}', 9)"


def under_way(engine: Engine, name: str) -> int:
    query = "select sum(under_way)::int from pgorch.limit_list where name = %s"
    return int(engine.value(query, name))


def many(engine: Engine, count: int, graph: Any = None) -> str:
    graph_id = engine.graph(graph or definition("a"))
    start_many(engine, graph_id, "x", count)
    return graph_id


@pytest.mark.parametrize(("kind", "name"), [("queue", "default"), ("tool", "a")])
def test_no_more_are_under_way_than_the_limit(engine: Engine, kind: str, name: str) -> None:
    many(engine, 5)
    limit(engine, kind, name, concurrency=2)
    first = claim(engine.worker)
    assert len(first) == 2
    assert under_way(engine, name) == 2
    assert claim(engine.worker) == []
    assert len(hand_in(engine.worker, first[:1], want=9)) == 1
    assert under_way(engine, name) == 2
    engine.worker.leave()
    engine.worker.enlist()
    engine.run()
    assert under_way(engine, name) == 0


def test_other_queues_and_tools_are_not_held_back(engine: Engine) -> None:
    many(engine, 3)
    many(engine, 3, definition([{"id": "b", "queue": "other"}]))
    limit(engine, "queue", "default", concurrency=1)
    worker = engine.new_worker(queues=["default", "other"])
    assert sorted(str(s.node) for s in claim(worker)) == ["a", "b", "b", "b"]


def test_a_queue_and_its_tools_are_limited_together(engine: Engine) -> None:
    for node in "abc":
        many(engine, 5, definition(node))
    limit(engine, "queue", "default", concurrency=6)
    limit(engine, "tool", "a", concurrency=1)
    limit(engine, "tool", "b", concurrency=2)
    nodes = sorted(str(s.node) for s in claim(engine.worker))
    assert nodes.count("a") <= 1
    assert nodes.count("b") <= 2
    assert len(nodes) == 6


def test_the_most_urgent_of_all_lanes_come_first(engine: Engine) -> None:
    for node, priority in (("a", 1), ("b", 2), ("c", 3)):
        many(engine, 2, definition([{"id": node, "priority": priority}]))
    limit(engine, "queue", "default", concurrency=3)
    assert sorted(str(s.node) for s in claim(engine.worker)) == ["b", "c", "c"]


def test_a_key_counts_beside_the_limit_of_its_queue(engine: Engine) -> None:
    graph = keyed(engine, 1)
    for customer in ("ann", "bob", "cid"):
        start_many(engine, graph, customer, 2)
    limit(engine, "queue", "default", concurrency=2)
    order = []
    while steps := claim(engine.worker):
        assert len({s.state["customer"] for s in steps}) == len(steps) <= 2
        order += steps
        hand_in(engine.worker, steps)
    assert len(order) == 6


def test_a_next_step_under_a_limit_does_not_go_straight_to_the_worker(engine: Engine) -> None:
    many(engine, 2, chain("a b c"))
    limit(engine, "tool", "b", concurrency=1)
    came = hand_in(engine.worker, claim(engine.worker), want=9)
    assert [s.node for s in came] == ["b"]
    [c, b] = sorted(hand_in(engine.worker, came, want=9), key=lambda s: str(s.node), reverse=True)
    assert (b.node, c.node) == ("b", "c")
    assert under_way(engine, "b") == 1


def test_a_limit_counts_what_was_under_way_before_it_was_set(engine: Engine) -> None:
    many(engine, 5)
    first = claim(engine.worker, 3)
    limit(engine, "queue", "default", concurrency=3)
    assert claim(engine.worker) == []
    hand_in(engine.worker, first[:2])
    assert len(claim(engine.worker)) == 2


def test_a_limit_can_be_lowered_and_raised_while_steps_are_under_way(engine: Engine) -> None:
    many(engine, 9)
    limit(engine, "queue", "default", concurrency=4)
    first = claim(engine.worker)
    limit(engine, "queue", "default", concurrency=2)
    assert claim(engine.worker) == []
    assert hand_in(engine.worker, first[:2], want=9) == []
    assert len(hand_in(engine.worker, first[2:3], want=9)) == 1
    limit(engine, "queue", "default", concurrency=5)
    assert len(claim(engine.worker)) == 3


def test_a_concurrency_of_zero_stops_a_queue_and_dropping_it_lets_it_go_on(engine: Engine) -> None:
    many(engine, 3)
    limit(engine, "queue", "default", concurrency=0)
    assert claim(engine.worker) == []
    engine.value("select pgorch.drop_limit('queue', 'default')")
    assert len(claim(engine.worker)) == 3


def test_a_raised_limit_wakes_workers_that_sleep(engine: Engine, database: str) -> None:
    many(engine, 2)
    limit(engine, "queue", "default", concurrency=1)
    claim(engine.worker)
    engine.new_worker().advance([], 9, asleep=True, bucket=0)
    with open_connection(database) as listener:
        listener.execute("listen pgorch_work")
        limit(engine, "queue", "default", concurrency=2)
        assert [n.payload for n in listener.notifies(timeout=10, stop_after=1)] == ["0"]


def test_what_ends_under_a_limit_wakes_workers_that_sleep(engine: Engine, database: str) -> None:
    many(engine, 2)
    limit(engine, "tool", "a", concurrency=1)
    [step] = claim(engine.worker)
    engine.new_worker().advance([], 9, asleep=True, bucket=0)
    with open_connection(database) as listener:
        listener.execute("listen pgorch_work")
        engine.worker.succeed(step, {})
        assert [n.payload for n in listener.notifies(timeout=10, stop_after=1)] == ["0"]


def test_a_cancelled_run_counts_no_more(engine: Engine) -> None:
    many(engine, 2)
    limit(engine, "queue", "default", concurrency=1)
    [step] = claim(engine.worker)
    assert step.run_id is not None
    engine.cancel(step.run_id)
    assert len(claim(engine.worker)) == 1


def test_what_a_dead_worker_held_counts_no_more(engine: Engine) -> None:
    many(engine, 2)
    limit(engine, "queue", "default", concurrency=1)
    assert len(claim(engine.new_worker(lease_seconds=5))) == 1
    assert claim(engine.worker) == []
    engine.jump("6 seconds")
    engine.worker.enlist()
    engine.worker.beat(0)
    assert under_way(engine, "default") == 0
    assert len(claim(engine.worker)) == 1


def test_a_step_that_killed_two_workers_is_counted_too(engine: Engine) -> None:
    many(engine, 3)
    engine.connection.execute(
        "update pgorch.steps set deaths = 2, lane_queue = '!default'"
        " where id = (select min(id) from pgorch.steps)"
    )
    limit(engine, "queue", "default", concurrency=1)
    assert len(claim(engine.worker)) == 1
    assert under_way(engine, "default") == 1
    limit(engine, "queue", "default", concurrency=0)
    engine.worker.leave()
    engine.worker.enlist()
    assert claim(engine.worker) == []


def test_many_workers_never_have_more_under_way_than_the_limit(engine: Engine, database: str) -> None:
    many(engine, 40)
    many(engine, 40, definition("b"))
    limit(engine, "queue", "default", concurrency=5)
    limit(engine, "tool", "a", concurrency=3)
    rounds = in_rounds(engine, database)
    assert [len(r) for r in rounds] == [5] * 16
    assert max(r.count("a") for r in rounds) == 3


def test_who_claims_under_a_limit_waits_for_who_has_just_claimed(engine: Engine, database: str) -> None:
    many(engine, 3)
    limit(engine, "queue", "default", concurrency=1)
    one, two = engine.new_worker(), engine.new_worker()
    with open_connection(database, autocommit=False) as first:
        rows = first.execute(ADVANCE.encode(), [one.id]).fetchall()
        assert [r["kind"] for r in rows] == ["step"]
        second = Rival(database, ADVANCE, two.id)
        second.wait_until_blocked()
        first.commit()
        assert second.rows() == []


def test_under_a_limit_where_nothing_waits_nobody_waits_for_another(engine: Engine, database: str) -> None:
    many(engine, 1)
    limit(engine, "queue", "other", concurrency=1)
    worker = engine.new_worker(queues=["default", "other"])
    engine.connection.execute("set lock_timeout = '2s'")
    with open_connection(database, autocommit=False) as first:
        first.execute("select pgorch._lock_limits(0, '{queue}', '{other}')")
        assert len(claim(worker)) == 1


# Rates ----------------------------------------------------------------------------------------------


def begun_within(engine: Engine, seconds: float) -> list[float]:
    """When attempts begin if a worker looks every quarter of a second: seconds after the first."""
    for _ in range(int(seconds * 4)):
        hand_in(engine.worker, claim(engine.worker))
        engine.jump("0.25 seconds")
        engine.worker.enlist()
    rows = engine.rows(
        "select extract(epoch from h.started_at - min(h.started_at) over ())::float8 as at"
        " from pgorch.history h where h.kind = 'step_completed' order by h.started_at"
    )
    return [float(r["at"]) for r in rows]


def most_within(begun: list[float], seconds: float) -> int:
    return max(sum(start <= b <= start + seconds for b in begun) for start in begun)


@pytest.mark.parametrize(("kind", "name"), [("queue", "default"), ("tool", "a")])
def test_no_more_attempts_begin_than_the_rate(engine: Engine, kind: str, name: str) -> None:
    many(engine, 100)
    limit(engine, kind, name, rate=4, per="10 seconds", burst=1)
    begun = begun_within(engine, 40)
    assert len(begun) == pytest.approx(1 + begun[-1] * 0.4, abs=1)
    assert most_within(begun, 10) <= 5
    assert len(set(begun)) == len(begun), "with a burst of 1 they are spread"


def test_a_burst_begins_at_once_after_a_pause(engine: Engine) -> None:
    many(engine, 100)
    limit(engine, "tool", "a", rate=10, per="10 seconds", burst=5)
    begun = begun_within(engine, 20)
    assert begun.count(0.0) == 5
    assert len(begun) == pytest.approx(5 + begun[-1], abs=1)
    assert most_within(begun, 10) <= 15


def test_a_rate_counts_attempts(engine: Engine) -> None:
    engine.start(
        definition([{"id": "a", "retry": {"max_attempts": 5, "initial_interval": "1 ms"}}]), bucket=0
    )
    limit(engine, "tool", "a", rate=1, per="1 minute")
    engine.worker.fail(claim(engine.worker)[0])
    engine.jump("20 seconds")
    engine.worker.enlist()
    assert claim(engine.worker) == []
    engine.jump("20 seconds")
    engine.worker.enlist()
    assert [s.attempt for s in claim(engine.worker)] == [2]


def test_the_worker_is_told_when_the_next_attempt_may_begin(engine: Engine) -> None:
    many(engine, 2)
    limit(engine, "tool", "a", rate=1, per="10 seconds")
    rows = engine.worker.advance([], 9, bucket=0)
    later = [r.delay_seconds for r in rows if r.kind == "later"]
    assert [r.kind for r in rows].count("step") == 1
    assert later[0] is not None
    assert 0 < later[0] <= 10
    engine.jump(f"{later[0]} seconds")
    engine.worker.enlist()
    assert len(claim(engine.worker)) == 1
    assert [r.kind for r in engine.worker.advance([], 9, bucket=0)] == [], "nothing waits: nothing to tell"


def test_a_raised_rate_holds_at_once(engine: Engine) -> None:
    many(engine, 100)
    limit(engine, "tool", "a", rate=1, per="1 hour")
    assert len(claim(engine.worker)) == 1
    limit(engine, "tool", "a", rate=10, per="1 second", burst=5)
    assert claim(engine.worker) == []
    engine.jump("0.3 seconds")
    assert len(claim(engine.worker)) >= 2


def test_a_clock_that_is_set_back_does_not_stop_what_has_a_rate(engine: Engine) -> None:
    many(engine, 1)
    limit(engine, "tool", "a", rate=1, per="10 seconds")
    assert len(claim(engine.worker)) == 1
    engine.jump("-1 hour")
    engine.worker.enlist()
    many(engine, 2)
    assert claim(engine.worker) == []
    engine.jump("9 seconds")
    assert claim(engine.worker) == [], "the rate holds"
    engine.jump("2 seconds")
    assert len(claim(engine.worker)) == 1
    assert claim(engine.worker) == []


def test_a_rate_is_exact_under_many_workers(engine: Engine, database: str) -> None:
    many(engine, 100)
    limit(engine, "queue", "default", rate=1, per="1 hour", burst=20)
    workers = [engine.new_worker(name=f"w{n}") for n in range(8)]
    begun: list[int] = []

    def work(worker: Worker) -> None:
        for _ in range(10):
            steps = claim(worker, 3)
            begun.append(len(steps))
            hand_in(worker, steps)

    at_once(database, workers, work)
    assert sum(begun) == 20


def test_a_rate_and_a_concurrency_hold_together(engine: Engine) -> None:
    many(engine, 20)
    limit(engine, "tool", "a", concurrency=2, rate=1, per="1 second", burst=3)
    first = claim(engine.worker)
    assert len(first) == 2
    assert len(hand_in(engine.worker, first, want=9)) == 1


# What is set ----------------------------------------------------------------------------------------


def test_a_limit_says_what_is_used_of_it(engine: Engine) -> None:
    many(engine, 5)
    limit(engine, "tool", "a", concurrency=4, rate=60, per="1 minute", burst=3)
    claim(engine.worker, 2)
    [row] = engine.rows("select * from pgorch.limit_list where bucket = 0")
    assert (row["concurrency"], row["under_way"], row["rate"], row["burst"]) == (4, 2, 60, 3)
    assert row["per"].total_seconds() == 60
    assert row["may_begin"] == 1
    assert row["set_by"] == engine.value("select session_user::text")


@pytest.mark.parametrize(
    ("rate", "per", "burst"), [(1, "1 minute", 1), (600, "1 minute", 1), (1000, "1 second", 100)]
)
def test_without_a_burst_it_is_what_falls_on_a_tenth_of_a_second(
    engine: Engine, rate: int, per: str, burst: int
) -> None:
    limit(engine, "queue", "q", rate=rate, per=per)
    assert engine.value("select burst from pgorch.limits") == burst


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"kind": "graph", "concurrency": 1}, "'graph' has no limits"),
        ({"kind": None, "concurrency": 1}, "null has no limits"),
        ({"name": "", "concurrency": 1}, "is no name of a queue"),
        ({"name": "!x", "concurrency": 1}, "is no name of a queue"),
        ({"name": "x" * 201, "concurrency": 1}, "is no name of a queue"),
        ({"name": None, "concurrency": 1}, "null is no name of a queue"),
        ({"kind": "tool", "name": "nobody", "concurrency": 1}, 'there is no tool "nobody"'),
        ({}, "limits nothing"),
        ({"concurrency": -1}, "outside 0 to 1,000,000"),
        ({"concurrency": 1_000_001}, "outside 0 to 1,000,000"),
        ({"rate": 5}, "one of them is missing"),
        ({"concurrency": 1, "per": "1 minute"}, "one of them is missing"),
        ({"concurrency": 1, "burst": 1}, "one of them is missing"),
        ({"rate": 0, "per": "1 minute"}, "a rate of 0 is outside"),
        ({"rate": 1, "per": "0 seconds"}, "the time of a rate is"),
        ({"rate": 1, "per": "-1 hour"}, "the time of a rate is"),
        ({"rate": 1, "per": "2 years"}, "the time of a rate is"),
        ({"rate": 1, "per": "1 minute", "burst": 0}, "a burst of 0 is outside"),
    ],
)
def test_what_is_no_limit_is_refused(engine: Engine, values: dict[str, Any], message: str) -> None:
    values = {"kind": "queue", "name": "q"} | values
    with pytest.raises(psycopg.DatabaseError, match=message):
        limit(engine, values.pop("kind"), values.pop("name"), **values)
    assert engine.rows("select * from pgorch.limits") == []


def test_a_limit_that_is_not_there_cannot_be_dropped(engine: Engine) -> None:
    with pytest.raises(psycopg.DatabaseError, match='there is no limit of queue "q"') as refused:
        engine.value("select pgorch.drop_limit('queue', 'q')")
    assert refused.value.sqlstate == "OR003"


def test_a_limit_that_is_dropped_in_between_stands_in_nobodys_way(engine: Engine, database: str) -> None:
    many(engine, 3)
    limit(engine, "queue", "default", concurrency=1)
    worker = engine.new_worker()
    with open_connection(database, autocommit=False) as first:
        first.execute("select pgorch._lock_limits(0, '{queue}', '{default}')")
        rival = Rival(database, ADVANCE, worker.id)
        rival.wait_until_blocked()
        engine.value("select pgorch.drop_limit('queue', 'default')")
        first.commit()
        assert rival.rows() == []
    wait_until(lambda: len(claim(worker)) == 3)
