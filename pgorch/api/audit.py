"""Who did what."""

from typing import Any, Final

from starlette.requests import Request

from pgorch.api.parameters import LARGEST_PAGE, Parameter, cursor_number, page_size, query_id
from pgorch.api.services import Services

RUN: Final = Parameter(
    "run_id", "query", "Only what was done to this run.", {"type": "string", "format": "uuid"}
)
ACTOR: Final = Parameter("actor", "query", "Only what this one did.")
ACTION: Final = Parameter("action", "query", "Only this: approve, cancel, create_key, ...")
FILTERS: Final = (RUN, ACTOR, ACTION)


async def list_(services: Services, request: Request) -> Any:
    limit = min(page_size(request), LARGEST_PAGE)
    async with services.queries() as queries:
        entries = await queries.list_audit(
            run_id=query_id(request, RUN),
            actor=request.query_params.get("actor"),
            action=request.query_params.get("action"),
            before=cursor_number(request),
            limit=limit + 1,
        )
    shown = entries[:limit]
    return {
        "entries": [entry._asdict() for entry in shown],
        "next_cursor": str(shown[-1].id) if len(entries) > limit else None,
    }
