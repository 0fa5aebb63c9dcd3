"""What a plain chain costs here and in another checkout, in one run on one server.

``python -m tests.bench.compare PATH_OF_THE_OTHER_CHECKOUT``

Each checkout installs its schema into a database of its own; calls of advance() for one step, and for
batches of 50, alternate between the two, so that whatever else the machine does falls on both. It prints the
time of a call there and here, and the median of the ratios here / there. Noise does not touch the WAL.
"""

import subprocess
import sys
import tempfile
import time
import uuid
from pathlib import Path
from statistics import median
from typing import Any, LiteralString

import psycopg
from psycopg.conninfo import make_conninfo
from psycopg.types.json import Jsonb

from pgorch.embedded import EmbeddedServer

NODES = 100
ROUNDS = 40
HERE = Path(__file__).parents[2]
ADVANCE: LiteralString = (
    "select a.kind, a.step_id, a.lease_token from pgorch.advance(p_bucket => 0, p_worker_id => %s::uuid, "
    "p_step_ids => %s::bigint[], p_lease_tokens => %s::uuid[], p_outcomes => %s::text[], "
    "p_outputs => %s::jsonb[], p_want => %s::int, p_look => %s::boolean) a where a.kind = 'step'"
)


def chain() -> dict[str, Any]:
    """A hundred tasks, each third edge with a condition."""
    edges: list[dict[str, Any]] = [{"source": f"n{n}", "target": f"n{n + 1}"} for n in range(NODES - 1)]
    for edge in edges[::3]:
        edge["condition"] = "$.value >= 0"
    nodes = [{"id": f"n{n}", "function": "t"} for n in range(NODES)]
    return {"name": "chain", "nodes": nodes, "edges": edges, "start_node": "n0"}


class Side:
    """One checkout's schema in a database, and a worker in it."""

    def __init__(self, server: EmbeddedServer, name: str, checkout: Path) -> None:
        with psycopg.connect(server.dsn, autocommit=True) as connection:
            connection.execute(f"create database {name}".encode())
        dsn = make_conninfo(server.dsn, dbname=name)
        install = "import sys; from pgorch.database.migrations import migrate; migrate(sys.argv[1])"
        subprocess.run([sys.executable, "-c", install, dsn], check=True, cwd=checkout)
        self.connection = psycopg.connect(dsn, autocommit=True)
        self.worker = uuid.uuid4()
        execute = self.connection.execute
        execute("select pgorch.register_tools(%s)", [Jsonb([{"name": "t"}])])
        execute("select pgorch.create_graph(%s)", [Jsonb(chain())])
        execute("select pgorch.enlist_worker(0, %s, 'bench', '{default}', '{t}', 100, 10000)", [self.worker])

    def advance(self, steps: list[Any], want: int, *, look: bool) -> list[Any]:
        results = (
            [step for _, step, _ in steps],
            [token for _, _, token in steps],
            ["success"] * len(steps),
            [Jsonb({"value": 7, "status": "ok"})] * len(steps),
        )
        arguments = (self.worker, *results, want, look)
        return self.connection.execute(ADVANCE, arguments, prepare=True).fetchall()

    def microseconds(self, runs: int) -> tuple[float, float]:
        """Lets so many runs go through the chain together: time of a call, and WAL bytes of a step."""
        self.connection.execute(
            "select pgorch.start_many('chain', array_fill('{}'::jsonb, array[%s::int]))", [runs]
        )
        steps = self.advance([], runs, look=True)
        written, began, calls = self.wal(), time.perf_counter(), 0
        while steps:
            steps = self.advance(steps, runs, look=False)
            calls += 1
        spent = time.perf_counter() - began
        return spent / calls * 1e6, float(self.wal() - written) / (runs * NODES)

    def wal(self) -> int:
        row = self.connection.execute("select pg_wal_lsn_diff(pg_current_wal_insert_lsn(), '0/0')").fetchone()
        return int(row[0]) if row else 0


def main(other: Path) -> None:
    with (
        tempfile.TemporaryDirectory() as directory,
        EmbeddedServer(Path(directory) / "data", fsync=False) as server,
    ):
        there, here = Side(server, "there", other), Side(server, "here", HERE)
        for runs in (1, 50):
            pairs = [(there.microseconds(runs), here.microseconds(runs)) for _ in range(ROUNDS)][3:]
            print(
                f"{runs:3} step(s) a call: there {median(t[0] for t, _ in pairs):6.0f} us,"
                f" here {median(h[0] for _, h in pairs):6.0f} us,"
                f" here / there {median(h[0] / t[0] for t, h in pairs):.3f};"
                f" WAL per step {median(t[1] for t, _ in pairs):.0f} and {median(h[1] for _, h in pairs):.0f}"
            )


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve())
