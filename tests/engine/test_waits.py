"""Waits for a time and for signals."""

from typing import Any
from uuid import UUID

import psycopg
import pytest

from tests.support.engine import Engine, definition
from tests.support.races import open_connection

TO_B: list[Any] = ["w>b"]


def waiting(**wait: Any) -> dict[str, Any]:
    return definition(["a", {"id": "w", "type": "wait", **wait}, "b"], ["a>w", *TO_B])


def tick(engine: Engine) -> int:
    return sum(engine.value("select pgorch.tick(%s)", b) for b in engine.buckets)


def signal(engine: Engine, run_id: UUID, name: str, payload: Any = None, **options: Any) -> UUID:
    from psycopg.types.json import Jsonb

    arguments = {"p_run_id": run_id, "p_name": name, "p_payload": Jsonb({} if payload is None else payload)}
    arguments |= {f"p_{k}": v for k, v in options.items()}
    call = ", ".join(f"{k} => %s" for k in arguments)
    found = engine.value(f"select pgorch.signal({call})", *arguments.values())
    assert isinstance(found, UUID)
    return found


@pytest.mark.parametrize("wait", [{"for": "48 hours"}, {"for": "${$.span}"}, {"for": "${$.seconds}"}])
def test_a_wait_for_a_time_ends_when_it_has_passed_and_not_before(
    engine: Engine, wait: dict[str, Any]
) -> None:
    run_id = engine.start(waiting(**wait), {"span": "PT48H", "seconds": 172800})
    engine.run()
    assert engine.status(run_id) == "waiting"
    engine.jump("47 hours 59 minutes")
    assert tick(engine) == 0
    engine.jump("1 minute")
    assert tick(engine) == 1
    engine.run()
    assert engine.order(run_id) == "a w b"
    assert engine.status(run_id) == "completed"
    assert tick(engine) == 0


def test_a_wait_until_a_time_that_has_passed_is_over_at_once(engine: Engine) -> None:
    run_id = engine.start(waiting(until="${$.when}"), {"when": "2001-01-01T00:00:00Z"})
    engine.run()
    assert engine.status(run_id) == "completed"
    assert "wait_started" not in engine.kinds(run_id)


def test_what_is_no_time_fails_the_step(engine: Engine) -> None:
    run_id = engine.start(waiting(until="${$.when}"), {"when": "next week or so"})
    engine.run()
    assert engine.error(run_id)["type"] == "BadWait"


def test_a_signal_ends_the_wait_and_its_payload_reaches_the_state(engine: Engine) -> None:
    run_id = engine.start(waiting(signal="paid"))
    engine.run()
    assert engine.status(run_id) == "waiting"
    signal(engine, run_id, "paid", {"amount": 5})
    engine.run()
    assert engine.status(run_id) == "completed"
    assert engine.state(run_id)["amount"] == 5


def test_a_signal_that_comes_early_is_not_lost_and_the_oldest_goes_first(engine: Engine) -> None:
    graph = definition(
        ["a", *({"id": w, "type": "wait", "signal": "s", "into": w} for w in ("w1", "w2"))], ["a>w1", "w1>w2"]
    )
    run_id = engine.start(graph)
    signal(engine, run_id, "s", 1)
    signal(engine, run_id, "other", 9)
    signal(engine, run_id, "s", 2)
    engine.run()
    assert engine.status(run_id) == "completed"
    assert engine.state(run_id) == {"w1": 1, "w2": 2}
    assert engine.rows("select name from pgorch.signals where run_id = %s and taken_at is null", run_id) == [
        {"name": "other"}
    ]


def test_a_signal_with_a_key_counts_once(engine: Engine) -> None:
    run_id = engine.start(waiting(signal="s"))
    first = signal(engine, run_id, "s", {"n": 1}, idempotency_key="k")
    assert signal(engine, run_id, "s", {"n": 1}, idempotency_key="k") == first
    with pytest.raises(psycopg.Error, match="belongs to another signal"):
        signal(engine, run_id, "s", {"n": 2}, idempotency_key="k")
    engine.run()
    assert engine.kinds(run_id).count("signal_received") == 1
    # It is known also when the run is over.
    assert signal(engine, run_id, "s", {"n": 1}, idempotency_key="k") == first


def test_a_signal_that_is_rolled_back_was_never_sent(engine: Engine) -> None:
    run_id = engine.start(waiting(signal="s"))
    engine.run()
    with engine.connection.transaction(force_rollback=True):
        signal(engine, run_id, "s", {"n": 1}, idempotency_key="k")
        assert engine.status(run_id) != "waiting"
    assert engine.status(run_id) == "waiting"
    assert engine.rows("select from pgorch.signals") == []
    # Its key is free again.
    signal(engine, run_id, "s", {"n": 2}, idempotency_key="k")
    engine.run()
    assert engine.state(run_id)["n"] == 2


def test_a_run_that_is_over_takes_no_signal(engine: Engine) -> None:
    run_id = engine.start(definition("a"))
    engine.run()
    with pytest.raises(psycopg.Error, match="takes no signals any more: it is completed"):
        signal(engine, run_id, "s")


def test_a_wait_that_nobody_ends_expires(engine: Engine) -> None:
    graph = definition(
        ["a", {"id": "w", "type": "wait", "signal": "s", "deadline": "2 days"}, "b", "late"],
        ["a>w", "w>b", ("w>late", {"on": "expired"})],
    )
    run_id = engine.start(graph)
    engine.run()
    engine.jump("2 days")
    assert tick(engine) == 1
    engine.run()
    assert engine.order(run_id) == "a w late"


def test_a_signal_after_the_deadline_comes_too_late_even_if_no_timer_fired(engine: Engine) -> None:
    graph = definition(
        [{"id": "w", "type": "wait", "signal": "s", "deadline": "2 days"}, "b", "late"],
        ["w>b", ("w>late", {"on": "expired"})],
    )
    run_id = engine.start(graph)
    engine.jump("2 days")
    signal(engine, run_id, "s")
    engine.run()
    assert engine.order(run_id) == "w late"


def test_an_expired_wait_that_leads_nowhere_fails_the_run(engine: Engine) -> None:
    run_id = engine.start(waiting(signal="s", deadline="1 hour"))
    engine.run()
    engine.jump("1 hour")
    tick(engine)
    assert engine.error(run_id)["type"] == "Expired"


def test_a_losing_wait_is_closed_and_its_timer_with_it(engine: Engine) -> None:
    graph = definition(
        [
            "a",
            {"id": "w1", "type": "wait", "signal": "s"},
            {"id": "w2", "type": "wait", "for": "1 day"},
            {"id": "b", "join": "any", "cancel_rest": True},
        ],
        ["a>w1", "a>w2", "w1>b", "w2>b"],
    )
    run_id = engine.start(graph)
    engine.run()
    signal(engine, run_id, "s")
    engine.run()
    assert engine.status(run_id) == "completed"
    assert engine.rows("select * from pgorch.timers") == []
    assert engine.kinds(run_id).count("step_cancelled") == 1


def test_a_run_that_takes_too_long_fails(engine: Engine) -> None:
    run_id = engine.start(waiting(signal="s") | {"timeout": "1 day"})
    engine.run()
    engine.jump("1 day")
    assert tick(engine) == 1
    assert engine.error(run_id)["type"] == "RunTimeout"


def test_the_timer_of_a_run_goes_with_it(engine: Engine) -> None:
    engine.start(definition("a b", ["a>b"], timeout="1 day"))
    engine.run()
    assert engine.rows("select * from pgorch.timers") == []


def test_a_run_that_somebody_works_on_stops_no_other_ones_clock(engine: Engine, database: str) -> None:
    wait = definition([{"id": "w", "type": "wait", "for": "1 hour"}])
    busy = engine.start(wait, bucket=0)
    other = engine.start(wait["name"], bucket=0)
    engine.connection.execute(
        "insert into pgorch.timers (bucket, run_id, step_id, due_at, kind)"
        " select t.bucket, t.run_id, t.step_id, t.due_at - interval '1 minute', 'recheck'"
        " from pgorch.timers t, generate_series(1, 250) where t.run_id = %s", [busy],
    )  # fmt: skip
    engine.jump("2 hours")
    with open_connection(database, autocommit=False) as somebody:
        somebody.execute("select from pgorch.runs where id = %s for update", [busy])
        assert engine.value("select pgorch.tick(0)") == 1
        assert engine.status(other) == "completed"
        somebody.rollback()
    assert engine.value("select pgorch.tick(0)") == 50
    while engine.value("select pgorch.tick(0)"):
        pass
    assert engine.status(busy) == "completed"


def test_a_signal_goes_to_the_oldest_wait_that_is_not_overdue(engine: Engine) -> None:
    waits = [
        {"id": n, "type": "wait", "signal": "go", **more}
        for n, more in {"a": {"deadline": "1 hour"}, "b": {"deadline": "1 hour"}, "c": {}}.items()
    ]
    edges = ["s>a", "s>b", "s>c", ("a>x", {"on": "expired"}), ("b>x", {"on": "expired"}), "c>y"]
    run_id = engine.start(definition([{"id": "s", "type": "pass"}, *waits, "x", "y"], edges))
    engine.jump("2 hours")
    signal(engine, run_id, "go", {"n": 1})
    engine.run()
    assert (engine.status(run_id), engine.state(run_id)) == ("completed", {"n": 1})
    assert sorted(engine.order(run_id).split()) == ["a", "b", "c", "s", "x", "y"]


def test_a_signal_that_came_too_late_for_a_wait_is_taken_once_by_the_one_that_follows(engine: Engine) -> None:
    nodes = [
        {"id": "a", "type": "wait", "signal": "go", "deadline": "1 hour"},
        {"id": "b", "type": "wait", "signal": "go"},
        {"id": "other", "type": "wait", "signal": "go", "into": "other"},
    ]
    start = {"id": "s", "type": "pass"}
    run_id = engine.start(definition([start, *nodes], ["s>a", "s>other", ("a>b", {"on": "expired"})]))
    engine.jump("2 hours")
    signal(engine, run_id, "go")
    assert [step["node"] for step in engine.live(run_id)] == ["other"]
    signal(engine, run_id, "go", 2)
    assert (engine.status(run_id), engine.state(run_id)) == ("completed", {"other": 2})
    taken = engine.rows("select taken_by from pgorch.signals where taken_at is not null")
    assert len({row["taken_by"] for row in taken}) == 2


@pytest.mark.parametrize("when", ["2030-01-01T09:00:00", "now", "tomorrow", "2030-01-01", "infinity", 5])
def test_a_time_without_its_zone_fails_the_step(engine: Engine, when: Any) -> None:
    run_id = engine.start(waiting(until="${$.when}"), {"when": when})
    engine.run()
    assert engine.error(run_id)["type"] == "BadWait"
    assert "zone" in engine.error(run_id)["hint"]


def test_a_day_has_24_hours_whatever_the_zone_of_the_session(engine: Engine) -> None:
    """In Berlin the clocks go forward on 2030-03-31."""
    engine.connection.execute("set timezone = 'Europe/Berlin'")
    engine.connection.execute(
        "update pgorch._clock set offset_by = timestamptz '2030-03-30 12:00:00Z' - clock_timestamp()"
    )
    nodes = [
        {"id": "w", "type": "wait", "for": "1 day"},
        {"id": "v", "type": "wait", "signal": "s", "deadline": "1 day"},
        {"id": "q", "type": "approval", "deadline": "1 day"},
    ]
    graph = definition([{"id": "s", "type": "pass"}, *nodes], ["s>w", "s>v", "s>q"], timeout="1 day")
    run_id = engine.start(graph)
    rows = engine.rows(
        "select t.kind, extract(epoch from t.due_at - r.created_at)::int as s from pgorch.timers t"
        " join pgorch.runs r on r.id = t.run_id where r.id = %s order by 1", run_id)  # fmt: skip
    assert [(row["kind"], row["s"]) for row in rows] == [
        (kind, 86400) for kind in ("deadline", "deadline", "run_timeout", "wait")
    ]


def test_a_name_that_nobody_can_send_is_not_waited_for(engine: Engine) -> None:
    run_id = engine.start(waiting(signal="paid-${$.id}"), {"id": "x" * 196})
    engine.run()
    assert engine.error(run_id)["type"] == "BadWait"
    run_id = engine.start(waiting(signal="paid-${$.id}"), {"id": "x" * 195})
    engine.run()
    signal(engine, run_id, "paid-" + "x" * 195)
    engine.run()
    assert engine.status(run_id) == "completed"


def test_an_interval_without_a_unit_is_not_waited_for(engine: Engine) -> None:
    run_id = engine.start(waiting(**{"for": "${$.span}"}), {"span": "5"})
    engine.run()
    assert engine.error(run_id)["type"] == "BadWait"
