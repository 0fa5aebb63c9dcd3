"""Schedules: described, read, paused, resumed, triggered and deleted."""

from typing import Any, Final

from starlette.requests import Request

from pgorch.api import listing
from pgorch.api.access import caller_of
from pgorch.api.bodies import parsed, read_json
from pgorch.api.parameters import Parameter, cursor_text, idempotency_key, page_size
from pgorch.api.requests import ScheduleRequest, TriggerRequest
from pgorch.api.services import Services
from pgorch.cron import coming_times

NAME: Final = Parameter("name", "path", "Name of a schedule.")


async def put(services: Services, request: Request) -> Any:
    """Creates the schedule of that name, or describes it anew."""
    name = request.path_params["name"]
    wanted = parsed(ScheduleRequest, await read_json(request))
    async with services.queries() as queries:
        created = await queries.create_schedule(name, **wanted.model_dump(), actor=caller_of(request).actor)
    return {"name": name, "created": created}


async def list_(services: Services, request: Request) -> Any:
    limit = page_size(request)
    async with services.connections.borrow() as connection:
        rows = await listing.schedules(connection, after=cursor_text(request), limit=limit + 1)
    return listing.page("schedules", rows, limit)


async def show(services: Services, request: Request) -> Any:
    async with services.connections.borrow() as connection:
        document = await listing.schedule(connection, request.path_params["name"])
    return {**document, "next_times": coming_times(document)}


async def pause(services: Services, request: Request) -> Any:
    name = request.path_params["name"]
    async with services.queries() as queries:
        changed = await queries.pause_schedule(name, actor=caller_of(request).actor)
    return {"name": name, "paused": True, "changed": changed}


async def resume(services: Services, request: Request) -> Any:
    name = request.path_params["name"]
    async with services.queries() as queries:
        changed = await queries.resume_schedule(name, actor=caller_of(request).actor)
    return {"name": name, "paused": False, "changed": changed}


async def trigger(services: Services, request: Request) -> Any:
    name = request.path_params["name"]
    wanted = parsed(TriggerRequest, await read_json(request, without={}))
    async with services.queries() as queries:
        run_id = await queries.trigger_schedule(
            name,
            overlap=wanted.overlap,
            idempotency_key=idempotency_key(request, None),
            actor=caller_of(request).actor,
        )
    return {"name": name, "run_id": run_id}


async def delete(services: Services, request: Request) -> Any:
    name = request.path_params["name"]
    async with services.queries() as queries:
        await queries.delete_schedule(name, actor=caller_of(request).actor)
    return {"name": name, "deleted": True}
