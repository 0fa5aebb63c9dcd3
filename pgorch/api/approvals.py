"""Open approvals, and decisions."""

from typing import Any, Final
from uuid import UUID

from starlette.requests import Request

from pgorch.api import listing
from pgorch.api.access import caller_of
from pgorch.api.bodies import parsed, read_json
from pgorch.api.parameters import Parameter, cursor_id, identifier, page_size
from pgorch.api.requests import DecisionRequest, RunDecisionRequest
from pgorch.api.services import Services
from pgorch.errors import NotFound

APPROVAL_ID: Final = Parameter(
    "approval_id", "path", "Id of an approval.", {"type": "string", "format": "uuid"}
)
GRAPH: Final = Parameter("graph", "query", "Only approvals of the graph with this name.")


async def list_(services: Services, request: Request) -> Any:
    limit = page_size(request)
    async with services.connections.borrow() as connection:
        rows = await listing.approvals(
            connection,
            graph=request.query_params.get("graph"),
            after=cursor_id(request),
            limit=limit + 1,
        )
    return listing.page("approvals", rows, limit)


async def decide_run(services: Services, request: Request) -> Any:
    """Decides the open approval of a run; without a body it approves."""
    run_id = identifier(request, "run_id", "run")
    wanted = parsed(RunDecisionRequest, await read_json(request, without={"decision": "approved"}))
    return await _decide(services, request, run_id, wanted, wanted.approval_id)


async def decide(services: Services, request: Request) -> Any:
    approval_id = identifier(request, "approval_id", "approval")
    wanted = parsed(DecisionRequest, await read_json(request))
    async with services.connections.borrow() as connection:
        run_id = await listing.run_of_approval(connection, approval_id)
    if run_id is None:
        raise NotFound(f"There is no approval {approval_id}.", hint="GET /v1/approvals lists the open ones.")
    return await _decide(services, request, run_id, wanted, approval_id)


async def _decide(
    services: Services, request: Request, run_id: UUID, wanted: DecisionRequest, approval_id: UUID | None
) -> dict[str, Any]:
    async with services.queries() as queries:
        decided = await queries.decide(
            run_id,
            wanted.decision,
            data=wanted.data,
            comment=wanted.comment,
            approval_id=approval_id,
            actor=caller_of(request).actor,
        )
    return {"run_id": run_id, "approval_id": decided, "decision": wanted.decision}
