"""Starting and reading runs."""

import time
from typing import Any, Final
from uuid import UUID

from starlette.requests import Request

from pgorch.api import listing
from pgorch.api.access import caller_of
from pgorch.api.answers import ENDED, STATUSES
from pgorch.api.bodies import loaded, parsed, read_body, too_large
from pgorch.api.parameters import (
    AT,
    Parameter,
    choices,
    cursor_id,
    fields,
    idempotency_key,
    identifier,
    integer,
    moment,
    page_size,
    seconds_to_wait,
)
from pgorch.api.problems import Problem
from pgorch.api.requests import RunRequest
from pgorch.api.services import Services
from pgorch.api.waiting import WATCH_SECONDS, woken_by_disconnect
from pgorch.strict_json import MAX_INPUT_BYTES

MOST_BYTES_AT_ONCE: Final = 4 * MAX_INPUT_BYTES
STATUS: Final = Parameter(
    "status",
    "query",
    "Only runs of these statuses.",
    {"type": "array", "items": {"type": "string", "enum": list(STATUSES)}},
    repeatable=True,
)
GRAPH: Final = Parameter(
    "graph", "query", "Only runs of this graph: id, name (all versions) or name@version."
)
STATE: Final = Parameter(
    "state.<path>",
    "query",
    "Only runs whose state has this value, as text, at a path: state.customer.id=42.",
    repeatable=True,
)
LABEL: Final = Parameter(
    "label.<name>", "query", "Only runs with this label: label.team=billing.", repeatable=True
)
INITIATOR: Final = Parameter("initiator", "query", "Only runs that this one started.")
_TIME: Final = {"type": "string", "format": "date-time"}
CREATED_AFTER: Final = Parameter("created_after", "query", "Only runs started at this time or later.", _TIME)
CREATED_BEFORE: Final = Parameter("created_before", "query", "Only runs started before this time.", _TIME)
FILTERS: Final = (STATUS, GRAPH, STATE, LABEL, INITIATOR, CREATED_AFTER, CREATED_BEFORE)
_AT_REST: Final = ENDED | {"awaiting_approval"}


async def start(services: Services, request: Request) -> Any:
    body = await read_body(request, MOST_BYTES_AT_ONCE)
    wanted = parsed(RunRequest, loaded(body, MOST_BYTES_AT_ONCE))
    if wanted.initial_states is None and len(body) > MAX_INPUT_BYTES:
        raise too_large(MAX_INPUT_BYTES)
    key = idempotency_key(request, wanted.idempotency_key)
    graph = wanted.graph_id or wanted.graph or ""
    options: dict[str, Any] = {
        "priority": wanted.priority,
        "queue": wanted.queue,
        "labels": wanted.labels,
        "actor": caller_of(request).actor,
    }
    async with services.queries() as queries:
        if wanted.initial_states is None:
            run_id = await queries.start(graph, wanted.initial_state or {}, idempotency_key=key, **options)
            return {"run_id": run_id}
        if key is not None:
            raise Problem(
                "invalid-value",
                "An idempotency key names one run, so it does not go with initial_states.",
                hint="Start the runs one by one, each with a key, or leave it out.",
            )
        return {"run_ids": await queries.start_many(graph, wanted.initial_states, **options)}


async def show(services: Services, request: Request) -> Any:
    run_id = identifier(request, "run_id", "run")
    seconds = seconds_to_wait(request)
    if seconds:
        await _wait_for_rest(services, request, run_id, seconds)
        # It may have been revoked meanwhile.
        await services.gate.identify(request)
    async with services.queries() as queries:
        return await queries.run_document(run_id)


async def show_state(services: Services, request: Request) -> Any:
    run_id = identifier(request, "run_id", "run")
    at = integer(request, AT)
    async with services.queries() as queries:
        return await queries.run_state(run_id) if at is None else await queries.state_at(run_id, at)


async def list_(services: Services, request: Request) -> Any:
    limit = page_size(request)
    async with services.connections.borrow() as connection:
        rows = await listing.runs(
            connection,
            statuses=choices(request, STATUS),
            graph=request.query_params.get("graph"),
            before=cursor_id(request),
            limit=limit + 1,
            states=fields(request, STATE),
            labels=fields(request, LABEL),
            initiator=request.query_params.get("initiator"),
            created_after=moment(request, CREATED_AFTER),
            created_before=moment(request, CREATED_BEFORE),
        )
    return listing.page("runs", rows, limit)


async def _wait_for_rest(services: Services, request: Request, run_id: UUID, seconds: int) -> None:
    """Until the run has ended or awaits an approval, time is over, the client is gone or the process ends."""
    deadline = time.monotonic() + seconds
    with services.changes.waiter(run_id) as waiter:
        async with woken_by_disconnect(request, waiter) as gone:
            while True:
                # Watched before it is looked at, so that no change falls in between.
                async with services.queries() as queries:
                    waiter.last_seen = await queries.watch_run(run_id, WATCH_SECONDS, steps=False)
                remaining = deadline - time.monotonic()
                if waiter.last_seen[0] in _AT_REST or remaining <= 0 or waiter.stopping or gone.done():
                    return
                await waiter.wait(min(remaining, WATCH_SECONDS / 3))
