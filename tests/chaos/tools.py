"""The tools of the chaos harness. Each tells the sink when it begins and when it ends, and its result says
under which lease it was made: what the engine keeps beside a result could be that of another attempt."""

import ctypes
import os
import random
import signal
import time
from typing import Any

from pgorch.tool import Context, Registry
from tests.chaos.sink import tell

# With what `poison` ends a process, by its way.
POISONS = {"exit": 9, "segfault": -signal.SIGSEGV, "kill": -signal.SIGKILL}

registry = Registry()


@registry.tool
def relay(ctx: Context, payload: Any) -> dict[str, Any]:
    """Gives back what it was given."""
    tell(ctx, "begin", payload)
    tell(ctx, "end")
    return {"payload": payload, **_proof(ctx)}


@registry.tool(retry={"max_attempts": 5, "initial_interval": "0.1s", "max_interval": "1s"})
def work(ctx: Context, payload: Any = None) -> dict[str, Any]:
    tell(ctx, "begin", payload)
    time.sleep(random.uniform(0.0, 0.01))
    tell(ctx, "end")
    return {f"done_{ctx.node}": ctx.attempt, **_proof(ctx)}


@registry.tool
def count(ctx: Context, n: int = 0) -> dict[str, int]:
    tell(ctx, "begin")
    tell(ctx, "end")
    return {"n": n + 1, **_proof(ctx)}


@registry.tool
def nap(ctx: Context) -> dict[str, Any]:
    """Long enough to be cancelled in the middle."""
    tell(ctx, "begin")
    time.sleep(0.3)
    tell(ctx, "end")
    return _proof(ctx)


@registry.tool(transactional=True)
def transfer(ctx: Context) -> dict[str, Any]:
    """Moves one from account 0 to account 1, in the transaction that records the step."""
    tell(ctx, "begin")
    ctx.connection.execute("update outside.accounts set balance = balance - 1 where id = 0")
    ctx.connection.execute("update outside.accounts set balance = balance + 1 where id = 1")
    ctx.connection.execute(
        "insert into outside.transfers (run_id, node, born, amount) values (%s, %s, %s, 1)",
        (ctx.run_id, ctx.node, ctx.born),
    )
    tell(ctx, "end")
    return {"moved": 1, **_proof(ctx)}


@registry.tool
def poison(ctx: Context, way: str) -> None:
    """Takes its worker with it, each time."""
    tell(ctx, "begin")
    if way == "exit":
        os._exit(POISONS[way])
    if way == "segfault":
        ctypes.string_at(0)
    os.kill(os.getpid(), signal.SIGKILL)


def _proof(ctx: Context) -> dict[str, int]:
    """Named by the node: branches write into one state."""
    return {f"token_{ctx.node}": ctx.fencing_token}
