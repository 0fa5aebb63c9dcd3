"""The views show what they say."""

from typing import Any

import pytest

from tests.support.engine import Engine, chain, definition

OK = {"id": "ok", "type": "approval", "title": "Go?", "show": {"x": 1}}


def only(engine: Engine, query: str, *parameters: Any) -> dict[str, Any]:
    [row] = engine.rows(query, *parameters)
    return row


def test_run_list_shows_runs_with_state_and_error(engine: Engine) -> None:
    graph = chain("a b")
    run_id = engine.start(graph, {"x": 1}, priority=3, queue="q", idempotency_key="k")
    row = only(engine, "select * from pgorch.run_list where run_id = %s", run_id)
    assert (row["graph"], row["version"], row["status"], row["live_steps"]) == (
        graph["name"],
        1,
        "running",
        1,
    )
    assert (row["priority"], row["queue"], row["idempotency_key"]) == (3, "q", "k")
    assert (row["state"], row["error"], row["finished_at"]) == ({"x": 1}, None, None)
    engine.cancel(run_id)
    row = only(engine, "select * from pgorch.run_list where run_id = %s", run_id)
    assert (row["status"], row["live_steps"]) == ("cancelled", 0)
    assert row["finished_at"] >= row["created_at"]


def test_live_steps_shows_who_runs_what(engine: Engine) -> None:
    run_id = engine.start(definition("a"))
    row = only(engine, "select * from pgorch.live_steps")
    assert (row["status"], row["tool"], row["queue"], row["worker"]) == ("ready", "a", "default", None)
    engine.worker.claim_one()
    row = only(engine, "select * from pgorch.live_steps")
    assert (row["run_id"], row["status"], row["worker"], row["attempt"]) == (run_id, "running", "first", 1)
    assert row["problem"] is None


def test_a_step_that_no_living_worker_can_run_is_visible(engine: Engine) -> None:
    run_id = engine.start(definition("a"), queue="gpu")
    problem = only(engine, "select * from pgorch.live_steps")["problem"]
    assert "a" in problem
    assert "gpu" in problem
    stuck = only(engine, "select * from pgorch.stuck_runs")
    assert (stuck["run_id"], stuck["node"], stuck["why"]) == (run_id, "a", problem)
    depth = only(engine, "select * from pgorch.queue_depth")
    assert (depth["queue"], depth["tool"], depth["ready"], depth["workers"]) == ("gpu", "a", 1, 0)
    engine.new_worker(queues=["gpu"])
    assert engine.rows("select * from pgorch.stuck_runs") == []
    assert only(engine, "select * from pgorch.queue_depth")["workers"] == 1


def test_a_step_whose_worker_is_gone_is_visible_until_another_takes_over(engine: Engine) -> None:
    run_id = engine.start(definition("a"))
    engine.new_worker(name="the lost one").claim_one()
    assert engine.rows("select * from pgorch.stuck_runs") == []
    engine.jump("31 seconds")
    stuck = only(engine, "select * from pgorch.stuck_runs")
    assert stuck["run_id"] == run_id
    assert "the lost one" in stuck["why"]
    engine.worker.enlist()
    engine.worker.beat_everywhere()
    assert engine.rows("select * from pgorch.stuck_runs") == []


def test_queue_depth_counts_what_waits_by_queue_and_tool(engine: Engine) -> None:
    node = {"id": "a", "retry": {"max_attempts": 3, "initial_interval": "1 hour", "jitter": 0}}
    a, b = engine.graph(definition([node])), engine.graph(definition("b"))
    for graph in (a, a, b):
        engine.start(graph, bucket=0)
    engine.start(b, queue="other", bucket=0)
    engine.worker.fail(engine.worker.claim(1)[0])
    rows = engine.rows("select * from pgorch.queue_depth order by queue, tool")
    assert [(r["queue"], r["tool"], r["ready"], r["retrying"]) for r in rows] == [
        ("default", "a", 1, 1),
        ("default", "b", 1, 0),
        ("other", "b", 1, 0),
    ]
    assert all(r["oldest_age"].total_seconds() >= 0 for r in rows)


def test_waiting_approvals_shows_open_questions_only(engine: Engine) -> None:
    graph = engine.graph(definition([OK]))
    run_id, decided = engine.start(graph, actor="ann"), engine.start(graph)
    engine.approve(decided)
    row = only(engine, "select * from pgorch.waiting_approvals")
    assert (row["run_id"], row["node"], row["title"], row["show"]) == (run_id, "ok", "Go?", {"x": 1})
    assert row["initiator"] == "ann"
    engine.jump("1 hour")
    waiting = only(engine, "select waiting_for from pgorch.waiting_approvals")["waiting_for"]
    assert waiting.total_seconds() >= 3600


def test_worker_list_tells_the_lost_from_the_living(engine: Engine) -> None:
    engine.register("a")
    lost = engine.new_worker(name="lost")
    engine.jump("31 seconds")
    alive = engine.new_worker(name="alive", slots=7)
    rows = {r["name"]: r for r in engine.rows("select * from pgorch.worker_list where bucket = 0")}
    assert (rows["alive"]["status"], rows["alive"]["slots"]) == ("alive", 7)
    assert rows["lost"]["status"] == "lost"
    alive.beat(0)
    row = only(engine, "select * from pgorch.worker_list where bucket = 0 and worker_id = %s", lost.id)
    assert row["status"] == "dead"


def test_run_history_tells_how_long_each_step_took(engine: Engine) -> None:
    run_id = engine.start(definition("a"))
    step = engine.worker.claim_one()
    engine.jump("5 seconds")
    engine.worker.succeed(step, {"x": 1})
    row = only(engine, "select * from pgorch.run_history where run_id = %s and node = 'a'", run_id)
    assert 5 <= row["took"].total_seconds() < 60
    assert (row["kind"], row["attempt"], row["output"]) == ("step_completed", 1, {"x": 1})
    assert row["worker_id"] == engine.worker.id


def test_tool_list_counts_the_workers_that_run_a_tool(engine: Engine) -> None:
    engine.register({"name": "a", "description": "does a"})
    engine.new_worker(tools=["a"])
    row = only(engine, "select * from pgorch.tool_list where name = 'a'")
    assert row["description"] == "does a"
    assert row["workers"] >= 1


def test_graph_list_shows_every_version(engine: Engine) -> None:
    graph = definition("a")
    engine.graph(graph)
    engine.graph(graph | {"nodes": [{"id": "a", "function": "b"}]})
    rows = engine.rows("select * from pgorch.graph_list where name = %s order by version", graph["name"])
    assert [r["version"] for r in rows] == [1, 2]
    assert rows[0]["definition"]["nodes"] == graph["nodes"]


def test_run_document_tells_everything_about_a_run(engine: Engine) -> None:
    graph = definition(["a", OK, "b"], ["a>ok", "ok>b"])
    run_id = engine.start(graph, {"x": 1})
    document = engine.value("select pgorch.run_document(%s)", run_id)
    assert (document["run_id"], document["graph"], document["status"]) == (
        str(run_id),
        graph["name"],
        "running",
    )
    assert [n["node"] for n in document["current_nodes"]] == ["a"]
    assert (document["history"], document["approvals"]) == ([], [])
    engine.run({"a": {"y": 2}})
    document = engine.value("select pgorch.run_document(%s)", run_id)
    assert (document["status"], document["state"]) == ("awaiting_approval", {"x": 1, "y": 2})
    assert [(n["node"], n["kind"], n["status"]) for n in document["current_nodes"]] == [
        ("ok", "approval", "waiting")
    ]
    assert [h["kind"] for h in document["history"]] == ["step_completed", "approval_requested"]
    assert [(a["node"], a["title"], a["show"]) for a in document["approvals"]] == [("ok", "Go?", {"x": 1})]
    assert document["history"][0]["output"] == {"y": 2}
    engine.approve(run_id)
    engine.run()
    document = engine.value("select pgorch.run_document(%s)", run_id)
    assert (document["status"], document["current_nodes"], document["approvals"]) == ("completed", [], [])
    assert document["finished_at"] is not None


def test_events_of_a_run_can_be_read_in_pages(engine: Engine) -> None:
    run_id = engine.start(chain("a b c"))
    engine.run()
    first = engine.rows("select * from pgorch.run_events(%s, 0, 2)", run_id)
    rest = engine.rows("select * from pgorch.run_events(%s, %s, 100)", run_id, first[-1]["seq"])
    assert [r["seq"] for r in first + rest] == [1, 2, 3, 4]
    assert [r["event"]["kind"] for r in rest] == ["step_completed", "run_completed"]


def test_who_watches_a_run_is_notified_of_every_change_and_nobody_else(engine: Engine) -> None:
    graph = engine.graph(chain("a b"))
    run_id, unwatched = engine.start(graph), engine.start(graph)
    engine.connection.execute("listen pgorch_runs")
    watched = only(engine, "select * from pgorch.watch_run(%s, 60)", run_id)
    assert watched == {"status": "running", "seq": 0}
    engine.run()
    heard = {n.payload for n in engine.connection.notifies(timeout=1, stop_after=3)}
    assert heard == {str(run_id)}
    assert engine.status(unwatched) == "completed"


def test_who_waits_for_the_end_is_not_told_of_the_steps_before_it(engine: Engine) -> None:
    run_id = engine.start(chain("a b c"))
    engine.connection.execute("listen pgorch_runs")
    engine.rows("select * from pgorch.watch_run(%s, 60, p_steps => false)", run_id)
    [step] = engine.worker.claim()
    for _ in range(2):
        [step] = engine.worker.succeed(step, want=1)
    assert list(engine.connection.notifies(timeout=0)) == []
    engine.worker.succeed(step)
    assert engine.status(run_id) == "completed"
    assert [n.payload for n in engine.connection.notifies(timeout=1, stop_after=1)] == [str(run_id)]


@pytest.mark.parametrize("steps_first", [True, False])
def test_who_waits_for_the_end_takes_no_news_from_who_follows_the_steps(
    engine: Engine, steps_first: bool
) -> None:
    run_id = engine.start(chain("a b c"))
    engine.connection.execute("listen pgorch_runs")
    for steps in (steps_first, not steps_first):
        engine.rows("select * from pgorch.watch_run(%s, 60, p_steps => %s)", run_id, steps)
    engine.worker.succeed(engine.worker.claim_one())
    assert [n.payload for n in engine.connection.notifies(timeout=1, stop_after=1)] == [str(run_id)]


def test_who_waits_for_the_end_hears_that_a_decision_is_needed(engine: Engine) -> None:
    run_id = engine.start(definition(["a", {"id": "ask", "type": "approval", "title": "Go on?"}], ["a>ask"]))
    engine.connection.execute("listen pgorch_runs")
    engine.rows("select * from pgorch.watch_run(%s, 60, p_steps => false)", run_id)
    engine.run()
    assert engine.status(run_id) == "awaiting_approval"
    assert [n.payload for n in engine.connection.notifies(timeout=1, stop_after=1)] == [str(run_id)]


def test_nobody_is_notified_when_the_watch_is_over(engine: Engine) -> None:
    run_id = engine.start(chain("a b"))
    engine.connection.execute("listen pgorch_runs")
    engine.rows("select * from pgorch.watch_run(%s, 60)", run_id)
    engine.jump("61 seconds")
    engine.worker.enlist()
    engine.run()
    assert list(engine.connection.notifies(timeout=0)) == []
