"""Tools, workers and queues."""

from typing import Any

from starlette.requests import Request

from pgorch.api import listing
from pgorch.api.services import Services


async def served_tools(services: Services, request: Request) -> Any:
    """The tools that a living worker serves."""
    return await _tools(services, served=True)


async def all_tools(services: Services, request: Request) -> Any:
    """Every tool that was ever registered."""
    return await _tools(services, served=False)


async def workers(services: Services, request: Request) -> Any:
    async with services.connections.borrow() as connection:
        return {"workers": listing.fragments(await listing.workers(connection))}


async def queues(services: Services, request: Request) -> Any:
    async with services.connections.borrow() as connection:
        return {"queues": listing.fragments(await listing.queues(connection))}


async def _tools(services: Services, served: bool) -> Any:
    async with services.connections.borrow() as connection:
        return {"tools": listing.fragments(await listing.tools(connection, served=served))}
