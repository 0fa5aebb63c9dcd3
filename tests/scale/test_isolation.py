"""A call for one bucket touches that bucket alone."""

import json
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import psycopg
import pytest
from psycopg.rows import DictRow
from psycopg.types.json import Jsonb

from tests.scale.bucket_lint import HOT_TABLES
from tests.scale.isolation import BUCKETS, hold_other_buckets, install
from tests.support.engine import Engine, Fails, Step, Worker, chain, definition
from tests.support.races import open_connection

MINE = BUCKETS[1]


@pytest.fixture
def locker(empty_database: str) -> Iterator[psycopg.Connection[DictRow]]:
    with open_connection(empty_database, autocommit=False) as connection:
        yield connection


def prepared(dsn: str, replaced: tuple[str, str] | None = None) -> tuple[Engine, psycopg.Connection[DictRow]]:
    """An engine with runs in every bucket, whose every further call fails rather than waits."""
    connection = open_connection(dsn)
    install(connection, replaced)
    engine = Engine(connection)
    engine.buckets = range(MINE, MINE + 1)
    for bucket in BUCKETS:
        for graph in (GRAPH, FORK):
            engine.start(graph, {"n": 0}, bucket=bucket)
    connection.execute("set lock_timeout = '500ms'")
    connection.execute("set plan_cache_mode = force_custom_plan")
    return engine, connection


RETRY = {"max_attempts": 2, "initial_interval": "1 second", "jitter": 0}
GRAPH = definition(
    [{"id": "a", "retry": RETRY}, {"id": "ok", "type": "approval"}, "b", "c"],
    ["a>ok", ("ok>b", {"condition": "$.n == 0"}), ("ok>c", {"on": "rejected"})],
    name="with_approval",
)
FORK = definition(
    ["a", {"id": "b", "input": {"n": "${$.n}", "a": "${$nodes.a.status}"}}, "c", "d"],
    ["a>b", "a>c", "b>d", "c>d"],
    name="with_fork",
)


def use_everything(engine: Engine) -> None:
    """Every public function once at least, for runs of one bucket."""
    value = engine.value
    # A key lives where it falls.
    engine.connection.execute("update pgorch.settings set value = '6' where name = 'buckets'")
    key = value(
        "select k::text from generate_series(1, 99) k where pgorch._key_bucket(k::text) = %s limit 1", MINE
    )
    run_id = engine.start("with_approval", {"n": 0}, bucket=MINE, idempotency_key=key)
    assert engine.start("with_approval", {"n": 0}, idempotency_key=key) == run_id
    engine.connection.execute("update pgorch.settings set value = '1' where name = 'buckets'")
    inputs = [Jsonb({"n": n}) for n in range(3)]
    value("select pgorch.start_many('with_approval', %s, p_bucket => %s)", inputs, MINE)
    plain = engine.start("plain", bucket=MINE)

    worker = engine.worker
    worker.advance([], 0, asleep=True)
    steps = worker.claim(100)
    assert steps
    worker.fail(steps[0])
    worker.release(steps[1])
    at_hand = steps[2:]
    while at_hand:
        came = worker.advance([(s, "success", {"n": 0}) for s in at_hand], want=100)
        at_hand = [s for s in came if s.kind == "step"]
    engine.jump("1 minute")
    worker.enlist()
    engine.run()
    query = "select status from pgorch.runs where bucket = %s and id = %s"
    assert engine.value(query, MINE, plain) == "completed"

    victim = Worker(engine.connection, worker.tools, engine.buckets).enlist()
    engine.start("plain", bucket=MINE)
    assert len(victim.claim(5)) == 1
    engine.jump("1 minute")
    worker.enlist()
    worker.beat(MINE)
    leaving = Worker(engine.connection, worker.tools, engine.buckets).enlist()
    assert len(leaving.claim(5)) == 1
    assert leaving.leave() == 1

    value("select pgorch.run_state(%s)", run_id)
    engine.rows("select * from pgorch.run_events(%s, 0, 10)", run_id)
    engine.rows("select * from pgorch.watch_run(%s, 60)", run_id)
    value("select pgorch.state_at(%s, 1)", run_id)
    engine.rows("select * from pgorch.diff_states(%s, 0, 1)", run_id)
    assert engine.rows("select * from pgorch.explain(%s, 'a')", run_id)
    assert engine.rows("select * from pgorch.explain(%s, 'ok')", run_id)
    value("select pgorch.export_run(%s)", run_id)
    assert engine.rows("select * from pgorch.run_tree(%s)", run_id)
    value("select pgorch.set_labels(%s, %s)", run_id, Jsonb({"customer": "42"}))
    value("select pgorch.approve_plain(%s)", run_id)
    engine.reject(engine.start("only_approval", bucket=MINE))
    assert engine.cancel(engine.start("only_approval", bucket=MINE)) == "cancelled"
    answer_questions(engine)
    use_schedules(engine)
    use_limits(engine)
    wait_and_steer(engine)
    engine.run()

    due = engine.rows("select * from pgorch.claim_deliveries(%s, 100, 60)", MINE)
    assert {json.loads(d["body"])["type"] for d in due} == {"run_completed", "approval_decided"}
    recorded = "select pgorch.record_delivery(%s, %s, %s, %s, null)"
    assert value(recorded, MINE, due[0]["id"], due[0]["attempt"], 204) == "delivered"
    assert value(recorded, MINE, due[1]["id"], due[1]["attempt"], 500) == "pending"
    engine.connection.execute(
        "update pgorch.hook_deliveries set status = 'dead', next_at = null, ended_at = now()"
        " where bucket = %s and id = %s", [MINE, due[1]["id"]],
    )  # fmt: skip
    assert value("select pgorch.resend_delivery(%s)", due[1]["id"]) == due[1]["id"]
    value("select pgorch.tend_deliveries(%s)", MINE)


def use_schedules(engine: Engine) -> None:
    engine.value(
        "select pgorch.create_schedule('s', 'only_approval', '0 2 * * *', p_overlap => 'cancel_other',"
        " p_bucket => %s)",
        MINE,
    )
    first = engine.value("select pgorch.trigger_schedule('s', p_bucket => %s)", MINE)
    (due,) = engine.rows("select d.turn, d.until from pgorch.due_schedules() d")
    times = [due["until"], due["until"] + timedelta(days=1)]
    fire = "select pgorch.fire_schedule('s', %s, %s, p_bucket => %s)"
    assert engine.value(fire, due["turn"], times, MINE) == "started"
    assert engine.status(first) == "cancelled"
    assert engine.value("select pgorch.schedule_document('s')")["last_status"] == "awaiting_approval"
    for verb in ("pause", "resume", "delete"):
        engine.value(f"select pgorch.{verb}_schedule('s', p_bucket => %s)", MINE)


def use_limits(engine: Engine) -> None:
    engine.run({"a": {"n": 0}})
    runs = [engine.start("limited", {"n": n % 2}, bucket=MINE) for n in range(4)]
    taken = engine.worker.claim(100)
    assert [s.node for s in taken] == ["x", "x"]
    engine.cancel(runs[2])
    engine.worker.release(taken[0])
    [again] = engine.worker.claim(100)
    y = [s for s in engine.worker.advance([(again, "success", {})], 100) if s.node == "y"]
    assert len(y) == 1
    assert engine.value("select pgorch._left_of_limits(%s, '{tool}', '{y}', pgorch.clock_now())", MINE)
    engine.value("select pgorch._count_in(%s, 'tool', 'y')", MINE)
    engine.worker.leave()
    engine.worker.enlist()


def wait_and_steer(engine: Engine) -> None:
    value = engine.value
    engine.run()
    run_id = engine.start("waiting@1", bucket=MINE)
    assert value("select pgorch.pause(%s)", run_id) == "paused"
    assert value("select pgorch.resume(%s)", run_id) == "running"
    engine.run()
    value("select pgorch.signal(%s, 'paid', '{}', 'k')", run_id)
    engine.jump("2 minutes")
    engine.worker.enlist()
    assert value("select pgorch.tick(%s)", MINE) >= 1
    assert value("select pgorch.run_sql_steps(%s)", MINE) == 1
    engine.run({"c": breaks})
    assert engine.status(run_id) == "failed"
    child = value("select run_id from pgorch.run_tree(%s) where depth = 1", run_id)
    assert value("select pgorch.retry(%s, 'c', '{}')", child) == "running"
    engine.run({"c": breaks})
    assert value("select pgorch.retry(%s)", run_id) == "waiting"
    engine.run({"c": breaks})
    value("select pgorch.skip(%s)", run_id)
    value("select pgorch.skip(%s, 'map', '{}', 1)", run_id)
    engine.run()
    assert engine.status(run_id) == "completed"

    fork_id = value("select pgorch.fork(%s, p_node => 'call', p_state => %s)", run_id, Jsonb({"x": 1}))
    value("select pgorch.fork(%s, 0)", run_id)
    assert value("select pgorch.check_move(%s, 'waiting@2')", fork_id) == []
    value("select pgorch.move(%s, 'waiting@2')", fork_id)
    undoing = engine.start("undoing", bucket=MINE)
    engine.run()
    assert value("select pgorch.cancel(%s, p_compensate => true)", undoing) == "running"
    engine.run()
    assert engine.status(undoing) == "cancelled"


def breaks(step: Step) -> None:
    raise Fails()


def answer_questions(engine: Engine) -> None:
    for function in ("_remind", "_expire_approval"):
        run_id = engine.start("signed", bucket=MINE)
        query = "select id from pgorch.approvals where bucket = %s and run_id = %s"
        approval_id = engine.value(query, MINE, run_id)
        engine.value("select pgorch.reassign(%s, '{user:ann,user:bob}')", approval_id)
        engine.value("select pgorch.comment(%s, 'which one?')", approval_id)
        engine.approve(run_id, actor="ann")
        engine.value("select pgorch.approval_document(%s)", approval_id)
        engine.value(
            f"select pgorch.{function}(%s, pgorch._locked_run(%s), %s, pgorch.clock_now())",
            MINE,
            run_id,
            approval_id,
        )
    engine.approve(engine.start("signed", bucket=MINE), actor="ann")


def make_graphs(engine: Engine) -> None:
    engine.graph(chain("a b c d") | {"name": "plain"})
    engine.graph(definition([{"id": "ok", "type": "approval"}], name="only_approval"))
    sign = {
        "id": "sign",
        "type": "approval",
        "quorum": 2,
        "deadline": "1 day",
        "remind": {"after": "9 seconds"},
    }
    engine.graph(definition([sign], name="signed"))
    engine.graph(definition("c", name="child"))
    nodes = [
        "begin",
        {"id": "paid", "type": "wait", "signal": "paid"},
        {"id": "minute", "type": "wait", "for": "1 minute"},
        {"id": "one", "sql": "select 1 as one"},
        {"id": "call", "type": "graph", "graph": "child"},
        {"id": "map", "type": "map", "function": "item", "items": [1, 2]},
    ]
    edges = ["begin>paid", "paid>minute", "minute>one", "one>call", "call>map"]
    engine.graph(definition(nodes, edges, name="waiting"))
    engine.graph(definition(nodes, edges, name="waiting", timeout="1 year"))
    done = {"id": "done", "function": "done", "compensate": "undo"}
    engine.graph(definition([done, sign], ["done>sign"], name="undoing"))
    key = {"id": "x", "concurrency_key": "${$.n}", "concurrency": 1}
    engine.graph(definition([key, "y"], ["x>y"], name="limited"))
    engine.connection.execute(
        "insert into pgorch.limits (kind, name, concurrency, rate, per, burst, set_at, set_by)"
        " values ('tool', 'y', 5, 1000, '1 second', 100, now(), '')"
    )
    # create_hook() notes who made it in bucket 0, which is not there.
    engine.connection.execute(
        "insert into pgorch.hooks (id, name, url, kinds, allow_private, created_at, created_by)"
        " values (pgorch.uuid7(), 'all', 'https://hooks.example', '{run_completed,approval_decided}',"
        " false, now(), '')"
    )


def test_no_call_for_one_bucket_touches_another(
    empty_database: str, locker: psycopg.Connection[DictRow]
) -> None:
    engine, connection = prepared(empty_database)
    with connection:
        make_graphs(engine)
        hold_other_buckets(locker, MINE)
        use_everything(engine)


@pytest.mark.parametrize(
    ("piece", "without"),
    [
        ("where r.bucket = v_bucket and r.id = p_run_id for update", "where r.id = p_run_id for update"),
        (
            "where a.bucket = p_bucket and a.run_id = p_run.id and a.status = 'open'",
            "where a.run_id = p_run.id",
        ),
    ],
)
def test_a_forgotten_bucket_is_noticed(
    empty_database: str, locker: psycopg.Connection[DictRow], piece: str, without: str
) -> None:
    engine, connection = prepared(empty_database, (piece, without))
    with connection:
        make_graphs(engine)
        hold_other_buckets(locker, MINE)
        with pytest.raises(psycopg.errors.LockNotAvailable):
            use_everything(engine)


def test_the_document_of_a_run_touches_its_bucket_alone(
    empty_database: str, locker: psycopg.Connection[DictRow]
) -> None:
    engine, connection = prepared(empty_database)
    with connection:
        make_graphs(engine)
        run_id = engine.start("with_approval", {"n": 0}, bucket=MINE)
        # A view asks, for the bucket of each step, whether a worker serves it. Where buckets are spread
        # over servers that is routed; PostgreSQL locks the partitions before it knows the row.
        hold_other_buckets(locker, MINE, HOT_TABLES - {"_worker_leases"})
        assert engine.value("select pgorch.run_document(%s)", run_id)["status"] == "running"
        assert len(engine.rows("select * from pgorch.timeline(%s)", run_id)) == 2
        assert len(engine.rows("select * from pgorch.run_progress(%s)", run_id)) == 1


CALLED = """
    advance approval_document approve approve_plain beat cancel check_move claim_deliveries comment
    create_schedule decide delete_schedule diff_states enlist_worker explain export_run fire_schedule fork
    leave move pause pause_schedule perform_sql reassign record_delivery reject resend_delivery
    resume resume_schedule retry run_document run_events run_progress run_sql_steps run_state run_tree
    schedule_document set_labels signal skip start start_many state_at tend_deliveries tick timeline
    trigger_schedule watch_run
"""
# Or for runs wherever they are.
WITHOUT_RUNS = """
    api_principal bucket_count bucket_of bulk clock_now create_graph create_hook create_key delete_graph
    delete_hook drain_worker drop_limit due_schedules explain_graph fail_schedule find_graph list_audit
    maintain new_hook_secret new_run_id pause_hook register_tools resume_hook retention revoke_key
    rotate_hook_secret set_clock set_limit set_retention test_hook update_hook uuid7 validate_graph
"""


def test_every_public_function_is_called(connection: psycopg.Connection[DictRow]) -> None:
    """Else a new one could be forgotten here."""
    rows: list[dict[str, Any]] = connection.execute(
        "select p.proname from pg_proc p where p.pronamespace = 'pgorch'::regnamespace"
        r" and p.proname not like '\_%'"
    ).fetchall()
    assert {r["proname"] for r in rows} == set((CALLED + WITHOUT_RUNS).split())
