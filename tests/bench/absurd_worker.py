"""A worker of Absurd, run by an environment that has it: `absurd_worker.py URL STEPS`."""

import asyncio
import sys
from typing import Any

from absurd_sdk import AsyncAbsurd


async def main(url: str, steps: int) -> None:
    client = AsyncAbsurd(url, queue_name="default")

    @client.register_task(name="chain")  # type: ignore[untyped-decorator]
    async def chain(params: Any, ctx: Any) -> dict[str, Any]:
        async def step() -> dict[str, Any]:
            return {"value": 7, "status": "ok"}

        output: dict[str, Any] = {}
        for number in range(steps):
            output = await ctx.step(f"n{number}", step)
        return output

    print("ready", flush=True)
    await client.start_worker(concurrency=20)


asyncio.run(main(sys.argv[1], int(sys.argv[2])))
