"""The body of a worker process whose times a test chooses, and which can die at points inside the worker."""

import asyncio
import logging
import os
from pathlib import Path
from typing import Any

from pgorch.worker import Worker, delivering, handing_in, transactions, worker
from pgorch.worker.identity import Timing
from tests.crash.tools import registry, wish


def work(dsn: str, world: str, name: str, timing: dict[str, Any], die_at: str, note: Path, log: Path) -> None:
    """`world` is the DSN by which tools leave their effects."""
    output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(output, 1)
    os.dup2(output, 2)
    os.environ["TEST_DSN"] = world
    wish.point, wish.note = die_at, note
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s", force=True)
    die_inside()
    asyncio.run(Worker(dsn, registry, slots=20, name=name, timing=Timing(**timing)).run())


def die_inside() -> None:
    """Puts the points that are inside the worker into its own calls."""
    inside_transactions: Any = transactions
    inside_handing_in: Any = handing_in
    inside_delivering: Any = delivering
    inside_worker: Any = worker
    record, advance = inside_transactions.record, inside_handing_in.advance
    record_delivery = inside_delivering.record_delivery

    def record_and_die(*arguments: Any) -> Any:
        refused = record(*arguments)
        wish.reached("in the completing transaction")
        return refused

    async def advance_and_die(connection: Any, bucket: int, worker_id: Any, results: Any, *more: Any) -> Any:
        if results:
            wish.reached("before results are handed in")
        rows = await advance(connection, bucket, worker_id, results, *more)
        if results:
            wish.reached("after results were handed in")
        return rows

    async def die_and_record(*arguments: Any) -> None:
        wish.reached("before a delivery is recorded")
        await record_delivery(*arguments)

    class Dying(transactions.Transactions):
        def perform(self, running: Any) -> Any:
            outcome = super().perform(running)
            wish.reached("after the commit")
            return outcome

    inside_delivering.record_delivery = die_and_record
    inside_transactions.record = record_and_die
    inside_handing_in.advance = advance_and_die
    inside_worker.Transactions = Dying
