"""The tools of the workers that are killed, and where they kill themselves.

Effects go to the table `effects` over a connection of their own, as they would to the world outside; what a
transactional tool writes goes to `payments`.
"""

import asyncio
import ctypes
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

import psycopg

from pgorch.tool import Context, Registry

registry = Registry()
HELD_SECONDS = 6


class DeathWish:
    """Kills this process the first time that any process of the test comes to `point`, or stops it (as kill
    -STOP does) if the wish is "stop " and the point."""

    def __init__(self) -> None:
        self.point = ""
        self.note = Path("/nonexistent/note")

    def reached(self, point: str) -> None:
        if self.point not in (point, f"stop {point}"):
            return
        try:
            with self.note.open("x") as note:
                note.write(str(time.time()))
        except FileExistsError:
            return
        os.kill(os.getpid(), signal.SIGKILL if point == self.point else signal.SIGSTOP)
        # Another thread may have taken the signal, and this one goes on for a moment.
        time.sleep(0.2)


wish = DeathWish()


def leave_effect(ctx: Context) -> None:
    with psycopg.connect(os.environ["TEST_DSN"], autocommit=True) as world:
        world.execute(
            "insert into effects (run_id, node, attempt, key, token, pid) values (%s, %s, %s, %s, %s, %s)",
            (ctx.run_id, ctx.node, ctx.attempt, ctx.idempotency_key, ctx.fencing_token, os.getpid()),
        )


@registry.tool(retry={"max_attempts": 20, "initial_interval": "0.2s", "backoff_factor": 1})
def effect(ctx: Context) -> dict[str, Any]:
    wish.reached("before the effect")
    leave_effect(ctx)
    wish.reached("after the effect")
    return {"effect": ctx.attempt}


@registry.tool(transactional=True)
def pay(ctx: Context) -> dict[str, Any]:
    ctx.connection.execute("insert into payments (run_id) values (%s)", (ctx.run_id,))
    return {"paid": True}


@registry.tool
async def step(n: int = 0) -> dict[str, int]:
    await asyncio.sleep(0.001)
    return {"n": n + 1}


@registry.tool
async def hold(ctx: Context) -> dict[str, Any]:
    """Waits on its first attempt, until the test ends it."""
    leave_effect(ctx)
    if ctx.attempt == 1:
        await asyncio.sleep(60)
    return {"attempt": ctx.attempt}


@registry.tool
def poison() -> None:
    os._exit(9)


@registry.tool
async def block(ctx: Context) -> dict[str, Any]:
    """Blocks the event loop on its first attempt."""
    if ctx.attempt == 1:
        time.sleep(60)  # noqa: ASYNC251
    return {"attempt": ctx.attempt}


@registry.tool
def segfault() -> None:
    ctypes.string_at(0)


@registry.tool
def overflow() -> None:
    """Fills the stack of its thread, by writing out lists in lists."""
    sys.setrecursionlimit(10**9)
    nested: list[Any] = []
    for _ in range(10**5):
        nested = [nested]
    repr(nested)


@registry.tool
def eat_memory() -> None:
    """Takes what it can get."""
    eaten = []
    while True:
        eaten.append(os.urandom(1 << 20))


@registry.tool
def hold_the_gil(ctx: Context) -> dict[str, int]:
    """On its first attempt no thread of the process runs meanwhile, not even that of the heartbeat."""
    leave_effect(ctx)
    if ctx.attempt == 1:
        ctypes.PyDLL(None).sleep(HELD_SECONDS)
    return {"attempt": ctx.attempt}


@registry.tool
def go_on(ctx: Context) -> dict[str, int]:
    """On its first attempt it begins an effect every 50 ms, until it is told to stop."""
    end = time.monotonic() + 60
    while ctx.attempt == 1 and time.monotonic() < end and not ctx.cancelled.is_set():
        leave_effect(ctx)
        time.sleep(0.05)
    leave_effect(ctx)
    return {"attempt": ctx.attempt}
