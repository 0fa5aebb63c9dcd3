"""The tools of the workers in outages. What they do in the world outside goes to a file that no fault of a
database touches: one line of JSON for each effect."""

import asyncio
import json
import os
import socket
import time
from pathlib import Path
from typing import Any

from pgorch.tool import Context, Registry

SINK = "PGORCH_TEST_SINK"
registry = Registry()


def leave_effect(ctx: Context, what: str) -> None:
    line = {
        "what": what,
        "run": str(ctx.run_id),
        "node": ctx.node,
        "attempt": ctx.attempt,
        "key": ctx.idempotency_key,
        "token": ctx.fencing_token,
        "pid": os.getpid(),
        "at": time.monotonic(),
    }
    with Path(os.environ[SINK]).open("a") as sink:
        sink.write(json.dumps(line) + "\n")


@registry.tool
async def step(n: int = 0) -> dict[str, int]:
    return {"n": n + 1}


@registry.tool(retry={"max_attempts": 20, "initial_interval": "0.2s", "backoff_factor": 1})
def effect(ctx: Context) -> dict[str, Any]:
    leave_effect(ctx, "effect")
    return {"effect": ctx.attempt}


@registry.tool(transactional=True, retry={"max_attempts": 20, "initial_interval": "0.2s"})
def pay(ctx: Context) -> dict[str, Any]:
    ctx.connection.execute("insert into payments (run_id) values (%s)", (ctx.run_id,))
    return {"paid": True}


@registry.tool
async def last(ctx: Context) -> dict[str, Any]:
    return {"attempt": ctx.attempt}


@registry.tool
async def nap(ctx: Context, seconds: float = 1.0) -> dict[str, Any]:
    """Takes its time, and says when it began, ended, or was stopped."""
    leave_effect(ctx, "began")
    try:
        await asyncio.sleep(seconds)
    except asyncio.CancelledError:
        leave_effect(ctx, "stopped")
        raise
    leave_effect(ctx, "ended")
    return {"attempt": ctx.attempt}


@registry.tool(retry={"max_attempts": 50, "initial_interval": "0.3s", "backoff_factor": 1})
def fetch(host: str, port: int) -> dict[str, str]:
    """Asks something in the world outside."""
    with socket.create_connection((host, port), timeout=2) as wire:
        return {"said": wire.recv(100).decode()}
