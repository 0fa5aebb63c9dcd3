"""`pgorch migrate`: installs and upgrades the schema."""

from typing import Annotated

import typer

from pgorch.cli.failures import UsageError
from pgorch.cli.options import Dsn, Output, required_dsn, wants_json
from pgorch.cli.output import print_json


def migrate(
    dsn: Dsn = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would be applied, change nothing.")
    ] = False,
    sql: Annotated[
        bool, typer.Option("--sql", help="Print the SQL of a new installation, for a tool of your own.")
    ] = False,
    output: Output = None,
) -> None:
    """Bring the schema pgorch of a database to this version."""
    from pgorch.database import migrations

    if sql and dry_run:
        raise UsageError("--sql and --dry-run exclude each other.")
    if sql:
        typer.echo(migrations.schema_sql(), nl=False)
        return
    address = required_dsn(dsn)
    names = migrations.pending(address) if dry_run else migrations.migrate(address)
    if wants_json(output):
        print_json({"pending" if dry_run else "applied": names})
        return
    for name in names:
        typer.echo(name)
    done = "would be applied" if dry_run else "applied"
    typer.echo(
        f"{len(names)} files {done}." if names else "Nothing to do: the schema is that of this version."
    )
