"""Every route with every kind of key: who gets in, and what the others are told."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest
from psycopg import Connection
from psycopg.rows import DictRow
from starlette.applications import Starlette

from pgorch.api import routes
from pgorch.api.access import Permission
from pgorch.api.app import create_app
from pgorch.api.endpoint import Endpoint
from tests.api.driving import asking, assert_problem, bearing, client_of, make_key, plain
from tests.support.engine import Engine

ROLES = ("viewer", "operator", "approver", "admin")
# Who may what, written down a second time on purpose: a route that is new, or moves, has to be thought about.
READERS, OPERATORS, DECIDERS = {"viewer", "operator", "admin"}, {"operator", "admin"}, {"approver", "admin"}
ALLOWED: dict[str, set[str]] = {
    "POST /graph/run": OPERATORS,
    "POST /graph/resume/{run_id}": DECIDERS,
    "GET /graph/state/{run_id}": READERS,
    "POST /graph/create": {"admin"},
    "GET /tools": READERS,
    "POST /v1/runs": OPERATORS,
    "GET /v1/runs": READERS,
    "GET /v1/runs/{run_id}": READERS,
    "GET /v1/runs/{run_id}/state": READERS,
    "GET /v1/runs/{run_id}/events": READERS,
    "GET /v1/runs/{run_id}/diff": READERS,
    "GET /v1/runs/{run_id}/explain/{node}": READERS,
    "GET /v1/runs/{run_id}/timeline": READERS,
    "GET /v1/runs/{run_id}/tree": READERS,
    "GET /v1/runs/{run_id}/export": READERS,
    "GET /v1/runs/{run_id}/mermaid": READERS,
    "PUT /v1/runs/{run_id}/labels": OPERATORS,
    "POST /v1/runs/{run_id}/decide": DECIDERS,
    "POST /v1/runs/{run_id}/cancel": OPERATORS,
    "POST /v1/runs/{run_id}/signals": OPERATORS,
    "POST /v1/runs/{run_id}/pause": OPERATORS,
    "POST /v1/runs/{run_id}/resume": OPERATORS,
    "POST /v1/runs/{run_id}/retry": OPERATORS,
    "POST /v1/runs/{run_id}/skip": OPERATORS,
    "POST /v1/runs/{run_id}/fork": OPERATORS,
    "POST /v1/runs/{run_id}/move": OPERATORS,
    "POST /v1/runs/bulk": OPERATORS,
    "GET /v1/approvals": READERS | DECIDERS,
    "GET /v1/approvals/{approval_id}": READERS | DECIDERS,
    "POST /v1/approvals/{approval_id}/decide": DECIDERS,
    "POST /v1/approvals/{approval_id}/reassign": OPERATORS | DECIDERS,
    "POST /v1/approvals/{approval_id}/comment": OPERATORS | DECIDERS,
    "POST /v1/graphs": {"admin"},
    "POST /v1/graphs/validate": READERS,
    "GET /v1/graphs": READERS,
    "GET /v1/graphs/{graph}": READERS,
    "DELETE /v1/graphs/{graph}": {"admin"},
    "GET /v1/graphs/{graph}/mermaid": READERS,
    "POST /v1/graphs/{graph}/explain": READERS,
    "GET /v1/limits": READERS,
    "GET /v1/limits/keys": READERS,
    "PUT /v1/limits/{kind}/{name}": {"admin"},
    "DELETE /v1/limits/{kind}/{name}": {"admin"},
    "GET /v1/schedules": READERS,
    "PUT /v1/schedules/{name}": {"admin"},
    "GET /v1/schedules/{name}": READERS,
    "DELETE /v1/schedules/{name}": {"admin"},
    "POST /v1/schedules/{name}/pause": OPERATORS,
    "POST /v1/schedules/{name}/resume": OPERATORS,
    "POST /v1/schedules/{name}/trigger": OPERATORS,
    "GET /v1/retention": READERS,
    "PUT /v1/retention": {"admin"},
    "GET /v1/tools": READERS,
    "GET /v1/workers": READERS,
    "GET /v1/queues": READERS,
    "GET /v1/hooks": {"admin"},
    "POST /v1/hooks": {"admin"},
    "GET /v1/hooks/{hook}": {"admin"},
    "PATCH /v1/hooks/{hook}": {"admin"},
    "DELETE /v1/hooks/{hook}": {"admin"},
    "POST /v1/hooks/{hook}/secret": {"admin"},
    "POST /v1/hooks/{hook}/pause": {"admin"},
    "POST /v1/hooks/{hook}/resume": {"admin"},
    "POST /v1/hooks/{hook}/test": {"admin"},
    "GET /v1/hooks/{hook}/deliveries": {"admin"},
    "POST /v1/hooks/{hook}/deliveries/{delivery_id}/resend": {"admin"},
    "POST /v1/workers/{worker}/drain": {"admin"},
    "GET /v1/audit": OPERATORS,
}
PUBLIC = {"GET /livez", "GET /readyz", "GET /openapi.json", "GET /docs"}
NOWHERE = "01a20a30-7fc9-7a00-a57c-bbf704f52800"


def named(endpoint: Endpoint) -> str:
    return f"{endpoint.method} {endpoint.path}"


async def asked(client: httpx.AsyncClient, route: str, authorization: str | None) -> httpx.Response:
    method, path = route.split()
    headers = {} if authorization is None else {b"authorization": authorization.encode("latin-1")}
    # Neither the run nor the graph exists; that is told to those alone who may know.
    return await client.request(method, re.sub(r"\{\w+\}", NOWHERE, path), headers=headers)


@pytest.fixture
def bad_credentials(database: str, connection: Connection[DictRow]) -> dict[str, str]:
    """What gives nobody the right to anything, by what is wrong with it. All keys were admins'."""
    good, expired, revoked = (make_key(database) for _ in range(3))
    connection.execute(
        "update pgorch.api_keys set expires_at = now() - interval '1 second' where id = %s",
        [expired.split("_")[1]],
    )
    connection.execute("select pgorch.revoke_key(%s)", [revoked])
    secret = good.split("_", 2)[2]
    return {
        "unknown": f"Bearer pgo_{'0' * 12}_{secret}",
        "wrong secret": f"Bearer {good[:-1]}{'A' if good[-1] != 'A' else 'B'}",
        "secret of another": f"Bearer {good[:17]}{expired.split('_', 2)[2]}",
        "expired": f"Bearer {expired}",
        "revoked": f"Bearer {revoked}",
        "too short": f"Bearer {good[:-1]}",
        "too long": f"Bearer {good}A",
        "twice": f"Bearer {good}, Bearer {good}",
        "id alone": f"Bearer pgo_{good.split('_')[1]}",
        "no scheme": good,
        "another scheme": f"Basic {good}",
        "garbage": "Bearer \xff\x01'; drop table pgorch.api_keys; --",
        "empty": "",
        "no key": "Bearer",
    }


async def test_the_table_of_this_test_has_every_route(app: Starlette) -> None:
    assert {named(endpoint) for endpoint in app.state.endpoints} == ALLOWED.keys() | PUBLIC


@pytest.mark.parametrize("role", ROLES)
async def test_each_role_gets_where_it_may_and_nowhere_else(app: Starlette, database: str, role: str) -> None:
    # A further role, to which approvals are assigned, opens nothing by itself.
    authorization = f"Bearer {make_key(database, role, 'finance')}"
    async with client_of(app) as client:
        for route, allowed in ALLOWED.items():
            response = await asked(client, route, authorization)
            if role in allowed:
                assert response.status_code not in (401, 403), route
            else:
                problem = assert_problem(response, 403, "missing-role")
                missing = problem["detail"].partition("which the role ")[2].partition(" gives")[0]
                assert set(missing.split(" or ")) == allowed, route
                assert f"ada has {role}, finance" in problem["detail"]


async def test_two_roles_open_what_each_of_them_opens(app: Starlette, database: str) -> None:
    authorization = f"Bearer {make_key(database, 'approver', 'viewer')}"
    async with client_of(app) as client:
        for route, allowed in ALLOWED.items():
            response = await asked(client, route, authorization)
            assert (response.status_code == 403) == allowed.isdisjoint({"approver", "viewer"}), route


async def test_without_a_key_every_route_that_is_not_public_is_closed(app: Starlette, key: str) -> None:
    async with client_of(app) as client:
        for route in ALLOWED:
            response = await asked(client, route, None)
            assert_problem(response, 401, "unauthenticated")
            assert response.headers["www-authenticate"] == 'Bearer realm="pgorch"'
            method, path = route.split()
            if method == "GET":
                assert (await asked(client, f"HEAD {path}", None)).status_code == 401
        # Nor do methods that a path has not tell anything, nor keys in other places.
        assert (await client.delete("/v1/runs")).status_code == 401
        assert (await client.get("/v1/runs", params={"access_token": key})).status_code == 401
        assert (await client.get("/v1/runs", headers={"cookie": f"authorization={key}"})).status_code == 401
        assert (await client.get("/v1/runs", headers={"x-api-key": key})).status_code == 401


async def test_no_method_of_any_path_gets_round_the_gate(app: Starlette, key: str) -> None:
    methods = ("GET", "POST", "PUT", "DELETE", "OPTIONS")
    served = {named(endpoint) for endpoint in app.state.endpoints}
    paths = {route.split()[1] for route in ALLOWED}
    async with client_of(app) as client:
        for path in paths:
            for method in methods:
                assert (await asked(client, f"{method} {path}", None)).status_code == 401, (method, path)
                if f"{method} {path}" not in served:
                    response = await asked(client, f"{method} {path}", f"Bearer {key}")
                    assert response.status_code == 405, (method, path)


async def test_whatever_is_wrong_with_a_key_the_answer_is_the_same(
    app: Starlette, key: str, bad_credentials: dict[str, str]
) -> None:
    answers = set()
    async with client_of(app) as client:
        for what, authorization in bad_credentials.items():
            for route in ALLOWED:
                response = await asked(client, route, authorization)
                assert response.status_code == 401, (what, route)
                assert_problem(response, 401, "unauthenticated")
                answers.add((response.content, tuple(sorted(response.headers.items()))))
        assert len(answers) == 1
        [(_, headers)] = answers
        assert dict(headers)["www-authenticate"] == 'Bearer realm="pgorch", error="invalid_token"'
        both = [("authorization", f"Bearer {key}"), ("authorization", f"Bearer {key}")]
        assert (await client.get("/v1/runs", headers=both)).status_code == 401


async def test_public_routes_ask_for_no_key_and_mind_none(
    app: Starlette, bad_credentials: dict[str, str]
) -> None:
    async with client_of(app) as client:
        for route in PUBLIC:
            for authorization in (None, *bad_credentials.values()):
                assert (await asked(client, route, authorization)).status_code == 200, route


async def test_the_scheme_is_written_in_any_case(app: Starlette, key: str) -> None:
    async with client_of(app) as client:
        for authorization in (f"bearer {key}", f"BEARER  {key} "):
            assert (await asked(client, "GET /v1/runs", authorization)).status_code == 200


async def test_who_is_refused_has_changed_nothing(app: Starlette, database: str, engine: Engine) -> None:
    engine.register("a", "b")
    graph = engine.graph({**asking(), "name": "asking"})
    run_id = engine.start(graph)
    engine.run()
    [approval] = engine.approvals(run_id)
    async with client_of(app) as client:

        async def refused(role: str, path: str, body: Any) -> None:
            response = await client.post(path, json=body, headers=bearing(make_key(database, role)))
            assert_problem(response, 403, "missing-role")

        for role in ("viewer", "approver"):
            await refused(role, "/graph/run", {"graph": "asking"})
            await refused(role, f"/v1/runs/{run_id}/cancel", {})
            await refused(role, f"/v1/runs/{run_id}/fork", {"seq": 0})
            await refused(role, "/v1/runs/bulk", {"action": "cancel", "filter": {}, "dry_run": False})
        for role in ("viewer", "operator"):
            await refused(role, f"/graph/resume/{run_id}", {"decision": "approved"})
            await refused(role, f"/v1/approvals/{approval['id']}/decide", {"decision": "rejected"})
        for role in ("viewer", "operator", "approver"):
            await refused(role, "/graph/create", plain())
    assert engine.status(run_id) == "awaiting_approval"
    assert engine.value("select count(*) from pgorch.runs") == 1
    assert engine.value("select count(*) from pgorch.graphs") == 1


async def test_the_principal_is_the_actor_and_no_request_says_otherwise(
    app: Starlette, database: str, engine: Engine
) -> None:
    engine.register("begin", "end", "undo")
    async with client_of(app) as client:

        async def post(role: str, path: str, body: Any, **headers: str) -> Any:
            key = make_key(database, role, principal=f"the {role}")
            return await client.post(path, json=body, headers={**bearing(key), **headers})

        graph = (await post("admin", "/graph/create", asking())).json()["graph_id"]
        runs = (await post("operator", "/v1/runs", {"graph_id": graph, "initial_states": [{}, {}]})).json()
        one, other = runs["run_ids"]
        engine.run()
        forged = {"x-actor": "eve", "x-forwarded-user": "eve", "from": "eve"}
        decision = {"decision": "approved", "actor": "eve"}
        assert_problem(
            await post("approver", f"/graph/resume/{one}", decision, **forged), 422, "invalid-value"
        )
        del decision["actor"]
        assert (await post("approver", f"/graph/resume/{one}", decision, **forged)).status_code == 200
        assert (await post("operator", f"/v1/runs/{other}/cancel", {}, **forged)).status_code == 200
    assert engine.value("select created_by from pgorch.graphs") == "the admin"
    assert {r["initiator"] for r in engine.rows("select initiator from pgorch.runs")} == {"the operator"}
    actors = engine.rows("select kind, actor from pgorch.run_history where actor is not null")
    assert {(r["kind"], r["actor"]) for r in actors} == {
        ("approval_decided", "the approver"),
        ("run_cancelled", "the operator"),
    }


async def test_without_keys_everybody_is_the_user_of_the_database(database: str, engine: Engine) -> None:
    app = create_app(database, no_auth=True)
    engine.register("a", "b")
    async with app.router.lifespan_context(app), client_of(app) as client:
        for route in ALLOWED.keys() | PUBLIC:
            assert (await asked(client, route, None)).status_code not in (401, 403), route
            assert (await asked(client, route, "Bearer nonsense")).status_code not in (401, 403), route
        graph = (await client.post("/graph/create", json=plain())).json()["graph_id"]
        run_id = (await client.post("/graph/run", json={"graph_id": graph})).json()["run_id"]
    assert engine.value("select initiator from pgorch.runs where id = %s", run_id) == "postgres"


async def nothing(*_: Any) -> None:
    """A handler."""


def test_a_route_without_a_permission_cannot_be_made() -> None:
    with pytest.raises(TypeError, match="permission"):
        Endpoint("GET", "/x", nothing, "X", {}, "x")  # type: ignore[call-arg]
    with pytest.raises(TypeError, match="GET /x has no permission"):
        Endpoint("GET", "/x", nothing, "X", {}, "x", permission=None)  # type: ignore[arg-type]
    assert Endpoint("GET", "/x", nothing, "X", {}, "x", permission=Permission.PUBLIC)


def without_one_permission() -> Iterator[str]:
    text = Path(routes.__file__).read_text()
    for match in re.finditer(r",\s*permission=\w+", text):
        yield text[: match.start()] + text[match.end() :]


def test_a_route_table_with_a_route_without_permission_does_not_import() -> None:
    tables = list(without_one_permission())
    assert len(tables) == len(routes.ENDPOINTS)
    for table in tables:
        with pytest.raises(TypeError, match="permission"):
            exec(compile(table, "routes.py", "exec"), {"__name__": "routes"})


async def test_the_description_names_the_scheme_and_the_roles(app: Starlette) -> None:
    async with client_of(app) as client:
        document = (await client.get("/openapi.json")).json()
    [(name, scheme)] = document["components"]["securitySchemes"].items()
    assert (scheme["type"], scheme["scheme"]) == ("http", "bearer")
    for path, item in document["paths"].items():
        for method, operation in item.items():
            route = f"{method.upper()} {path}"
            roles = {role for alternative in operation["security"] for role in alternative[name]}
            if route in PUBLIC:
                assert operation["security"] == []
                assert not {"401"} & operation["responses"].keys()
            else:
                assert roles == ALLOWED[route], route
                assert {"401", "403"} <= operation["responses"].keys()
                assert "WWW-Authenticate" in operation["responses"]["401"]["headers"]


def test_the_actor_needs_a_connection_that_may_speak_for_others(
    database: str, connection: Connection[DictRow]
) -> None:
    """What keys are worth: a database user of no special rights cannot name himself ada."""
    role = f"r_{connection.info.dbname}"
    connection.execute(f"create role {role} login".encode())
    try:
        with psycopg.connect(psycopg.conninfo.make_conninfo(database, user=role)) as other:
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                other.execute("select * from pgorch.create_key('ada', '{admin}')")
            other.rollback()
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                other.execute("select * from pgorch.key_list")
    finally:
        connection.execute(f"drop role {role}".encode())
