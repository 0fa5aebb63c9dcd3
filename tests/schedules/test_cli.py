"""Schedules on the command line."""

import json
from uuid import UUID

import pytest

from tests.cli.conftest import Cli, cli, nowhere
from tests.schedules.conftest import Place

__all__ = ["cli", "nowhere"]


def test_a_schedule_from_its_creation_to_its_end(cli: Cli, place: Place) -> None:
    place.it_is("2025-01-01 00:00")
    said = cli(
        "schedules", "create", "nightly", "report", "30 2 * * *", "--time-zone", "Europe/Berlin",
        "-i", '{"day": "${$.due}"}', "--label", "team=x", "--overlap", "allow", "-o", "table",
    )  # fmt: skip
    assert (said.code, said.out) == (0, "created: see pgorch schedules show nightly\n")
    place.day("2025-01-01 00:01", "2025-01-01 01:30")

    listed = cli("schedules", "list").json
    assert [(row["name"], row["last_status"]) for row in listed] == [("nightly", "awaiting_approval")]
    table = cli("schedules", "list", "-o", "table").out
    assert "nightly" in table
    assert "30 2 * * *" in table

    shown = cli("schedules", "show", "nightly", "-o", "table").out
    assert "next times       Thu 2025-01-02 02:30 CET" in shown
    assert "started" in shown
    document = cli("schedules", "show", "nightly").json
    assert len(document["next_times"]) == 5
    assert document["labels"] == {"team": "x"}

    assert cli("schedules", "pause", "nightly", "-o", "table").out == "paused: nightly\n"
    assert cli("schedules", "pause", "nightly", "-o", "table").out == "nightly was paused already\n"
    assert cli("schedules", "pause", "nightly").json == {"name": "nightly", "paused": True, "changed": False}
    assert cli("schedules", "resume", "nightly", "-o", "table").out == "resumed: nightly\n"
    assert cli("schedules", "resume", "nightly", "-o", "table").out == "nightly was not paused\n"
    assert UUID(cli("schedules", "trigger", "nightly", "-o", "table").out.strip())
    first = cli("schedules", "trigger", "nightly", "--key", "k").json
    assert cli("schedules", "trigger", "nightly", "--key", "k").json == first
    assert cli("schedules", "delete", "nightly", "-o", "table").out == "deleted: nightly\n"
    assert cli("schedules", "list", "-o", "table").out.startswith("No schedules yet.")


@pytest.mark.parametrize(
    ("arguments", "why", "next_step"),
    [
        (["create", "x", "report", "0 2 * *"], "has 4", "Every day at 2 is 0 2 * * *."),
        (["create", "x", "report", "@hourly"], "has five fields", "Write it out: 0 * * * *"),
        (
            ["create", "x", "report", "* * * * *", "--time-zone", "Europe/Berln"],
            "no time zone",
            "Europe/Berlin",
        ),
        (["create", "x", "repart", "* * * * *"], "there is no graph", '"report"'),
        (["show", "nightl"], "there is no schedule", '"nightly"'),
        (["trigger", "nightly"], "its run", "overlap allow or cancel_other"),
    ],
)
def test_a_refusal_says_what_and_why_and_what_next(
    cli: Cli, place: Place, arguments: list[str], why: str, next_step: str
) -> None:
    place.create()
    place.value("select pgorch.trigger_schedule('nightly')")
    said = cli("schedules", *arguments)
    assert said.code == 1
    assert why in said.err
    assert next_step in said.err


def test_what_is_printed_is_json_for_programs(cli: Cli, place: Place) -> None:
    created = cli("schedules", "create", "n", "report", "* * * * *", "--paused").json
    assert created == {"name": "n", "created": True}
    assert place.schedule("n")["paused"] is True
    cli("schedules", "create", "n", "report", "*/5 * * * *")
    assert place.schedule("n")["paused"] is True
    assert json.loads(cli("schedules", "delete", "n").out) == {"name": "n", "deleted": True}
