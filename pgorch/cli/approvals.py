"""`pgorch approvals`: list, show, approve, reject, reassign and comment."""

from typing import Annotated, Any
from uuid import UUID

import typer
from psycopg.types.json import Jsonb

from pgorch.cli.options import Dsn, Output, json_value, wants_json
from pgorch.cli.output import print_fields, print_json, print_rows, print_table
from pgorch.cli.session import Session, session

app = typer.Typer(help="Decisions that runs wait for.", no_args_is_help=True)

Id = Annotated[UUID, typer.Argument(help="Id of an approval, or of a run that waits for one.", metavar="ID")]
ApprovalId = Annotated[UUID, typer.Argument(help="The approval's id.", metavar="APPROVAL")]
Data = Annotated[
    str | None, typer.Option("--data", help="A JSON object: what the form asks for. Or @file, or @-.")
]
Comment = Annotated[str | None, typer.Option("--comment", help="Why; kept in the history.")]
Approval = Annotated[UUID | None, typer.Option("--approval", help="Which one, if the run waits for several.")]
Actor = Annotated[str | None, typer.Option("--actor", help="Who does it, if not the database user.")]
Role = Annotated[list[str] | None, typer.Option("--role", help="A role of the actor; may be repeated.")]

_FIELDS = (
    *("approval_id", "run_id", "graph", "node", "status", "title", "show", "form"),
    *("assignees", "quorum", "initiator", "exclude_initiator", "requested_at", "deadline", "reminded_at"),
    *("overdue", "decided_at", "decided_by", "data", "comment"),
)


@app.command("list")
def list_approvals(
    graph: Annotated[str | None, typer.Option("--graph", help="Only of this graph (its name).")] = None,
    assignee: Annotated[
        str | None, typer.Option("--assignee", help="Only those assigned to user:NAME or role:NAME.")
    ] = None,
    overdue: Annotated[bool, typer.Option("--overdue", help="Only those that are overdue.")] = False,
    mine: Annotated[
        bool, typer.Option("--mine", help="Only those that the database user can decide.")
    ] = False,
    limit: Annotated[int, typer.Option("--limit", help="At most so many.", min=1, max=10_000)] = 100,
    dsn: Dsn = None,
    output: Output = None,
) -> None:
    """List the approvals that wait, the oldest first."""
    with session(dsn) as db:
        rows = db.rows(
            "select a.approval_id, a.run_id, a.graph, a.node, a.title, a.show, a.assignees, a.quorum,"
            " a.approved_by, a.requested_at, a.waiting_for, a.deadline, a.overdue, a.initiator"
            " from pgorch.waiting_approvals a"
            " where (%(graph)s::text is null or a.graph = %(graph)s::text)"
            " and (%(assignee)s::text is null or %(assignee)s::text = any (a.assignees))"
            " and (not %(overdue)s or a.overdue)"
            " and (not %(mine)s or exists (select from pgorch.my_approvals m"
            "      where m.bucket = a.bucket and m.approval_id = a.approval_id))"
            " order by a.requested_at, a.approval_id limit %(limit)s",
            {"graph": graph, "assignee": assignee, "overdue": overdue, "mine": mine, "limit": limit},
        )
    print_rows(
        rows,
        ["approval_id", "graph", "node", "title", "assignees", "waiting_for", "overdue"],
        as_json=wants_json(output),
        empty="Nothing waits for a decision.",
    )


@app.command("show")
def show(approval: ApprovalId, dsn: Dsn = None, output: Output = None) -> None:
    """Show an approval: its question and form, who is asked, and what happened to it."""
    with session(dsn) as db:
        document: dict[str, Any] = db.value("select pgorch.approval_document(%s::uuid)", [approval])
    if wants_json(output):
        print_json(document)
        return
    print_fields(document, _FIELDS)
    typer.echo()
    print_table(document["events"], ["at", "kind", "actor", "output"])


@app.command("approve")
def approve(
    id: Id,
    data: Data = None,
    comment: Comment = None,
    approval: Approval = None,
    actor: Actor = None,
    role: Role = None,
    dsn: Dsn = None,
    output: Output = None,
) -> None:
    """Approve what a run waits for."""
    _decide("approved", id, data, comment, approval, actor, role, dsn, wants_json(output))


@app.command("reject")
def reject(
    id: Id,
    data: Data = None,
    comment: Comment = None,
    approval: Approval = None,
    actor: Actor = None,
    role: Role = None,
    dsn: Dsn = None,
    output: Output = None,
) -> None:
    """Reject what a run waits for."""
    _decide("rejected", id, data, comment, approval, actor, role, dsn, wants_json(output))


@app.command("reassign")
def reassign(
    approval: ApprovalId,
    to: Annotated[list[str], typer.Argument(help="user:NAME and role:NAME.", metavar="TO...")],
    comment: Comment = None,
    actor: Actor = None,
    role: Role = None,
    dsn: Dsn = None,
    output: Output = None,
) -> None:
    """Say anew who may decide an approval."""
    with session(dsn) as db:
        db.value(
            "select pgorch.reassign(p_approval_id => %s::uuid, p_assignees => %s::text[], p_comment => %s,"
            " p_actor => %s, p_roles => %s::text[])",
            [approval, to, comment, actor, role],
        )
    if wants_json(output):
        print_json({"approval_id": approval, "assignees": to})
    else:
        typer.echo(f"assigned to {', '.join(to)}")


@app.command("comment")
def add_comment(
    approval: ApprovalId,
    text: Annotated[str, typer.Argument(help="What you have to say.", metavar="TEXT")],
    actor: Actor = None,
    dsn: Dsn = None,
    output: Output = None,
) -> None:
    """Add a comment to an approval that waits."""
    with session(dsn) as db:
        db.value(
            "select pgorch.comment(p_approval_id => %s::uuid, p_comment => %s, p_actor => %s)",
            [approval, text, actor],
        )
    if wants_json(output):
        print_json({"approval_id": approval, "comment": text})
    else:
        typer.echo("commented")


def _decide(
    decision: str,
    id: UUID,
    data: str | None,
    comment: str | None,
    approval: UUID | None,
    actor: str | None,
    roles: list[str] | None,
    dsn: str | None,
    as_json: bool,
) -> None:
    value = None if data is None else Jsonb(json_value(data, what="The data"))
    with session(dsn) as db:
        run_id, approval_id = _meant(db, id, approval)
        decided = db.value(
            "select pgorch.decide(p_run_id => %s::uuid, p_decision => %s, p_data => %s, p_comment => %s,"
            " p_approval_id => %s::uuid, p_actor => %s, p_roles => %s::text[])",
            [run_id, decision, value, comment, approval_id, actor, roles],
        )
        document = db.value("select pgorch.approval_document(%s::uuid)", [decided])
    run_id, status = document["run_id"], document["status"]
    if as_json:
        print_json({"run_id": run_id, "approval_id": decided, "decision": decision, "status": status})
    elif status == "open":
        given, needed = len(document["votes"]), document["quorum"]
        typer.echo(f"{decision}: {given} of {needed} that are needed; run {run_id} waits for the others.")
    else:
        typer.echo(f"{decision}: run {run_id} goes on. Watch it with: pgorch runs watch {run_id}")


def _meant(db: Session, id: UUID, approval: UUID | None) -> tuple[UUID | None, UUID | None]:
    """Run and approval, if `id` names either."""
    is_approval = db.value(
        "select exists (select from pgorch.approvals a"
        " where a.bucket = pgorch.bucket_of(%(id)s) and a.id = %(id)s)",
        {"id": id},
    )
    return (None, id) if is_approval and approval is None else (id, approval)
