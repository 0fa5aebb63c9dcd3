"""Plays the worker: claims the steps of a run, performs them, hands in, dies where it is told to."""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from uuid import UUID, uuid4

from psycopg import Connection, Rollback

from pgorch.database import worker_queries
from pgorch.database.simulation import Simulation
from pgorch.database.translation import translated
from pgorch.database.worker_queries import Advanced, Result
from pgorch.errors import ConfigError, PgorchError
from pgorch.testing.tools import Tools
from pgorch.worker import outcomes
from pgorch.worker.outcomes import RELEASE, Outcome

LEASE_SECONDS = 3600.0
_NAME = "pgorch.testing"
_MOST_STEPS = 20_000
_AT_ONCE = 1000


class Crashes:
    """Where the worker dies: "charge" at the node's first step, "charge:3" at its third."""

    def __init__(self, at: Iterable[str]) -> None:
        self._due = Counter((node, int(visit or 1)) for node, _, visit in (a.partition(":") for a in at))
        self._seen: Counter[str] = Counter()

    def come(self, node: str) -> bool:
        """A step of the node is under way. Does the worker die here?"""
        self._seen[node] += 1
        due = (node, self._seen[node])
        self._due[due] -= 1
        return self._due[due] >= 0


class Player:
    """One worker after the other, on the connection of the test."""

    def __init__(self, connection: Connection[object], tools: Tools) -> None:
        self.connection = connection
        self.tools = tools
        self.simulation = Simulation(connection)
        self.buckets = range(self.simulation.bucket_count())
        self.queues: list[str] = ["default"]
        self.serves: list[str] = []
        self.worker_id = uuid4()

    def check_alone(self) -> None:
        """Raises ConfigError if others work here: the test would hold the steps that they are to claim and,
        with its clock ahead, take them for dead."""
        others = self.simulation.living_workers(_NAME)
        if others:
            raise ConfigError(
                f"This database has living workers ({', '.join(others[:5])}), and tests would stop them.",
                hint="Give tests a database of their own: pgorch.testing.database(dsn=...), or unset "
                "PGORCH_DSN, DATABASE_URL and PGHOST for an embedded one.",
            )

    def enlist(self, serves: Iterable[str], queues: Iterable[str]) -> None:
        """From now on these tools are served as well, in these queues too."""
        self.check_alone()
        self.serves = sorted({*self.serves, *serves})
        self.queues = sorted({*self.queues, *queues})
        self._enlist()

    def perform_all(self, of: Callable[[], Sequence[UUID]], at: Crashes, after: Crashes) -> bool:
        """Performs every step of these runs that can be performed now, and what follows from it."""
        did = False
        for _ in range(_MOST_STEPS):
            steps = self._claim(of())
            if not steps:
                return did
            did = True
            self._perform(steps, of, at, after)
        raise PgorchError(
            f"The run is not at rest after {_MOST_STEPS} steps.",
            hint="Does a loop of the graph have an end with these fake tools?",
        )

    def tick(self) -> bool:
        """Does what is due; was there anything?"""
        return sum(self.simulation.tick(bucket) for bucket in self.buckets) > 0

    def beat(self, seconds: float) -> None:
        """Renews the worker's lease, and frees what dead ones held."""
        self._each(lambda bucket: worker_queries.beat(self.connection, bucket, self.worker_id, seconds))

    def crash(self) -> None:
        """The worker dies with everything in its hands: its lease is over, and another one takes over."""
        self.beat(0.0)
        self.worker_id = uuid4()
        self._enlist()
        self.beat(LEASE_SECONDS)

    def _perform(
        self, steps: list[tuple[int, Advanced]], of: Callable[[], Sequence[UUID]], at: Crashes, after: Crashes
    ) -> None:
        while steps:
            bucket, row = steps.pop(0)
            outcome, dies = self._outcome(bucket, row, at)
            if dies:
                self.crash()
                return
            result = Result(bucket, row.step_id, row.lease_token, outcome.kind, outcome.output)
            self._advance(bucket, [result], 0)
            if row.kind == "step" and after.come(row.node):
                self.crash()
                return
            # A result may have ended the run, and with it what else was at hand.
            steps += self._claim(of())

    def _outcome(self, bucket: int, row: Advanced, at: Crashes) -> tuple[Outcome, bool]:
        """What came of a step, and whether the worker dies before it hands that in: then nothing that a
        transactional tool has written remains."""
        if row.kind == "quarantined":
            return outcomes.error("WorkerLost", str(row.message), retryable=False), False
        dies = at.come(row.node)
        outcome = RELEASE
        with self.connection.transaction():
            outcome = self.tools.perform(bucket, self.worker_id, row, self.connection)
            real = self.tools.real.get(row.tool)
            if real is not None and real.transactional and (dies or outcome.kind != "success"):
                raise Rollback
        return outcome, dies

    def _claim(self, run_ids: Sequence[UUID]) -> list[tuple[int, Advanced]]:
        known = {str(run_id) for run_id in run_ids}
        mine: list[tuple[int, Advanced]] = []
        for bucket in self.buckets:
            rows = [r for r in self._advance(bucket, [], _AT_ONCE) if r.kind in ("step", "quarantined")]
            state = None
            strangers = []
            for row in rows:
                state = row.state or state
                if row.kind == "quarantined" or row.run_id in known:
                    mine.append((bucket, row._replace(state=state)))
                else:
                    strangers.append(Result(bucket, row.step_id, row.lease_token, RELEASE.kind, None))
            if strangers:
                self._advance(bucket, strangers, 0)
        return mine

    def _advance(self, bucket: int, results: Sequence[Result], want: int) -> list[Advanced]:
        with translated(), self.connection.transaction():
            return worker_queries.advance_sync(self.connection, bucket, self.worker_id, results, want)

    def _enlist(self) -> None:
        self._each(
            lambda bucket: worker_queries.enlist_worker(
                self.connection,
                bucket,
                self.worker_id,
                name=_NAME,
                queues=self.queues,
                tools=self.serves,
                slots=_AT_ONCE,
                lease_seconds=LEASE_SECONDS,
                marker=None,
            )
        )

    def _each(self, act: Callable[[int], object]) -> None:
        with translated(), self.connection.transaction():
            for bucket in self.buckets:
                act(bucket)
