from tests.cli.conftest import Cli
from tests.support.engine import Engine, definition


def asking(engine: Engine) -> str:
    ask = {"id": "ask", "type": "approval", "title": "Pay ${$.amount}?"}
    graph = definition([ask, "pay", "no"], ["ask>pay", ("ask>no", {"on": "rejected"})])
    return str(engine.start(graph, {"amount": 5}))


def test_what_waits_is_listed_with_its_question(cli: Cli, engine: Engine) -> None:
    run_id = asking(engine)
    rows = cli("approvals", "list").json
    assert [(row["run_id"], row["node"], row["title"]) for row in rows] == [(run_id, "ask", "Pay 5?")]
    assert "Pay 5?" in cli("approvals", "list", "-o", "table").out
    assert cli("approvals", "list", "--graph", "another").json == []


def test_approving_lets_the_run_go_on_with_the_data(cli: Cli, engine: Engine) -> None:
    run_id = asking(engine)
    said = cli("approvals", "approve", run_id, "--data", '{"limit": 10}', "--comment", "fine")
    assert said.code == 0
    assert said.json["decision"] == "approved"
    assert engine.worker.claim_one().node == "pay"
    decision = cli("runs", "events", run_id).json[-1]["output"]
    assert (decision["data"], decision["comment"]) == ({"limit": 10}, "fine")


def test_rejecting_takes_the_other_path(cli: Cli, engine: Engine) -> None:
    run_id = asking(engine)
    assert cli("approvals", "reject", run_id).json["decision"] == "rejected"
    assert engine.worker.claim_one().node == "no"


def test_a_second_decision_is_refused_in_three_lines(cli: Cli, engine: Engine) -> None:
    run_id = asking(engine)
    approval_id = cli("approvals", "list").json[0]["approval_id"]
    cli("approvals", "approve", run_id, "--approval", approval_id, "--actor", "maria")
    said = cli("approvals", "reject", run_id, "--approval", approval_id)
    assert said.code == 1
    what, why, following = said.err.splitlines()
    assert what == "pgorch: not possible now (OR002)"
    assert "approved by maria" in why
    assert following.startswith("  next: ")


def test_a_run_that_asks_nothing_cannot_be_approved(cli: Cli, engine: Engine) -> None:
    run_id = engine.start(definition("a"))
    assert cli("approvals", "approve", run_id).code == 1
