"""When to look again under a limit: one time for each bucket, the earliest that was named."""

import asyncio
from collections.abc import Callable


class Alarms:
    """Calls `ring(bucket)` at the earliest time that was set for the bucket.

    Each look under an exhausted limit names the next time. If each had a timer of its own, the look that
    a timer brings about would make the next one, for ever and beside all others.
    """

    def __init__(self, ring: Callable[[int], None]) -> None:
        self._ring = ring
        self._timers: dict[int, asyncio.TimerHandle] = {}

    def set(self, bucket: int, seconds: float) -> None:
        loop = asyncio.get_running_loop()
        timer = self._timers.get(bucket)
        if timer is not None:
            if timer.when() <= loop.time() + seconds:
                return
            timer.cancel()
        self._timers[bucket] = loop.call_later(seconds, self._go_off, bucket)

    def _go_off(self, bucket: int) -> None:
        del self._timers[bucket]
        self._ring(bucket)
