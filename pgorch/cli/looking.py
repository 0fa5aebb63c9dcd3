"""The verbs of `pgorch runs` that look at one run: state, diff, explain, timeline, tree, export, label."""

from typing import Annotated, Any
from uuid import UUID

import typer
from psycopg.types.json import Jsonb

from pgorch.cli.failures import UsageError
from pgorch.cli.options import Dsn, Output, wants_json
from pgorch.cli.output import print_json, print_rows, shown, to_json
from pgorch.cli.session import session

app = typer.Typer()

RunId = Annotated[UUID, typer.Argument(help="The run's id.", metavar="RUN")]
Entry = Annotated[
    int | None, typer.Option("--at", help="As of this entry of the history; 0: before the first.", min=0)
]
EDGE_COLUMNS = ["target", "on_outcome", "condition", "found", "used", "taken", "why"]


@app.command("state")
def run_state(run_id: RunId, at: Entry = None, dsn: Dsn = None) -> None:
    """Print the state of a run, now or at an entry of its history, as JSON."""
    with session(dsn) as db:
        if at is None:
            state = db.value("select pgorch.run_state(%s::uuid)", [run_id])
        else:
            state = db.value("select pgorch.state_at(%s::uuid, %s::int)", [run_id, at])
    typer.echo(to_json(state))


@app.command("diff")
def diff_states(
    run_id: RunId,
    from_: Annotated[int, typer.Argument(help="Number of an entry of the history.", metavar="FROM", min=0)],
    to: Annotated[int, typer.Argument(help="Number of another entry.", metavar="TO", min=0)],
    dsn: Dsn = None,
    output: Output = None,
) -> None:
    """Show what differs between the states after two entries of the history."""
    with session(dsn) as db:
        rows = db.rows("select * from pgorch.diff_states(%s::uuid, %s::int, %s::int)", [run_id, from_, to])
    print_rows(rows, ["key", "before", "after"], as_json=wants_json(output), empty="The states are the same.")


@app.command("explain")
def explain(
    run_id: RunId,
    node: Annotated[str, typer.Argument(help="A node of the run's graph.")],
    at: Entry = None,
    dsn: Dsn = None,
    output: Output = None,
) -> None:
    """Show each edge out of a node, what its condition found, and why it was taken or not."""
    with session(dsn) as db:
        rows = db.rows("select * from pgorch.explain(%s::uuid, %s, %s::int)", [run_id, node, at])
    print_rows(rows, EDGE_COLUMNS, as_json=wants_json(output), empty="No edge leads on from this node.")


@app.command("timeline")
def timeline(run_id: RunId, dsn: Dsn = None, output: Output = None) -> None:
    """Tell what happened in a run, and what is live in it now."""
    with session(dsn) as db:
        rows = db.rows("select * from pgorch.timeline(%s::uuid)", [run_id])
    print_rows(rows, ["seq", "at", "what", "who", "took"], as_json=wants_json(output), empty="")


@app.command("tree")
def tree(run_id: RunId, dsn: Dsn = None, output: Output = None) -> None:
    """Show a run and those that its steps started, each below the one that waits for it."""
    with session(dsn) as db:
        rows = db.rows("select * from pgorch.run_tree(%s::uuid)", [run_id])
    if wants_json(output):
        print_json(rows)
        return
    for row in rows:
        finished = f"  ended {shown(row['finished_at'])}" if row["finished_at"] else ""
        branch = "   " * (row["depth"] - 1) + "└─ " if row["depth"] else ""
        typer.echo(f"{branch}{row['run_id']}  {row['graph']}@{row['version']}  {row['status']}{finished}")


@app.command("export")
def export(run_id: RunId, dsn: Dsn = None) -> None:
    """Print everything about a run as one JSON document."""
    with session(dsn) as db:
        typer.echo(to_json(db.value("select pgorch.export_run(%s::uuid)", [run_id])))


@app.command("label")
def label(
    run_id: RunId,
    labels: Annotated[
        list[str] | None, typer.Argument(help="All its labels from now on; none takes them away.")
    ] = None,
    dsn: Dsn = None,
    output: Output = None,
) -> None:
    """Set the labels of a run: NAME=VALUE, in place of those that it had."""
    wanted = dict(pair_of(text, what="a label") for text in labels or [])
    with session(dsn) as db:
        now: dict[str, Any] = db.value("select pgorch.set_labels(%s::uuid, %s)", [run_id, Jsonb(wanted)])
    print_json(now) if wants_json(output) else typer.echo(shown(now))


def pair_of(text: str, *, what: str) -> tuple[str, str]:
    """What is before and after the first equals sign. Raises UsageError without one."""
    name, sign, value = text.partition("=")
    if not sign or not name:
        raise UsageError(f"{text!r} is not {what}.", hint="Write NAME=VALUE, for instance team=billing")
    return name, value
