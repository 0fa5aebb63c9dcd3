"""Creating, checking and reading graphs."""

from typing import Any, Final

from starlette.requests import Request

from pgorch.api import listing
from pgorch.api.access import caller_of
from pgorch.api.bodies import read_json, read_object
from pgorch.api.parameters import Parameter, cursor_id, page_size
from pgorch.api.problems import with_pointers
from pgorch.api.services import Services

NAME: Final = Parameter("name", "query", "Only versions of the graph with this name.")
GRAPH: Final = Parameter("graph", "path", "Id of a version, a name (latest version), or name@version.")


async def create(services: Services, request: Request) -> Any:
    definition = await read_object(request)
    async with services.queries() as queries:
        created = await queries.create_graph(definition, actor=caller_of(request).actor)
    return {
        "graph_id": created.graph_id,
        "name": created.name,
        "version": created.version,
        "created": created.created,
    }


async def validate(services: Services, request: Request) -> Any:
    definition = await read_json(request)
    async with services.queries() as queries:
        faults = await queries.validate_graph(definition)
    return {"valid": not faults, "errors": with_pointers(faults)}


async def delete(services: Services, request: Request) -> Any:
    async with services.queries() as queries:
        gone = await queries.delete_graph(request.path_params["graph"], actor=caller_of(request).actor)
    return gone._asdict()


async def show(services: Services, request: Request) -> Any:
    async with services.connections.borrow() as connection:
        return await listing.graph(connection, request.path_params["graph"])


async def list_(services: Services, request: Request) -> Any:
    limit = page_size(request)
    async with services.connections.borrow() as connection:
        rows = await listing.graphs(
            connection,
            name=request.query_params.get("name"),
            before=cursor_id(request),
            limit=limit + 1,
        )
    return listing.page("graphs", rows, limit)
