"""Graphs by the hundred thousand: valid, nearly valid and hostile, each created or refused, and read again.

    python -m tests.doors.graphs --count 100000 [--minutes 60] [--seed 1]

Each is drawn by hypothesis (strange_graphs.py). It must be accepted, or refused with errors of its own and
never one of PostgreSQL's, within two seconds; what is accepted must be stored, drawn, and be a graph that can
be started. At the end every row is read. It exits with 1 if something is wrong.
"""

import argparse
import sys
import time
from collections import Counter
from typing import Any

import psycopg
from hypothesis import HealthCheck, given, seed, settings
from psycopg.rows import dict_row
from psycopg.types.json import Jsonb

from pgorch.drawing import as_mermaid, as_text, picture_of
from tests.doors.ground import database_alone
from tests.doors.readable import read_everything
from tests.doors.strange_graphs import GRAPHS
from tests.graphs.graphs import Graphs
from tests.graphs.tables import make_tables

MOST_SECONDS = 2.0
_BATCH = 250


class Creator:
    """Creates graphs, and counts what became of them."""

    def __init__(self, graphs: Graphs) -> None:
        self.graphs = graphs
        self.outcomes: Counter[str] = Counter()
        self.slowest = 0.0

    def create(self, definition: Any) -> None:
        """Raises AssertionError if it is neither accepted nor refused cleanly."""
        connection = self.graphs.connection
        began = time.monotonic()
        try:
            with connection.transaction():
                row = connection.execute(
                    "select graph_id from pgorch.create_graph(%s)", [Jsonb(definition)]
                ).fetchone()
                assert row is not None
                outcome = self._started(row["graph_id"])
        except psycopg.Error as error:
            if error.sqlstate != "OR004":
                raise AssertionError(f"{error.sqlstate}: {definition}") from error
            outcome = "refused"
        else:
            picture = picture_of(definition)
            as_mermaid(picture).encode()
            as_text(picture).encode()
        took = time.monotonic() - began
        self.slowest = max(self.slowest, took)
        self.outcomes[outcome] += 1
        assert took < MOST_SECONDS, (took, definition)

    def _started(self, graph_id: Any) -> str:
        """A start gives a run, or says what is wrong with the input."""
        connection = self.graphs.connection
        try:
            with connection.transaction():
                connection.execute("select pgorch.start(%s::text, '{\"x\": [1, 2]}')", [str(graph_id)])
        except psycopg.Error as error:
            if error.sqlstate != "OR006":
                raise AssertionError(f"{error.sqlstate} at the start") from error
            return "created, and the input refused"
        return "created and started"


def try_graphs(creator: Creator, count: int, first_seed: int, until: float) -> None:
    """Draws `count` graphs, or what can be done until a time. What is wrong, hypothesis raises, with the
    smallest graph that shows it."""
    tried = 0
    while tried < count and time.monotonic() < until:
        examples = min(_BATCH, count - tried)

        @seed(first_seed + tried)
        @settings(
            max_examples=examples, deadline=None, database=None, suppress_health_check=list(HealthCheck)
        )
        @given(GRAPHS)
        def create(definition: Any) -> None:
            creator.create(definition)

        create()
        tried += examples
        if tried % 5_000 < _BATCH:
            became = dict(creator.outcomes)
            print(f"{tried}: {became}, the slowest after {creator.slowest:.2f} s", flush=True)


def main() -> int:
    as_written = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=as_written)
    parser.add_argument("--count", type=int, default=100_000)
    parser.add_argument("--minutes", type=float, default=1e6, help="stop after that time at the latest")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    began = time.monotonic()
    with database_alone() as dsn:
        with psycopg.connect(dsn, autocommit=True, row_factory=dict_row) as connection:
            creator = Creator(Graphs(connection))
            make_tables(creator.graphs)
            creator.graphs.register("f")
            try_graphs(creator, options.count, options.seed, began + options.minutes * 60)
        seconds = time.monotonic() - began
        reading = read_everything(dsn)
    total = creator.outcomes.total()
    print(f"{total} graphs in {seconds:.0f} s ({total / seconds:.0f} a second): {dict(creator.outcomes)}")
    print(f"the slowest took {creator.slowest:.2f} s; read: {reading.rows} rows, {reading.values} values")
    for problem in reading.problems:
        print(f"WRONG: {problem}")
    return 1 if reading.problems else 0


if __name__ == "__main__":
    sys.exit(main())
