"""`pgorch keys`: create, list and revoke the keys of the HTTP API."""

from typing import Annotated

import typer

from pgorch.cli.options import Dsn, Output, wants_json
from pgorch.cli.output import print_fields, print_json, print_rows, shown
from pgorch.cli.session import session

app = typer.Typer(help="Keys of the HTTP API.", no_args_is_help=True)


@app.command("create")
def create_key(
    principal: Annotated[
        str, typer.Argument(help="Who will bear it: a person or a program.", metavar="PRINCIPAL")
    ],
    role: Annotated[
        list[str],
        typer.Option(
            "--role",
            help="viewer, operator, approver or admin, and any further to which approvals are assigned;"
            " may be repeated.",
        ),
    ],
    expires: Annotated[
        str, typer.Option("--expires", help="How long it works, 12h or 90d say, or never.")
    ] = "90d",
    dsn: Dsn = None,
    output: Output = None,
) -> None:
    """Make a key and print it: this once, for it is kept nowhere."""
    with session(dsn) as db:
        made = db.row(
            "select * from pgorch.create_key(%s, %s::text[], %s::interval)",
            [principal, role, None if expires == "never" else expires],
        )
    made |= {"principal": principal, "roles": role}
    if wants_json(output):
        print_json(made)
        return
    print_fields(made, ["key", "id", "principal", "roles", "expires_at"])
    typer.echo("Keep it: it is not shown again. Clients send it as: Authorization: Bearer KEY", err=True)


@app.command("list")
def list_keys(
    all_keys: Annotated[bool, typer.Option("--all", help="Expired and revoked ones, too.")] = False,
    dsn: Dsn = None,
    output: Output = None,
) -> None:
    """List keys, the newest first, without what could open anything."""
    with session(dsn) as db:
        rows = db.rows(
            "select k.id, k.principal, k.roles, k.status, k.created_at, k.created_by, k.expires_at,"
            " k.last_used_at, k.revoked_at from pgorch.key_list k"
            " where %s or k.status = 'valid' order by k.created_at desc, k.id",
            [all_keys],
        )
    print_rows(
        rows,
        ["id", "principal", "roles", "status", "expires_at", "last_used_at"],
        as_json=wants_json(output),
        empty="No keys. Make one with: pgorch keys create NAME --role admin",
    )


@app.command("revoke")
def revoke_key(
    key: Annotated[str, typer.Argument(help="Its id, or the key itself.", metavar="KEY")],
    dsn: Dsn = None,
    output: Output = None,
) -> None:
    """End a key. Within five seconds no API process takes it any more."""
    with session(dsn) as db:
        revoked_at = db.value("select pgorch.revoke_key(%s)", [key])
    if wants_json(output):
        print_json({"revoked_at": revoked_at})
    else:
        typer.echo(f"revoked since {shown(revoked_at)}")
