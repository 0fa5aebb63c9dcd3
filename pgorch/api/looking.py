"""Looking at runs and graphs: past states, explanations, timelines, pictures, exports; labels, retention."""

from collections.abc import Sequence
from typing import Any, Final

import orjson
from starlette.requests import Request
from starlette.responses import Response

from pgorch.api import listing
from pgorch.api.access import caller_of
from pgorch.api.bodies import parsed, read_json, read_object
from pgorch.api.parameters import AT, Parameter, identifier, integer
from pgorch.api.requests import ExplainRequest, RetentionRequest
from pgorch.api.services import Services
from pgorch.database.looking import ExplainedEdge
from pgorch.database.queries import Queries
from pgorch.drawing import Mark, as_mermaid, marks_of, picture_of

MERMAID: Final = "text/vnd.mermaid"
_ENTRY: Final = {"type": "integer", "minimum": 0, "maximum": 2**31 - 1}
FROM: Final = Parameter("from", "query", "The entry after which the one state was; 0 if left out.", _ENTRY)
TO: Final = Parameter(
    "to", "query", "The entry after which the other state was; the last if left out.", _ENTRY
)
NODE: Final = Parameter("node", "path", "Id of a node of the run's graph.")


async def diff(services: Services, request: Request) -> Any:
    run_id = identifier(request, "run_id", "run")
    from_, to = integer(request, FROM) or 0, integer(request, TO)
    async with services.queries() as queries:
        if to is None:
            to = (await queries.watch_run(run_id, 0)).seq
        changes = await queries.diff_states(run_id, from_, to)
    # A key that is not there is left out: null is a value.
    shown = [{name: value for name, value in c._asdict().items() if value is not None} for c in changes]
    return {"from": from_, "to": to, "changes": shown}


async def explain(services: Services, request: Request) -> Any:
    run_id, node = identifier(request, "run_id", "run"), request.path_params["node"]
    async with services.queries() as queries:
        return _explanation(node, await queries.explain(run_id, node, integer(request, AT)))


async def explain_graph(services: Services, request: Request) -> Any:
    wanted = parsed(ExplainRequest, await read_json(request))
    graph = request.path_params["graph"]
    async with services.queries() as queries:
        edges = await queries.explain_graph(graph, wanted.node, wanted.state, wanted.outcome, wanted.vars)
    return _explanation(wanted.node, edges)


async def timeline(services: Services, request: Request) -> Any:
    run_id = identifier(request, "run_id", "run")
    async with services.queries() as queries:
        lines = await queries.timeline(run_id)
    return {
        "timeline": [
            {
                "seq": line.seq,
                "at": line.at,
                "what": line.what,
                "who": line.who,
                "took_seconds": None if line.took is None else line.took.total_seconds(),
            }
            for line in lines
        ]
    }


async def export(services: Services, request: Request) -> Any:
    run_id = identifier(request, "run_id", "run")
    async with services.queries() as queries:
        return await queries.export_run(run_id)


async def tree(services: Services, request: Request) -> Any:
    run_id = identifier(request, "run_id", "run")
    async with services.queries() as queries:
        return {"runs": [run._asdict() for run in await queries.run_tree(run_id)]}


async def draw_run(services: Services, request: Request) -> Response:
    run_id = identifier(request, "run_id", "run")
    async with services.connections.borrow() as connection:
        progress = await Queries(connection).run_progress(run_id)
        return _picture(await listing.graph_of_run(connection, run_id), marks_of(progress))


async def draw_graph(services: Services, request: Request) -> Response:
    async with services.connections.borrow() as connection:
        return _picture(await listing.graph(connection, request.path_params["graph"]))


async def set_labels(services: Services, request: Request) -> Any:
    run_id = identifier(request, "run_id", "run")
    labels = await read_object(request)
    async with services.queries() as queries:
        now = await queries.set_labels(run_id, labels, actor=caller_of(request).actor)
    return {"run_id": run_id, "labels": now}


async def retention(services: Services, request: Request) -> Any:
    async with services.queries() as queries:
        keep = await queries.retention()
    return {"keep_seconds": None if keep is None else keep.total_seconds()}


async def set_retention(services: Services, request: Request) -> Any:
    wanted = parsed(RetentionRequest, await read_json(request))
    async with services.queries() as queries:
        await queries.set_retention(wanted.keep, actor=caller_of(request).actor)
    return await retention(services, request)


def _explanation(node: str, edges: Sequence[ExplainedEdge]) -> dict[str, Any]:
    return {"node": node, "edges": [edge._asdict() for edge in edges]}


def _picture(graph: orjson.Fragment, marks: dict[str, Mark] | None = None) -> Response:
    row = orjson.loads(orjson.dumps(graph))
    chart = as_mermaid(picture_of(row["definition"]), marks)
    return Response(chart, media_type=MERMAID)
