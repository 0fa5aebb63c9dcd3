"""What looks like SQL, a path or a format is a name or a value, wherever it is given; never anything more."""

from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import quote

import httpx
import pytest
from psycopg import Connection
from psycopg.rows import DictRow

from pgorch.api.app import create_app
from tests.api.driving import client_of, make_key, plain
from tests.support.engine import Engine

INJECTIONS = (
    "'; drop table pgorch.runs; --", "' or '1'='1", '") or true --', "x' union select 1",
    "a}'}', true)) or (('{b", "{a,b}", "a.b'.c", 'a"."b', "$.** ? (1 == 1)", "%s", "%(limit)s", "%%",
    "{0.__class__}", "\\", "\\'; select 1; --", "pg_catalog.pg_shadow", "$1", "/*", "null", "(select 1)",
    "\u2019; drop", "../..", "x desc; --", "1; select pg_sleep(9)",
)  # fmt: skip


@pytest.fixture
async def client(database: str) -> AsyncIterator[httpx.AsyncClient]:
    app = create_app(database)
    async with app.router.lifespan_context(app), client_of(app, make_key(database)) as client:
        yield client


def rows(connection: Connection[DictRow]) -> Any:
    names = [
        row["relname"]
        for row in connection.execute(
            "select relname from pg_class where relnamespace = 'pgorch'::regnamespace"
            " and relkind in ('r', 'p') and not relispartition order by 1"
        )
    ]
    counted = ("runs", "graphs", "tools", "steps", "history", "approvals")
    return names, [
        connection.execute(f"select count(*) from pgorch.{n}".encode()).fetchone() for n in counted
    ]


async def test_filters_find_by_value_and_nothing_else(
    client: httpx.AsyncClient, engine: Engine, connection: Connection[DictRow]
) -> None:
    graph = engine.graph(plain())
    for n in range(3):
        engine.start(graph, {"x": str(n)})
    before = rows(connection)
    for text in INJECTIONS:
        for path, name in (
            ("/v1/runs", f"state.{text}"), ("/v1/runs", f"label.{text}"), ("/v1/runs", text),
            ("/v1/graphs", "name"), ("/v1/runs", "graph"), ("/v1/runs", "status"), ("/v1/runs", "limit"),
            ("/v1/runs", "cursor"), ("/v1/schedules", "cursor"), ("/v1/graphs", "cursor"),
            ("/v1/approvals", "assignee"),
            ("/v1/approvals", "graph"), ("/v1/runs", "state.x"), ("/v1/runs", "label.x"),
        ):  # fmt: skip
            response = await client.get(path, params={name: text})
            assert response.status_code in (200, 404, 422), (path, name, text, response.text)
            if response.status_code == 200:
                # Nothing has such a value, so nothing is found.
                found = [v for k, v in response.json().items() if isinstance(v, list)]
                assert found == [[]], (path, name, text)
    assert rows(connection) == before


async def test_names_are_names(
    client: httpx.AsyncClient, engine: Engine, connection: Connection[DictRow]
) -> None:
    graph = engine.graph(plain())
    run_id = engine.start(graph, {"x": 1})
    for text in INJECTIONS:
        queued = await client.post(
            "/v1/runs", json={"graph_id": graph, "queue": text, "labels": {text: text}}
        )
        assert queued.status_code in (201, 422), (text, queued.text)
        if queued.status_code == 201:
            shown = (await client.get(f"/v1/runs/{queued.json()['run_id']}")).json()
            assert (shown["queue"], shown["labels"]) == (text, {text: text})
            found = await client.get("/v1/runs", params={f"label.{text}": text})
            if found.status_code == 200:
                assert [run["run_id"] for run in found.json()["runs"]] == [queued.json()["run_id"]], text
        segment = quote(text, safe="")
        for method, path, body in (
            ("PUT", f"/v1/limits/queue/{segment}", {"concurrency": 1}),
            ("DELETE", f"/v1/limits/queue/{segment}", None),
            ("PUT", f"/v1/schedules/{segment}", {"graph": graph, "cron": "0 3 * * *", "time_zone": text}),
            ("PUT", f"/v1/schedules/{segment}", {"graph": graph, "cron": text}),
            ("GET", f"/v1/schedules/{segment}", None),
            ("GET", f"/v1/hooks/{segment}", None),
            ("GET", f"/v1/graphs/{segment}", None),
            ("GET", f"/v1/runs/{run_id}/explain/{segment}", None),
            ("GET", f"/v1/runs/{segment}", None),
            ("POST", f"/v1/runs/{run_id}/signals", {"name": text, "payload": text}),
            ("PUT", "/v1/retention", {"keep": text}),
            ("POST", "/v1/runs/bulk", {"action": "cancel", "filter": {"graph": text, "error_type": text}}),
            ("POST", "/v1/runs/bulk", {"action": "cancel", "filter": {"created_before": text}}),
            ("POST", "/v1/runs/bulk", {"action": "cancel", "filter": {"labels": {text: text}}}),
        ):
            response = await client.request(method, path, json=body)
            assert response.status_code in (200, 201, 404, 405, 409, 422), (method, path, body, response.text)
        row = {"id": "a", "type": "wait", "row": {"table": text, "key": text, "key_column": text}}
        tried = await client.post("/graph/create", json={"nodes": [row], "edges": [], "start_node": "a"})
        assert tried.status_code == 422, (text, tried.text)
    names, _ = rows(connection)
    assert "runs" in names
    assert "api_keys" in names
    assert engine.status(run_id) == "running"
