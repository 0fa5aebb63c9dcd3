"""The world that tools have effects on: a process that writes down whatever it is told, and says so.

A line of JSON comes, an empty line goes back once it is written. It refuses nothing and is hit by no fault.
"""

import asyncio
import contextlib
import hashlib
import json
import os
import socket
import threading
from pathlib import Path
from typing import Any

from pgorch.tool import Context
from tests.chaos.logs import Log

PORT = "PGORCH_CHAOS_SINK"
_local = threading.local()


def serve(port: socket.socket, path: Path) -> None:
    """Runs until the process ends."""
    asyncio.run(_serve(port, Log(path)))


async def _serve(port: socket.socket, log: Log) -> None:
    async def take(told: asyncio.StreamReader, answer: asyncio.StreamWriter) -> None:
        # Who tells may be killed while it does.
        with contextlib.suppress(ConnectionError):
            while line := await told.readline():
                log.add(**json.loads(line))
                answer.write(b"\n")
        answer.close()

    async with await asyncio.start_server(take, sock=port) as server:
        await server.serve_forever()


def tell(ctx: Context, what: str, payload: Any = None) -> None:
    """Has an effect: returns when the sink has written it down. From threads only, each with its own line."""
    line: Any = getattr(_local, "line", None)
    if line is None:
        connection = socket.create_connection(("127.0.0.1", int(os.environ[PORT])), timeout=30)
        line = _local.line = connection.makefile("rw")
    effect = {
        "what": what, "run_id": str(ctx.run_id), "node": ctx.node, "born": ctx.born, "item": ctx.item,
        "attempt": ctx.attempt, "token": ctx.fencing_token, "key": ctx.idempotency_key, "pid": os.getpid(),
        "digest": None if payload is None else digest(payload),
    }  # fmt: skip
    line.write(json.dumps(effect) + "\n")
    line.flush()
    line.readline()


def digest(payload: Any) -> str:
    """Of the canonical JSON: keys sorted, no spaces."""
    text = json.dumps(payload, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()
