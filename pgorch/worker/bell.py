"""What the worker's loop waits for."""

import asyncio


class Bell:
    """Rung when there is something to do. One waits, anybody rings; a ring before the wait counts."""

    def __init__(self) -> None:
        self._rung = False
        self._waiter: asyncio.Future[None] | None = None

    def ring(self) -> None:
        self._rung = True
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    async def wait(self, seconds: float) -> bool:
        """Returns after a ring, or after `seconds`. Was it a ring?"""
        if not self._rung:
            loop = asyncio.get_running_loop()
            waiter = self._waiter = loop.create_future()
            timer = loop.call_later(seconds, self._end, waiter)
            try:
                await waiter
            finally:
                timer.cancel()
                self._waiter = None
        rung, self._rung = self._rung, False
        return rung

    @staticmethod
    def _end(waiter: "asyncio.Future[None]") -> None:
        if not waiter.done():
            waiter.set_result(None)
