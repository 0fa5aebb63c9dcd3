"""The standard plan: every so often one fault is drawn, until the time is over."""

import asyncio
import contextlib
import random
import threading
import time
import traceback
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import psycopg

from tests.chaos.checker.footprint import footprint
from tests.chaos.drivers import Drivers
from tests.chaos.faults import CLOCK_FAULT, CLOCK_SHIFT_SECONDS, Fault, Scene, usable
from tests.chaos.ground import Ground
from tests.chaos.verdict import Injected, Verdict, judge

EVERY_SECONDS = 2.0
WARM_SECONDS = 2.0
QUIET_SECONDS = 60.0


class Hand:
    """Draws faults and injects each in a thread of its own. The order is the seed's."""

    def __init__(self, scene: Scene, seed: int) -> None:
        self._scene = scene
        self._random = random.Random(seed)
        # At first each comes once, so that a short run has all of them; then by weight.
        self._bag = list(usable())
        self._random.shuffle(self._bag)
        self._pool = ThreadPoolExecutor(32, thread_name_prefix="fault")
        self._counting = threading.Lock()
        self.injected: Counter[int] = Counter()
        self.seen: Counter[int] = Counter()
        self.problems: list[str] = []

    def draw(self) -> None:
        if not self._bag:
            self._bag = [fault for fault in usable() for _ in range(fault.weight)]
            self._random.shuffle(self._bag)
        self._pool.submit(self._inject, self._bag.pop())

    def _inject(self, fault: Fault) -> None:
        seen = 0
        try:
            # It may find that another has taken the server away just now: then nothing is seen of it.
            with contextlib.suppress(psycopg.OperationalError):
                seen = fault.inject(self._scene)
        except Exception:
            self.problems.append(f"fault {fault.number}: {traceback.format_exc(limit=-2)}")
        with self._counting:
            self.injected[fault.number] += 1
            self.seen[fault.number] += seen

    @property
    def deaths(self) -> set[int]:
        """With what workers may have ended, after what was injected."""
        return {code for fault in usable() if self.injected[fault.number] for code in fault.deaths}

    @property
    def clock_shift(self) -> int:
        """By how much the database's clock has been off."""
        return CLOCK_SHIFT_SECONDS if self.injected[CLOCK_FAULT] else 0

    def rest(self) -> None:
        """Returns when every fault is over."""
        self._pool.shutdown(wait=True)


async def standard(ground: Ground, *, seed: int, seconds: float, runs: int | None, drivers: int) -> Verdict:
    """`runs`: so many at most, spread evenly by nothing but the drivers' pace."""
    short = seconds < 120
    crowd = Drivers(ground, seed=seed, count=drivers, limit=runs)
    scene = Scene(ground, crowd, seed, short=short)
    hand = Hand(scene, seed)
    driving = asyncio.create_task(crowd.drive())
    began = time.monotonic()
    await warm_up(ground)
    over = time.monotonic() + seconds
    while time.monotonic() < over and not driving.done():
        hand.draw()
        await asyncio.sleep(EVERY_SECONDS)
    await asyncio.to_thread(hand.rest)
    await asyncio.to_thread(ground.mend)
    crowd.stopping = True
    quiet = await until_quiet(crowd, driving)
    happened = ground.lines.happened()
    injected = []
    for fault in usable():
        seen = _seen(fault, hand, crowd, happened)
        injected.append(Injected(fault.number, fault.what, hand.injected[fault.number], seen, fault.seen))
    verdict = await asyncio.to_thread(
        judge,
        ground,
        crowd,
        quiet_seconds=quiet,
        deaths=hand.deaths,
        clock_shift=hand.clock_shift,
        settle_seconds=5 if short else 130,
    )
    verdict.injected = injected
    verdict.problems += hand.problems
    verdict.lasted = time.monotonic() - began
    return verdict


async def warm_up(ground: Ground) -> None:
    """Notes what the processes hold under load, while nothing is wrong yet."""

    def note() -> None:
        with ground.connect() as connection:
            footprint(connection, "before")

    await asyncio.sleep(WARM_SECONDS)
    await asyncio.to_thread(note)


async def until_quiet(crowd: Drivers, driving: "asyncio.Task[None]") -> float | None:
    """How long it took after the last fault until everything had ended; None: it did not."""
    since = time.monotonic()
    done, _ = await asyncio.wait([driving], timeout=QUIET_SECONDS)
    took = time.monotonic() - since
    if done:
        driving.result()
        return took
    crowd.abandoned = True
    driving.cancel()
    await asyncio.gather(driving, return_exceptions=True)
    return None


def _seen(fault: Fault, hand: Hand, crowd: Drivers, happened: Counter[str]) -> int:
    if fault.counter:
        return sum(happened[name] for name in fault.counter)
    if fault.number == 4:
        return crowd.errors["WorkerLost"]
    if fault.number == 17:
        return crowd.ended["wide", "completed"]
    return hand.seen[fault.number]
