"""`pgorch runs`: list, show, events and watch; what looks at one run more closely, and what steers runs."""

import sys
from enum import StrEnum
from typing import Annotated, Any
from uuid import UUID

import typer
from psycopg import sql
from rich.console import Console

from pgorch.cli import bulk, looking, steering
from pgorch.cli.following import RunTimeout, described, exit_code_of, follow, timed_out
from pgorch.cli.looking import RunId as RunId
from pgorch.cli.looking import pair_of
from pgorch.cli.options import Dsn, Output, Timeout, moment_of, wants_json
from pgorch.cli.output import print_fields, print_json, print_rows, print_table, to_json
from pgorch.cli.pictures import Shape, Shown, drawn_run
from pgorch.cli.session import session
from pgorch.cli.watching import watch_live
from pgorch.database.run_filters import run_conditions


class Status(StrEnum):
    RUNNING = "running"
    AWAITING_APPROVAL = "awaiting_approval"
    WAITING = "waiting"
    PAUSED = "paused"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"


app = typer.Typer(help="Runs of graphs.", no_args_is_help=True)
app.add_typer(looking.app)
app.add_typer(steering.app)
app.add_typer(bulk.app)


@app.command("list")
def list_runs(
    status: Annotated[
        list[Status] | None, typer.Option("--status", help="Only this status; may be repeated.")
    ] = None,
    graph: Annotated[str | None, typer.Option("--graph", help="Only runs of this graph (its name).")] = None,
    state: Annotated[
        list[str] | None, typer.Option("--state", help="Only with this in the state: customer.id=42.")
    ] = None,
    label: Annotated[
        list[str] | None, typer.Option("--label", help="Only with this label: team=billing.")
    ] = None,
    initiator: Annotated[str | None, typer.Option("--initiator", help="Only started by this one.")] = None,
    created_after: Annotated[
        str | None,
        typer.Option("--created-after", help="Only started at this time or later: 2026-03-01T12:00Z."),
    ] = None,
    created_before: Annotated[
        str | None, typer.Option("--created-before", help="Only started before this time.")
    ] = None,
    limit: Annotated[int, typer.Option("--limit", help="At most so many.", min=1, max=10_000)] = 50,
    before: Annotated[UUID | None, typer.Option("--before", help="Only runs older than this one.")] = None,
    dsn: Dsn = None,
    output: Output = None,
) -> None:
    """List runs, the newest first."""
    conditions = run_conditions(
        [pair_of(text, what="a field of the state and its value") for text in state or []],
        [pair_of(text, what="a label") for text in label or []],
    )
    with session(dsn) as db:
        query = sql.SQL(
            "select l.* from generate_series(0, pgorch.bucket_count() - 1) b(bucket)"
            " cross join lateral ("
            "   select r.run_id, r.graph, r.version, r.status, r.live_steps, r.initiator, r.priority,"
            "          r.queue, r.idempotency_key, r.labels, r.created_at, r.finished_at, r.error"
            "   from pgorch.run_list r where r.bucket = b.bucket"
            "     and (%(status)s::text[] is null or r.status = any (%(status)s::pgorch.run_status[]))"
            "     and (%(graph)s::text is null or r.graph = %(graph)s::text)"
            "     and (%(initiator)s::text is null or r.initiator = %(initiator)s::text)"
            "     and (%(after)s::timestamptz is null or r.created_at >= %(after)s::timestamptz)"
            "     and (%(until)s::timestamptz is null or r.created_at < %(until)s::timestamptz)"
            "     and (%(before)s::uuid is null or r.run_id < %(before)s::uuid) {}"
            "   order by r.run_id desc limit %(limit)s) l"
            " order by l.run_id desc limit %(limit)s"
        ).format(conditions)
        rows = db.rows(
            query,
            {
                "status": status and [s.value for s in status],
                "graph": graph,
                "initiator": initiator,
                "after": moment_of(created_after),
                "until": moment_of(created_before),
                "before": before,
                "limit": limit,
            },
        )
    print_rows(
        rows,
        ["run_id", "graph", "version", "status", "created_at", "finished_at"],
        as_json=wants_json(output),
        empty="No such runs. Start one with: pgorch run GRAPH",
    )


@app.command("show")
def show_run(run_id: RunId, shape: Shown = None, dsn: Dsn = None, output: Output = None) -> None:
    """Show a run: status, state, live steps, history, open approvals; or a picture of how far it is."""
    with session(dsn) as db:
        if shape in (Shape.text, Shape.mermaid):
            typer.echo(drawn_run(db, run_id, shape))
            return
        document = db.value("select pgorch.run_document(%s::uuid)", [run_id])
    if wants_json(output) or shape is Shape.json:
        print_json(document)
        return
    print_fields(
        document,
        ["run_id", "graph", "version", "status", "initiator", "created_at", "finished_at", "error", "state"],
    )
    if document["current_nodes"]:
        typer.echo("\nlive steps")
        print_table(document["current_nodes"], ["node", "kind", "status", "attempt", "ready_at", "problem"])
    if document["history"]:
        typer.echo("\nhistory")
        for event in document["history"]:
            typer.echo(described(event))
    for approval in document["approvals"]:
        question = approval["title"] or approval["node"]
        typer.echo(f"\nwaits for a decision ({question}): pgorch approvals approve {run_id}")


@app.command("events")
def run_events(
    run_id: RunId,
    after: Annotated[int, typer.Option("--after", help="Only entries after this number.", min=0)] = 0,
    limit: Annotated[int, typer.Option("--limit", help="At most so many.", min=1, max=100_000)] = 1000,
    dsn: Dsn = None,
    output: Output = None,
) -> None:
    """Print the history of a run."""
    with session(dsn) as db:
        db.value("select pgorch.run_state(%s::uuid)", [run_id])
        rows = db.rows("select * from pgorch.run_events(%s::uuid, %s::int, %s::int)", [run_id, after, limit])
    events = [row["event"] for row in rows]
    if wants_json(output):
        print_json(events)
        return
    for event in events:
        typer.echo(described(event))


@app.command("watch")
def watch_run(run_id: RunId, timeout: Timeout = None, dsn: Dsn = None, output: Output = None) -> None:
    """Show a run until it ends: in a terminal a picture of it, else its events, one in each line."""
    as_json = wants_json(output)

    def on_event(event: dict[str, Any]) -> None:
        typer.echo(to_json(event, indent=False) if as_json else described(event))

    with session(dsn) as db:
        try:
            if as_json or not sys.stdout.isatty():
                status = follow(db, run_id, timeout=timeout, on_event=on_event)
            else:
                status = watch_live(db, run_id, timeout=timeout, console=Console(highlight=False))
        except RunTimeout:
            timed_out(run_id, timeout)
    raise typer.Exit(exit_code_of(status))
