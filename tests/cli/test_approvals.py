from uuid import UUID

from tests.cli.conftest import Cli
from tests.people.conftest import People
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


def signing(people: People) -> str:
    node = {"id": "sign", "type": "approval", "title": "Sign?", "assignees": ["role:finance", "user:ann"]}
    graph = definition([node | {"quorum": 2, "deadline": "1 day"}], name="signing")
    return str(people.ask(graph))


def test_an_approval_is_named_by_its_own_id_as_well(cli: Cli, engine: Engine) -> None:
    run_id = asking(engine)
    approval_id = cli("approvals", "list").json[0]["approval_id"]
    said = cli("approvals", "approve", approval_id)
    assert (said.json["run_id"], said.json["status"]) == (run_id, "approved")


def test_several_sign_and_each_is_told_how_many_are_missing(cli: Cli, engine: Engine) -> None:
    run_id = signing(People(engine))
    said = cli("approvals", "approve", run_id, "--actor", "ann", "-o", "table")
    assert "1 of 2" in said.out
    shown = cli("approvals", "show", cli("approvals", "list").json[0]["approval_id"]).json
    assert [vote["by"] for vote in shown["votes"]] == ["ann"]
    assert cli("approvals", "approve", run_id, "--actor", "bob").code == 1
    said = cli("approvals", "approve", run_id, "--actor", "bob", "--role", "finance")
    assert said.json["status"] == "approved"
    assert engine.status(UUID(run_id)) == "completed"


def test_the_inbox_is_filtered(cli: Cli, engine: Engine) -> None:
    def nodes(*options: str) -> list[str]:
        return [row["node"] for row in cli("approvals", "list", *options).json]

    asking(engine)
    signing(People(engine))
    assert nodes() == ["ask", "sign"]
    assert nodes("--mine") == ["ask"]
    assert nodes("--assignee", "user:ann") == ["sign"]
    assert nodes("--overdue") == []
    engine.jump("1 day")
    assert nodes("--overdue") == ["sign"]


def test_an_approval_is_passed_on_and_commented(cli: Cli, engine: Engine) -> None:
    signing(People(engine))
    approval_id = cli("approvals", "list").json[0]["approval_id"]
    assert cli("approvals", "reassign", approval_id, "user:eve", "role:cfo", "--comment", "away").code == 0
    assert cli("approvals", "comment", approval_id, "Which one?", "--actor", "eve").code == 0
    shown = cli("approvals", "show", approval_id, "-o", "table").out
    assert "user:eve, role:cfo" in shown
    assert "Which one?" in shown
    assert cli("approvals", "reassign", approval_id, "eve").code == 1
