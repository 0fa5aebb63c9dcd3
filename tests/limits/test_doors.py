"""Limits from Python, over HTTP and on the command line."""

from datetime import timedelta
from typing import Any

import httpx
import jsonschema  # type: ignore[import-untyped]
import psycopg
import pytest
from psycopg.rows import DictRow

from pgorch.client import AsyncClient, Client
from pgorch.errors import InvalidValue, NotFound
from tests.api.conftest import app, client, key
from tests.api.driving import assert_problem
from tests.cli.conftest import Cli, cli, nowhere
from tests.limits.limiting import claim, keyed, start
from tests.support.engine import Engine

__all__ = ["app", "cli", "client", "key", "nowhere"]


@pytest.fixture
def engine(connection: psycopg.Connection[DictRow]) -> Engine:
    """With one step under way of three with the key ann, one at a time."""
    engine = Engine(connection)
    start(engine, keyed(engine, 1), ["ann"] * 3)
    assert len(claim(engine.worker)) == 1
    return engine


def test_a_client_sets_and_drops_limits(engine: Engine, database: str) -> None:
    with Client(database) as client:
        limit = client.set_limit("queue", "mail", concurrency=3, rate=600, per="1 minute", actor="ada")
        assert limit == ("queue", "mail", 3, 600, timedelta(minutes=1), 1)
        assert client.set_limit("tool", "a", rate=5, per=timedelta(seconds=1), burst=9).burst == 9
        assert [
            r["set_by"] for r in engine.rows("select set_by from pgorch.limits where kind = 'queue'")
        ] == ["ada"]
        client.drop_limit("queue", "mail", actor="bob")
        with pytest.raises(NotFound, match='there is no limit of queue "mail"'):
            client.drop_limit("queue", "mail")
        with pytest.raises(NotFound, match='there is no tool "b"'):
            client.set_limit("tool", "b", concurrency=1)
        with pytest.raises(InvalidValue, match="limits nothing"):
            client.set_limit("queue", "mail")
        with pytest.raises(InvalidValue, match="interval"):
            client.set_limit("queue", "mail", rate=1, per="a while")
    audited = engine.rows("select actor, action, before, after from pgorch.audit order by at")
    assert [(r["actor"], r["action"]) for r in audited][::2] == [("ada", "set_limit"), ("bob", "drop_limit")]
    assert audited[0]["after"]["concurrency"] == audited[2]["before"]["concurrency"] == 3


async def test_the_async_client_does_the_same(engine: Engine, database: str) -> None:
    async with AsyncClient(database) as client:
        assert (await client.set_limit("tool", "a", concurrency=0)).concurrency == 0
        await client.drop_limit("tool", "a")
    assert engine.rows("select * from pgorch.limits") == []


async def test_a_limit_over_http(client: httpx.AsyncClient, engine: Engine) -> None:
    url = "/v1/limits/tool/a"
    body = {"concurrency": 4, "rate": 60, "per": "1 minute"}
    kept = {"kind": "tool", "name": "a", "concurrency": 4, "rate": 60, "per_seconds": 60.0, "burst": 1}
    put = await client.put(url, json=body)
    assert (put.status_code, put.json()) == (200, kept)
    [limit] = (await client.get("/v1/limits")).json()["limits"]
    assert kept.items() <= limit.items()
    assert (limit["under_way"], limit["may_begin"], limit["set_by"]) == (1, len(engine.buckets), "ada")
    [key] = (await client.get("/v1/limits/keys")).json()["keys"]
    assert (key["node"], key["key"], key["under_way"], key["waiting"]) == ("a", "ann", 1, 2)
    assert (await client.delete(url)).json() == {"kind": "tool", "name": "a", "dropped": True}
    assert (await client.get("/v1/limits")).json() == {"limits": []}
    assert_problem(await client.delete(url), 404, "not-found")


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("queue/mail", {}, 422),
        ("queue/mail", {"concurrency": -1}, 422),
        ("queue/mail", {"concurrency": "3"}, 422),
        ("queue/mail", {"concurrency": 3, "rte": 1}, 422),
        ("queue/mail", {"rate": 1}, 422),
        ("queue/mail", {"rate": 1, "per": "a while"}, 422),
        ("queue/mail", {"rate": 10**12, "per": "1 minute"}, 422),
        ("queue/!x", {"concurrency": 1}, 422),
        ("tool/nobody", {"concurrency": 1}, 404),
        ("graph/a", {"concurrency": 1}, 404),
    ],
)
async def test_what_is_no_limit_is_refused_over_http(
    client: httpx.AsyncClient, engine: Engine, path: str, body: dict[str, Any], status: int
) -> None:
    refused = await client.put(f"/v1/limits/{path}", json=body)
    assert_problem(refused, status, "invalid-value" if status == 422 else "not-found")
    assert (await client.get("/v1/limits")).json() == {"limits": []}


async def test_answers_are_what_openapi_says(client: httpx.AsyncClient, engine: Engine) -> None:
    document = (await client.get("/openapi.json")).json()
    for method, path, body in (
        ("PUT", "/v1/limits/tool/a", {"concurrency": 4}),
        ("GET", "/v1/limits", None),
        ("GET", "/v1/limits/keys", None),
        ("DELETE", "/v1/limits/tool/a", None),
    ):
        answer = await client.request(method, path, json=body)
        named = path.replace("tool/a", "{kind}/{name}")
        content = document["paths"][named][method.lower()]["responses"]["200"]["content"]
        schema = content["application/json"]["schema"] | {"components": document["components"]}
        jsonschema.validate(answer.json(), schema)


def test_limits_on_the_command_line(engine: Engine, cli: Cli) -> None:
    set_ = ("limits", "set", "queue", "default")
    assert cli("limits", "list", "-o", "table").out.startswith("No limits. Set one with")
    said = cli(*set_, "--concurrency", "2", "--rate", "100", "--per", "1 minute", "-o", "table")
    assert (said.code, said.out) == (
        0,
        "set: queue default. See what is used of it with: pgorch limits list\n",
    )
    assert cli(*set_, "--concurrency", "2", "--rate", "100", "--per", "1 minute").json["per"] == 60
    [row] = cli("limits", "list").json
    assert (row["concurrency"], row["under_way"], row["rate"], row["per"]) == (2, 1, 100, 60)
    assert "default" in cli("limits", "list", "-o", "table").out
    [key] = cli("limits", "keys").json
    assert (key["key"], key["waiting"]) == ("ann", 2)
    assert cli("limits", "drop", "queue", "default", "-o", "table").out == (
        "dropped: the limit of queue default\n"
    )
    assert cli("limits", "list").json == []


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (["set", "queue", "mail"], "limits nothing"),
        (["set", "tool", "nobody", "--concurrency", "1"], 'there is no tool "nobody"'),
        (["set", "queue", "mail", "--rate", "1", "--per", "a while"], "interval"),
        (["set", "graph", "mail", "--concurrency", "1"], "graph"),
        (["drop", "queue", "mail"], "there is no limit of queue"),
    ],
)
def test_what_is_no_limit_is_refused_on_the_command_line(
    engine: Engine, cli: Cli, arguments: list[str], why: str
) -> None:
    said = cli("limits", *arguments)
    assert said.code != 0
    assert why in said.err
