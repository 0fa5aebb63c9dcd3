"""Limits of queues and tools: set, dropped, and what is used of them."""

from typing import Any, Final

from starlette.requests import Request

from pgorch.api import listing
from pgorch.api.access import caller_of
from pgorch.api.bodies import parsed, read_json
from pgorch.api.parameters import Parameter, page_size
from pgorch.api.requests import LimitRequest
from pgorch.api.services import Services
from pgorch.errors import NotFound

KIND: Final = Parameter("kind", "path", "queue or tool.", {"enum": ["queue", "tool"]})
NAME: Final = Parameter("name", "path", "Name of the queue or tool.")


async def list_(services: Services, request: Request) -> Any:
    async with services.connections.borrow() as connection:
        return {"limits": listing.fragments(await listing.limits(connection))}


async def keys(services: Services, request: Request) -> Any:
    limit = page_size(request)
    async with services.connections.borrow() as connection:
        return {"keys": listing.fragments(await listing.concurrency_keys(connection, limit=limit))}


async def put(services: Services, request: Request) -> Any:
    """Sets the whole limit: what the body leaves out is not limited."""
    kind, name = _named(request)
    wanted = parsed(LimitRequest, await read_json(request))
    async with services.queries() as queries:
        limit = await queries.set_limit(kind, name, **wanted.model_dump(), actor=caller_of(request).actor)
    return {
        "kind": limit.kind,
        "name": limit.name,
        "concurrency": limit.concurrency,
        "rate": limit.rate,
        "per_seconds": None if limit.per is None else limit.per.total_seconds(),
        "burst": limit.burst,
    }


async def drop(services: Services, request: Request) -> Any:
    kind, name = _named(request)
    async with services.queries() as queries:
        await queries.drop_limit(kind, name, actor=caller_of(request).actor)
    return {"kind": kind, "name": name, "dropped": True}


def _named(request: Request) -> tuple[str, str]:
    kind, name = request.path_params["kind"], request.path_params["name"]
    if kind not in ("queue", "tool"):
        raise NotFound("Only queues and tools have limits.", hint="Say /v1/limits/queue/... or .../tool/...")
    return kind, name
