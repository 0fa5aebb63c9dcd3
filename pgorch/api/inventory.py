"""Tools, workers and queues."""

from typing import Any, Final

from starlette.requests import Request

from pgorch.api import listing
from pgorch.api.access import caller_of
from pgorch.api.parameters import Parameter
from pgorch.api.services import Services

WORKER: Final = Parameter("worker", "path", "Name or id of a worker.")


async def served_tools(services: Services, request: Request) -> Any:
    """The tools that a living worker serves."""
    return await _tools(services, served=True)


async def all_tools(services: Services, request: Request) -> Any:
    """Every tool that was ever registered."""
    return await _tools(services, served=False)


async def workers(services: Services, request: Request) -> Any:
    async with services.connections.borrow() as connection:
        return {"workers": listing.fragments(await listing.workers(connection))}


async def drain(services: Services, request: Request) -> Any:
    async with services.queries() as queries:
        asked = await queries.drain_worker(request.path_params["worker"], actor=caller_of(request).actor)
    return {"worker_ids": asked}


async def queues(services: Services, request: Request) -> Any:
    async with services.connections.borrow() as connection:
        return {"queues": listing.fragments(await listing.queues(connection))}


async def _tools(services: Services, served: bool) -> Any:
    async with services.connections.borrow() as connection:
        return {"tools": listing.fragments(await listing.tools(connection, served=served))}
