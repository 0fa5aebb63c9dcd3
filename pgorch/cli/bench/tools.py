"""The tools of the benchmark: they do nothing, so that what is measured is pgorch."""

import time
from typing import Any

from pgorch.tool import tool


@tool(name="pgorch_bench_step")
async def step() -> dict[str, Any]:
    """Give a small object back."""
    return {"value": 7, "status": "ok"}


@tool(name="pgorch_bench_text")
async def text() -> dict[str, Any]:
    """Give a hundred bytes back."""
    return {"text": "x" * 89}


@tool(name="pgorch_bench_now")
async def now() -> dict[str, float]:
    """Tell when this ran."""
    return {"at": time.time()}
