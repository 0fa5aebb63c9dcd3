"""The calls by which workers deliver to hooks."""

from collections.abc import Sequence
from typing import Any, NamedTuple
from uuid import UUID

from psycopg import AsyncConnection
from psycopg.rows import class_row


class Delivery(NamedTuple):
    """A message to be sent now. `body` is JSON text, which is what is signed."""

    id: UUID
    attempt: int
    hook_id: UUID
    url: str
    allow_private: bool
    secrets: list[str]
    body: str

    def __repr__(self) -> str:
        # It may be logged.
        return f"Delivery({self.id}, attempt {self.attempt})"


async def has_hooks(connection: AsyncConnection[Any]) -> bool:
    row = await (await connection.execute("select exists (select from pgorch.hooks)")).fetchone()
    return bool(row and row[0])


async def claim_deliveries(
    connection: AsyncConnection[Any], bucket: int, limit: int, lease_seconds: float, busy: Sequence[UUID]
) -> list[Delivery]:
    """Up to `limit` of each hook that is not busy. Another worker takes them when the lease is over."""
    async with connection.cursor(row_factory=class_row(Delivery)) as cursor:
        await cursor.execute(
            "select c.id, c.attempt, c.hook_id, c.url, c.allow_private, c.secrets, c.body"
            " from pgorch.claim_deliveries(p_bucket => %s::int, p_limit => %s::int,"
            " p_lease_seconds => %s::float8, p_busy => %s::uuid[]) c",
            (bucket, limit, lease_seconds, list(busy)),
        )
        return await cursor.fetchall()


async def record_delivery(
    connection: AsyncConnection[Any], delivery: Delivery, http_status: int | None, problem: str | None
) -> None:
    await connection.execute(
        "select pgorch.record_delivery(p_bucket => %s::int, p_delivery_id => %s::uuid, p_attempt => %s::int,"
        " p_http_status => %s::int, p_problem => %s::text)",
        (delivery.id.bytes[15], delivery.id, delivery.attempt, http_status, problem),
    )


async def tend_deliveries(connection: AsyncConnection[Any], bucket: int) -> None:
    await connection.execute("select pgorch.tend_deliveries(p_bucket => %s::int)", (bucket,))
