"""The verbs that change runs that are there."""

from uuid import UUID

import pytest

from tests.cli.conftest import Cli
from tests.support.engine import Engine, Fails, Step, chain, definition

UNKNOWN = "00000000-0000-7000-8000-000000000000"
ASK = {"id": "ask", "type": "approval"}
WAIT = {"id": "wait", "type": "wait", "signal": "paid"}


def breaks(step: Step) -> None:
    raise Fails("Broken", "it broke")


def test_a_signal_is_sent_once_for_its_key(cli: Cli, engine: Engine) -> None:
    run_id = engine.start(definition([WAIT, ASK], ["wait>ask"]))
    said = cli("signal", run_id, "paid", "-p", '{"amount": 5}', "--key", "k", "--actor", "ada")
    assert said.code == 0
    assert cli("signal", run_id, "paid", "-p", '{"amount": 5}', "--key", "k").json == said.json
    assert engine.state(run_id) == {"amount": 5}
    assert UUID(cli("signal", run_id, "more", "-p", "null", "-o", "table").out.strip())
    assert cli("signal", run_id, "paid", "-p", '{"amount": 6}', "--key", "k").err.count("(OR005)") == 1
    assert cli("signal", run_id, "paid", "-p", "{amount: 5}").code == 1
    assert cli("signal", run_id, "").code == 1
    assert engine.kinds(run_id).count("signal_received") == 2


def test_a_run_is_paused_and_resumed(cli: Cli, engine: Engine) -> None:
    run_id = engine.start(chain("a"))
    assert cli("runs", "pause", run_id, "--actor", "ada").json == {"run_id": str(run_id), "status": "paused"}
    assert cli("runs", "resume", run_id, "-o", "table").out == "running\n"
    said = cli("runs", "resume", run_id)
    assert said.code == 1
    assert "(OR002)" in said.err
    assert [h["actor"] for h in engine.history(run_id)] == ["ada", "postgres"]


def test_a_cancelled_run_undoes_what_it_has_done_if_that_is_asked_for(cli: Cli, engine: Engine) -> None:
    node = {"id": "a", "function": "a", "compensate": "undo_a"}
    run_id = engine.start(definition([node, ASK], ["a>ask"]))
    engine.run()
    assert cli("runs", "cancel", run_id, "--compensate").json["status"] == "running"
    engine.run()
    assert engine.kinds(run_id)[-2:] == ["step_undone", "run_cancelled"]


def test_a_failed_run_is_retried_or_goes_on_without_the_step(cli: Cli, engine: Engine) -> None:
    graph = engine.graph(chain("a b"))
    retried, skipped = engine.start(graph), engine.start(graph)
    engine.run({"b": breaks})
    assert cli("runs", "retry", retried, "--node", "b", "-i", '{"x": 1}').json["status"] == "running"
    engine.run({"b": lambda step: step.argument})
    assert engine.state(retried) == {"x": 1}
    assert cli("runs", "skip", skipped, "--step-output", '{"y": 2}').json["status"] == "completed"
    assert engine.state(skipped) == {"y": 2}
    assert cli("runs", "retry", retried).code == 1
    assert cli("runs", "retry", retried, "--item", -1).code == 2


def test_a_fork_goes_on_from_a_step_with_what_was_set(cli: Cli, engine: Engine) -> None:
    run_id = engine.start(chain("a b c"), {"o": {"n": 1, "l": [1, 2]}, "t": "x"}, labels=None)
    engine.run({"a": {"a": 1}, "b": {"o": {}}})
    said = cli("runs", "fork", run_id, "--from", "b", "--set", "o.n=5", "--set", "o.l.1=7",
               "--set", "o.new.deep=why not", "--set", 't={"u": null}', "--label", "why=test")  # fmt: skip
    assert said.code == 0
    assert said.json["forked_from"] == str(run_id)
    fork = UUID(said.json["run_id"])
    assert engine.state(fork) == {
        "o": {"n": 5, "l": [1, 7], "new": {"deep": "why not"}},
        "t": {"u": None},
        "a": 1,
    }
    assert [step["node"] for step in engine.live(fork)] == ["b"]
    assert engine.value("select labels from pgorch.run_list where run_id = %s", fork) == {"why": "test"}
    by_number = cli("runs", "fork", run_id, "--from", 0, "--set", "t=1", "-o", "table").out.strip()
    assert engine.state(UUID(by_number)) == {"o": {"n": 1, "l": [1, 2]}, "t": 1}
    # What was tried out on the way is not there.
    assert engine.value("select count(*) from pgorch.runs") == 3


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["--from", "nowhere"], 1),
        (["--from", "99"], 1),
        (["--from", "99999999999"], 1),
        (["--from", "a", "--set", "n"], 2),
        (["--from", "a", "--set", "=1"], 2),
        (["--from", "a", "--set", "o..n=1"], 2),
        (["--from", "a", "--set", "n.m=1"], 2),
        (["--from", "a", "--set", "l.7=1"], 2),
        (["--from", "a", "--label", "x"], 2),
        ([], 2),
    ],
)
def test_a_fork_that_cannot_be_meant_is_refused(
    cli: Cli, engine: Engine, arguments: list[str], code: int
) -> None:
    run_id = engine.start(chain("a"), {"n": 1, "l": [1]})
    said = cli("runs", "fork", run_id, *arguments)
    assert said.code == code
    assert said.err
    assert engine.value("select count(*) from pgorch.runs") == 1


def test_a_run_moves_to_another_version_after_a_dry_run(cli: Cli, engine: Engine) -> None:
    engine.graph(definition([ASK, "a"], ["ask>a"], name="g"))
    run_id = engine.start("g")
    second = engine.graph(definition([ASK, "b"], ["ask>b"], name="g"))
    engine.graph(chain("c") | {"name": "g"})
    said = cli("runs", "move", run_id, "g@3", "--dry-run")
    assert said.code == 1
    assert said.json["problems"] == ["it is at ask, which version 3 has not"]
    assert cli("runs", "move", run_id, "g@3", "--dry-run", "-o", "table").out == (
        "it is at ask, which version 3 has not\n"
    )
    fits = cli("runs", "move", run_id, "g@2", "--dry-run")
    assert (fits.code, fits.json["problems"], fits.json["moved"]) == (0, [], False)
    assert "(OR002)" in cli("runs", "move", run_id, "g@3").err
    assert cli("runs", "move", run_id, "g@2").json["graph_id"] == second
    assert cli("runs", "show", run_id).json["version"] == 2


def test_an_unknown_run_is_refused_and_what_is_no_id_is_a_mistake_in_the_usage(
    cli: Cli, engine: Engine
) -> None:
    engine.graph(chain("a") | {"name": "g"})
    for verb, more in {"pause": [], "resume": [], "retry": [], "skip": [], "move": ["g"]}.items():
        assert cli("runs", verb, UNKNOWN, *more).code == 1, verb
        assert cli("runs", verb, "the-last-one", *more).code == 2, verb
    assert cli("runs", "fork", UNKNOWN, "--from", "a").code == 1
    assert cli("signal", UNKNOWN, "paid").code == 1


def test_many_runs_are_listed_first_and_steered_only_with_yes(cli: Cli, engine: Engine) -> None:
    engine.graph(chain("a") | {"name": "g"})
    runs = {
        str(cli("run", "g", "-i", f'{{"c": {{"id": {n}}}}}', "--label", "team=x").json["run_id"])
        for n in range(3)
    }
    cli("run", "g", "--label", "team=y")
    listed = cli("runs", "bulk", "cancel", "--graph", "g", "--label", "team=x")
    assert listed.code == 0
    assert {row["run_id"] for row in listed.json} == runs
    table = cli("runs", "bulk", "cancel", "--graph", "g", "--label", "team=x", "-o", "table").out
    assert "nothing has been done yet; do it with --yes" in table
    assert {engine.status(UUID(run_id)) for run_id in runs} == {"running"}
    one = cli("runs", "bulk", "cancel", "--state", "c.id=1", "--reason", "odd", "--yes", "--actor", "ada")
    assert [row["status"] for row in one.json] == ["cancelled"]
    assert engine.history(UUID(one.json[0]["run_id"]))[-1]["actor"] == "ada"
    done = cli("runs", "bulk", "pause", "--label", "team=x", "--limit", 2, "--yes", "-o", "table").out
    assert "2 runs, 0 with a problem: 2 done; there may be more" in done
    none = cli("runs", "bulk", "resume", "--created-before", "2020-01-01", "--yes", "-o", "table").out
    assert none == "No such runs.\n"


def test_failed_runs_are_retried_by_their_error(cli: Cli, engine: Engine) -> None:
    run_id = engine.start(chain("a"))
    engine.run({"a": breaks})
    assert cli("runs", "bulk", "retry", "--error-type", "Other", "--yes").json == []
    assert (
        cli("runs", "bulk", "skip", "--error-type", "Broken", "--step-output", '{"x": 1}', "--yes").code == 0
    )
    assert engine.state(run_id) == {"x": 1}


def test_what_stood_in_the_way_of_one_of_many_is_told(cli: Cli, engine: Engine) -> None:
    engine.graph(definition([ASK, "old"], ["ask>old"], name="g"))
    waits, stands = engine.start("g"), engine.start("g")
    engine.approve(stands)
    engine.graph(definition([ASK, "new"], ["ask>new"], name="g"))
    assert cli("runs", "bulk", "move", "--to", "g").code == 0
    said = cli("runs", "bulk", "move", "--to", "g", "--yes")
    assert said.code == 1
    problems = {row["run_id"]: row["problem"] for row in said.json}
    assert problems[str(waits)] is None
    assert "it is at old" in problems[str(stands)]


def test_a_mistake_never_means_many_runs(cli: Cli, engine: Engine) -> None:
    run_id = engine.start(chain("a") | {"name": "g"})
    assert cli("runs", "bulk", "delete", "--yes").code == 2
    assert cli("runs", "bulk", "cancel", "--grahp", "g", "--yes").code == 2
    assert cli("runs", "bulk", "cancel", "--label", "team", "--yes").code == 2
    for arguments in (
        ["cancel", "--graph", "h"],
        ["cancel", "--graph", ""],
        ["cancel", "--status", "done"],
        ["cancel", "--created-after", "soon"],
        ["pause", "--reason", "x"],
        ["move"],
    ):
        assert cli("runs", "bulk", *arguments, "--yes").code == 1, arguments
    assert engine.status(run_id) == "running"


def test_a_graph_is_deleted_once_and_only_unused(cli: Cli, engine: Engine) -> None:
    engine.graph(chain("a") | {"name": "g"})
    engine.start("g")
    engine.graph(chain("a b") | {"name": "g"})
    assert cli("graphs", "delete", "g@2", "-o", "table").out == "deleted: g@2\n"
    assert "(OR003)" in cli("graphs", "delete", "g@2").err
    said = cli("graphs", "delete", "g")
    assert said.code == 1
    assert "has runs" in said.err
