"""Measures the goals: `python -m tests.bench.goals [workload ...] [--json FILE] [--scale 0.01]`.

Without names all workloads run, which takes about twenty minutes. Exit code 1 if a goal is missed.
"""

import argparse
import json
import sys
import time
import traceback
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from pgorch.cli.bench.report import machine
from tests.bench.arena import Arena, Figure, arena
from tests.bench.flat import flat
from tests.bench.floor import floor
from tests.bench.latency import idle, idle_runs, resume, starts
from tests.bench.peers.ratio import absurd
from tests.bench.row_waits import row_triggers
from tests.bench.throughput import (
    chains,
    fan_out,
    finished,
    large_state,
    many_workers,
    maps,
    pinned,
    waiting,
)

WORKLOADS: dict[str, Callable[[Arena], list[Figure]]] = {
    "chains": chains,
    "absurd": absurd,
    "idle_runs": idle_runs,
    "floor": floor,
    "starts": starts,
    "resume": resume,
    "idle": idle,
    "finished": finished,
    "pinned": pinned,
    "waiting": waiting,
    "flat": flat,
    "large_state": large_state,
    "fan_out": fan_out,
    "maps": maps,
    "many_workers": many_workers,
    "row_triggers": row_triggers,
}


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.goals", description="Measure the goals.")
    parser.add_argument("workloads", nargs="*", metavar="workload", help=", ".join(WORKLOADS))
    parser.add_argument("--json", type=Path, metavar="FILE", help="append the results, one object a line")
    parser.add_argument(
        "--scale", type=float, default=1.0, help="size of the workloads; below 1 only to try them"
    )
    arguments = parser.parse_args()
    names = arguments.workloads or list(WORKLOADS)
    unknown = [name for name in names if name not in WORKLOADS]
    if unknown:
        parser.error(f"unknown workload {unknown[0]}; there are {', '.join(WORKLOADS)}")
    missed = 0
    with arena(arguments.scale) as ground:
        for name in names:
            workload = WORKLOADS[name]
            print(f"{name}: {' '.join((workload.__doc__ or '').split())}", flush=True)
            began = time.monotonic()
            try:
                figures = workload(ground)
            except Exception:
                # The others are measured all the same.
                traceback.print_exc()
                missed += 1
                continue
            print("\n".join(figure.line() for figure in figures), flush=True)
            print(f"  ({time.monotonic() - began:.0f} s)", flush=True)
            missed += sum(figure.passed is False for figure in figures)
            if arguments.json:
                _append(arguments.json, name, figures, ground, arguments.scale)
    print(f"{missed} goals missed" if missed else "all goals met")
    return 1 if missed else 0


def _append(file: Path, name: str, figures: list[Figure], ground: Arena, scale: float) -> None:
    record = {
        "workload": name,
        "figures": {figure.name: figure.value for figure in figures},
        "goals": {figure.name: [figure.goal, figure.passed] for figure in figures if figure.goal},
        "postgres": ground.version,
        "machine": machine(),
        "scale": scale,
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": " ".join(["python -m tests.bench.goals", *sys.argv[1:]]),
    }
    with file.open("a") as lines:
        lines.write(json.dumps(record) + "\n")


if __name__ == "__main__":
    sys.exit(main())
