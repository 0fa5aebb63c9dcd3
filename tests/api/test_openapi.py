"""The description of the API fits the standard, the routes, and what is really answered."""

import base64
import hashlib
import re
from typing import Any

import httpx
import jsonschema  # type: ignore[import-untyped]
from openapi_spec_validator import OpenAPIV31SpecValidator
from starlette.applications import Starlette

from pgorch.api.openapi import problem_kinds
from pgorch.api.page import page
from tests.api.driving import asking, client_of, plain
from tests.support.engine import Engine

METHODS = {"get", "post", "put", "patch", "delete"}


async def test_the_document_is_valid(client: httpx.AsyncClient) -> None:
    document = (await client.get("/openapi.json")).json()
    assert document["openapi"].startswith("3.1")
    assert [error.message for error in OpenAPIV31SpecValidator(document).iter_errors()] == []


async def test_every_route_is_described_and_nothing_else(client: httpx.AsyncClient, app: Starlette) -> None:
    document = (await client.get("/openapi.json")).json()
    described = {
        (method, path) for path, item in document["paths"].items() for method in item if method in METHODS
    }

    # What the router really serves, asked with a method that no path has.
    served = set()
    for route in app.routes:
        path = re.sub(r"\{(\w+):path\}", r"{\1}", getattr(route, "path", ""))
        response = await client.request("TRACE", path)
        served |= {
            (method.lower(), path) for method in response.headers["allow"].split(", ") if method != "HEAD"
        }

    assert described == served
    assert {("get", "/tools"), ("post", "/graph/create"), ("post", "/graph/run")} < described
    assert {("post", "/graph/resume/{run_id}"), ("get", "/graph/state/{run_id}")} < described


async def test_operations_have_distinct_names_and_name_their_problems(
    client: httpx.AsyncClient, app: Starlette
) -> None:
    document = (await client.get("/openapi.json")).json()
    operations = [item[method] for item in document["paths"].values() for method in item]
    names = [operation["operationId"] for operation in operations]
    assert len(names) == len(set(names))
    for endpoint in app.state.endpoints:
        operation = document["paths"][endpoint.path][endpoint.method.lower()]
        assert "500" in operation["responses"]
        assert len(problem_kinds(endpoint)) == len(set(problem_kinds(endpoint)))
        in_path = set(re.findall(r"\{(\w+)\}", endpoint.path))
        assert in_path == {p["name"] for p in operation.get("parameters", []) if p["in"] == "path"}


async def test_answers_are_what_the_document_says(client: httpx.AsyncClient, engine: Engine) -> None:
    document = (await client.get("/openapi.json")).json()
    graph = engine.graph(plain())
    runs = [engine.start(graph, {"x": 1}), engine.start(asking()), engine.start(graph)]
    engine.run({"a": {"y": 2}})
    idle = engine.start(graph, queue="slow")
    engine.cancel(runs[2]) if engine.status(runs[2]) == "running" else None

    async def check(method: str, template: str, path: str, body: Any = None) -> None:
        response = await client.request(method, path, json=body)
        content = document["paths"][template][method.lower()]["responses"][str(response.status_code)][
            "content"
        ]
        schema = content[response.headers["content-type"]]["schema"]
        jsonschema.Draft202012Validator({**schema, "components": document["components"]}).validate(
            response.json()
        )

    for run_id in (*runs, idle):
        await check("GET", "/graph/state/{run_id}", f"/graph/state/{run_id}")
        await check("GET", "/v1/runs/{run_id}/state", f"/v1/runs/{run_id}/state")
    for path in (
        "/tools",
        "/v1/tools",
        "/v1/workers",
        "/v1/queues",
        "/v1/runs",
        "/v1/graphs",
        "/v1/approvals",
    ):
        await check("GET", path, path)
    for path in ("/livez", "/readyz", "/openapi.json"):
        await check("GET", path, path)
    await check("GET", "/v1/graphs/{graph}", f"/v1/graphs/{graph}")
    await check("GET", "/v1/graphs/{graph}", "/v1/graphs/nowhere")
    await check("POST", "/graph/run", "/graph/run", {"graph_id": graph})
    await check("POST", "/v1/runs", "/v1/runs", {"graph_id": graph, "initial_states": [{}, {}]})
    await check("POST", "/v1/runs", "/v1/runs", {"graph_id": graph, "priority": "x"})
    await check("POST", "/graph/create", "/graph/create", plain())
    await check("POST", "/graph/create", "/graph/create", {**plain(), "start_node": "nowhere"})
    await check("POST", "/v1/graphs/validate", "/v1/graphs/validate", {})
    of_approval, approval = (
        "/v1/approvals/{approval_id}",
        f"/v1/approvals/{engine.approvals(runs[1])[0]['id']}",
    )
    for action, body in (("reassign", {"assignees": ["user:ada"]}), ("comment", {"comment": "Why?"})):
        await check("POST", f"{of_approval}/{action}", f"{approval}/{action}", body)
        await check("POST", f"{of_approval}/{action}", f"{approval}/{action}", {})
    await check("GET", of_approval, approval)
    await check("GET", "/v1/approvals", "/v1/approvals")
    await check("POST", "/graph/resume/{run_id}", f"/graph/resume/{runs[1]}")
    await check("POST", "/graph/resume/{run_id}", f"/graph/resume/{runs[1]}")
    await check("GET", of_approval, approval)
    await check("POST", "/v1/runs/{run_id}/cancel", f"/v1/runs/{idle}/cancel", {"reason": "x"})


async def test_the_types_of_nodes_are_those_of_the_engine(client: httpx.AsyncClient, engine: Engine) -> None:
    document = (await client.get("/openapi.json")).json()
    body = document["paths"]["/graph/create"]["post"]["requestBody"]["content"]["application/json"]["schema"]
    while "$ref" in body:
        body = document["components"]["schemas"][body["$ref"].rpartition("/")[2]]
    described = body["properties"]["nodes"]["items"]["properties"]["type"]["enum"]
    check = engine.value(
        "select pg_get_constraintdef(oid) from pg_constraint"
        " where conrelid = 'pgorch.nodes'::regclass and conname = 'nodes_type_check'"
    )
    assert set(described) == set(re.findall(r"'(\w+)'::text", check))


async def test_the_page_for_people_shows_every_operation_and_runs_nothing(app: Starlette) -> None:
    async with client_of(app) as stranger:
        answer = await stranger.get("/docs")
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/html")
    for endpoint in app.state.endpoints:
        assert f"<code>{endpoint.method} {endpoint.path}</code>" in answer.text
    assert "<script" not in answer.text
    assert re.findall(r'(?:href|src)="(?!#|openapi\.json")', answer.text) == []
    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    style = re.search("<style>(.*)</style>", answer.text)
    assert style is not None
    digest = base64.b64encode(hashlib.sha256(style[1].encode()).digest()).decode()
    assert f"style-src 'sha256-{digest}'" in policy


def test_what_a_description_holds_is_text_on_the_page() -> None:
    hostile = {"summary": "<script>", "tags": ["<b>"], "security": [], "responses": {}}
    shown = page(
        {
            "info": {"title": "<i>", "version": "1", "summary": "s"},
            "paths": {"/<x>": {"get": hostile}},
            "components": {"schemas": {"<a>": {"enum": ["<img>"]}}},
        }
    )
    assert re.findall("<(?:script|b|i|x|img|a)>", shown) == []
