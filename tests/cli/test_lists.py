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


def test_json_is_short_for_the_format(cli: Cli, engine: Engine) -> None:
    engine.start(chain("a"))
    engine.new_worker(name="anna")
    assert [row["name"] for row in cli("workers", "list", "-o", "table", "--json").json] == ["anna"]
    assert cli("--json", "workers", "list").code == 2
    assert cli("runs", "list", "--graph", "none", "--json").json == []
    assert "--json" in cli("runs", "list", "--help").out


def test_runs_are_listed_by_who_started_them_and_when(cli: Cli, engine: Engine) -> None:
    name = engine.graph(chain("a"))
    old = engine.start(name, actor="ann")
    engine.jump("2 hours")
    new = engine.start(name, actor="ann")
    engine.start(name, actor="bob")
    hour_ago = engine.value("select pgorch.clock_now() - interval '1 hour'").isoformat()

    def found(*words: str) -> list[str]:
        return [run["run_id"] for run in cli("runs", "list", *words).json]

    assert found("--initiator", "ann") == [str(new), str(old)]
    assert found("--initiator", "ann", "--created-after", hour_ago) == [str(new)]
    assert found("--created-before", hour_ago) == [str(old)]
    assert cli("runs", "list", "--created-after", "soon").code == 2


def test_workers_are_asked_to_drain(cli: Cli, engine: Engine) -> None:
    anna = engine.new_worker(name="anna")
    assert cli("workers", "drain", "anna").json == {"worker_ids": [str(anna.id)]}
    assert engine.value("select b.to_drain from pgorch.beat(0, %s, 10) b", anna.id)
    assert cli("workers", "drain", "bert").code == 1


def test_the_audit_is_listed(cli: Cli, engine: Engine) -> None:
    run_id = engine.start(chain("a"))
    cli("runs", "cancel", run_id, "--reason", "mistake")
    [entry] = cli("audit", "list", "--run", run_id, "--action", "cancel").json
    assert (entry["action"], entry["comment"]) == ("cancel", "mistake")
    assert cli("audit", "list", "--before", entry["id"], "--run", run_id).json == []
    assert "mistake" in cli("audit", "list", "-o", "table").out
