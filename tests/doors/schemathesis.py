"""Schemathesis against the API's own description, on a real database, for as long as asked for.

    python -m tests.doors.schemathesis --minutes 30 [--seed 1]

Rounds of `st run` with positive and negative data, and stateful ones, each with a seed of its own that is
printed. Meanwhile somebody else asks the API for a run, twice a second. At the end every row of the database
is read. It exits with 1 if an answer was 5xx or took longer than 2 s, if schemathesis found that the API does
not do what its description says, if the memory of the API grew by 50 MB, if a row cannot be read, or if an
invariant of the engine does not hold.
"""

import argparse
import contextlib
import itertools
import os
import re
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import psycopg
from psycopg.rows import dict_row

from tests.doors.ground import Ground, ask, database_alone, ground
from tests.doors.readable import read_everything
from tests.support.invariants import violations

MOST_SECONDS = 2.0
MOST_GROWTH_MIB = 50.0
# What schemathesis is not asked for, and why.
LEFT_OUT = (
    # What fits the description may still not fit what there is: 404, 409, and 422 for graphs.
    "positive_data_acceptance",
)


@dataclass
class Others:
    """What somebody else saw meanwhile."""

    seconds: list[float] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)

    def p99(self) -> float:
        return sorted(self.seconds)[int(len(self.seconds) * 0.99)] if self.seconds else 0.0


@contextlib.contextmanager
def somebody_else(place: Ground) -> Iterator[Others]:
    """Asks for a run twice a second, in a thread."""
    others, ended = Others(), threading.Event()
    [run, *_] = ask(f"{place.url}/v1/runs?limit=1", place.key)["runs"]

    def look() -> None:
        while not ended.wait(0.5):
            began = time.monotonic()
            try:
                ask(f"{place.url}/v1/runs/{run['run_id']}", place.key)
            except (OSError, urllib.error.HTTPError) as error:
                others.failures.append(str(error))
            others.seconds.append(time.monotonic() - began)

    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield others
    finally:
        ended.set()
        thread.join()


@dataclass
class Part:
    """What one run of schemathesis gave: answers by status, and its own words where something was wrong."""

    statuses: Counter[int]
    slowest: float
    text: str | None


def run_schemathesis(
    place: Ground, seed: int, phases: str, *, seconds: int | None, examples: int = 0
) -> Part:
    """Phases: coverage (each limit of the description, both sides), fuzzing, stateful; with the last two it
    goes on until the time is over."""
    report = place.directory / f"round-{seed}-{phases}.ndjson"
    command = [
        sys.executable, "-m", "schemathesis.cli", "run", f"{place.url}/openapi.json",
        "--header", f"Authorization: Bearer {place.key}", "--seed", str(seed), "--mode", "all",
        "--phases", phases, "--continue-on-failure", "--checks", "all",
        "--exclude-checks", ",".join(LEFT_OUT), "--max-response-time", str(MOST_SECONDS),
        "--request-timeout", "20", "--generation-database", "none", "--no-shrink", "--no-color",
        "--warnings", "off", "--report", "ndjson", "--report-ndjson-path", str(report),
        *(["--max-time", str(seconds)] if seconds else []),
        *(["--max-examples", str(examples)] if examples else []),
    ]  # fmt: skip
    environment = {
        "SCHEMATHESIS_HOOKS": "tests.doors.aim",
        "PGORCH_DOORS_URL": place.url,
        "PGORCH_DOORS_KEY": place.key,
    }
    done = subprocess.run(command, env={**os.environ, **environment}, capture_output=True, text=True)
    statuses, slowest = _answers(report)
    report.unlink(missing_ok=True)
    return Part(statuses, slowest, None if done.returncode == 0 else done.stdout + done.stderr)


def _answers(report: Path) -> tuple[Counter[int], float]:
    """Answers by status, and the slowest in seconds."""
    statuses: Counter[int] = Counter()
    slowest = 0.0
    with report.open() as lines:
        for line in lines:
            for found in re.finditer(r'"status_code":\s*(\d+)', line):
                statuses[int(found[1])] += 1
            for found in re.finditer(r'"elapsed":\s*([0-9.e-]+)', line):
                slowest = max(slowest, float(found[1]))
    return statuses, slowest


def try_for(place: Ground, minutes: float, seed: int) -> tuple[Counter[int], list[str]]:
    """Answers by status, and what was wrong."""
    deadline = time.monotonic() + minutes * 60
    statuses: Counter[int] = Counter()
    wrong: list[str] = []
    for number in itertools.count():
        for phases, seconds in (("coverage", None), ("fuzzing", 150), ("stateful", 90)):
            left = deadline - time.monotonic()
            if left < 10 and number:
                return statuses, wrong
            if phases == "coverage" and number % 3:
                continue  # it is nearly the same each time
            part = run_schemathesis(
                place, seed + number, phases, seconds=seconds and max(10, min(seconds, round(left)))
            )
            statuses += part.statuses
            print(
                f"seed {seed + number} {phases}: {part.statuses.total()} answers, the slowest after"
                f" {part.slowest:.2f} s; API {place.resident_mib:.0f} MiB",
                flush=True,
            )
            if part.text:
                print(part.text, flush=True)
                wrong.append(f"seed {seed + number} {phases}: schemathesis is not content")
    raise AssertionError


def look_back(place: Ground, others: Others, statuses: Counter[int], before: float) -> list[str]:
    """What is wrong after all of it."""
    wrong = [f"{count} answers of status {status}" for status, count in statuses.items() if status >= 500]
    wrong += place.errors_in_the_log() + others.failures
    growth = place.resident_mib - before
    print(f"memory of the API: {before:.0f} MiB before, {growth:+.0f} MiB")
    if growth >= MOST_GROWTH_MIB:
        wrong.append(f"the API grew by {growth:.0f} MiB")
    print(f"somebody else: {len(others.seconds)} requests, p99 {others.p99() * 1000:.0f} ms")
    reading = read_everything(place.dsn)
    print(f"read: {reading.relations} relations, {reading.rows} rows, {reading.values} values")
    with psycopg.connect(place.dsn, autocommit=True, row_factory=dict_row) as connection:
        broken = violations(connection)
    return wrong + reading.problems + [f"{name}: {rows[:3]}" for name, rows in broken.items()]


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--minutes", type=float, default=30)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    with (
        tempfile.TemporaryDirectory(prefix="pgorch-doors-") as directory,
        database_alone() as dsn,
        ground(Path(directory), dsn) as place,
    ):
        # Once round, so that what is loaded when it is first used is not taken for growth.
        run_schemathesis(place, options.seed, "fuzzing", seconds=20, examples=2)
        before = place.resident_mib
        with somebody_else(place) as others:
            statuses, wrong = try_for(place, options.minutes, options.seed)
        print(f"answers: {statuses.total()}; {dict(sorted(statuses.items()))}")
        wrong += look_back(place, others, statuses, before)
    for line in wrong:
        print(f"WRONG: {line}")
    print("nothing is wrong" if not wrong else f"{len(wrong)} things are wrong")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
