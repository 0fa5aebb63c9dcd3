"""Errors look the same wherever they come from, and tell nothing that is nobody's business."""

import logging

import httpx
import pytest
from starlette.applications import Starlette

from pgorch.api.app import create_app
from tests.api.driving import asking, assert_problem, client_of, plain
from tests.support.engine import Engine
from tests.support.fixtures import database

# Functions of pgorch are replaced here, so no database is shared.
__all__ = ["database"]


async def test_unknown_paths_and_methods_are_problems(client: httpx.AsyncClient) -> None:
    for path in (
        "/",
        "/graph",
        "/graph/state",
        "/v1/",
        "/v1/runs/",
        "/graph/run/",
        "/doc",
        "/%ff",
        "/a" * 500,
    ):
        assert_problem(await client.get(path), 404, "not-found")
    for method in ("GET", "PUT", "DELETE", "PATCH", "HEAD", "OPTIONS"):
        response = await client.request(method, "/graph/run")
        assert response.status_code == 405
        assert response.headers["allow"] == "POST"
    problem = assert_problem(await client.get("/graph/create"), 405, "method-not-allowed")
    assert "POST" in problem["hint"]
    wrong = await client.delete("/v1/runs")
    assert wrong.headers["allow"] == "GET, HEAD, POST"


async def test_head_is_answered_like_get(client: httpx.AsyncClient) -> None:
    assert (await client.head("/livez")).status_code == 200
    assert (await client.head("/v1/runs")).status_code == 200


async def test_every_answer_has_the_security_headers(client: httpx.AsyncClient, engine: Engine) -> None:
    run_id = engine.start(plain())
    engine.run()
    answers = [
        await client.get("/livez"),
        await client.get("/nowhere"),
        await client.post("/livez"),
        await client.post("/graph/run", content=b"x"),
        await client.get(f"/v1/runs/{run_id}/events"),
        await client.post(f"/v1/runs/{run_id}/cancel", headers={"sec-fetch-site": "cross-site"}),
    ]
    for response in answers:
        assert response.headers["x-content-type-options"] == "nosniff"
        assert response.headers["cache-control"] == "no-store"
        assert response.headers["content-security-policy"] == "default-src 'none'; frame-ancestors 'none'"
        assert response.headers["referrer-policy"] == "no-referrer"


async def test_an_unexpected_error_tells_an_id_that_the_log_has(
    client: httpx.AsyncClient, engine: Engine, caplog: pytest.LogCaptureFixture
) -> None:
    run_id = engine.start(plain())
    engine.connection.execute(
        "create or replace function pgorch.cancel(p_run_id uuid, p_reason text default null,"
        " p_actor text default null, p_compensate boolean default false) returns text language plpgsql"
        " as $$ begin raise exception 'secret of the house'; end $$"
    )

    with caplog.at_level(logging.ERROR):
        response = await client.post(f"/v1/runs/{run_id}/cancel")

    problem = assert_problem(response, 500, "internal-error")
    assert "secret" not in response.text
    assert problem["instance"].startswith("urn:uuid:")
    assert problem["instance"] in caplog.text
    assert "secret of the house" in caplog.text
    # And the next request is served.
    assert (await client.get(f"/v1/runs/{run_id}")).status_code == 200


async def test_pages_of_other_sites_may_not_change_anything(
    client: httpx.AsyncClient, engine: Engine
) -> None:
    run_id = engine.start(asking())
    engine.run()
    path = f"/graph/resume/{run_id}"

    for site in ("cross-site", "same-site"):
        response = await client.post(path, headers={"sec-fetch-site": site})
        assert_problem(response, 403, "not-allowed")
    assert engine.status(run_id) == "awaiting_approval"
    assert (await client.get("/livez", headers={"sec-fetch-site": "cross-site"})).status_code == 200
    assert (await client.post(path, headers={"sec-fetch-site": "same-origin"})).status_code == 200


async def test_other_host_names_are_refused_where_hosts_are_named(database: str) -> None:
    app: Starlette = create_app(database, allowed_hosts=["localhost", "[::1]"])
    async with client_of(app) as client:
        for host in ("localhost", "localhost:8000", "LOCALHOST:1", "[::1]", "[::1]:8000"):
            assert (await client.get("/livez", headers={"host": host})).status_code == 200
        for host in ("evil.example", "localhost.evil.example", "evil.example:8000", "", "::1"):
            response = await client.get("/livez", headers={"host": host})
            assert_problem(response, 421, "misdirected")
