"""Measures what faults cost, and prints it beside the goals:

    python -m tests.faults.figures                    all of them: about a quarter of an hour
    python -m tests.faults.figures --quick            with a tenth of the repetitions
    python -m tests.faults.figures G2 G13             only these

On a PostgreSQL of its own with fsync on and nothing else changed, in a temporary directory. Each figure has a
database of its own, and at its end the invariants are looked at.
"""

import argparse
import asyncio
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psycopg
from psycopg.conninfo import make_conninfo

from pgorch.database.migrations import migrate
from pgorch.embedded import EmbeddedServer
from tests.api.driving import asking
from tests.api.test_processes import ApiProcess
from tests.crash.conftest import Crew
from tests.faults.deciders import Deciders
from tests.faults.joins import BRANCHES, Fan
from tests.faults.outage import seconds_to_recover
from tests.faults.poison import poison_among
from tests.faults.takeover import cut_off_one, pause_one, seconds_after_kills, seconds_after_sigterm
from tests.faults.wakeups import cost_of_notify, start_while_deaf
from tests.support.engine import Engine
from tests.support.invariants import violations


@dataclass(frozen=True)
class Place:
    """Where a figure is measured, and by how much less than in full."""

    crew: Crew
    server: EmbeddedServer
    share: float

    def times(self, count: int) -> int:
        return max(2, round(count * self.share))


Seen = tuple[str, bool]


def part(values: list[float], share: float) -> float:
    """The value below which this share of them lies."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def g2(place: Place) -> Seen:
    took = seconds_after_kills(place.crew, place.times(200))
    middle, most = part(took, 0.5), part(took, 0.99)
    text = f"{len(took)} kills: p50 {middle:.2f} s, p99 {most:.2f} s, at most {max(took):.2f} s"
    return text, middle <= 1.0 and most <= 2.5


def g3(place: Place) -> Seen:
    lease, beat = 10.0, 3.0
    stopped = pause_one(place.crew, lease=lease, beat=beat)
    text = (
        f"claimed after {stopped.claimed_after:.1f} s, {stopped.late_writes} late writes, no effect later"
        f" than {stopped.effects_after_end:.2f} s after it was woken up"
    )
    reached = stopped.claimed_after <= lease + 2 and stopped.late_writes == 0
    return text, reached and stopped.effects_after_end <= 1.0


def g3_half_open(place: Place) -> Seen:
    lease, beat = 10.0, 3.0
    deaf = cut_off_one(place.crew, lease=lease, beat=beat)
    text = (
        f"claimed after {deaf.claimed_after:.1f} s, {deaf.late_writes} late writes, last effect"
        f" {deaf.effects_after_lease:+.2f} s from the end of the lease"
    )
    reached = deaf.claimed_after <= lease + 2 and deaf.late_writes == 0
    return text, reached and deaf.effects_after_lease <= 1.0


def g4(place: Place) -> Seen:
    took = seconds_after_sigterm(place.crew, place.times(20))
    text = f"{len(took)} runs: p50 {part(took, 0.5) * 1000:.0f} ms, at most {max(took) * 1000:.0f} ms"
    return text, max(took) <= 0.3


def g5(place: Place) -> Seen:
    # So many that they are not at their end when the pace is measured the second time.
    seen = seconds_to_recover(place.crew, place.server, away=2.0, runs=place.times(200_000))
    ratio = seen.rate_after / seen.rate_before
    text = f"first step after {seen.first_step:.2f} s, then {ratio:.0%} of {seen.rate_before:.0f} steps/s"
    return text, seen.first_step <= 2.0 and ratio >= 0.9


def g8(place: Place) -> Seen:
    runs = place.times(1000)
    seen = start_while_deaf(place.crew, runs, runs / 100)
    text = (
        f"{runs} runs, {seen.cuts} listeners ended: {seen.stranded} stranded,"
        f" p50 {seen.middle * 1000:.0f} ms, at most {seen.slowest:.2f} s"
    )
    return text, seen.stranded == 0 and seen.slowest <= 1.0


def g9(place: Place) -> Seen:
    seen = poison_among(place.crew, place.times(4000))
    ratio = seen.beside / seen.without
    text = (
        f"given up after {seen.deaths} deaths and {seen.given_up_after:.1f} s; the others had {ratio:.0%} of"
        f" {seen.without:.0f} runs/s"
    )
    return text, seen.deaths == 3 and seen.given_up_after <= 60 and ratio >= 0.9


def g12(place: Place) -> Seen:
    seen = cost_of_notify(place.crew, writers=32, seconds=max(2.0, 10 * place.share))
    ratio = seen.with_notify / seen.without
    text = (
        f"{ratio:.0%} of {seen.without:.0f} starts/s while somebody sleeps all the time;"
        f" {seen.heard / seen.seconds:.0f} notifications/s"
    )
    return text, ratio >= 0.9


def g13(place: Place) -> Seen:
    count = place.times(1000)
    with Fan(place.crew.connection, place.crew.dsn, BRANCHES) as alone:
        for _ in range(count // 2):
            alone.join()
    with Fan(place.crew.connection, place.crew.dsn, 8) as batches:
        for _ in range(count - count // 2):
            batches.join()
    took = alone.seen.seconds + batches.seen.seconds
    surfaced = alone.seen.surfaced + batches.seen.surfaced
    fired = alone.seen.fired + batches.seen.fired
    text = (
        f"{fired} of {count} joins, each once; p50 {part(took, 0.5) * 1000:.0f} ms,"
        f" p99 {part(took, 0.99) * 1000:.0f} ms; {len(surfaced)} problems surfaced"
    )
    return text, fired == count and not surfaced and part(took, 0.99) <= 0.5


def g14(place: Place) -> Seen:
    return asyncio.run(_decide(place, place.times(500)))


async def _decide(place: Place, questions: int) -> Seen:
    engine = Engine(place.crew.connection)
    graph = engine.graph(asking())
    runs = [engine.start(graph) for _ in range(questions)]
    engine.run(batch=100)
    apis = [ApiProcess(place.crew.dsn), ApiProcess(place.crew.dsn)]
    try:
        for api in apis:
            await api.wait_until_it_answers()
        deciders = Deciders(place.crew.dsn, [api.url for api in apis], over_http=40, in_sql=10)
        try:
            for run_id in runs:
                await deciders.decide(run_id)
        finally:
            await deciders.close()
    finally:
        for api in apis:
            api.kill()
    seen = deciders.seen
    text = f"{questions} questions, {len(seen.winners)} x one success, {sum(seen.refusals.values())} refusals"
    return text, len(seen.winners) == questions and set(seen.refusals) == {"409", "OR002"}


FIGURES: dict[str, tuple[Callable[[Place], Seen], str, str]] = {
    "G2": (g2, "kill -9 of a worker: its steps claimed again", "p50 <= 1 s, p99 <= 2.5 s"),
    "G3": (g3, "SIGSTOP, lease 10 s, beat 3 s", "<= 12 s, 0 late writes, effects <= 1 s"),
    "G3b": (g3_half_open, "half-open wires, lease 10 s, beat 3 s", "<= 12 s, 0 late writes, effects <= 1 s"),
    "G4": (g4, "SIGTERM: its runs gone on with elsewhere", "<= 300 ms, attempts not counted"),
    "G8": (g8, "runs started while no listener lives", "0 stranded, <= 1 s"),
    "G9": (g9, "a poison step among good runs", "3 deaths, <= 60 s, others >= 90 %"),
    "G12": (g12, "32 writers with NOTIFY", ">= 90 % of NOTIFY off"),
    "G13": (g13, "64 branches that end at once", "each join once, p99 <= 500 ms, 0 surfaced"),
    "G14": (g14, "50 deciders at once", "one success each"),
    "G5": (g5, "the server killed under load, away 2 s", "first <= 2 s, 90 % after 5 s"),
}


@contextmanager
def crew_on(server: EmbeddedServer, name: str, directory: Path) -> Iterator[Crew]:
    """A crew on a new database, whose invariants hold at the end."""
    admin = make_conninfo(server.dsn, dbname="postgres")
    with psycopg.connect(admin, autocommit=True) as connection:
        connection.execute(f"create database {name} template pgorch".encode())
    (directory / name).mkdir()
    crew = Crew(make_conninfo(server.dsn, dbname=name), directory / name)
    try:
        yield crew
        found = violations(crew.connection)
        if found:
            raise AssertionError(f"invariants are violated: {found}")
    finally:
        crew.dismiss()


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.faults.figures", description="What faults cost.")
    parser.add_argument("figures", nargs="*", choices=[*FIGURES, []], help="only these")
    parser.add_argument("--quick", action="store_true", help="a tenth of the repetitions")
    arguments = parser.parse_args()
    chosen = arguments.figures or list(FIGURES)
    directory = Path(tempfile.mkdtemp(prefix="pgorch-figures-"))
    directory.chmod(0o755)
    missed = 0
    try:
        with EmbeddedServer(directory / "server", fsync=True) as server:
            migrate(server.dsn)
            print(f"PostgreSQL {server.version}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}")
            for name in (n for n in FIGURES if n in chosen):
                measure, what, goal = FIGURES[name]
                began_at = time.monotonic()
                with crew_on(server, f"figure_{name.lower()}", directory) as crew:
                    text, reached = measure(Place(crew, server, 0.1 if arguments.quick else 1.0))
                missed += not reached
                took = time.monotonic() - began_at
                print(f"{name:4} {what}\n     {text}\n     goal: {goal}: {'reached' if reached else 'MISSED'}"
                      f" ({took:.0f} s)", flush=True)  # fmt: skip
    finally:
        shutil.rmtree(directory, ignore_errors=True)
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
