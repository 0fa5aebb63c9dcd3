import asyncio
import time
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any
from uuid import UUID

import pytest
from psycopg import Connection
from psycopg.rows import DictRow
from psycopg.types.json import Jsonb

from pgorch.tool import Registry
from pgorch.worker import Worker
from pgorch.worker.identity import Timing
from tests.support.emptied import connection, database
from tests.support.engine import definition, value_of
from tests.support.invariants import violations

__all__ = ["connection", "database"]

DEADLINE_SECONDS = 30.0
QUICK = Timing(beat=0.1, stall_exit=None)


class Place:
    """A database, tools, workers in this process that serve them, and a client that starts and reads runs."""

    def __init__(self, dsn: str, connection: Connection[DictRow]) -> None:
        self.dsn = dsn
        self.connection = connection
        self.registry = Registry()
        self.tool = self.registry.tool
        self._workers: list[tuple[Worker, asyncio.Task[None]]] = []

    async def work(
        self,
        *,
        dsn: str | None = None,
        registry: Registry | None = None,
        timing: Timing = QUICK,
        **options: Any,
    ) -> Worker:
        """Starts a worker, and returns once it is enlisted."""
        worker = Worker(dsn or self.dsn, registry or self.registry, timing=timing, **options)
        leases = "select count(*) / pgorch.bucket_count() from pgorch._worker_leases"
        before = self.value(leases)
        task = asyncio.create_task(worker.run())
        self._workers.append((worker, task))

        def enlisted() -> bool:
            if task.done():
                task.result()
            return bool(self.value(leases) > before)

        await self.until(enlisted)
        return worker

    async def stop(self) -> None:
        """Drains all workers. Raises what any of them raised."""
        workers, self._workers = self._workers, []
        for worker, _ in workers:
            worker.drain()
        for _, task in workers:
            await asyncio.wait_for(task, DEADLINE_SECONDS)

    def graph(self, nodes: Any, edges: Any = (), **more: Any) -> str:
        """Creates a graph of the tools, as `tests.support.engine.definition` writes it; returns its id."""
        return self.create(definition(nodes, edges, **more))

    def create(self, graph: Mapping[str, Any]) -> str:
        self.value("select pgorch.register_tools(%s)", Jsonb(self.registry.definitions()))
        return str(self.value("select graph_id from pgorch.create_graph(%s)", Jsonb(dict(graph))))

    def start(self, graph: str, input: Any = None, **options: Any) -> UUID:
        more = "".join(f", p_{name} => %s" for name in options)
        run_id = self.value(
            f"select pgorch.start(%s, %s{more})", graph, Jsonb(input or {}), *options.values()
        )
        assert isinstance(run_id, UUID)
        return run_id

    def start_many(self, graph: str, inputs: list[Any]) -> list[UUID]:
        found = self.value("select pgorch.start_many(%s, %s)", graph, [Jsonb(value) for value in inputs])
        assert isinstance(found, list)
        return found

    def run(self, run_id: UUID) -> dict[str, Any]:
        """Everything that GET /graph/state shows."""
        document = self.value("select pgorch.run_document(%s)", run_id)
        assert isinstance(document, dict)
        return document

    async def ended(self, run_id: UUID) -> dict[str, Any]:
        """The run, once it has ended."""
        await self.until(lambda: self.run(run_id)["finished_at"] is not None)
        return self.run(run_id)

    async def all_ended(self) -> None:
        await self.until(lambda: not self.value("select count(*) from pgorch.runs where finished_at is null"))

    async def until(self, holds: Callable[[], Any], seconds: float = DEADLINE_SECONDS) -> None:
        deadline = time.monotonic() + seconds
        while not holds():
            assert time.monotonic() < deadline, "it did not happen in time"
            await asyncio.sleep(0.01)

    async def until_asleep(self) -> None:
        """All workers have told the engine that they sleep."""
        await self.until(
            lambda: not self.value("select count(*) from pgorch._worker_leases where not asleep")
        )

    def value(self, query: str, *parameters: Any) -> Any:
        return value_of(self.connection, query, *parameters)

    def kinds(self, run_id: UUID) -> list[str]:
        """The kinds of the run's history, in order."""
        return [entry["kind"] for entry in self.run(run_id)["history"]]

    def error(self, run_id: UUID) -> dict[str, Any]:
        """The error of the last attempt that failed."""
        errors = [entry["error"] for entry in self.run(run_id)["history"] if entry.get("error")]
        assert errors, self.run(run_id)
        found = errors[-1]
        assert isinstance(found, dict)
        return found


@pytest.fixture
async def place(database: str, connection: Connection[DictRow]) -> AsyncIterator[Place]:
    """Whatever a test did here, its workers end in order and the invariants hold."""
    place = Place(database, connection)
    try:
        yield place
    finally:
        await place.stop()
    assert violations(connection) == {}
