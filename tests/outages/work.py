"""A worker process whose times a test chooses: python -m tests.outages.work DSN NAME TIMING"""

import asyncio
import json
import logging
import sys

from pgorch.worker import Worker
from pgorch.worker.identity import Timing
from tests.outages.tools import registry


async def novel() -> dict[str, str]:
    """A tool that only the next version of the code has."""
    return {"novel": "done"}


def main(dsn: str, name: str, timing: str) -> None:
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    options = json.loads(timing)
    slots = options.pop("slots", 20)
    if options.pop("novel", False):
        registry.tool(novel)
    asyncio.run(Worker(dsn, registry, slots=slots, name=name, timing=Timing(**options)).run())


if __name__ == "__main__":
    main(*sys.argv[1:])
