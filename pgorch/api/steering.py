"""What operators do with runs that are there: one, or many at once."""

from typing import Any

from starlette.requests import Request

from pgorch.api.access import caller_of
from pgorch.api.bodies import parsed, read_json
from pgorch.api.parameters import idempotency_key, identifier
from pgorch.api.requests import (
    BulkRequest,
    CancelRequest,
    ForkRequest,
    MoveRequest,
    RetryRequest,
    SignalRequest,
    SkipRequest,
)
from pgorch.api.services import Services


async def signal(services: Services, request: Request) -> Any:
    run_id = identifier(request, "run_id", "run")
    key = idempotency_key(request, None)
    wanted = parsed(SignalRequest, await read_json(request))
    async with services.queries() as queries:
        signal_id = await queries.signal(
            run_id, wanted.name, wanted.payload, idempotency_key=key, actor=caller_of(request).actor
        )
    return {"run_id": run_id, "signal_id": signal_id}


async def cancel(services: Services, request: Request) -> Any:
    run_id = identifier(request, "run_id", "run")
    wanted = parsed(CancelRequest, await read_json(request, without={}))
    async with services.queries() as queries:
        status = await queries.cancel(run_id, **wanted.model_dump(), actor=caller_of(request).actor)
    return {"run_id": run_id, "status": status}


async def pause(services: Services, request: Request) -> Any:
    run_id = identifier(request, "run_id", "run")
    async with services.queries() as queries:
        status = await queries.pause(run_id, actor=caller_of(request).actor)
    return {"run_id": run_id, "status": status}


async def resume(services: Services, request: Request) -> Any:
    run_id = identifier(request, "run_id", "run")
    async with services.queries() as queries:
        status = await queries.resume(run_id, actor=caller_of(request).actor)
    return {"run_id": run_id, "status": status}


async def retry(services: Services, request: Request) -> Any:
    run_id = identifier(request, "run_id", "run")
    wanted = parsed(RetryRequest, await read_json(request, without={}))
    async with services.queries() as queries:
        status = await queries.retry(run_id, **wanted.model_dump(), actor=caller_of(request).actor)
    return {"run_id": run_id, "status": status}


async def skip(services: Services, request: Request) -> Any:
    run_id = identifier(request, "run_id", "run")
    wanted = parsed(SkipRequest, await read_json(request, without={}))
    caller = caller_of(request)
    async with services.queries() as queries:
        status = await queries.skip(run_id, **wanted.model_dump(), actor=caller.actor, roles=caller.roles)
    return {"run_id": run_id, "status": status}


async def fork(services: Services, request: Request) -> Any:
    run_id = identifier(request, "run_id", "run")
    wanted = parsed(ForkRequest, await read_json(request))
    async with services.queries() as queries:
        fork_id = await queries.fork(run_id, **wanted.model_dump(), actor=caller_of(request).actor)
    return {"run_id": fork_id, "forked_from": run_id}


async def move(services: Services, request: Request) -> Any:
    run_id = identifier(request, "run_id", "run")
    wanted = parsed(MoveRequest, await read_json(request))
    async with services.queries() as queries:
        if wanted.dry_run:
            problems = await queries.check_move(run_id, wanted.graph)
            graph_id = await queries.find_graph(wanted.graph)
        else:
            problems = []
            graph_id = await queries.move(run_id, wanted.graph, actor=caller_of(request).actor)
    return {"run_id": run_id, "moved": not wanted.dry_run, "graph_id": graph_id, "problems": problems}


async def bulk(services: Services, request: Request) -> Any:
    wanted = parsed(BulkRequest, await read_json(request))
    caller = caller_of(request)
    async with services.queries() as queries:
        runs = await queries.bulk(
            wanted.action,
            wanted.filter.model_dump(exclude_unset=True),
            wanted.arguments,
            dry_run=wanted.dry_run,
            limit=wanted.limit,
            actor=caller.actor,
            roles=caller.roles,
        )
    return {
        "action": wanted.action,
        "dry_run": wanted.dry_run,
        "runs": [run._asdict() for run in runs],
        "more": len(runs) == wanted.limit,
    }
