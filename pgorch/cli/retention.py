"""`pgorch retention`: how long finished runs are kept."""

from typing import Annotated, Any

import typer

from pgorch.cli.options import Dsn, Output, wants_json
from pgorch.cli.output import print_json
from pgorch.cli.session import Session, session

app = typer.Typer(help="How long finished runs are kept.", no_args_is_help=True)


@app.command("show")
def show(dsn: Dsn = None, output: Output = None) -> None:
    """Show for how long finished runs are kept."""
    with session(dsn) as db:
        _print(db, wants_json(output))


@app.command("set")
def set_(
    keep: Annotated[str, typer.Argument(help='An interval, for instance "30 days", or never.')],
    dsn: Dsn = None,
    output: Output = None,
) -> None:
    """Say for how long finished runs are kept: what is older goes, with its history."""
    with session(dsn) as db:
        db.value("select pgorch.set_retention(%s::interval)", [None if keep == "never" else keep])
        _print(db, wants_json(output))


def kept(db: Session) -> str:
    """The retention in words."""
    keep = _keep(db)
    return "finished runs are kept for ever" if keep is None else f"finished runs go after {keep}"


def _keep(db: Session) -> Any:
    # As PostgreSQL writes it: months are no number of days.
    return db.value("select pgorch.retention()::text")


def _print(db: Session, as_json: bool) -> None:
    print_json({"keep": _keep(db)}) if as_json else typer.echo(kept(db))
