"""What happened, in words; and rehearsing."""

from datetime import timedelta

import psycopg

from tests.support.engine import Engine, Fails, Step, definition


def asks() -> dict[str, object]:
    return definition(["a", {"id": "ok", "type": "approval"}, "b"], ["a>ok", "ok>b"])


def what(engine: Engine, run_id: object) -> list[str]:
    return [row["what"] for row in engine.rows("select * from pgorch.timeline(%s)", run_id)]


def test_a_timeline_says_what_happened_and_what_is_live(engine: Engine) -> None:
    run_id = engine.start(asks() | {"name": "asks"}, {"n": 1})
    engine.run()
    rows = engine.rows("select * from pgorch.timeline(%s)", run_id)
    assert [(row["seq"], row["what"]) for row in rows] == [
        (0, "the run of asks@1 was started"),
        (1, "a completed"),
        (2, "ok asks for a decision"),
        (None, "ok waits for a decision"),
    ]
    assert rows[1]["who"] == "worker first"
    assert isinstance(rows[1]["took"], timedelta)
    engine.approve(run_id, comment="looks good")
    engine.run()
    assert what(engine, run_id)[3:] == ["ok was approved: looks good", "b completed", "the run completed"]


def test_errors_and_attempts_are_told(engine: Engine) -> None:
    def broken(step: Step) -> None:
        raise Fails("Broken", "the pipe burst", retryable=True)

    run_id = engine.start(
        definition([{"id": "a", "retry": {"max_attempts": 2, "initial_interval": "1 second", "jitter": 0}}])
    )
    engine.run({"a": broken})
    assert "is made again at" in what(engine, run_id)[-1]
    engine.jump("1 minute")
    engine.run({"a": broken})
    assert what(engine, run_id)[1:] == [
        "attempt 1 of a failed: Broken: the pipe burst",
        "a failed at attempt 2: Broken: the pipe burst",
        "the run failed: Broken: the pipe burst",
    ]


def test_a_decision_can_be_rehearsed_and_rolled_back(engine: Engine) -> None:
    run_id = engine.start(asks())
    engine.run()
    before = what(engine, run_id)
    with engine.connection.transaction(force_rollback=True):
        engine.approve(run_id)
        assert what(engine, run_id)[-2:] == ["ok was approved", "b is ready"]
    with engine.connection.transaction(force_rollback=True):
        engine.reject(run_id)
        assert what(engine, run_id)[-1].startswith("the run failed")
    assert what(engine, run_id) == before
    assert engine.status(run_id) == "awaiting_approval"


def test_every_kind_of_entry_has_its_sentence(connection: psycopg.Connection[dict[str, object]]) -> None:
    rows = connection.execute(
        "select k, pgorch._sentence(jsonb_populate_record(null::pgorch.history,"
        "   jsonb_build_object('kind', k, 'node', 'node', 'attempt', 2, 'item', 3))) as said"
        " from unnest(enum_range(null::pgorch.event_kind)) k"
    ).fetchall()
    assert all(row["said"] and "_" not in str(row["said"]) for row in rows), rows


def test_an_output_with_the_key_comment_is_nobodys_comment(engine: Engine) -> None:
    run_id = engine.start(definition("a"))
    engine.run({"a": {"comment": "ann: approved"}})
    assert "a completed" in what(engine, run_id)
