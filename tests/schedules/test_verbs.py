"""What people do with schedules, in SQL as in psql."""

from uuid import UUID

import psycopg
import pytest

from tests.schedules.conftest import ASK, Place, at


def refused(place: Place, query: str, *parameters: object) -> psycopg.Error:
    with pytest.raises(psycopg.Error) as caught:
        place.value(query, *parameters)
    assert caught.value.diag.message_hint
    return caught.value


def test_a_paused_schedule_starts_nothing_and_what_it_missed_is_not_caught_up(place: Place) -> None:
    place.it_is("2025-01-01 00:00")
    place.create(catch_up="all")
    place.look()
    assert place.value("select pgorch.pause_schedule('nightly')") is True
    assert place.value("select pgorch.pause_schedule('nightly')") is False
    place.day("2025-01-01 02:00", "2025-01-02 02:00", "2025-01-02 12:00")
    assert place.value("select pgorch.resume_schedule('nightly')") is True
    assert place.value("select pgorch.resume_schedule('nightly')") is False
    assert place.look() == ["planned"]
    assert place.schedule()["next_due"] == at("2025-01-03 02:00")
    assert place.firings() == []


def test_a_schedule_can_be_created_paused(place: Place) -> None:
    place.it_is("2025-01-01 00:00")
    place.create(paused=True)
    place.day("2025-01-01 02:00")
    assert place.firings() == []
    assert place.schedule()["next_due"] is None


def test_a_worker_that_computed_before_a_pause_fires_nothing(place: Place) -> None:
    place.it_is("2025-01-01 00:00")
    place.create()
    place.look()
    place.it_is("2025-01-01 02:00")
    (due,) = place.rows("select * from pgorch.due_schedules()")
    place.value("select pgorch.pause_schedule('nightly')")
    assert place.fire(due) == "taken"
    place.value("select pgorch.resume_schedule('nightly')")
    assert place.fire(due) == "taken"
    assert place.runs() == []


def test_the_same_description_again_changes_nothing_and_another_one_only_what_it_says(place: Place) -> None:
    place.it_is("2025-01-01 00:00")
    assert place.create() is True
    place.look()
    before = place.schedule()
    assert place.create() is False
    assert place.schedule() == before

    assert place.create(priority=5) is False
    after = place.schedule()
    assert after["priority"] == 5
    # Not a word about time: it is due when it was.
    assert after["next_due"] == before["next_due"]

    place.create(cron="0 4 * * *")
    place.look()
    assert place.schedule()["next_due"] == at("2025-01-01 04:00")
    place.create(cron="0 4 * * *", time_zone="Asia/Kolkata")
    place.look()
    assert place.schedule()["next_due"] == at("2025-01-01 22:30")


def test_a_description_does_not_wake_a_schedule_that_somebody_paused(place: Place) -> None:
    place.create()
    place.value("select pgorch.pause_schedule('nightly')")
    place.create(priority=3)
    assert place.schedule()["paused"] is True
    place.create(priority=3, paused=False)
    assert place.schedule()["paused"] is False


def test_trigger_starts_a_run_now_and_leaves_what_is_due_alone(place: Place) -> None:
    place.it_is("2025-01-01 00:00")
    place.create(input={"day": "${$.due}"}, queue="q", priority=3, overlap="allow")
    place.look()
    place.it_is("2025-01-01 01:00")
    run_id = place.value("select pgorch.trigger_schedule('nightly')")
    (run,) = place.runs()
    assert (run["run_id"], run["queue"], run["priority"]) == (run_id, "q", 3)
    assert run["state"] == {"day": "2025-01-01T01:00:00Z"}
    assert run["initiator"] == place.value("select session_user::text")
    assert place.schedule()["next_due"] == at("2025-01-01 02:00")
    place.it_is("2025-01-01 02:00")
    assert place.look() == ["started"]
    assert place.firings() == [("01 01:00", "triggered"), ("01 02:00", "started")]


def test_trigger_works_on_a_paused_schedule(place: Place) -> None:
    place.create(paused=True)
    assert isinstance(place.value("select pgorch.trigger_schedule('nightly')"), UUID)


def test_trigger_keeps_the_overlap_policy_unless_another_is_named(place: Place) -> None:
    place.create()
    first = place.value("select pgorch.trigger_schedule('nightly')")
    problem = refused(place, "select pgorch.trigger_schedule('nightly')")
    assert problem.sqlstate == "OR002"
    assert str(first) in str(problem)
    second = place.value("select pgorch.trigger_schedule('nightly', p_overlap => 'allow')")
    third = place.value("select pgorch.trigger_schedule('nightly', p_overlap => 'cancel_other')")
    assert {run["run_id"]: run["status"] for run in place.runs()} == {
        first: "cancelled", second: "cancelled", third: "awaiting_approval",
    }  # fmt: skip
    assert refused(place, "select pgorch.trigger_schedule('nightly', 'all')").sqlstate == "OR006"


def test_trigger_with_a_key_starts_one_run(place: Place) -> None:
    place.create(input={"day": "${$.due}"})
    call = "select pgorch.trigger_schedule('nightly', p_idempotency_key => 'k')"
    first = place.value(call)
    place.engine.jump("1 minute")
    assert place.value(call) == first
    assert len(place.runs()) == 1


def test_a_trigger_that_fails_says_so_and_leaves_no_trace(place: Place) -> None:
    place.create()
    place.connection.execute("update pgorch.schedules set graph = 'repart'")
    assert refused(place, "select pgorch.trigger_schedule('nightly')").sqlstate == "OR003"
    assert place.firings() == []
    assert place.schedule()["last_error"] is None


def test_a_trigger_that_rolls_back_started_nothing(place: Place) -> None:
    place.create()
    with place.connection.transaction(force_rollback=True):
        place.value("select pgorch.trigger_schedule('nightly')")
        assert place.runs() != []
    assert place.runs() == []
    assert place.firings() == []


def test_deleting_leaves_its_runs_alone(place: Place) -> None:
    place.create()
    run_id = place.value("select pgorch.trigger_schedule('nightly')")
    place.value("select pgorch.delete_schedule('nightly')")
    assert place.rows("select from pgorch.schedule_list") == []
    assert place.engine.status(run_id) == "awaiting_approval"
    assert place.create() is True


@pytest.mark.parametrize(
    "verb", ["pause_schedule", "resume_schedule", "delete_schedule", "trigger_schedule", "schedule_document"]
)
def test_a_schedule_that_is_not_there_is_named_with_the_near_name(place: Place, verb: str) -> None:
    place.create("nightly")
    problem = refused(place, f"select pgorch.{verb}('nightl')")
    assert problem.sqlstate == "OR003"
    assert problem.diag.message_hint == 'Did you mean "nightly"?'
    assert refused(place, f"select pgorch.{verb}(null)").sqlstate == "OR003"


@pytest.mark.parametrize(
    ("options", "state", "message"),
    [
        ({"name": "a/b"}, "OR006", "is no name of a schedule"),
        ({"name": ""}, "OR006", "is no name of a schedule"),
        ({"name": "x" * 101}, "OR006", "is no name of a schedule"),
        ({"name": None}, "OR006", "null is no name of a schedule"),
        ({"graph": "repart"}, "OR003", "there is no graph"),
        ({"graph": "report@7"}, "OR003", "there is no graph"),
        ({"cron": "61 * * * *"}, "OR006", "is no minute"),
        ({"cron": None}, "OR006", "up to 200 characters"),
        ({"time_zone": None}, "OR006", "there is no time zone null"),
        ({"input": []}, "OR006", "the input of a run is a JSON object"),
        ({"input": {"a": "${$.dew}"}}, "OR006", "found nothing"),
        ({"input": {"a": "${$.due"}}, "OR006", "without the } that ends it"),
        ({"labels": {"a": 1}}, "OR006", "labels are at most 50 texts"),
        ({"priority": 2000}, "OR006", "priority 2000 is outside"),
        ({"queue": "!x"}, "OR006", "no name of a queue"),
        ({"overlap": "queue"}, "OR006", "no policy for runs that overlap"),
        ({"catch_up": "some"}, "OR006", "no policy for due times that were missed"),
        ({"catch_up_window": "1 second"}, "OR006", "outside one minute to 366 days"),
        ({"catch_up_window": None}, "OR006", "catch-up window null"),
    ],
)
def test_what_is_wrong_with_a_description_is_told(
    place: Place, options: dict[str, object], state: str, message: str
) -> None:
    given = {"name": "nightly", "cron": "0 2 * * *", "graph": "report", **options}
    with pytest.raises(psycopg.Error, match=message) as caught:
        place.create(**given)  # type: ignore[arg-type]
    assert caught.value.sqlstate == state
    assert caught.value.diag.message_hint
    assert place.rows("select from pgorch.schedules") == []


def test_an_input_that_the_graph_does_not_take_is_refused(place: Place) -> None:
    schema = {
        "type": "object",
        "properties": {"day": {"type": "string", "format": "date-time"}},
        "required": ["day"],
    }
    place.engine.graph({**ASK, "name": "strict", "input_schema": schema})
    assert place.create(graph="strict", input={"day": "${$.due}"})
    for input in ({}, {"day": "${$.name}"}):
        with pytest.raises(psycopg.Error, match="the input does not fit strict") as caught:
            place.create(graph="strict", input=input)
        assert caught.value.sqlstate == "OR006"


def test_every_verb_is_audited_with_what_was_and_what_is(place: Place) -> None:
    place.create(actor="ada")
    place.create(actor="ada")
    place.create(actor="bob", priority=3)
    place.value("select pgorch.pause_schedule('nightly', 'cy')")
    place.value("select pgorch.pause_schedule('nightly', 'cy')")
    place.value("select pgorch.resume_schedule('nightly', 'cy')")
    run_id = place.value("select pgorch.trigger_schedule('nightly', p_actor => 'dan')")
    place.value("select pgorch.delete_schedule('nightly', 'eve')")
    noted = place.rows("select * from pgorch.audit order by id")
    assert [(row["action"], row["actor"]) for row in noted] == [
        ("create_schedule", "ada"), ("change_schedule", "bob"), ("pause_schedule", "cy"),
        ("resume_schedule", "cy"), ("trigger_schedule", "dan"), ("delete_schedule", "eve"),
    ]  # fmt: skip
    assert (noted[1]["before"]["priority"], noted[1]["after"]["priority"]) == (0, 3)
    assert (noted[2]["before"]["paused"], noted[2]["after"]["paused"]) == (False, True)
    assert noted[4]["run_id"] == run_id
    assert noted[5]["before"]["cron"] == "0 2 * * *"


def test_the_document_and_the_view_say_everything(place: Place) -> None:
    place.it_is("2025-01-01 00:00")
    place.create(input={"a": 1}, catch_up_window="36 hours")
    place.day("2025-01-01 00:01", "2025-01-01 02:00")
    document = place.value("select pgorch.schedule_document('nightly')")
    assert document["name"] == "nightly"
    assert document["catch_up_window"] == "36:00:00"
    assert document["last_status"] == "awaiting_approval"
    assert [(f["outcome"], f["run_id"]) for f in document["firings"]] == [
        ("started", document["last_run_id"])
    ]
    (row,) = place.rows("select * from pgorch.schedule_list")
    assert str(row["last_run_id"]) == document["last_run_id"]
    assert {*row} - {*document} == {"bucket"}


def test_somebody_else_may_be_named_only_by_those_who_may_speak_for_others(place: Place) -> None:
    place.connection.execute("create role plain_user")
    try:
        place.connection.execute("grant usage on schema pgorch to plain_user")
        place.connection.execute("set session authorization plain_user")
        call = "select pgorch.create_schedule('x', 'report', '* * * * *', p_actor => 'ada')"
        assert refused(place, call).sqlstate == "OR007"
    finally:
        place.connection.execute("reset session authorization")
        place.connection.execute("drop owned by plain_user")
        place.connection.execute("drop role plain_user")
