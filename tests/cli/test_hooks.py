"""Hooks from the command line."""

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from psycopg import Connection
from psycopg.rows import DictRow

from pgorch.tool import Registry
from pgorch.worker import Worker
from pgorch.worker.identity import Timing
from tests.cli.conftest import Cli
from tests.support.receiver import OTHER_SECRET, SECRET, receiving

URL = "https://hooks.example/a"
KINDS = ("--kind", "run_completed", "--kind", "run_failed")
SECRETS = "select s.secrets from pgorch._hook_secrets s"


def secrets(connection: Connection[DictRow]) -> list[str]:
    row = connection.execute(SECRETS).fetchone()
    assert row is not None
    found: list[str] = row["secrets"]
    return found


def test_a_secret_is_made_and_shown_this_once(cli: Cli, connection: Connection[DictRow]) -> None:
    said = cli("hooks", "create", "shop", URL, *KINDS, "--graph", "mine")
    assert said.code == 0
    assert secrets(connection) == [said.json["secret"]]
    assert "not shown again" in said.err
    assert (said.json["kinds"], said.json["graph"]) == (["run_completed", "run_failed"], "mine")
    for words in (("list",), ("show", "shop"), ("pause", "shop"), ("resume", "shop"), ("deliveries", "shop")):
        assert said.json["secret"][6:] not in cli("hooks", *words).out
        assert cli("hooks", *words, "-o", "table").code == 0


def test_a_secret_that_one_has_is_read_from_a_file_or_stdin_and_not_shown(
    cli: Cli, connection: Connection[DictRow], tmp_path: Path
) -> None:
    file = tmp_path / "secret"
    file.write_text(SECRET + "\n")
    said = cli("hooks", "create", "shop", URL, *KINDS, "--secret-file", file)
    assert secrets(connection) == [SECRET]
    said_too = cli("hooks", "rotate", "shop", "--secret-file", "-", stdin=OTHER_SECRET)
    assert secrets(connection) == [OTHER_SECRET, SECRET]
    ended = cli("hooks", "rotate", "shop", "--end-old", "-o", "table")
    assert secrets(connection) == [OTHER_SECRET]
    assert "whsec_" not in said.out + said.err + said_too.out + said_too.err + ended.out + ended.err
    made = cli("hooks", "rotate", "shop")
    assert secrets(connection) == [made.json["secret"], OTHER_SECRET]


def test_a_hook_is_paused_resumed_changed_and_deleted(cli: Cli) -> None:
    cli("hooks", "create", "shop", URL, *KINDS)
    assert cli("hooks", "pause", "shop").json["status"] == "paused"
    assert cli("hooks", "resume", "shop").json["status"] == "active"
    changed = cli("hooks", "update", "shop", "--url", "https://new.example", "--kind", "run_failed").json
    assert (changed["url"], changed["kinds"]) == ("https://new.example", ["run_failed"])
    assert cli("hooks", "delete", changed["hook_id"], "-o", "table").out.startswith("deleted")
    assert cli("hooks", "list", "-o", "table").out.startswith("No hooks.")


@pytest.mark.parametrize(
    "verb", ["show", "update", "rotate", "pause", "resume", "delete", "deliveries", "test"]
)
def test_a_hook_that_is_not_there_is_told_with_what_to_do(cli: Cli, verb: str) -> None:
    said = cli("hooks", verb, "nowhere")
    assert said.code == 1
    assert "there is no hook 'nowhere'" in said.err
    assert "next:" in said.err


def test_what_is_refused_says_why(cli: Cli) -> None:
    said = cli("hooks", "create", "shop", "http://hooks.example", *KINDS)
    assert said.code == 1
    assert "use https" in said.err


@contextmanager
def working(dsn: str) -> Iterator[None]:
    """A worker in a thread."""
    worker = Worker(dsn, Registry(), timing=Timing(beat=0.1, hook_poll=0.05, stall_exit=None))
    thread = threading.Thread(target=lambda: asyncio.run(worker.run()))
    thread.start()
    try:
        yield
    finally:
        worker.drain()
        thread.join(30)
        assert not thread.is_alive()


def test_a_test_message_tells_what_came_of_it(cli: Cli, database: str) -> None:
    with receiving() as receiver:
        cli("hooks", "create", "shop", receiver.url, *KINDS, "--allow-private")
        nobody = cli("hooks", "test", "shop", "--timeout", "0")
        assert nobody.code == 4
        assert "nobody has delivered it" in nobody.err
        with working(database):
            taken = cli("hooks", "test", "shop", "-o", "table")
            assert (taken.code, taken.out) == (0, "delivered: 204\n")
            receiver.status = 500
            refused = cli("hooks", "test", "shop")
        assert refused.code == 1
        assert "500" in refused.err
        rows = cli("hooks", "deliveries", "shop").json
    assert [row["last_answer"] for row in rows] == ["500", "204", "204"]


def test_what_was_given_up_is_sent_again(cli: Cli, connection: Connection[DictRow]) -> None:
    cli("hooks", "create", "shop", URL, *KINDS)
    row = connection.execute("select pgorch.test_hook('shop') as id").fetchone()
    assert row is not None
    connection.execute("update pgorch.hook_deliveries set status = 'dead', next_at = null, ended_at = now()")
    assert cli("hooks", "resend", row["id"]).json == {"delivery_id": str(row["id"])}
    assert cli("hooks", "deliveries", "shop").json[0]["status"] == "pending"
    assert cli("hooks", "resend", row["id"]).code == 1
