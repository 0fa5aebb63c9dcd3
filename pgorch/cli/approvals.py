"""`pgorch approvals`: list, approve and reject."""

from typing import Annotated
from uuid import UUID

import typer
from psycopg.types.json import Jsonb

from pgorch.cli.options import Dsn, Output, json_value, wants_json
from pgorch.cli.output import print_json, print_rows
from pgorch.cli.runs import RunId
from pgorch.cli.session import session

app = typer.Typer(help="Decisions that runs wait for.", no_args_is_help=True)

Data = Annotated[str | None, typer.Option("--data", help="A JSON object for the run, @file, or @-.")]
Comment = Annotated[str | None, typer.Option("--comment", help="Why; kept in the history.")]
Approval = Annotated[UUID | None, typer.Option("--approval", help="Which one, if the run waits for several.")]
Actor = Annotated[str | None, typer.Option("--actor", help="Who decides, if not the database user.")]


@app.command("list")
def list_approvals(
    graph: Annotated[str | None, typer.Option("--graph", help="Only of this graph (its name).")] = None,
    limit: Annotated[int, typer.Option("--limit", help="At most so many.", min=1, max=10_000)] = 100,
    dsn: Dsn = None,
    output: Output = None,
) -> None:
    """List the approvals that wait, the oldest first."""
    with session(dsn) as db:
        rows = db.rows(
            "select a.run_id, a.approval_id, a.graph, a.node, a.title, a.show, a.requested_at, a.waiting_for,"
            " a.initiator from pgorch.waiting_approvals a"
            " where (%(graph)s::text is null or a.graph = %(graph)s::text)"
            " order by a.requested_at, a.approval_id limit %(limit)s",
            {"graph": graph, "limit": limit},
        )
    print_rows(
        rows,
        ["run_id", "graph", "node", "title", "show", "waiting_for"],
        as_json=wants_json(output),
        empty="Nothing waits for a decision.",
    )


@app.command("approve")
def approve(
    run_id: RunId,
    data: Data = None,
    comment: Comment = None,
    approval: Approval = None,
    actor: Actor = None,
    dsn: Dsn = None,
    output: Output = None,
) -> None:
    """Approve what a run waits for."""
    _decide("approved", run_id, data, comment, approval, actor, dsn, wants_json(output))


@app.command("reject")
def reject(
    run_id: RunId,
    data: Data = None,
    comment: Comment = None,
    approval: Approval = None,
    actor: Actor = None,
    dsn: Dsn = None,
    output: Output = None,
) -> None:
    """Reject what a run waits for."""
    _decide("rejected", run_id, data, comment, approval, actor, dsn, wants_json(output))


def _decide(
    decision: str,
    run_id: UUID,
    data: str | None,
    comment: str | None,
    approval: UUID | None,
    actor: str | None,
    dsn: str | None,
    as_json: bool,
) -> None:
    value = None if data is None else Jsonb(json_value(data, what="The data"))
    with session(dsn) as db:
        decided = db.value(
            "select pgorch.decide(p_run_id => %s::uuid, p_decision => %s, p_data => %s, p_comment => %s,"
            " p_approval_id => %s::uuid, p_actor => %s)",
            [run_id, decision, value, comment, approval, actor],
        )
    if as_json:
        print_json({"run_id": run_id, "approval_id": decided, "decision": decision})
    else:
        typer.echo(f"{decision}: run {run_id} goes on. Watch it with: pgorch runs watch {run_id}")
