"""Sixty-four branches of one run that end at the same moment, each in a session of its own or in batches."""

import threading
import time
from dataclasses import dataclass, field
from typing import Any

import psycopg
from psycopg import Connection
from psycopg.rows import DictRow
from psycopg.types.json import Jsonb

from tests.support.engine import Engine, Step, definition
from tests.support.races import open_connection

BRANCHES = 64
# As often as a worker calls again at once.
_TRIES = 4
_ADVANCE = (
    "select * from pgorch.advance(%s::int, %s::uuid, %s::bigint[], %s::uuid[], %s::text[], %s::jsonb[], 0)"
)


@dataclass
class Joins:
    """What came of it: seconds from the moment at which all ended to the join being there to be claimed; how
    often the server asked for a call to be made again; and problems that calls again did not end."""

    seconds: list[float] = field(default_factory=list)
    asked_again: int = 0
    surfaced: list[str] = field(default_factory=list)
    fired: int = 0


class Fan:
    """A graph of 64 branches that meet, and sessions that hand in their ends."""

    def __init__(self, connection: Connection[DictRow], dsn: str, sessions: int, options: str = "") -> None:
        self.engine = Engine(connection)
        names = [f"b{at}" for at in range(BRANCHES)]
        graph = definition(
            ["begin", *names, "end"], [*(f"begin>{n}" for n in names), *(f"{n}>end" for n in names)]
        )
        self.graph = self.engine.graph(graph)
        self.engine.worker.enlist()
        self.seen = Joins()
        self._sessions = [open_connection(dsn) for _ in range(sessions)]
        for session in self._sessions:
            if options:
                session.execute(options.encode())
        # The first call of a session is the slowest; workers keep theirs.
        self.join()
        self.seen = Joins()

    def __enter__(self) -> "Fan":
        return self

    def __exit__(self, *_: object) -> None:
        for session in self._sessions:
            session.close()

    def join(self) -> None:
        """One run, from its start to its end. Every second session hands in its batch in reverse order."""
        worker = self.engine.worker
        run_id = self.engine.start(self.graph, bucket=0)
        worker.succeed(worker.claim_one("begin"), {})
        steps = worker.claim(BRANCHES)
        assert len(steps) == BRANCHES
        share = BRANCHES // len(self._sessions)
        barrier = threading.Barrier(len(self._sessions) + 1)
        threads = []
        for at, session in enumerate(self._sessions):
            batch = steps[at * share : (at + 1) * share]
            batch = batch[::-1] if at % 2 else batch
            threads.append(threading.Thread(target=self._hand_in, args=(session, batch, barrier)))
        for thread in threads:
            thread.start()
        barrier.wait()
        began_at = time.monotonic()
        for thread in threads:
            thread.join(60)
        self.seen.seconds.append(time.monotonic() - began_at)
        worker.succeed(worker.claim_one("end"), {})
        kinds = self.engine.rows(
            "select node, count(*) as n from pgorch.run_history where run_id = %s and kind = 'step_completed'"
            " group by 1 having count(*) > 1",
            run_id,
        )
        assert (self.engine.status(run_id), kinds) == ("completed", [])
        self.seen.fired += 1

    def _hand_in(self, session: Connection[DictRow], batch: list[Step], barrier: threading.Barrier) -> None:
        arguments: list[Any] = [
            0, self.engine.worker.id, [s.step_id for s in batch], [s.lease_token for s in batch],
            ["success"] * len(batch), [Jsonb({})] * len(batch),
        ]  # fmt: skip
        barrier.wait()
        for tried in range(1, _TRIES + 1):
            try:
                rows = session.execute(_ADVANCE.encode(), arguments).fetchall()
                refused = [row["message"] for row in rows if row["kind"] == "refused"]
                self.seen.surfaced += refused
                return
            except psycopg.Error as problem:
                if problem.sqlstate not in ("40001", "40P01") or tried == _TRIES:
                    self.seen.surfaced.append(f"{problem.sqlstate} {problem.diag.message_primary}")
                    return
                self.seen.asked_again += 1
                time.sleep(0.01 * tried)
