"""`pgorch limits`: list, set, drop, and keys."""

from enum import StrEnum
from typing import Annotated

import typer

from pgorch.cli.options import Dsn, Output, wants_json
from pgorch.cli.output import print_json, print_rows
from pgorch.cli.session import session

app = typer.Typer(help="How much is under way at once, and how much begins in a time.", no_args_is_help=True)


class Kind(StrEnum):
    queue = "queue"
    tool = "tool"


Of = Annotated[Kind, typer.Argument(help="queue or tool.")]
Name = Annotated[str, typer.Argument(help="Name of the queue or tool.")]
Actor = Annotated[str | None, typer.Option("--actor", help="Who does it, if not the database user.")]


@app.command("list")
def list_limits(dsn: Dsn = None, output: Output = None) -> None:
    """List limits, with what is used of them now."""
    with session(dsn) as db:
        rows = db.rows(
            "select l.kind, l.name, l.concurrency, sum(l.under_way)::int as under_way, l.rate, l.per,"
            " l.burst, sum(l.may_begin)::int as may_begin, l.set_at, l.set_by from pgorch.limit_list l"
            " group by l.kind, l.name, l.concurrency, l.rate, l.per, l.burst, l.set_at, l.set_by"
            " order by l.kind, l.name"
        )
    print_rows(
        rows,
        ["kind", "name", "concurrency", "under_way", "rate", "per", "burst", "may_begin", "set_by"],
        as_json=wants_json(output),
        empty="No limits. Set one with: pgorch limits set queue NAME --concurrency 10",
    )


@app.command("keys")
def list_keys(
    limit: Annotated[int, typer.Option("--limit", help="At most so many.", min=1, max=10_000)] = 100,
    dsn: Dsn = None,
    output: Output = None,
) -> None:
    """List the concurrency keys that have steps, those with most waiting first."""
    with session(dsn) as db:
        rows = db.rows(
            "select k.graph, k.node, k.key, k.concurrency, k.under_way, k.ready, k.waiting, k.retrying,"
            " k.oldest_at from pgorch.concurrency_key_list k"
            " order by k.waiting desc, k.graph, k.node, k.key limit %s",
            [limit],
        )
    print_rows(
        rows,
        ["graph", "node", "key", "concurrency", "under_way", "ready", "waiting", "retrying", "oldest_at"],
        as_json=wants_json(output),
        empty="No steps with a concurrency key.",
    )


@app.command("set")
def set_limit(
    kind: Of,
    name: Name,
    concurrency: Annotated[
        int | None, typer.Option("--concurrency", help="Steps under way at once; 0: none is begun.")
    ] = None,
    rate: Annotated[int | None, typer.Option("--rate", help="Attempts that begin in each --per.")] = None,
    per: Annotated[str | None, typer.Option("--per", help='An interval, for instance "1 minute".')] = None,
    burst: Annotated[
        int | None, typer.Option("--burst", help="How many of them may begin at once after a pause.")
    ] = None,
    actor: Actor = None,
    dsn: Dsn = None,
    output: Output = None,
) -> None:
    """Limit a queue or tool from now on; what is left out is not limited."""
    with session(dsn) as db:
        [row] = db.rows(
            "select l.kind, l.name, l.concurrency, l.rate, l.per, l.burst from pgorch.set_limit("
            "p_kind => %s, p_name => %s, p_concurrency => %s::int, p_rate => %s::int, p_per => %s::interval,"
            " p_burst => %s::int, p_actor => %s) l",
            [kind.value, name, concurrency, rate, per, burst, actor],
        )
    if wants_json(output):
        print_json(row)
    else:
        typer.echo(f"set: {kind.value} {name}. See what is used of it with: pgorch limits list")


@app.command("drop")
def drop_limit(kind: Of, name: Name, actor: Actor = None, dsn: Dsn = None, output: Output = None) -> None:
    """Take a limit away."""
    with session(dsn) as db:
        db.value(
            "select pgorch.drop_limit(p_kind => %s, p_name => %s, p_actor => %s)", [kind.value, name, actor]
        )
    if wants_json(output):
        print_json({"kind": kind.value, "name": name, "dropped": True})
    else:
        typer.echo(f"dropped: the limit of {kind.value} {name}")
