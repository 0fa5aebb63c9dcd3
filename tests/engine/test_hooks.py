"""Deliveries are written with their events, tried for a day, and recorded."""

import json
from datetime import timedelta
from itertools import pairwise
from typing import Any
from uuid import UUID

import psycopg
import pytest
from psycopg.rows import DictRow

from tests.support.engine import Engine, Fails, Row, chain, definition
from tests.support.races import open_connection
from tests.support.receiver import OTHER_SECRET, SECRET

ALL = [
    "run_completed",
    "run_failed",
    "run_cancelled",
    "approval_requested",
    "approval_decided",
    "step_failed",
]
ASK = definition([{"id": "ask", "type": "approval", "title": "Go on?"}, "end"], ["ask>end"])


def hook(engine: Engine, name: str = "all", kinds: list[str] = ALL, **options: Any) -> UUID:
    arguments = {"p_name": name, "p_url": "https://hooks.example/a", "p_kinds": kinds, "p_secret": SECRET}
    arguments |= {f"p_{key}": value for key, value in options.items()}
    called = ", ".join(f"{key} => %s" for key in arguments)
    found = engine.value(f"select pgorch.create_hook({called})", *arguments.values())
    assert isinstance(found, UUID)
    return found


def deliveries(engine: Engine, **having: Any) -> list[Row]:
    rows = engine.rows("select * from pgorch.hook_delivery_list order by run_id, seq, hook")
    return [row for row in rows if all(row[key] == value for key, value in having.items())]


def claim(engine: Engine, limit: int = 100, lease: float = 60) -> list[Row]:
    claimed: list[Row] = []
    for bucket in engine.buckets:
        claimed += engine.rows("select * from pgorch.claim_deliveries(%s, %s, %s)", bucket, limit, lease)
    return claimed


def record(engine: Engine, claimed: Row, status: int | None, problem: str | None = None) -> Any:
    return engine.value(
        "select pgorch.record_delivery(%s, %s, %s, %s, %s)",
        claimed["id"].bytes[15], claimed["id"], claimed["attempt"], status, problem,
    )  # fmt: skip


def test_every_kind_of_event_that_can_be_asked_for_is_queued_with_its_event(engine: Engine) -> None:
    kinds = engine.value("select pgorch._hook_kinds()")
    assert set(ALL) < set(kinds)
    assert "step_completed" not in kinds
    hook(engine, kinds=kinds)
    run_id = engine.start(chain("a"))
    append = (
        "select pgorch._append(r.bucket, r, %s::pgorch.event_kind, now()) from pgorch.runs r where r.id = %s"
    )
    with engine.connection.transaction(force_rollback=True):
        for kind in kinds:
            engine.rows(append, kind, run_id)
            assert deliveries(engine)[-1]["kind"] == kind
            engine.connection.execute("delete from pgorch.hook_deliveries")
            engine.connection.execute("delete from pgorch.history")


def test_events_are_queued_for_the_hooks_that_want_them(engine: Engine) -> None:
    hook(engine, "ends", ["run_completed", "run_failed"])
    hook(engine, "asks", ["approval_requested", "approval_decided"])
    run_id = engine.start(ASK)
    engine.approve(run_id)
    engine.run()
    queued = {(row["hook"], row["kind"]) for row in deliveries(engine, run_id=run_id)}
    assert queued == {
        ("asks", "approval_requested"), ("asks", "approval_decided"), ("ends", "run_completed"),
    }  # fmt: skip
    for row in deliveries(engine):
        [event] = [e for e in engine.history(run_id) if e["seq"] == row["seq"]]
        assert (event["kind"], event["at"]) == (row["kind"], row["created_at"])


@pytest.mark.parametrize("fast", [True, False])
def test_a_run_that_completes_on_any_path_is_queued_once(engine: Engine, fast: bool) -> None:
    hook(engine)
    graph = engine.graph(chain("a b"))
    if not fast:
        engine.without_fast_path()
    runs = [engine.start(graph) for _ in range(5)]
    engine.run(batch=10)
    assert sorted(row["run_id"] for row in deliveries(engine, kind="run_completed")) == sorted(runs)
    for row in deliveries(engine):
        assert engine.history(row["run_id"])[-1]["seq"] == row["seq"]


def test_failed_and_cancelled_runs_are_queued(engine: Engine) -> None:
    def broken(step: Any) -> Any:
        raise Fails()

    hook(engine)
    failed = engine.start(chain("a b"))
    cancelled = engine.start(ASK)
    engine.run({"a": broken})
    engine.cancel(cancelled)
    assert [r["kind"] for r in deliveries(engine, run_id=failed)] == ["step_failed", "run_failed"]
    assert [r["kind"] for r in deliveries(engine, run_id=cancelled)] == [
        "approval_requested", "run_cancelled",
    ]  # fmt: skip


@pytest.mark.parametrize("fast", [True, False])
def test_a_hook_of_one_graph_hears_of_its_runs_alone_in_all_versions(engine: Engine, fast: bool) -> None:
    hook(engine, graph="mine")
    mine = [
        engine.graph({**chain("a b"), "name": "mine"}),
        engine.graph({**chain("a b c"), "name": "mine"}),
    ]
    other = engine.graph({**chain("a b"), "name": "other"})
    if not fast:
        engine.without_fast_path()
    runs = [engine.start(graph) for graph in mine]
    engine.start(other)
    engine.run()
    assert sorted(row["run_id"] for row in deliveries(engine)) == sorted(runs)


def test_what_is_rolled_back_is_not_delivered(engine: Engine, database: str) -> None:
    hook(engine)
    run_id = engine.start(ASK)
    claim(engine)
    with open_connection(database, autocommit=False) as other:
        other.execute("select pgorch.decide(%s, 'approved')", [run_id])
        inside = other.execute("select count(*) as n from pgorch.hook_deliveries").fetchone()
        assert inside == {"n": 2}
        assert claim(engine) == []
        other.rollback()
    assert [row["kind"] for row in deliveries(engine)] == ["approval_requested"]


def test_the_message_is_the_event_and_the_same_at_every_attempt(engine: Engine) -> None:
    hook(engine)
    run_id = engine.start(ASK, {"n": 1})
    engine.approve(run_id, {"ok": True}, comment="fine", actor=None)
    engine.run({"end": {"m": 2}})
    first = {json.loads(row["body"])["type"]: row for row in claim(engine)}
    asked, decided, completed = (
        json.loads(first[kind]["body"])
        for kind in ("approval_requested", "approval_decided", "run_completed")
    )
    assert asked["data"]["output"]["title"] == "Go on?"
    assert decided["data"]["output"]["data"] == {"ok": True}
    assert decided["data"]["actor"] == engine.value("select session_user::text")
    assert completed["data"]["output"] == {"n": 1, "m": 2}
    assert completed["timestamp"] == completed["data"]["at"]
    assert completed["timestamp"].endswith("+00:00")
    for message in (asked, decided, completed):
        assert message["data"]["run_id"] == str(run_id)
        assert message["data"]["kind"] == message["type"]
        assert message["data"]["version"] == 1
    engine.jump("2 minutes")
    engine.rows("select set_config('timezone', 'Asia/Tokyo', false)")
    again = claim(engine)
    assert sorted(row["body"] for row in again) == sorted(row["body"] for row in first.values())
    assert {row["id"] for row in again} == {row["id"] for row in first.values()}


def test_large_values_are_left_out_and_said_to_be(engine: Engine) -> None:
    hook(engine)
    engine.start(chain("a"))
    engine.run({"a": {"text": "x" * 70000}})
    [row] = claim(engine)
    data = json.loads(row["body"])["data"]
    assert "output" not in data
    assert data["left_out"] == ["output", "error"]
    assert data["kind"] == "run_completed"


def a_delivery(engine: Engine) -> Row:
    hook(engine)
    engine.start(chain("a"))
    engine.run()
    [row] = deliveries(engine)
    return row


def test_what_was_answered_with_success_is_over(engine: Engine) -> None:
    a_delivery(engine)
    [claimed] = claim(engine)
    assert claimed["secrets"] == [SECRET]
    assert record(engine, claimed, 202) == "delivered"
    engine.jump("2 days")
    assert claim(engine) == []
    [row] = deliveries(engine)
    assert (row["status"], row["attempts"], row["next_at"]) == ("delivered", 1, None)
    assert row["log"][0]["http_status"] == 202


def test_a_failed_delivery_is_tried_again_ever_more_rarely_for_a_day_and_then_given_up(
    engine: Engine,
) -> None:
    created = a_delivery(engine)["created_at"]
    pauses = []
    while True:
        [claimed] = claim(engine)
        status = record(engine, claimed, None, "no connection")
        [row] = deliveries(engine)
        if status == "dead":
            break
        assert claim(engine) == []
        pauses.append(row["next_at"] - engine.value("select pgorch.clock_now()"))
        engine.jump(row["next_at"] - engine.value("select pgorch.clock_now()") + timedelta(seconds=1))
    assert (row["status"], row["next_at"]) == ("dead", None)
    assert 10 < row["attempts"] == len(row["log"]) < 20
    assert timedelta(seconds=3) < pauses[0] < timedelta(seconds=7)
    assert all(later > earlier for earlier, later in pairwise(pauses[:8]))
    assert timedelta(hours=2) < pauses[-1] < timedelta(hours=5)
    assert timedelta(hours=18) < row["ended_at"] - created <= timedelta(hours=25)
    assert {entry["problem"] for entry in row["log"]} == {"no connection"}
    assert [entry["next_at"] is None for entry in row["log"]] == [False] * len(pauses) + [True]


def test_pauses_are_jittered(engine: Engine) -> None:
    pauses = engine.rows("select pgorch._delivery_pause(3) as p from generate_series(1, 50)")
    assert len({row["p"] for row in pauses}) > 40
    assert all(timedelta(seconds=36) <= row["p"] <= timedelta(seconds=54) for row in pauses)


@pytest.mark.parametrize(("status", "problem"), [(500, None), (404, None), (302, "redirects"), (199, None)])
def test_an_answer_that_is_no_success_is_none(engine: Engine, status: int, problem: str | None) -> None:
    a_delivery(engine)
    [claimed] = claim(engine)
    assert record(engine, claimed, status) == "pending"
    [entry] = deliveries(engine)[0]["log"]
    assert entry["http_status"] == status
    assert entry["next_at"] is not None
    assert (problem or "") in (entry["problem"] or "")


def test_a_worker_that_died_on_the_way_is_followed_by_another(engine: Engine) -> None:
    a_delivery(engine)
    [lost] = claim(engine, lease=60)
    assert claim(engine) == []
    engine.jump("61 seconds")
    [again] = claim(engine)
    assert (again["id"], again["attempt"]) == (lost["id"], 2)
    # The first comes back: that it failed is no news any more, that it arrived is.
    assert record(engine, lost, None, "late") == "pending"
    assert deliveries(engine)[0]["next_at"] > engine.value("select pgorch.clock_now()")
    assert record(engine, lost, 200) == "delivered"
    assert record(engine, again, 500) == "delivered"
    assert [entry["http_status"] for entry in deliveries(engine)[0]["log"]] == [200, 500]


def test_what_another_claims_at_the_same_time_is_left_to_it(engine: Engine, database: str) -> None:
    bucket = a_delivery(engine)["bucket"]
    with open_connection(database, autocommit=False) as other:
        taken = other.execute("select id from pgorch.claim_deliveries(%s, 10, 60)", [bucket]).fetchall()
        assert len(taken) == 1
        engine.connection.execute("set lock_timeout = '1s'")
        assert claim(engine) == []
        other.rollback()
    assert len(claim(engine)) == 1


def test_a_receiver_that_is_gone_pauses_its_hook_and_what_waits_follows_when_it_is_resumed(
    engine: Engine,
) -> None:
    a_delivery(engine)
    [claimed] = claim(engine)
    assert record(engine, claimed, 410) == "pending"
    [listed] = engine.rows("select * from pgorch.hook_list")
    assert (listed["status"], listed["paused_because"]) == ("paused", "the receiver answered 410 Gone")
    engine.start(chain("a"))
    engine.run()
    engine.jump("1 hour")
    assert claim(engine) == []
    engine.value("select pgorch.resume_hook('all')")
    assert len(claim(engine)) == 2


def test_a_paused_hook_gets_nothing_and_others_do(engine: Engine) -> None:
    hook(engine, "one")
    hook(engine, "two")
    engine.value("select pgorch.pause_hook('one')")
    engine.start(chain("a"))
    engine.run()
    assert len(deliveries(engine)) == 2
    assert len(claim(engine)) == 1
    engine.value("select pgorch.resume_hook('one')")
    assert len(claim(engine)) == 1


def test_so_many_of_each_hook_that_is_not_busy_are_claimed(engine: Engine) -> None:
    one, two = hook(engine, "one"), hook(engine, "two")
    for _ in range(5):
        engine.start(chain("a"), bucket=engine.buckets[0])
    engine.run()
    query = "select * from pgorch.claim_deliveries(%s, 3, 60, %s::uuid[])"
    first = engine.rows(query, engine.buckets[0], [one])
    assert [row["hook_id"] for row in first] == [two] * 3
    rest = engine.rows(query, engine.buckets[0], [])
    assert sorted(str(row["hook_id"]) for row in rest) == sorted([str(one)] * 3 + [str(two)] * 2)


def tend(engine: Engine) -> None:
    for bucket in engine.buckets:
        engine.value("select pgorch.tend_deliveries(%s)", bucket)


def test_what_waits_for_a_hook_that_is_paused_for_more_than_a_day_or_deleted_is_given_up(
    engine: Engine,
) -> None:
    hook(engine, "paused")
    hook(engine, "deleted")
    hook(engine, "served")
    engine.start(chain("a"))
    engine.run()
    engine.value("select pgorch.pause_hook('paused')")
    engine.value("select pgorch.delete_hook('deleted')")
    tend(engine)
    assert {row["hook"]: row["status"] for row in deliveries(engine)} == {
        "paused": "pending", None: "dead", "served": "pending",
    }  # fmt: skip
    engine.jump("25 hours")
    tend(engine)
    assert {row["hook"]: row["status"] for row in deliveries(engine)} == {
        "paused": "dead", None: "dead", "served": "pending",
    }  # fmt: skip
    # However late, whoever could be asked is asked once at least.
    [late] = claim(engine)
    assert record(engine, late, 500) == "dead"


def test_what_ended_goes_after_a_week(engine: Engine) -> None:
    a_delivery(engine)
    [claimed] = claim(engine)
    record(engine, claimed, 200)
    engine.jump("6 days")
    tend(engine)
    assert len(deliveries(engine)) == 1
    engine.jump("2 days")
    tend(engine)
    assert deliveries(engine) == []
    assert engine.value("select count(*) from pgorch.hook_attempts") == 0


def test_a_test_message_is_of_no_run(engine: Engine) -> None:
    hook(engine)
    delivery_id = engine.value("select pgorch.test_hook('all')")
    [claimed] = claim(engine)
    assert claimed["id"] == delivery_id
    assert json.loads(claimed["body"])["type"] == "test"
    assert json.loads(claimed["body"])["data"] == {"hook": "all"}
    engine.value("select pgorch.pause_hook('all')")
    with pytest.raises(psycopg.Error, match="is paused"):
        engine.value("select pgorch.test_hook('all')")


def test_two_secrets_sign_while_one_is_being_replaced(engine: Engine) -> None:
    hook(engine)

    def secrets() -> Any:
        engine.value("select pgorch.test_hook('all')")
        [claimed] = claim(engine)
        return claimed["secrets"]

    for _ in range(2):
        engine.value("select pgorch.rotate_hook_secret('all', %s)", OTHER_SECRET)
        assert secrets() == [OTHER_SECRET, SECRET]
    engine.value("select pgorch.rotate_hook_secret('all')")
    assert secrets() == [OTHER_SECRET]


def test_what_waits_goes_to_the_new_address(engine: Engine) -> None:
    a_delivery(engine)
    engine.value("select pgorch.update_hook('all', 'https://new.example/')")
    [claimed] = claim(engine)
    assert claimed["url"] == "https://new.example/"
    engine.value("select pgorch.update_hook('all', p_kinds => '{run_failed}')")
    engine.start(chain("a"))
    engine.run()
    assert len(deliveries(engine)) == 1


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"name": ""}, "has a name"),
        ({"name": "a b"}, "has a name"),
        ({"name": "01a20a30-7fc9-7a00-a57c-bbf704f52800"}, "look like an id"),
        ({"name": None}, "has a name"),
        ({"url": "ftp://hooks.example/"}, "no http address"),
        ({"url": "https://user:password@hooks.example/"}, "no http address"),
        ({"url": "https://hooks.example/\r\nx: y"}, "no http address"),
        ({"url": "https://hooks.example/#part"}, "no http address"),
        ({"url": "https://hooks.example@10.0.0.1/"}, "no http address"),
        ({"url": "https:///path"}, "no http address"),
        ({"url": "https://hooks.example:70000/"}, "a port"),
        ({"url": "https://höoks.example/"}, "no http address"),
        ({"url": "https://hooks.example/" + "x" * 2000}, "no http address"),
        ({"url": None}, "no http address"),
        ({"url": "http://hooks.example/"}, "use https"),
        ({"kinds": []}, "at least one kind"),
        ({"kinds": None}, "at least one kind"),
        ({"kinds": ["step_completed"]}, "'step_completed' is no kind"),
        ({"kinds": ["run_completed", None]}, "null is no kind"),
        ({"secret": "whsec_c2hvcnQ="}, "a secret is whsec_"),
        ({"secret": "whsec_!" + SECRET}, "a secret is whsec_"),
        ({"secret": SECRET.removeprefix("whsec_")}, "a secret is whsec_"),
        ({"secret": None}, "a secret is whsec_"),
        ({"graph": ""}, "a graph has a name"),
    ],
)
def test_a_hook_that_makes_no_sense_is_refused(engine: Engine, options: dict[str, Any], told: str) -> None:
    arguments = {"name": "a", "kinds": ["run_completed"], **options}
    with pytest.raises(psycopg.Error) as refused:
        hook(engine, **arguments)
    assert told in str(refused.value)
    assert refused.value.sqlstate == "OR006"
    if options.get("secret"):
        assert str(options["secret"]) not in str(refused.value) + str(refused.value.diag.context)
    assert engine.rows("select * from pgorch.hooks") == []


@pytest.mark.parametrize(
    "url", ["https://[2606:4700::1111]:8443/a?b=c", "https://hooks.example", "https://a_b.example?x=1"]
)
def test_other_addresses_are_accepted(engine: Engine, url: str) -> None:
    hook(engine, url=url)


def test_plain_http_goes_to_receivers_of_ones_own_network(engine: Engine) -> None:
    hook(engine, url="http://10.0.0.1:8080/", allow_private=True)


def test_a_name_is_there_once(engine: Engine) -> None:
    hook(engine)
    with pytest.raises(psycopg.Error, match="already") as refused:
        hook(engine)
    assert refused.value.sqlstate == "OR002"
    with pytest.raises(psycopg.Error, match="there is no hook 'al'") as refused:
        engine.value("select pgorch.pause_hook('al')")
    assert refused.value.sqlstate == "OR003"


def test_a_hook_is_named_by_its_id_as_well(engine: Engine) -> None:
    hook_id = hook(engine)
    assert engine.value("select pgorch.pause_hook(%s)", str(hook_id)) == hook_id
    assert engine.value("select pgorch.delete_hook('all')") == hook_id
    assert engine.value("select count(*) from pgorch._hook_secrets") == 0


def test_a_new_secret_is_random_and_taken(engine: Engine) -> None:
    made = {engine.value("select pgorch.new_hook_secret()") for _ in range(10)}
    assert len(made) == 10
    for number, secret in enumerate(made):
        hook(engine, f"h{number}", secret=secret)


def test_the_audit_says_who_did_what_and_knows_no_secret(engine: Engine) -> None:
    hook(engine, actor="ada")
    for call in (
        "update_hook('all', 'https://new.example', p_actor => 'ada')",
        f"rotate_hook_secret('all', '{OTHER_SECRET}', 'ada')",
        "pause_hook('all', 'ada')",
        "resume_hook('all', 'ada')",
        "test_hook('all', 'ada')",
        "delete_hook('all', 'ada')",
    ):
        engine.value(f"select pgorch.{call}")
    rows = engine.rows("select * from pgorch.audit order by id")
    assert [row["action"] for row in rows] == [
        "create_hook",
        "update_hook",
        "rotate_hook_secret",
        "pause_hook",
        "resume_hook",
        "test_hook",
        "delete_hook",
    ]
    assert {row["actor"] for row in rows} == {"ada"}
    assert "whsec_" not in str(rows)


def test_no_view_shows_a_secret(connection: psycopg.Connection[DictRow], engine: Engine) -> None:
    hook(engine)
    engine.start(chain("a"))
    engine.run()
    for view in ("hook_list", "hook_delivery_list", "hooks"):
        rows = connection.execute(f"select v::text from pgorch.{view} v".encode()).fetchall()
        assert rows
        assert SECRET not in str(rows)


def given_up(engine: Engine) -> Row:
    """A delivery that nobody took for a day."""
    hook(engine, kinds=["run_completed"])
    engine.start(chain("a"))
    engine.run()
    engine.jump("25 hours")
    [late] = claim(engine)
    assert record(engine, late, 500) == "dead"
    return late


def test_what_was_given_up_is_sent_again_as_it_was(engine: Engine) -> None:
    late = given_up(engine)
    assert engine.value("select pgorch.resend_delivery(%s, 'ann')", late["id"]) == late["id"]
    [again] = claim(engine)
    assert (again["id"], again["body"], again["attempt"]) == (late["id"], late["body"], 2)
    with pytest.raises(psycopg.Error, match="is pending") as refused:
        engine.value("select pgorch.resend_delivery(%s)", late["id"])
    assert refused.value.diag.sqlstate == "OR002"
    assert record(engine, again, 200) == "delivered"
    [row] = engine.rows("select * from pgorch.audit where action = 'resend_delivery'")
    assert (row["actor"], row["before"]["delivery_id"]) == ("ann", str(late["id"]))
    assert (row["before"]["attempts"], row["before"]["hook"]) == (1, "all")


def test_what_was_given_up_is_not_sent_where_nobody_takes_it(engine: Engine) -> None:
    late = given_up(engine)
    engine.value("select pgorch.pause_hook('all')")
    with pytest.raises(psycopg.Error, match="is paused"):
        engine.value("select pgorch.resend_delivery(%s)", late["id"])
    engine.value("select pgorch.delete_hook('all')")
    with pytest.raises(psycopg.Error, match="was deleted"):
        engine.value("select pgorch.resend_delivery(%s)", late["id"])
    with pytest.raises(psycopg.Error, match="no delivery"):
        engine.value("select pgorch.resend_delivery(%s)", UUID(int=0))


def test_what_no_worker_records_is_given_up_after_a_day(engine: Engine) -> None:
    hook(engine, "silent")
    engine.start(chain("a"))
    engine.run()
    [taken] = claim(engine)
    engine.jump("23 hours")
    tend(engine)
    [taken] = claim(engine)
    assert taken["attempt"] == 2
    engine.jump("2 hours")
    [taken] = claim(engine)
    tend(engine)
    assert [row["status"] for row in deliveries(engine)] == ["pending"], "it is being tried"
    engine.jump("10 minutes")
    tend(engine)
    assert [row["status"] for row in deliveries(engine)] == ["dead"]
    assert claim(engine) == []


def test_what_was_to_be_tried_once_more_is_tried_however_late(engine: Engine) -> None:
    hook(engine, "late")
    engine.start(chain("a"))
    engine.run()
    [taken] = claim(engine)
    assert record(engine, taken, 500) == "pending"
    engine.jump("25 hours")
    tend(engine)
    [taken] = claim(engine)
    assert record(engine, taken, 200) == "delivered"
