from tests.cli.conftest import Cli
from tests.support.engine import Engine, chain


def test_workers_tools_and_queues_are_listed(cli: Cli, engine: Engine) -> None:
    engine.start(chain("a"))
    engine.new_worker(name="anna", slots=7)
    assert [(row["name"], row["slots"], row["status"]) for row in cli("workers", "list").json] == [
        ("anna", 7, "alive")
    ]
    assert [(row["name"], row["workers"]) for row in cli("tools", "list").json] == [("a", 1)]
    assert [(row["queue"], row["tool"], row["ready"]) for row in cli("queues", "list").json] == [
        ("default", "a", 1)
    ]


def test_lists_are_tables_for_people_and_say_what_to_do_when_empty(cli: Cli, engine: Engine) -> None:
    assert "pgorch worker" in cli("workers", "list", "-o", "table").out
    assert "pgorch worker" in cli("tools", "list", "-o", "table").out
    assert cli("queues", "list", "-o", "table").out == "Nothing waits.\n"
    engine.start(chain("a"))
    engine.new_worker(name="anna")
    assert "anna" in cli("workers", "list", "-o", "table").out
    assert cli("queues", "list", "-o", "table").out.splitlines()[1].split()[:3] == ["default", "a", "1"]
