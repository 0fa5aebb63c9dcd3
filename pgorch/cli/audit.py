"""`pgorch audit list`: who did what."""

from typing import Annotated
from uuid import UUID

import typer

from pgorch.cli.options import Dsn, Output, wants_json
from pgorch.cli.output import print_rows
from pgorch.cli.session import session

app = typer.Typer(help="Who did what.", no_args_is_help=True)


@app.callback()
def _noun() -> None:
    """Keeps the verb, although there is one alone."""


@app.command("list")
def list_audit(
    run: Annotated[UUID | None, typer.Option("--run", help="Only what was done to this run.")] = None,
    actor: Annotated[str | None, typer.Option("--actor", help="Only what this one did.")] = None,
    action: Annotated[
        str | None, typer.Option("--action", help="Only this: approve, cancel, create_key, ...")
    ] = None,
    before: Annotated[
        int | None, typer.Option("--before", help="Only entries older than the one with this id.")
    ] = None,
    limit: Annotated[int, typer.Option("--limit", help="At most so many.", min=1, max=10_000)] = 50,
    dsn: Dsn = None,
    output: Output = None,
) -> None:
    """List what people did, the newest first."""
    with session(dsn) as db:
        entries = db.queries.list_audit(run_id=run, actor=actor, action=action, before=before, limit=limit)
    print_rows(
        [entry._asdict() for entry in entries],
        ["id", "at", "actor", "action", "run_id", "before", "after", "comment"],
        as_json=wants_json(output),
        empty="Nothing yet.",
    )
