"""Where the time of a step goes: `python -m tests.bench.profile [statements] [symbols] [worker]`.

statements: what each SQL statement inside advance() costs per step, in W1 with two workers, in calls of one
step and of a hundred, and with a state of 1 MB. symbols: the server's functions, by perf. worker: a worker
process, by py-spy. All of it takes two minutes. Times are the clock's: on a busy machine look at shares.
"""

import argparse
import os
import shutil
import statistics
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pgorch.cli.bench.graphs import chain
from pgorch.cli.bench.ground import bench_session
from pgorch.cli.bench.load import create, start_many, wait_until_ended
from pgorch.cli.bench.workers import workers
from pgorch.cli.session import Session
from pgorch.database.migrations import migrate
from pgorch.embedded import EmbeddedServer
from tests.bench.profile import client, symbols
from tests.bench.profile.caller import Caller
from tests.bench.profile.statements import Statement, lines, reset, statements
from tests.bench.throughput import incompressible

_STEPS = 10
_RUNS = 3000


def by_statement(dsn: str, db: Session) -> None:
    """pg_stat_statements, nested."""
    with workers(db, dsn, 2):
        graph = create(db, chain(_STEPS))
        wait_until_ended(db, start_many(db, graph, 500, {}))
        _show("W1, 2 workers", _loaded(db, graph, _RUNS, {}), _RUNS * _STEPS)
        state = {"blob": incompressible(db)}
        wait_until_ended(db, start_many(db, graph, 4, state))
        _show("1 MB of state, 2 workers", _loaded(db, graph, 60, state), 60 * _STEPS)
    caller = Caller(db, chain(100))
    for size, runs in ((1, 20), (100, 300)):
        _per_step(caller, 3 * size, size)
        caller.start(runs)
        reset(db)
        calls = caller.go(size)
        _show(f"{size} step(s) a call, one connection", statements(db, calls.steps), calls.steps)
        db.connection.execute("set pg_stat_statements.track = 'none'")
        took = statistics.median(_per_step(caller, runs // 2, size) for _ in range(5))
        db.connection.execute("reset pg_stat_statements.track")
        print(f"uncounted, with commit, bind and client: {took:.0f} us a step\n", flush=True)


def by_symbol(dsn: str, db: Session) -> None:
    """perf."""
    if (problem := symbols.why_not()) is not None:
        print(f"no symbols: {problem}\n")
        return
    db.connection.execute("set pg_stat_statements.track = 'none'")
    caller = Caller(db, chain(100))
    columns = {}
    for size, runs in ((1, 40), (100, 800)):
        _per_step(caller, 3 * size, size)
        caller.start(runs)
        with symbols.sampled(db.connection.info.backend_pid) as samples:
            caller.go(size)
        columns[f"{size} step(s) a call"] = samples
    db.connection.execute("reset pg_stat_statements.track")
    print("\n".join(symbols.lines(columns)), end="\n\n", flush=True)


def by_worker(dsn: str, db: Session) -> None:
    """py-spy."""
    db.connection.execute("alter system set pg_stat_statements.track = 'none'")
    db.connection.execute("select pg_reload_conf()")
    with workers(db, dsn, 2) as pids:
        graph = create(db, chain(_STEPS))
        wait_until_ended(db, start_many(db, graph, 500, {}))
        with client.sampled(pids[0]) as samples:
            for _ in range(4):
                wait_until_ended(db, start_many(db, graph, _RUNS, {}))
    print("\n".join(client.lines(samples)), end="\n\n", flush=True)


PROFILES: dict[str, Callable[[str, Session], None]] = {
    "statements": by_statement,
    "symbols": by_symbol,
    "worker": by_worker,
}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.profile", description="Where the time goes.")
    parser.add_argument("profiles", nargs="*", metavar="profile", help=", ".join(PROFILES))
    names = parser.parse_args().profiles or list(PROFILES)
    if unknown := [name for name in names if name not in PROFILES]:
        parser.error(f"unknown profile {unknown[0]}; there are {', '.join(PROFILES)}")
    with _server() as dsn, bench_session(dsn) as db:
        db.connection.execute("create extension pg_stat_statements")
        for name in names:
            print(f"== {name}: {PROFILES[name].__doc__}", flush=True)
            PROFILES[name](dsn, db)


def _loaded(db: Session, graph: str, runs: int, state: dict[str, Any]) -> Statement | None:
    """What the calls of workers cost. They wait: the commit of the start is the signal to begin."""
    with db.connection.transaction():
        ids = start_many(db, graph, runs, state)
        reset(db)
    wait_until_ended(db, ids)
    return statements(db, runs * _STEPS)


def _per_step(caller: Caller, runs: int, size: int) -> float:
    caller.start(runs)
    calls = caller.go(size, at_most=3.0)
    return calls.seconds / calls.steps * 1e6


def _show(title: str, tree: Statement | None, steps: int) -> None:
    print(f"{title}: {steps:,} steps")
    print("\n".join(lines(tree)) if tree else "no call was seen", end="\n\n", flush=True)


@contextmanager
def _server() -> Iterator[str]:
    """A server with fsync on and pg_stat_statements in it, gone afterwards."""
    directory = Path(tempfile.gettempdir()) / f"pgorch-profile-{os.getpid()}"
    server = EmbeddedServer(directory, fsync=True)
    try:
        with server, bench_session(server.dsn) as db:
            db.connection.execute("alter system set shared_preload_libraries = 'pg_stat_statements'")
            db.connection.execute("alter system set pg_stat_statements.track = 'all'")
        with server:
            migrate(server.dsn)
            yield server.dsn
    finally:
        shutil.rmtree(directory, ignore_errors=True)


if __name__ == "__main__":
    main()
