"""The command `pgorch bench`."""

from typing import Annotated, Any

import typer

from pgorch.cli.bench.graphs import chain
from pgorch.cli.bench.ground import Ground, bench_session, ground
from pgorch.cli.bench.latency import measure_latency, measure_starts
from pgorch.cli.bench.load import create, measure, start_many, wait_until_ended
from pgorch.cli.bench.report import circumstances, for_people
from pgorch.cli.bench.workers import workers as worker_processes
from pgorch.cli.options import Dsn, Output, wants_json
from pgorch.cli.output import print_json


def bench(
    runs: Annotated[int, typer.Option("--runs", help="How many runs.", min=1, max=1_000_000)] = 2000,
    steps: Annotated[int, typer.Option("--steps", help="How many steps each has.", min=1, max=1000)] = 10,
    workers: Annotated[int, typer.Option("--workers", help="How many worker processes.", min=1, max=256)] = 2,
    slots: Annotated[int, typer.Option("-c", "--slots", help="Slots of each.", min=1, max=10_000)] = 100,
    samples: Annotated[
        int, typer.Option("--samples", help="How many times latencies are taken.", min=1)
    ] = 200,
    skip_latency: Annotated[bool, typer.Option("--skip-latency", help="Measure throughput alone.")] = False,
    dsn: Dsn = None,
    output: Output = None,
) -> None:
    """Measure your database: chains of steps with conditions, in a scratch database that is dropped again."""
    from pgorch.config import resolve_dsn

    with ground(resolve_dsn(dsn)) as place:
        typer.echo(f"measuring in {place.where}", err=True)
        figures = _measured(place, runs, steps, workers, slots, None if skip_latency else samples)
    if wants_json(output):
        print_json(figures)
        return
    server, machine = figures["postgres"], figures["machine"]
    typer.echo(
        f"PostgreSQL {server['version']}, fsync {server['fsync']}, {machine['cpus']} CPUs ({machine['cpu']})"
    )
    typer.echo(f"{runs:,} runs of {steps} steps, {workers} workers")
    for line in for_people(figures):
        typer.echo(line)


def _measured(
    place: Ground, runs: int, steps: int, workers: int, slots: int, samples: int | None
) -> dict[str, Any]:
    with bench_session(place.dsn) as db:
        figures = circumstances(db) | {"workers": workers, "steps_per_run": steps, "slots": slots}
        with worker_processes(db, place.dsn, workers, slots=slots) as pids:
            graph = create(db, chain(steps))
            wait_until_ended(db, start_many(db, graph, max(1, min(runs, 500)), {}))
            figures |= measure(db, graph, runs, pids).figures()
            if samples is not None:
                figures |= measure_latency(db, steps, samples)
        if samples is not None:
            figures |= measure_starts(db, graph, 10 * samples)
            if not place.scratch:
                _finish_what_was_started(db, place.dsn)
    return figures


def _finish_what_was_started(db: Any, dsn: str) -> None:
    """In a database that stays, no run is left behind unfinished."""
    with worker_processes(db, dsn, 2):
        ids = db.rows(
            "select r.run_id from pgorch.run_list r where r.graph like 'pgorch_bench_%' and r.live_steps > 0"
        )
        wait_until_ended(db, [row["run_id"] for row in ids])
