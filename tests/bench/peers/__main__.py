"""pgorch beside other durable engines, on one server, in one go.

``python -m tests.bench.peers [engine ...] [--json FILE] [--seconds 4] [--rounds 3]``

Every round measures the chains of each engine in turn, so that whatever else the machine does falls on all;
the table has the medians, and each figure of pgorch against the best of the others. Takes about five minutes,
and some more the first time, when the peers are installed. fsync and synchronous_commit are on.
"""

import argparse
import json
import statistics
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pgorch.cli.bench.report import machine
from pgorch.cli.session import Session
from tests.bench.arena import Arena, arena
from tests.bench.peers.engines import ENGINES, Engine
from tests.bench.throughput import incompressible

# Of these, less is better.
_COSTS = ("WAL", "trans", "round", "server", "client", "run ms", "ms a", "resume", "1 MB: WAL")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.peers", description="Compare the engines.")
    parser.add_argument("engines", nargs="*", metavar="engine", help=", ".join(ENGINES))
    parser.add_argument("--json", type=Path, metavar="FILE", help="append the results, one object a line")
    parser.add_argument("--seconds", type=float, default=4.0, help="of each measurement")
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    names = arguments.engines or list(ENGINES)
    if unknown := [name for name in names if name not in ENGINES]:
        parser.error(f"unknown engine {unknown[0]}; there are {', '.join(ENGINES)}")
    engines = [ENGINES[name]() for name in names]
    with arena(1.0, preload="pg_stat_statements") as ground, ground.session() as admin:
        admin.connection.execute("create extension pg_stat_statements")
        rounds = [
            {
                engine.name: _round(engine, ground, admin, arguments.seconds, first=number == 0)
                for engine in engines
            }
            for number in range(arguments.rounds)
        ]
        found = {name: _medians([measured[name] for measured in rounds]) for name in names}
        _print(found)
        if arguments.json:
            _append(
                arguments.json, found, rounds, {engine.name: engine.versions() for engine in engines}, ground
            )


def _round(engine: Engine, ground: Arena, admin: Session, seconds: float, *, first: bool) -> dict[str, float]:
    """The chains; the first time everything else as well."""
    print(f"{engine.name}: ", end="", flush=True)
    samples = max(5, int(seconds * 25))
    with engine.open(ground):
        found = engine.chains(seconds).figures()
        if first:
            found["round trips/step"] = _round_trips(engine, admin, seconds / 4)
            found |= engine.latency(samples) | engine.resumes(max(5, samples // 4))
            large = engine.large(seconds / 2, {"blob": incompressible(admin)}).figures()
            found |= {f"1 MB: {name}": large[name] for name in ("steps/s", "WAL bytes/step")}
            found |= engine.starts(seconds / 2)
    print(f"{found['steps/s']:,.0f} steps/s", flush=True)
    return found


def _round_trips(engine: Engine, admin: Session, seconds: float) -> float:
    """Statements of clients, in a run of its own: to count them costs something."""
    _track(admin, "top")
    try:
        admin.connection.execute("select pg_stat_statements_reset()")
        work = engine.chains(seconds)
        calls = admin.value(
            "select sum(s.calls)::float8 from pg_stat_statements s"
            " where s.dbid <> (select d.oid from pg_database d where d.datname = current_database())"
        )
    finally:
        _track(admin, "none")
    return float(calls) / work.steps


def _track(admin: Session, what: str) -> None:
    admin.connection.execute(f"alter system set pg_stat_statements.track = '{what}'".encode())
    admin.connection.execute("select pg_reload_conf()")


def _medians(rounds: list[dict[str, float]]) -> dict[str, float]:
    names = list(dict.fromkeys(name for measured in rounds for name in measured))
    return {name: statistics.median(m[name] for m in rounds if name in m) for name in names}


def _print(found: dict[str, dict[str, float]]) -> None:
    others = [name for name in found if name != "pgorch"]
    print(f"\n{'':<28}" + "".join(f"{name:>12}" for name in found) + f"{'ratio':>10}")
    for figure in max(found.values(), key=len):
        values = [measured.get(figure) for measured in found.values()]
        line = f"{figure:<28}" + "".join(f"{'-' if v is None else format(v, ',.4g'):>12}" for v in values)
        ours = found.get("pgorch", {}).get(figure)
        theirs = [found[name][figure] for name in others if figure in found[name]]
        if ours and theirs:
            best = min(theirs) if figure.startswith(_COSTS) or "WAL" in figure else max(theirs)
            line += f"{ours / best:>10.3g}"
        print(line)
    print("ratio: pgorch to the best of the others")


def _append(file: Path, found: Any, rounds: Any, installed: dict[str, dict[str, str]], ground: Arena) -> None:
    record = {
        "workload": "peers",
        "figures": found,
        "rounds": rounds,
        "versions": installed,
        "postgres": ground.version,
        "machine": machine(),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": " ".join(["python -m tests.bench.peers", *sys.argv[1:]]),
    }
    with file.open("a") as lines:
        lines.write(json.dumps(record) + "\n")


if __name__ == "__main__":
    main()
