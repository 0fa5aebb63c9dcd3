"""`pgorch worker`: one process that performs steps."""

from typing import Annotated

import typer

from pgorch.cli.failures import UsageError
from pgorch.cli.logs import log_to_stderr
from pgorch.cli.options import App, DirectDsn, Dsn, direct_dsn, required_dsn


def worker(
    app: App = None,
    queue: Annotated[
        list[str] | None, typer.Option("-q", "--queue", help="Queue to serve; may be repeated.")
    ] = None,
    slots: Annotated[
        int, typer.Option("-c", "--slots", help="How many steps at once.", min=1, max=10_000)
    ] = 100,
    name: Annotated[
        str | None, typer.Option("--name", help="Name in `workers list`; else host and process.")
    ] = None,
    dsn: Dsn = None,
    direct: DirectDsn = None,
    quiet: Annotated[bool, typer.Option("--quiet", hidden=True)] = False,
) -> None:
    """Run a worker. SIGTERM drains: steps under way are finished, others are given back."""
    from pgorch.cli.loops import run
    from pgorch.tool import load_app
    from pgorch.worker import Worker

    if not app:
        raise UsageError(
            "A worker needs tools, and no --app was given.",
            hint="pgorch worker --app your_module  (or PGORCH_APP)",
        )
    address = required_dsn(dsn)
    log_to_stderr(quiet=quiet)
    registry = load_app(*app)
    queues = tuple(dict.fromkeys(queue or ["default"]))
    if not quiet:
        tools = ", ".join(sorted(registry))
        typer.echo(f"worker on {', '.join(queues)} with {slots} slots; tools: {tools}", err=True)
    beside = direct_dsn(direct, dsn)
    run(Worker(address, registry, queues=queues, slots=slots, name=name, direct_dsn=beside).run())
