"""The engines that are compared, each doing the same things in the way that is best for it."""

import contextlib
import os
import subprocess
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from psycopg.types.json import Jsonb

from pgorch.cli.bench.counters import Counters, read
from pgorch.cli.bench.graphs import chain
from pgorch.cli.bench.ground import checkpoint
from pgorch.cli.bench.latency import measure_latency, measure_starts, percentile
from pgorch.cli.bench.load import create, measure
from pgorch.cli.bench.workers import workers
from pgorch.cli.session import Session
from tests.bench.arena import STEPS, Arena
from tests.bench.environments import environment, versions
from tests.bench.peers.process import Process, processes, url_of

_POLL_SECONDS = 0.05


@dataclass(frozen=True)
class Work:
    """Steps that were done, in how many seconds, and what they cost."""

    steps: float
    seconds: float
    cost: Counters

    def figures(self) -> dict[str, float]:
        cost = self.cost
        found = {"steps/s": self.steps / self.seconds, "WAL bytes/step": cost.wal_bytes / self.steps,
                 "writing transactions/step": cost.transactions / self.steps}  # fmt: skip
        for name, cpu in (("server", cost.server_cpu), ("client", cost.client_cpu)):
            if cpu is not None:
                found[f"{name} CPU us/step"] = cpu / self.steps * 1e6
        return found


class Engine(ABC):
    """One engine in a database of its own. What it does not have is None."""

    name: str
    packages: tuple[str, ...] = ()
    _db: Session
    _pids: list[int]

    def versions(self) -> dict[str, str]:
        return versions(environment(self.name, self.packages), self.packages)

    def _whole(self, work: Callable[[], Work]) -> Work:
        """What work costs with the start of its runs, which for a large state is most of it."""
        before, began = read(self._db, self._pids), time.perf_counter()
        steps = work().steps
        return Work(steps, time.perf_counter() - began, read(self._db, self._pids) - before)

    @abstractmethod
    def open(self, arena: Arena) -> contextlib.AbstractContextManager["Engine"]:
        """Its processes, started in a fresh database, until the block ends."""

    @abstractmethod
    def chains(self, seconds: float) -> Work:
        """Runs of ten steps, as many as go into about so many seconds."""

    @abstractmethod
    def large(self, seconds: float, state: dict[str, Any]) -> Work:
        """The same with a state of a megabyte, and outputs of a hundred bytes."""

    @abstractmethod
    def latency(self, samples: int) -> dict[str, float]:
        """A run of ten steps when nothing else is done, and a step more."""

    @abstractmethod
    def resumes(self, samples: int) -> dict[str, float]:
        """From a decision to the next step."""

    def starts(self, seconds: float) -> dict[str, float]:
        """Starts a second, which nobody takes up: the last thing that is measured."""
        return {}


class Pgorch(Engine):
    name = "pgorch"

    def versions(self) -> dict[str, str]:
        from importlib.metadata import version

        return {"pgorch": version("pgorch")}

    @contextlib.contextmanager
    def open(self, arena: Arena) -> Iterator["Pgorch"]:
        with arena.database() as (dsn, self._db), contextlib.ExitStack() as self._workers:
            self._pids = self._workers.enter_context(workers(self._db, dsn, 2))
            self._graph = create(self._db, chain(STEPS))
            self._work(self._graph, 300, {})
            yield self

    def _work(self, graph: str, runs: int, state: dict[str, Any]) -> Work:
        load = measure(self._db, graph, runs, self._pids, value=state)
        return Work(load.steps, load.seconds, load.cost)

    def chains(self, seconds: float) -> Work:
        return _for(seconds, lambda runs: self._work(self._graph, runs, {}), 300)

    def large(self, seconds: float, state: dict[str, Any]) -> Work:
        graph = create(self._db, chain(STEPS, tool="pgorch_bench_text"))
        whole = state | {"value": 0}
        return _for(seconds, lambda runs: self._whole(lambda: self._work(graph, runs, whole)), 10)

    def latency(self, samples: int) -> dict[str, float]:
        found = measure_latency(self._db, STEPS, samples)
        self._resumed = {"resume ms p50": found["resume_ms_p50"], "resume ms p99": found["resume_ms_p99"]}
        return {"run ms p50": found["idle_run_ms_p50"], "run ms p99": found["idle_run_ms_p99"],
                "ms a step more": found["marginal_step_ms"]}  # fmt: skip

    def resumes(self, samples: int) -> dict[str, float]:
        return self._resumed

    def starts(self, seconds: float) -> dict[str, float]:
        self._workers.close()
        found = measure_starts(self._db, self._graph, max(50, int(seconds * 700)))
        return {"starts/s": found["starts_per_second_single"],
                "starts/s in bulk": found["starts_per_second_bulk"]}  # fmt: skip


class Peer(Engine):
    """An engine that is not ours: two processes in its own environment."""

    module: str

    @contextlib.contextmanager
    def open(self, arena: Arena) -> Iterator["Peer"]:
        programs = environment(self.name, self.packages)
        with arena.empty_database() as (dsn, self._db):
            self.prepare(dsn, arena)
            with processes(programs, self.module, dsn) as self._processes:
                self._pids = [process.pid for process in self._processes]
                self.chains(0.5)
                yield self

    def prepare(self, dsn: str, arena: Arena) -> None:
        """What is to be done before its processes start."""

    def chains(self, seconds: float) -> Work:
        return self._together("chains", seconds, steps=STEPS)

    def large(self, seconds: float, state: dict[str, Any]) -> Work:
        return self._together("large", seconds, steps=STEPS, state=state)

    def _together(self, do: str, seconds: float, **arguments: Any) -> Work:
        checkpoint(self._db)
        before = read(self._db, self._pids)
        began = time.perf_counter()
        for process in self._processes:
            process.tell(do, seconds=seconds, **arguments)
        done = [process.answer() for process in self._processes]
        took = time.perf_counter() - began
        cost = read(self._db, self._pids) - before
        return Work(sum(answer["count"] for answer in done) * STEPS, took, cost)

    def latency(self, samples: int) -> dict[str, float]:
        whole = self._first.ask("latency", samples=samples, steps=STEPS)
        one = self._first.ask("latency", samples=samples, steps=1)
        more = (percentile(whole, 50) - percentile(one, 50)) / (STEPS - 1)
        return {
            "run ms p50": percentile(whole, 50),
            "run ms p99": percentile(whole, 99),
            "ms a step more": more,
        }

    def resumes(self, samples: int) -> dict[str, float]:
        took = self._first.ask("resumes", samples=samples)
        return {"resume ms p50": percentile(took, 50), "resume ms p99": percentile(took, 99)}

    def starts(self, seconds: float) -> dict[str, float]:
        return {"starts/s": self._first.ask("starts", seconds=seconds),
                "starts/s in bulk": self._first.ask("bulk_starts", seconds=seconds)}  # fmt: skip

    @property
    def _first(self) -> Process:
        return self._processes[0]


class Dbos(Peer):
    name = "dbos"
    packages = ("dbos",)
    module = "dbos_process"


class LangGraph(Peer):
    name = "langgraph"
    packages = ("langgraph", "langgraph-checkpoint-postgres", "psycopg[binary,pool]")
    module = "langgraph_process"

    def starts(self, seconds: float) -> dict[str, float]:
        """Nothing of it starts what others take up."""
        return {}


class Absurd(Peer):
    name = "absurd"
    packages = ("absurd-sdk", "absurdctl", "psycopg[binary]")
    module = "absurd_process"

    def prepare(self, dsn: str, arena: Arena) -> None:
        variables = {**os.environ, "ABSURD_DATABASE_URL": url_of(dsn)}
        variables["PATH"] = f"{arena.programs}{os.pathsep}{os.environ['PATH']}"
        for arguments in (["init"], ["create-queue", "default"]):
            control = environment(self.name, self.packages) / "absurdctl"
            subprocess.run([control, *arguments], env=variables, check=True, stdout=subprocess.DEVNULL)

    def chains(self, seconds: float) -> Work:
        with self._working(self._processes, 0.25):
            return _for(seconds, lambda tasks: self._work("chain", tasks, {}), 20)

    def large(self, seconds: float, state: dict[str, Any]) -> Work:
        with self._working(self._processes, 0.25):
            return _for(seconds, lambda tasks: self._whole(lambda: self._work("large", tasks, state)), 10)

    def latency(self, samples: int) -> dict[str, float]:
        with self._working([self._first], 0.01):
            return super().latency(samples)

    def resumes(self, samples: int) -> dict[str, float]:
        with self._working([self._first], 0.01):
            return super().resumes(samples)

    @contextlib.contextmanager
    def _working(self, some: list[Process], poll: float) -> Iterator[None]:
        for process in some:
            process.ask("work", poll=poll)
        try:
            yield
        finally:
            for process in some:
                process.ask("rest")

    def _work(self, task: str, count: int, params: dict[str, Any]) -> Work:
        """Tasks that are spawned at one moment, with both processes polling."""
        checkpoint(self._db)
        with self._db.connection.transaction():
            self._db.rows(
                "select absurd.spawn_task('default', %s, %s, '{}'::jsonb) from generate_series(1, %s)",
                [task, Jsonb(params), count],
            )
            before = read(self._db, self._pids)
            began = time.perf_counter()
        left = "select count(*) from absurd.t_default t where t.state not in ('completed', 'failed')"
        while self._db.value(left):
            time.sleep(_POLL_SECONDS)
        seconds = time.perf_counter() - began
        cost = read(self._db, self._pids) - before
        assert not self._db.value("select count(*) from absurd.t_default t where t.state = 'failed'")
        return Work(count * STEPS, seconds, cost)


def _for(seconds: float, work: Callable[[int], Work], few: int) -> Work:
    """Work that takes about so long: a few runs tell how many."""
    tried = work(few)
    rate = tried.steps / STEPS / tried.seconds
    return work(max(few, int(rate * seconds)))


ENGINES: dict[str, Callable[[], Engine]] = {
    "pgorch": Pgorch,
    "absurd": Absurd,
    "dbos": Dbos,
    "langgraph": LangGraph,
}
