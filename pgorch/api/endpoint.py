"""One row of the route table, as an ASGI application: handler in, JSON or a problem out."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import orjson
from pydantic import BaseModel
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from pgorch.api.access import ROLES, Permission, caller_of
from pgorch.api.parameters import Parameter, check_query
from pgorch.api.problems import Problem, problem_of
from pgorch.api.services import Services

_LINGER_SECONDS: Final = 2.0
Handler = Callable[[Services, Request], Awaitable[Any]]


@dataclass(frozen=True)
class Endpoint:
    """What OpenAPI says of a route, and what serves it.

    `handler` gives a Response, or a value that orjson can write and that is sent with the status `success`.
    `body` describes the request's body: a model, or a JSON Schema. `answer` describes what comes back.
    `permission` is what it asks of the caller; it has no default, so that none is forgotten.
    """

    method: str
    path: str
    handler: Handler
    summary: str
    answer: type[BaseModel] | Mapping[str, Any]
    tag: str
    success: int = 200
    body: type[BaseModel] | Mapping[str, Any] | None = None
    body_required: bool = True
    parameters: Sequence[Parameter] = ()
    problems: Sequence[str] = ()
    media_types: Sequence[str] = ("application/json",)
    other_statuses: Mapping[int, str] = field(default_factory=dict)
    needs_database: bool = True
    permission: Permission = field(kw_only=True)

    def __post_init__(self) -> None:
        if not isinstance(self.permission, Permission):
            raise TypeError(f"{self.method} {self.path} has no permission")


class Resource:
    """All endpoints of one path, by method."""

    def __init__(self, services: Services, endpoints: Sequence[Endpoint]) -> None:
        self._services = services
        self._by_method = {endpoint.method: endpoint for endpoint in endpoints}
        if "GET" in self._by_method:
            self._by_method["HEAD"] = self._by_method["GET"]
        self._allowed = ", ".join(sorted(self._by_method))
        permissions = {endpoint.permission for endpoint in endpoints}
        self.is_public = permissions == {Permission.PUBLIC}
        # Before a path that is not public stands the gate, which does not look at methods.
        assert self.is_public or Permission.PUBLIC not in permissions

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        try:
            response = await self._respond(request)
        except ClientDisconnect:
            return
        except Exception as error:
            problem = problem_of(error)
            response = problem.response()
            if problem.kind == "too-large":
                await _send_and_linger(response, receive, send)
                return
        await response(scope, receive, send)

    async def _respond(self, request: Request) -> Response:
        endpoint = self._by_method.get(request.method)
        if endpoint is None:
            raise Problem(
                "method-not-allowed",
                f"{request.method} is not possible here.",
                hint=f"Possible: {self._allowed}.",
                headers={"allow": self._allowed},
            )
        if not self.is_public:
            _check_permission(request, endpoint.permission)
        if request.scope["query_string"]:
            check_query(request, endpoint.parameters)
        result = await endpoint.handler(self._services, request)
        if isinstance(result, Response):
            return result
        return Response(orjson.dumps(result), endpoint.success, media_type="application/json")


def _check_permission(request: Request, permission: Permission) -> None:
    caller = caller_of(request)
    if not caller.may(permission):
        names = " or ".join(ROLES[permission])
        raise Problem(
            "missing-role",
            f"This needs {permission.value}, which the role {names} gives; {caller.actor} has"
            f" {', '.join(caller.roles or ())}.",
            hint=f"Use a key with one of these roles: pgorch keys create NAME --role {ROLES[permission][0]}",
        )


async def _send_and_linger(response: Response, receive: Receive, send: Send) -> None:
    """Answer, then discard for a moment what still arrives: a connection that is closed at once is reset, and
    a client that first sends everything would never see the answer."""
    headers = response.raw_headers
    await send({"type": "http.response.start", "status": response.status_code, "headers": headers})
    await send({"type": "http.response.body", "body": response.body, "more_body": True})
    try:
        async with asyncio.timeout(_LINGER_SECONDS):
            while (await receive()).get("more_body", False):
                pass
    except TimeoutError:
        pass
    await send({"type": "http.response.body", "body": b"", "more_body": False})
