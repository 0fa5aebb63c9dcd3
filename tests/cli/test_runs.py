import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from uuid import UUID

from tests.cli.conftest import Cli
from tests.support.engine import Engine, Fails, Step, chain, definition
from tests.support.races import wait_until

Write = Callable[[str, str], Path]

UNKNOWN = "00000000-0000-7000-8000-000000000000"


def broken(step: Step) -> None:
    raise Fails("Broken", "the pipe burst")


def test_a_run_is_started_and_its_id_is_said(cli: Cli, engine: Engine) -> None:
    engine.graph(chain("a") | {"name": "one"})
    said = cli("run", "one", "-i", '{"amount": 5}')
    assert said.code == 0
    run_id = UUID(said.json["run_id"])
    assert engine.state(run_id) == {"amount": 5}
    assert UUID(cli("run", "one", "-o", "table").out.strip())


def test_the_input_may_come_from_a_file_or_from_stdin(cli: Cli, engine: Engine, write: Write) -> None:
    engine.graph(chain("a") | {"name": "one"})
    from_file = cli("run", "one", "-i", f"@{write('input.json', json.dumps({'from': 'file'}))}").json[
        "run_id"
    ]
    from_stdin = cli("run", "one", "-i", "@-", stdin='{"from": "stdin"}').json["run_id"]
    assert cli("runs", "state", from_file).json == {"from": "file"}
    assert cli("runs", "state", from_stdin).json == {"from": "stdin"}


def test_a_graph_in_a_file_is_created_and_run(cli: Cli, engine: Engine, write: Write) -> None:
    engine.register("a")
    said = cli("run", write("graph.json", json.dumps(chain("a") | {"name": "from_file"})))
    assert said.code == 0
    assert [row["graph"] for row in cli("runs", "list").json] == ["from_file"]


def test_input_that_is_no_json_or_no_object_is_refused_and_nothing_is_started(
    cli: Cli, engine: Engine
) -> None:
    engine.graph(chain("a") | {"name": "one"})
    for text in ("{amount: 5}", "[1]", '{"a": NaN}', '{"a": 1, "a": 2}'):
        assert cli("run", "one", "-i", text).code == 1
    assert cli("run", "one", "-i", "@/no/such/file").code == 2
    assert cli("runs", "list").json == []


def test_the_same_key_gives_the_same_run_and_another_input_is_a_conflict(cli: Cli, engine: Engine) -> None:
    engine.graph(chain("a") | {"name": "one"})
    first = cli("run", "one", "-i", '{"a": 1}', "--key", "k")
    assert cli("run", "one", "-i", '{"a": 1}', "--key", "k").json == first.json
    other = cli("run", "one", "-i", '{"a": 2}', "--key", "k")
    assert other.code == 1
    assert "(OR005)" in other.err


def test_waiting_ends_with_0_once_the_run_has_completed(engine: Engine, environment: dict[str, str]) -> None:
    engine.graph(chain("a b") | {"name": "pair"})
    command = [sys.executable, "-m", "pgorch", "run", "pair", "--wait", "--timeout", "60"]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as waiter:
        # Only once the command listens: then the end has to reach it by itself.
        watched = "select id from pgorch.runs where watched_until is not null"
        wait_until(lambda: engine.rows(watched) != [] or waiter.poll() is not None)
        engine.run({"a": {"x": 1}})
        out, _ = waiter.communicate(timeout=60)
    assert waiter.returncode == 0
    assert json.loads(out)["status"] == "completed"
    assert json.loads(out)["state"] == {"x": 1}


def test_following_shows_the_events_and_ends_with_1_if_the_run_failed(cli: Cli, engine: Engine) -> None:
    engine.graph(chain("a b") | {"name": "pair"})
    cli("run", "pair", "--key", "k")
    engine.run({"b": broken})
    said = cli("run", "pair", "--key", "k", "--follow", "-o", "table")
    assert said.code == 1
    kinds = [line.split()[1] for line in said.out.splitlines() if line.startswith("   ")]
    assert kinds == ["step_completed", "step_failed", "run_failed"]
    assert "the pipe burst" in said.out.splitlines()[-1]


def test_waiting_ends_with_4_when_the_time_is_over_and_the_run_goes_on(cli: Cli, engine: Engine) -> None:
    engine.graph(chain("a") | {"name": "one"})
    said = cli("run", "one", "--wait", "--timeout", 0.1)
    assert said.code == 4
    assert [row["status"] for row in cli("runs", "list").json] == ["running"]


def test_somebody_who_waits_is_told_how_to_decide(cli: Cli, engine: Engine) -> None:
    engine.graph(definition([{"id": "ask", "type": "approval"}, "b"], ["ask>b"]) | {"name": "asks"})
    said = cli("run", "asks", "--wait", "--timeout", 0.1)
    run_id = cli("runs", "list").json[0]["run_id"]
    assert f"pgorch approvals approve {run_id}" in said.err


def test_runs_are_listed_newest_first_by_status_graph_and_page(cli: Cli, engine: Engine) -> None:
    engine.graph(chain("a") | {"name": "one"})
    engine.graph(chain("b") | {"name": "two"})
    ids = [cli("run", name).json["run_id"] for name in ("one", "two", "one")]
    cli("runs", "cancel", ids[0])
    assert [row["run_id"] for row in cli("runs", "list").json] == ids[::-1]
    assert [row["run_id"] for row in cli("runs", "list", "--graph", "two").json] == [ids[1]]
    assert [row["run_id"] for row in cli("runs", "list", "--status", "cancelled").json] == [ids[0]]
    assert [row["run_id"] for row in cli("runs", "list", "--limit", 1, "--before", ids[2]).json] == [ids[1]]
    table = cli("runs", "list", "-o", "table").out
    assert all(run_id in table for run_id in ids)


def test_a_run_is_shown_with_its_history_and_what_holds_it_up(cli: Cli, engine: Engine) -> None:
    engine.graph(chain("a b") | {"name": "pair"})
    run_id = cli("run", "pair", "-i", '{"n": 1}').json["run_id"]
    engine.worker.claim_one()
    shown = cli("runs", "show", run_id)
    assert shown.json["current_nodes"][0]["node"] == "a"
    assert shown.json["state"] == {"n": 1}
    table = cli("runs", "show", run_id, "-o", "table").out
    assert "live steps" in table
    assert '{"n":1}' in table


def test_events_are_numbered_and_can_be_read_from_a_number_on(cli: Cli, engine: Engine) -> None:
    engine.graph(chain("a b") | {"name": "pair"})
    run_id = cli("run", "pair").json["run_id"]
    engine.run()
    assert [event["seq"] for event in cli("runs", "events", run_id).json] == [1, 2, 3]
    assert [event["kind"] for event in cli("runs", "events", run_id, "--after", 2).json] == ["run_completed"]


def test_watching_prints_one_event_in_each_line_and_the_run_s_end_is_the_exit_code(
    cli: Cli, engine: Engine
) -> None:
    engine.graph(chain("a b") | {"name": "pair"})
    good = cli("run", "pair").json["run_id"]
    engine.run()
    bad = cli("run", "pair").json["run_id"]
    engine.run({"a": broken})
    said = cli("runs", "watch", good)
    assert said.code == 0
    assert [json.loads(line)["seq"] for line in said.out.splitlines()] == [1, 2, 3]
    assert cli("runs", "watch", bad).code == 1


def test_a_run_is_cancelled_once(cli: Cli, engine: Engine) -> None:
    engine.graph(chain("a") | {"name": "one"})
    run_id = cli("run", "one").json["run_id"]
    assert cli("runs", "cancel", run_id, "--reason", "no longer wanted").json["status"] == "cancelled"
    assert cli("runs", "events", run_id).json[-1]["error"]["message"] == "no longer wanted"
    again = cli("runs", "cancel", run_id)
    assert again.code == 1
    assert "(OR002)" in again.err


def test_an_unknown_run_is_refused_and_what_is_no_id_is_a_mistake_in_the_usage(cli: Cli) -> None:
    for verb in ("show", "state", "events", "watch", "cancel"):
        assert cli("runs", verb, UNKNOWN).code == 1, verb
        assert cli("runs", verb, "the-last-one").code == 2, verb
