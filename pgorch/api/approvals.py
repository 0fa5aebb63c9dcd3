"""The inbox, and what people do with approvals."""

from typing import Any, Final
from uuid import UUID

from starlette.requests import Request

from pgorch.api import listing
from pgorch.api.access import Permission, caller_of
from pgorch.api.bodies import parsed, read_json
from pgorch.api.parameters import Parameter, cursor_id, flag, identifier, page_size
from pgorch.api.requests import CommentRequest, DecisionRequest, ReassignRequest, RunDecisionRequest
from pgorch.api.services import Services
from pgorch.database.pooling import set_locally
from pgorch.database.queries import Queries

APPROVAL_ID: Final = Parameter(
    "approval_id", "path", "Id of an approval.", {"type": "string", "format": "uuid"}
)
_YES_OR_NO: Final = {"type": "boolean", "default": False}
GRAPH: Final = Parameter("graph", "query", "Only approvals of the graph with this name.")
ASSIGNEE: Final = Parameter("assignee", "query", "Only those assigned to user:NAME or role:NAME.")
OVERDUE: Final = Parameter("overdue", "query", "Only those that are overdue.", _YES_OR_NO)
MINE: Final = Parameter("mine", "query", "Only those that the caller can decide.", _YES_OR_NO)
# What no body stands for.
_NO_BODY: Final = {"decision": "approved"}
FILTERS: Final = (GRAPH, ASSIGNEE, OVERDUE, MINE)


async def list_(services: Services, request: Request) -> Any:
    limit = page_size(request)
    filters = {"overdue": flag(request, OVERDUE), "mine": flag(request, MINE)}
    if filters["mine"] and not caller_of(request).may(Permission.DECIDE):
        # Whatever he is asked, his key opens no decision.
        return listing.page("approvals", [], limit)
    async with services.connections.borrow() as connection:
        rows = await listing.approvals(
            connection,
            caller=caller_of(request),
            graph=request.query_params.get("graph"),
            assignee=request.query_params.get("assignee"),
            after=cursor_id(request),
            limit=limit + 1,
            **filters,
        )
    return listing.page("approvals", rows, limit)


async def show(services: Services, request: Request) -> Any:
    approval_id = identifier(request, "approval_id", "approval")
    async with services.queries() as queries:
        return await queries.approval_document(approval_id)


async def decide_run(services: Services, request: Request) -> Any:
    """Decides the open approval of a run; without a body it approves a plain one."""
    run_id = identifier(request, "run_id", "run")
    body = await read_json(request, without=_NO_BODY)
    wanted = parsed(RunDecisionRequest, body)
    return await _decide(services, request, run_id, wanted, wanted.approval_id, plain=body is _NO_BODY)


async def decide(services: Services, request: Request) -> Any:
    approval_id = identifier(request, "approval_id", "approval")
    wanted = parsed(DecisionRequest, await read_json(request))
    return await _decide(services, request, None, wanted, approval_id)


async def reassign(services: Services, request: Request) -> Any:
    approval_id = identifier(request, "approval_id", "approval")
    wanted = parsed(ReassignRequest, await read_json(request))
    caller = caller_of(request)
    async with services.queries() as queries:
        handled = await queries.reassign(
            approval_id, wanted.assignees, comment=wanted.comment, actor=caller.actor, roles=caller.roles
        )
    return {"approval_id": handled}


async def comment(services: Services, request: Request) -> Any:
    approval_id = identifier(request, "approval_id", "approval")
    wanted = parsed(CommentRequest, await read_json(request))
    async with services.queries() as queries:
        handled = await queries.comment(approval_id, wanted.comment, actor=caller_of(request).actor)
    return {"approval_id": handled}


async def _decide(
    services: Services,
    request: Request,
    run_id: UUID | None,
    wanted: DecisionRequest,
    approval_id: UUID | None,
    *,
    plain: bool = False,
) -> dict[str, Any]:
    caller = caller_of(request)
    async with services.connections.borrow() as connection, connection.transaction():
        await set_locally(connection)
        queries = Queries(connection)
        if plain and run_id is not None:
            decided = await queries.approve_plain(run_id, actor=caller.actor, roles=caller.roles)
        else:
            decided = await queries.decide(
                run_id,
                wanted.decision,
                data=wanted.data,
                comment=wanted.comment,
                approval_id=approval_id,
                actor=caller.actor,
                roles=caller.roles,
            )
        of_run, status, missing = await listing.standing(connection, decided)
    return {
        "run_id": of_run,
        "approval_id": decided,
        "decision": wanted.decision,
        "status": status,
        "missing": missing,
    }
