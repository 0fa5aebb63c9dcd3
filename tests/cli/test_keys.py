"""Keys from the command line, and the server that asks for them."""

import json
import re
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import Any

import pytest
from psycopg import Connection
from psycopg.rows import DictRow

from tests.cli.conftest import Cli
from tests.support.races import wait_until

KEY = re.compile(r"pgo_([0-9a-f]{12})_[A-Za-z0-9_-]{43}")


def test_a_key_is_made_and_shown_this_once(cli: Cli, connection: Connection[DictRow]) -> None:
    said = cli("keys", "create", "ada", "--role", "operator", "--role", "finance", "--expires", "12h")
    assert said.code == 0
    match = KEY.fullmatch(said.json["key"])
    assert match is not None
    assert said.json["id"] == match[1]
    assert (said.json["principal"], said.json["roles"]) == ("ada", ["operator", "finance"])
    [listed] = cli("keys", "list").json
    assert (listed["id"], listed["principal"], listed["roles"]) == (match[1], "ada", ["operator", "finance"])
    span = datetime.fromisoformat(listed["expires_at"]) - datetime.fromisoformat(listed["created_at"])
    assert span == timedelta(hours=12)
    assert said.json["key"][-43:] not in cli("keys", "list", "--all").out
    assert not any("hash" in name for name in listed)


def test_for_people_the_key_stands_in_a_line_with_what_to_do_with_it(cli: Cli) -> None:
    said = cli("keys", "create", "ada", "--role", "admin", "-o", "table")
    assert KEY.fullmatch(said.out.splitlines()[0].removeprefix("key").strip())
    assert "not shown again" in said.err
    assert "Authorization: Bearer" in said.err


def test_a_key_works_for_90_days_unless_said_otherwise(cli: Cli) -> None:
    cli("keys", "create", "ada", "--role", "admin")
    cli("keys", "create", "robot", "--role", "admin", "--expires", "never")
    robot, ada = cli("keys", "list").json
    assert robot["expires_at"] is None
    span = datetime.fromisoformat(ada["expires_at"]) - datetime.fromisoformat(ada["created_at"])
    assert span == timedelta(days=90)


def test_the_list_has_the_keys_that_work_unless_all_are_asked_for(
    cli: Cli, connection: Connection[DictRow]
) -> None:
    assert cli("keys", "list", "-o", "table").out == (
        "No keys. Make one with: pgorch keys create NAME --role admin\n"
    )
    ids = {name: cli("keys", "create", name, "--role", "viewer").json["id"] for name in ("a", "b", "c")}
    assert cli("keys", "revoke", ids["a"]).code == 0
    connection.execute("update pgorch.api_keys set expires_at = now() where id = %s", [ids["b"]])
    assert [row["principal"] for row in cli("keys", "list").json] == ["c"]
    statuses = {row["principal"]: row["status"] for row in cli("keys", "list", "--all").json}
    assert statuses == {"a": "revoked", "b": "expired", "c": "valid"}
    table = cli("keys", "list", "--all", "-o", "table").out
    assert all(key_id in table for key_id in ids.values())


def test_a_key_is_revoked_by_its_id_or_as_a_whole_as_often_as_one_likes(cli: Cli) -> None:
    made = cli("keys", "create", "ada", "--role", "viewer").json
    first = cli("keys", "revoke", made["key"])
    again = cli("keys", "revoke", made["id"])
    assert (first.code, again.code) == (0, 0)
    assert first.json == again.json
    assert first.json["revoked_at"]
    assert cli("keys", "revoke", made["id"], "-o", "table").out.startswith("revoked since ")
    assert cli("keys", "list").json == []


def test_what_is_no_key_cannot_be_revoked_and_is_not_repeated(cli: Cli) -> None:
    said = cli("keys", "revoke", "pgo_0123456789ab_" + "s" * 43)
    assert said.code == 1
    assert "(OR003)" in said.err
    assert "sss" not in said.err
    assert cli("keys", "revoke", "ada").code == 1


@pytest.mark.parametrize(
    ("arguments", "code", "text"),
    [
        (["ada"], 2, "--role"),
        (["--role", "admin"], 2, "PRINCIPAL"),
        (["ada", "--role", "oprator"], 1, "viewer, operator, approver and admin"),
        (["", "--role", "admin"], 1, "a principal has a name"),
        (["ada", "--role", "admin", "--expires", "soon"], 1, "interval"),
        (["ada", "--role", "admin", "--expires", "-1d"], 1, "more than no time"),
    ],
)
def test_what_makes_no_key_is_refused(cli: Cli, arguments: list[str], code: int, text: str) -> None:
    said = cli("keys", "create", *arguments)
    assert said.code == code
    assert text in said.err
    assert cli("keys", "list", "--all").json == []


class Serving:
    """`pgorch serve` as a process."""

    def __init__(self, process: subprocess.Popen[str], port: int) -> None:
        self.process, self._port = process, port

    def get(self, path: str, key: str | None = None) -> tuple[int, Any]:
        headers = {"authorization": f"Bearer {key}"} if key else {}
        request = urllib.request.Request(f"http://127.0.0.1:{self._port}{path}", headers=headers)
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                return answer.status, json.load(answer)
        except urllib.error.HTTPError as error:
            return error.code, json.load(error)

    def answers(self) -> bool:
        assert self.process.poll() is None, "the server ended"
        try:
            return self.get("/livez")[0] == 200
        except urllib.error.URLError:
            return False

    def logged(self) -> str:
        """What it has said, after it was ended."""
        self.process.terminate()
        assert self.process.stderr is not None
        said = self.process.stderr.read()
        assert self.process.wait(30) == 0
        return said


@contextmanager
def serving(environment: dict[str, str], *options: str) -> Iterator[Serving]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    command = [sys.executable, "-m", "pgorch", "serve", "--port", str(port), *options]
    with subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True) as process:
        try:
            server = Serving(process, port)
            wait_until(server.answers)
            yield server
        finally:
            process.kill()


def test_a_server_without_keys_starts_refuses_says_how_to_make_one_and_takes_it(
    cli: Cli, environment: dict[str, str]
) -> None:
    with serving(environment, "--quiet") as server:
        assert server.get("/readyz")[0] == 200
        status, problem = server.get("/v1/runs")
        assert status == 401
        assert "pgorch keys create" in problem["hint"]
        made = cli("keys", "create", "ada", "--role", "admin").json
        assert server.get("/v1/runs", made["key"]) == (200, {"runs": [], "next_cursor": None})
        said = server.logged()
    assert "pgorch keys create NAME --role admin" in said
    assert made["key"][-43:] not in said


def test_a_server_asks_for_no_keys_if_told_so_and_says_it(environment: dict[str, str]) -> None:
    with serving(environment, "--no-auth") as server:
        assert server.get("/v1/runs")[0] == 200
        assert "asks for no keys" in server.logged()


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "example.com"])
def test_no_auth_is_refused_where_others_can_reach_the_server(cli: Cli, host: str) -> None:
    said = cli("serve", "--no-auth", "--host", host)
    assert said.code == 2
    assert "loopback" in said.err
    assert "pgorch keys create" in said.err
