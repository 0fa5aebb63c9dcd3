"""The application."""

from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager
from functools import cache
from typing import Any

import orjson
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.authentication import AuthenticationMiddleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from pgorch.api import openapi, page
from pgorch.api.access import Permission
from pgorch.api.connections import SIZE, WAIT_SECONDS
from pgorch.api.endpoint import Endpoint, Resource
from pgorch.api.gate import refusal
from pgorch.api.guard import Guard
from pgorch.api.problems import KINDS, Problem, problem_of
from pgorch.api.routes import ENDPOINTS
from pgorch.api.services import Services
from pgorch.database.connection import connection_parameters

# Names of graphs and ids of nodes may hold slashes.
_PATTERNS = {
    "/v1/graphs/{graph}": "/v1/graphs/{graph:path}",
    "/v1/graphs/{graph}/explain": "/v1/graphs/{graph:path}/explain",
    "/v1/graphs/{graph}/mermaid": "/v1/graphs/{graph:path}/mermaid",
    "/v1/runs/{run_id}/explain/{node}": "/v1/runs/{run_id}/explain/{node:path}",
}


def create_app(
    dsn: str,
    *,
    connections: int = SIZE,
    connection_wait_seconds: float = WAIT_SECONDS,
    allowed_hosts: Collection[str] | None = None,
    no_auth: bool = False,
    direct_dsn: str | None = None,
) -> Starlette:
    """The API on the database `dsn`, as an ASGI application. It starts whether or not the database is there.

    At most `connections` serve requests (one more listens, and one looks up keys); a request that has waited
    `connection_wait_seconds` for one of them is answered with 503. With `allowed_hosts`, requests under other
    host names are refused. With `no_auth` no key is asked for, so that whoever reaches it may do everything:
    only for loopback addresses. Before the server waits for open answers it calls `app.state.release()`: then
    streams and long waits end. `direct_dsn` is the same database without the pooler that `dsn` leads
    through, to listen there for changes of runs, which are else polled for. Raises ConfigError if a DSN
    cannot be read.
    """
    for each in (dsn, direct_dsn or dsn):
        connection_parameters(each, application_name="pgorch api")
    services = Services(dsn, connections, connection_wait_seconds, no_auth=no_auth, direct_dsn=direct_dsn)
    endpoints = (*ENDPOINTS, *_DESCRIPTIONS)
    by_path: dict[str, list[Endpoint]] = {}
    for endpoint in endpoints:
        by_path.setdefault(endpoint.path, []).append(endpoint)

    gate = [Middleware(AuthenticationMiddleware, backend=services.gate, on_error=refusal)]

    def route(path: str, group: list[Endpoint]) -> Route:
        resource = Resource(services, group)
        return Route(_PATTERNS.get(path, path), resource, middleware=None if resource.is_public else gate)

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        await services.open()
        try:
            yield
        finally:
            await services.close()

    app = Starlette(
        routes=[route(path, group) for path, group in by_path.items()],
        middleware=[Middleware(Guard, allowed_hosts=allowed_hosts)],
        exception_handlers={HTTPException: _not_routed, Exception: _unexpected},
        lifespan=lifespan,
    )
    app.router.redirect_slashes = False
    app.state.release = services.changes.release_all
    app.state.services = services
    app.state.endpoints = endpoints
    return app


def _describing(endpoints: tuple[Endpoint, ...]) -> tuple[Endpoint, ...]:
    """The endpoints that show the OpenAPI document, themselves included: for programs and for people."""

    @cache
    def content() -> bytes:
        # Takes a good part of the time to start, and most processes are never asked for it.
        return orjson.dumps(openapi.document((*endpoints, *themselves)))

    @cache
    def content_for_people() -> str:
        return page.page(orjson.loads(content()))

    async def show(services: Services, request: Request) -> Response:
        return Response(content(), media_type="application/json")

    async def show_to_people(services: Services, request: Request) -> Response:
        return Response(content_for_people(), media_type="text/html", headers=page.HEADERS)

    shape: dict[str, Any] = {"type": "object", "description": "OpenAPI 3.1."}
    text: dict[str, Any] = {"type": "string"}
    themselves = (
        Endpoint(
            "GET",
            "/openapi.json",
            show,
            "This description",
            shape,
            "process",
            needs_database=False,
            permission=Permission.PUBLIC,
        ),
        Endpoint(
            "GET",
            "/docs",
            show_to_people,
            "This description, as a page",
            text,
            "process",
            media_types=("text/html",),
            needs_database=False,
            permission=Permission.PUBLIC,
        ),
    )
    return themselves


_DESCRIPTIONS = _describing(ENDPOINTS)


async def _not_routed(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    if error.status_code == 404:
        hint = "GET /openapi.json lists what there is."
        return Problem("not-found", "There is nothing under this path.", hint=hint).response()
    kind = next((kind for kind, (status, _) in KINDS.items() if status == error.status_code), "bad-request")
    return Problem(kind, str(error.detail)).response()


async def _unexpected(request: Request, error: Exception) -> Response:
    return problem_of(error).response()
