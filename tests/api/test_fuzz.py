"""Whatever is sent, the answer is never an error of the server."""

import asyncio
import json
import re
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import httpx
import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from psycopg import Connection
from psycopg.rows import DictRow

from pgorch.api.app import create_app
from pgorch.api.openapi import document
from pgorch.api.routes import ENDPOINTS
from tests.api.driving import asking, client_of, make_key
from tests.support.engine import Engine

JSON_HEADERS = {"content-type": "application/json"}
BOUNDED = settings(
    max_examples=50,
    derandomize=True,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
TEXT = st.text(max_size=12) | st.sampled_from(["\0", "$.a", "a@1", "@", "approved", "5 seconds", "x" * 300])
SCALAR = st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats() | TEXT
JSON = st.recursive(
    SCALAR,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=12,
)
RUN = st.dictionaries(
    st.sampled_from(
        ["graph_id", "graph", "initial_state", "initial_states", "idempotency_key", "priority", "queue", "x"]
    ),
    JSON | st.just("GRAPH"),
    max_size=5,
)
NAME = st.sampled_from(["a", "b", "c", ""]) | TEXT
NODE = st.dictionaries(
    st.sampled_from(
        ["id", "type", "function", "input", "into", "retry", "timeout", "title", "show", "queue"]
    ),
    JSON | NAME | st.sampled_from(["task", "approval", "pass", "fail"]),
    max_size=5,
)
EDGE = st.dictionaries(
    st.sampled_from(["source", "target", "condition", "limit", "on", "id", "else"]), JSON | NAME, max_size=4
)
GRAPH = st.fixed_dictionaries(
    {},
    optional={
        "name": JSON,
        "nodes": st.lists(NODE, max_size=4) | JSON,
        "edges": st.lists(EDGE, max_size=4) | JSON,
        "start_node": NAME | JSON,
        "retry": JSON,
        "surprise": JSON,
    },
)
DECISION = st.dictionaries(
    st.sampled_from(["decision", "data", "comment", "approval_id", "x"]),
    JSON | st.just("approved"),
    max_size=4,
)
SEGMENT = st.text(st.characters(exclude_characters="/?#", exclude_categories=["Cs"]), min_size=1, max_size=20)


class Target:
    """The application on a database with a run that waits, in a loop of its own."""

    def __init__(self, dsn: str, graph: str, run_id: str) -> None:
        self.graph, self.run_id = graph, run_id
        self._paths = document(ENDPOINTS)["paths"]
        self._runner = asyncio.Runner()
        self._app = create_app(dsn)
        self._key = make_key(dsn)
        self._lifespan = self._app.router.lifespan_context(self._app)
        self._runner.run(self._lifespan.__aenter__())

    def close(self) -> None:
        self._runner.run(self._lifespan.__aexit__(None, None, None))
        self._runner.close()

    def request(self, method: str, path: str, **options: Any) -> httpx.Response:
        async def call() -> httpx.Response:
            async with client_of(self._app, self._key) as client:
                return await client.request(method, path, **options)

        response = self._runner.run(call())
        assert response.status_code < 500, response.text
        if response.status_code >= 400:
            assert response.headers["content-type"] == "application/problem+json"
        described = self._statuses(method, response.url.path)
        assert described is None or str(response.status_code) in described, response.text
        return response

    def _statuses(self, method: str, path: str) -> Any:
        """The statuses that the description of the API has for a request; None if it has no such path."""
        for template, item in self._paths.items():
            if re.fullmatch(re.sub(r"\{\w+\}", "[^/]+", template), path) and method.lower() in item:
                return item[method.lower()]["responses"]
        return None

    def post(self, path: str, body: Any) -> httpx.Response:
        return self.request("POST", path, content=written(body), headers=JSON_HEADERS)


def written(body: Any) -> bytes:
    """As Python writes JSON: NaN, Infinity and lone surrogates included."""
    return json.dumps(body).encode()


@pytest.fixture
def target(database: str, connection: Connection[DictRow]) -> Iterator[Target]:
    engine = Engine(connection)
    engine.register("a", "b", "c")
    graph = engine.graph(asking())
    run_id = engine.start(graph)
    engine.run()
    target = Target(database, graph, str(run_id))
    yield target
    target.close()


@BOUNDED
@given(body=RUN | JSON)
def test_starting_runs(target: Target, body: Any) -> None:
    text = written(body).replace(b"GRAPH", target.graph.encode())
    response = target.request("POST", "/graph/run", content=text, headers=JSON_HEADERS)
    if response.status_code == 200:
        started = response.json()
        assert started.get("run_id") or started["run_ids"]


@BOUNDED
@given(body=GRAPH | JSON)
def test_graphs(target: Target, body: Any) -> None:
    response = target.post("/graph/create", body)
    checked = target.post("/v1/graphs/validate", body)
    if response.status_code == 200:
        assert checked.json() == {"valid": True, "errors": []}
    elif checked.status_code == 200:
        assert checked.json()["valid"] is False
        assert response.status_code == 422


@BOUNDED
@given(body=DECISION | JSON)
def test_decisions(target: Target, body: Any) -> None:
    target.post(f"/graph/resume/{target.run_id}", body)


@BOUNDED
@given(
    body=st.binary(max_size=60), path=st.sampled_from(["/graph/run", "/graph/create", "/v1/graphs/validate"])
)
def test_bytes(target: Target, body: bytes, path: str) -> None:
    target.request("POST", path, content=body, headers=JSON_HEADERS)


@BOUNDED
@given(
    template=st.sampled_from(
        ["/graph/state/{}", "/v1/runs/{}/state", "/v1/graphs/{}", "/v1/runs/{}/events", "/{}", "/v1/runs/{}"]
    ),
    segment=SEGMENT,
    name=st.sampled_from(["wait", "limit", "cursor", "status", "graph", "name", "after"]) | SEGMENT,
    value=SEGMENT,
)
def test_paths_and_parameters(target: Target, template: str, segment: str, name: str, value: str) -> None:
    target.request("GET", template.format(quote(segment, safe="")))
    for path in ("/v1/runs", "/v1/graphs", "/v1/approvals", f"/graph/state/{target.run_id}"):
        target.request("GET", path, params={name: value})


@BOUNDED
@given(
    name=st.sampled_from(
        ["authorization", "idempotency-key", "prefer", "last-event-id", "content-type", "accept", "host"]
    ),
    value=st.binary(max_size=30).map(lambda raw: raw.replace(b"\r", b"").replace(b"\n", b"")),
)
def test_headers(target: Target, name: str, value: bytes) -> None:
    headers = {b"content-type": b"application/json", name.encode(): value}
    body = orjson.dumps({"graph_id": target.graph})
    target.request("POST", "/graph/run", content=body, headers=headers)
    target.request("GET", "/v1/runs", headers=headers)
