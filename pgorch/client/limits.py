"""The part of both clients that is about limits."""

from datetime import timedelta

from pgorch.client.base import AsyncPart, Part
from pgorch.database.rows import Limit


class Limits(Part):
    """What clients do with limits."""

    def set_limit(
        self,
        kind: str,
        name: str,
        *,
        concurrency: int | None = None,
        rate: int | None = None,
        per: timedelta | str | None = None,
        burst: int | None = None,
        actor: str | None = None,
    ) -> Limit:
        """Limits a "queue" or a "tool", from the next claim on; what is left out is not limited.

        At most `concurrency` steps are under way at once (0: none is begun), and `rate` attempts begin in
        each `per`, for instance 100 in "1 minute". `burst` of them may begin at once after a pause: None
        means as many as fall on a tenth of a second, at least 1. In no time of `per` more than rate + burst
        begin. Raises InvalidValue, NotFound.
        """
        with self._queries() as queries:
            return queries.set_limit(
                kind, name, concurrency=concurrency, rate=rate, per=per, burst=burst, actor=actor
            )

    def drop_limit(self, kind: str, name: str, *, actor: str | None = None) -> None:
        """Takes a limit away, from the next claim on. Raises NotFound."""
        with self._queries() as queries:
            queries.drop_limit(kind, name, actor=actor)


class AsyncLimits(AsyncPart):
    """Like `Limits`."""

    async def set_limit(
        self,
        kind: str,
        name: str,
        *,
        concurrency: int | None = None,
        rate: int | None = None,
        per: timedelta | str | None = None,
        burst: int | None = None,
        actor: str | None = None,
    ) -> Limit:
        """Like `Client.set_limit`."""
        async with self._queries() as queries:
            return await queries.set_limit(
                kind, name, concurrency=concurrency, rate=rate, per=per, burst=burst, actor=actor
            )

    async def drop_limit(self, kind: str, name: str, *, actor: str | None = None) -> None:
        """Like `Client.drop_limit`."""
        async with self._queries() as queries:
            await queries.drop_limit(kind, name, actor=actor)
