"""Hooks, and what is on its way to them."""

from typing import Any, Final, LiteralString
from uuid import UUID

import orjson
from psycopg import AsyncConnection
from psycopg.rows import TupleRow
from starlette.requests import Request

from pgorch.api import listing
from pgorch.api.access import caller_of
from pgorch.api.bodies import parsed, read_json
from pgorch.api.parameters import Parameter, choices, cursor_id, identifier, page_size
from pgorch.api.requests import HookChange, HookRequest, HookSecret
from pgorch.api.services import Services
from pgorch.database.queries import Queries
from pgorch.errors import NotFound

HOOK: Final = Parameter("hook", "path", "Name or id of a hook.")
DELIVERY: Final = Parameter("delivery_id", "path", "Id of a delivery.", {"type": "string", "format": "uuid"})
STATUS: Final = Parameter(
    "status",
    "query",
    "Only deliveries of these statuses.",
    {"type": "array", "items": {"type": "string", "enum": ["pending", "delivered", "dead"]}},
    repeatable=True,
)
_HOOKS: Final[LiteralString] = "select to_json(h) from pgorch.hook_list h order by h.name"
_HOOK: Final[LiteralString] = """
    select h.hook_id, to_json(h) from pgorch.hook_list h
    where h.name = %(hook)s or h.hook_id::text = lower(%(hook)s)
"""
_HOOK_OF: Final[LiteralString] = """
    select d.hook_id from pgorch.hook_deliveries d
    where d.bucket = pgorch.bucket_of(%(delivery_id)s) and d.id = %(delivery_id)s
"""
_DELIVERIES: Final[LiteralString] = """
    select x.delivery_id::text, to_json(x) from generate_series(0, pgorch.bucket_count() - 1) b(bucket)
    cross join lateral (
        select d.delivery_id, d.kind, d.run_id, d.seq, d.status, d.attempts, d.created_at, d.next_at,
               d.ended_at, d.log
        from pgorch.hook_delivery_list d
        where d.bucket = b.bucket and d.hook_id = %(hook_id)s
          and d.delivery_id < coalesce(%(before)s::uuid, 'ffffffff-ffff-ffff-ffff-ffffffffffff')
          and (%(statuses)s::text[] is null or d.status = any (%(statuses)s::text[]))
        order by d.delivery_id desc limit %(limit)s::int) x
    order by x.delivery_id desc limit %(limit)s::int
"""


async def list_(services: Services, request: Request) -> Any:
    async with services.connections.borrow() as connection:
        rows = await (await connection.execute(_HOOKS)).fetchall()
    return {"hooks": [row[0] for row in rows]}


async def create(services: Services, request: Request) -> Any:
    wanted = parsed(HookRequest, await read_json(request))
    async with services.connections.borrow() as connection:
        hook_id = await Queries(connection).create_hook(
            wanted.name,
            wanted.url,
            wanted.kinds,
            wanted.secret,
            graph=wanted.graph,
            allow_private=wanted.allow_private,
            actor=caller_of(request).actor,
        )
        return await _shown(connection, hook_id)


async def show(services: Services, request: Request) -> Any:
    async with services.connections.borrow() as connection:
        return (await _found(connection, request))[1]


async def update(services: Services, request: Request) -> Any:
    wanted = parsed(HookChange, await read_json(request))
    async with services.connections.borrow() as connection:
        hook_id = await Queries(connection).update_hook(
            _named(request), url=wanted.url, kinds=wanted.kinds, actor=caller_of(request).actor
        )
        return await _shown(connection, hook_id)


async def rotate(services: Services, request: Request) -> Any:
    wanted = parsed(HookSecret, await read_json(request, without={}))
    async with services.connections.borrow() as connection:
        hook_id = await Queries(connection).rotate_hook_secret(
            _named(request), secret=wanted.secret, actor=caller_of(request).actor
        )
        return await _shown(connection, hook_id)


async def pause(services: Services, request: Request) -> Any:
    async with services.connections.borrow() as connection:
        hook_id = await Queries(connection).pause_hook(_named(request), actor=caller_of(request).actor)
        return await _shown(connection, hook_id)


async def resume(services: Services, request: Request) -> Any:
    async with services.connections.borrow() as connection:
        hook_id = await Queries(connection).resume_hook(_named(request), actor=caller_of(request).actor)
        return await _shown(connection, hook_id)


async def delete(services: Services, request: Request) -> Any:
    async with services.queries() as queries:
        return {"hook_id": await queries.delete_hook(_named(request), actor=caller_of(request).actor)}


async def test(services: Services, request: Request) -> Any:
    async with services.queries() as queries:
        return {"delivery_id": await queries.test_hook(_named(request), actor=caller_of(request).actor)}


async def deliveries(services: Services, request: Request) -> Any:
    limit = page_size(request)
    statuses = choices(request, STATUS)
    async with services.connections.borrow() as connection:
        hook_id, _ = await _found(connection, request)
        cursor = await connection.execute(
            _DELIVERIES,
            {
                "hook_id": hook_id,
                "statuses": statuses or None,
                "before": cursor_id(request),
                "limit": limit + 1,
            },
        )
        rows = [(key, fragment) for key, fragment in await cursor.fetchall()]
    return listing.page("deliveries", rows, limit)


async def resend(services: Services, request: Request) -> Any:
    delivery_id = identifier(request, "delivery_id", "delivery")
    async with services.connections.borrow() as connection, connection.transaction():
        hook_id, _ = await _found(connection, request)
        row = await (await connection.execute(_HOOK_OF, {"delivery_id": delivery_id})).fetchone()
        if row is None or row[0] != hook_id:
            raise NotFound("This hook has no such delivery.", hint="They are kept for a week.")
        sent = await Queries(connection).resend_delivery(delivery_id, actor=caller_of(request).actor)
        return {"delivery_id": sent}


def _named(request: Request) -> str:
    name: str = request.path_params["hook"]
    return name


async def _found(connection: AsyncConnection[TupleRow], request: Request) -> tuple[UUID, orjson.Fragment]:
    """Raises NotFound."""
    row = await (await connection.execute(_HOOK, {"hook": _named(request)})).fetchone()
    if row is None:
        raise NotFound("There is no such hook.", hint="GET /v1/hooks lists those there are.")
    return row[0], row[1]


async def _shown(connection: AsyncConnection[TupleRow], hook_id: UUID) -> orjson.Fragment:
    row = await (await connection.execute(_HOOK, {"hook": str(hook_id)})).fetchone()
    if row is None:
        raise NotFound("The hook was deleted meanwhile.")
    fragment: orjson.Fragment = row[1]
    return fragment
