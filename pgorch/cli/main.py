"""The command `pgorch`: all verbs in one place."""

import signal
from types import FrameType
from typing import Annotated

import typer

import pgorch
from pgorch.cli import (
    approvals,
    audit,
    db,
    demo,
    dev,
    doctor,
    graphs,
    hooks,
    keys,
    limits,
    lists,
    lost,
    migrate,
    retention,
    run,
    runs,
    schedules,
    serve,
    steering,
    worker,
)
from pgorch.cli.bench.command import bench
from pgorch.cli.failures import Commands

app = typer.Typer(
    name="pgorch",
    cls=Commands,
    help="A durable agent orchestrator that lives in Postgres.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)


def _version(asked: bool) -> None:
    if asked:
        typer.echo(f"pgorch {pgorch.__version__}")
        raise typer.Exit


@app.callback()
def pgorch_command(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version and end.", callback=_version, is_eager=True)
    ] = False,
) -> None:
    """A durable agent orchestrator that lives in Postgres."""


app.command("dev")(dev.dev)
app.command("demo")(demo.demo)
app.command("serve")(serve.serve)
app.command("worker")(worker.worker)
app.command("migrate")(migrate.migrate)
app.add_typer(db.app, name="db")
app.add_typer(graphs.app, name="graphs")
app.command("run")(run.run)
app.add_typer(runs.app, name="runs")
app.command("signal")(steering.send_signal)
app.add_typer(approvals.app, name="approvals")
app.add_typer(schedules.app, name="schedules")
app.add_typer(lists.workers, name="workers")
app.add_typer(lists.tools, name="tools")
app.add_typer(lists.queues, name="queues")
app.add_typer(limits.app, name="limits")
app.add_typer(retention.app, name="retention")
app.add_typer(keys.app, name="keys")
app.add_typer(hooks.app, name="hooks")
app.add_typer(audit.app, name="audit")
app.command("doctor")(doctor.doctor)
app.command("lost")(lost.lost)
app.command("bench")(bench)


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def main() -> None:
    """Run the command line and end the process with its exit code."""
    # Whatever a command has started, a server or a scratch database, is ended on the way out.
    signal.signal(signal.SIGTERM, _interrupt)
    app(prog_name="pgorch")
