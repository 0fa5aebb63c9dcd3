"""What cannot be retried or skipped is refused with the reason; verbs at once follow each other."""

import re
from typing import Any
from uuid import UUID

import psycopg
import pytest

from tests.operator.verbs import (
    RETRY,
    Tools,
    at,
    beside,
    children,
    failed_run,
    flaky_run,
    fork,
    never,
    retry,
    skip,
    tick,
)
from tests.support.engine import Engine, definition
from tests.support.races import Rival, open_connection


@pytest.mark.parametrize("verb", [retry, skip])
def test_what_has_not_failed_is_not_taken_up(engine: Engine, verb: Any) -> None:
    run_id = engine.start(definition("a"))
    Tools(engine).run()
    with pytest.raises(psycopg.Error, match="has not failed: it is completed since") as problem:
        verb(engine, run_id)
    assert problem.value.sqlstate == "OR002"
    assert "fork" in str(problem.value)
    cancelled = engine.start(definition("a"))
    engine.cancel(cancelled)
    with pytest.raises(psycopg.Error, match="has not failed: it is cancelled since"):
        verb(engine, cancelled)
    with pytest.raises(psycopg.Error, match="there is no run"):
        verb(engine, UUID(int=7))


@pytest.mark.parametrize("verb", [retry, skip])
def test_what_was_undone_is_not_taken_up_but_may_be_forked(engine: Engine, verb: Any) -> None:
    graph = definition([{"id": "a", "compensate": "un"}, "b"], ["a>b"])
    run_id, tools = failed_run(engine, graph, "b")
    with pytest.raises(psycopg.Error, match="has been undone"):
        verb(engine, run_id)
    again = fork(engine, run_id, node="b")
    assert tools.run() == "b"
    assert engine.status(again) == "completed"


@pytest.mark.parametrize("verb", [retry, skip])
def test_an_unknown_node_is_told_with_those_there_are(engine: Engine, verb: Any) -> None:
    run_id, _ = failed_run(engine, beside("c"), "bad")
    with pytest.raises(psycopg.Error, match=r"did not fail at z"):
        verb(engine, run_id, node="z")
    assert engine.status(run_id) == "failed"
    live = engine.start(definition("a"))
    with pytest.raises(psycopg.Error, match="no live step at z"):
        verb(engine, live, node="z")


def test_where_several_steps_could_be_meant_one_must_be_named(engine: Engine) -> None:
    run_id = engine.start(definition("s a b", ["s>a", "s>b"]))
    engine.worker.succeed(engine.worker.claim_one())
    with pytest.raises(psycopg.Error, match="2 steps that could be meant, at a, b"):
        skip(engine, run_id)
    skip(engine, run_id, node="b")
    assert Tools(engine).run() == "a"


def test_a_child_whose_parent_has_gone_on_is_not_taken_up(engine: Engine) -> None:
    below = definition("x")
    engine.graph(below)
    graph = definition(
        [{"id": "g", "type": "graph", "graph": below["name"]}, "z"], [("g>z", {"on": "error"})]
    )
    tools = Tools(engine, breaks=at("x"))
    run_id = engine.start(graph)
    tools.run()
    assert engine.status(run_id) == "completed"
    (child,) = children(engine, run_id)
    with pytest.raises(psycopg.Error, match=f"is the child of {run_id}, which has gone on without it"):
        retry(engine, child)


def test_a_child_whose_parent_waits_to_start_another_is_taken_up_in_its_place(engine: Engine) -> None:
    below = definition("x")
    engine.graph(below)
    graph = definition([{"id": "g", "type": "graph", "graph": below["name"], "retry": RETRY}, "z"], ["g>z"])
    tools = Tools(engine, breaks=at("x"))
    run_id = engine.start(graph)
    tools.run()
    (child,) = children(engine, run_id)
    assert (engine.status(run_id), engine.status(child)) == ("waiting", "failed")
    tools.breaks = never
    retry(engine, child)
    engine.jump("1 hour")
    engine.worker.enlist()
    assert tick(engine) == 0
    assert tools.run() == "x z"
    assert children(engine, run_id) == [child]


def test_outputs_and_arguments_are_checked(engine: Engine) -> None:
    run_id, _ = failed_run(engine, definition("a"), "a")
    with pytest.raises(psycopg.Error, match="needs an output"):
        engine.value("select pgorch.skip(%s, p_output => null)", run_id)
    with pytest.raises(psycopg.Error, match=r"too large|larger|bytes"):
        retry(engine, run_id, input={"x": "y" * 1_100_000})
    assert engine.status(run_id) == "failed"


# Races ----------------------------------------------------------------------------------------------

TAKE_UP = {
    "retry": "select pgorch.retry(%s) as status",
    "skip": "select pgorch.skip(%s) as status",
    "cancel": "select pgorch.cancel(%s) as status",
    "fork": "select pgorch.fork(%s, p_seq => 1)::text as status",
}


@pytest.mark.parametrize(
    ("first", "second", "outcome"),
    [
        ("retry", "retry", "running"),
        ("retry", "skip", "running"),
        ("skip", "retry", "running"),
        ("retry", "cancel", "cancelled"),
    ],
)
def test_two_verbs_at_once_follow_each_other(
    engine: Engine, database: str, first: str, second: str, outcome: str
) -> None:
    run_id, tools = failed_run(engine, definition("a b c", ["a>b", "b>c"]), "b")
    with open_connection(database, autocommit=False) as other:
        other.execute(TAKE_UP[first].encode(), [run_id])
        rival = Rival(database, TAKE_UP[second], run_id)
        rival.wait_until_blocked()
        other.commit()
    assert rival.rows()[0]["status"] == outcome
    assert engine.status(run_id) == outcome
    tools.run()
    done = {"retry": "b c", "skip": "c"}[first]
    if outcome == "running":
        assert " ".join(tools.done) in (done, done.replace("b ", ""))
        assert engine.status(run_id) == "completed"


def test_a_retry_after_a_cancel_is_refused(engine: Engine, database: str) -> None:
    run_id = flaky_run(engine)
    with open_connection(database, autocommit=False) as other:
        other.execute(TAKE_UP["cancel"].encode(), [run_id])
        rival = Rival(database, TAKE_UP["retry"], run_id)
        rival.wait_until_blocked()
        other.commit()
    with pytest.raises(psycopg.Error, match="has not failed: it is cancelled"):
        rival.rows()


def test_a_child_and_its_parent_are_taken_up_at_once(engine: Engine, database: str) -> None:
    below = definition("x")
    engine.graph(below)
    graph = definition([{"id": "g", "type": "graph", "graph": below["name"]}, "z"], ["g>z"])
    run_id, tools = failed_run(engine, graph, "x")
    (child,) = children(engine, run_id)
    with open_connection(database, autocommit=False) as other:
        other.execute(TAKE_UP["retry"].encode(), [run_id])
        rival = Rival(database, TAKE_UP["retry"], child)
        rival.wait_until_blocked()
        other.commit()
    assert re.match("running", rival.rows()[0]["status"])
    assert tools.run() == "x z"
    assert children(engine, run_id) == [child]


def test_a_child_that_failed_again_meanwhile_is_not_taken_up_over_its_parents_head(
    engine: Engine, database: str
) -> None:
    below = definition("x")
    engine.graph(below)
    graph = definition(
        [{"id": "g", "type": "graph", "graph": below["name"]}, {"id": "h", "type": "approval"}],
        [("g>h", {"on": "error", "condition": '$error.message like_regex "second"'})],
    )
    run_id, _ = failed_run(engine, graph, "x")
    (child,) = children(engine, run_id)
    with open_connection(database, autocommit=False) as other:
        # Taken up, failed again, and the parent has gone on along another way: all before the rival has
        # the locks.
        other.execute(TAKE_UP["retry"].encode(), [run_id])
        rival = Rival(database, TAKE_UP["retry"], child)
        rival.wait_until_blocked()
        worker = engine.new_worker(connection=other)
        worker.fail(worker.claim_one("x"), message="second", retryable=False)
        other.commit()
    with pytest.raises(psycopg.Error, match="gone on without it"):
        rival.rows()
    assert engine.status(run_id) == "awaiting_approval"


def test_a_fork_while_a_step_is_under_way_leaves_it_to_the_old_run(engine: Engine) -> None:
    run_id = engine.start(definition("a b c", ["a>b", "b>c"]))
    engine.worker.succeed(engine.worker.claim_one())
    old = engine.worker.claim_one("b")
    new = fork(engine, run_id, seq=1)
    mine = engine.worker.claim_one("b")
    assert (mine.run_id, mine.step_id != old.step_id) == (new, True)
    engine.worker.succeed(old)
    engine.worker.succeed(mine)
    Tools(engine).run()
    assert (engine.status(run_id), engine.status(new)) == ("completed", "completed")
