"""`pgorch runs bulk`: the same for many runs."""

from enum import StrEnum
from typing import Annotated, Any

import typer

from pgorch.cli.edits import assignments, put
from pgorch.cli.failures import FAILED
from pgorch.cli.looking import pair_of
from pgorch.cli.options import Dsn, Output, json_value, wants_json
from pgorch.cli.output import print_rows
from pgorch.cli.session import session
from pgorch.cli.steering import Actor, Compensate, GivenInput, Item, Node, Reason

app = typer.Typer()


class Action(StrEnum):
    cancel = "cancel"
    pause = "pause"
    resume = "resume"
    retry = "retry"
    skip = "skip"
    move = "move"


@app.command("bulk")
def bulk(
    action: Annotated[Action, typer.Argument(help="What to do with them.")],
    graph: Annotated[
        str | None, typer.Option("--graph", help="Of this graph: name (all versions), name@version, or id.")
    ] = None,
    status: Annotated[
        list[str] | None,
        typer.Option(
            "--status",
            help="Of this status; may be repeated. Else where it is possible; for retry and skip: failed.",
        ),
    ] = None,
    label: Annotated[
        list[str] | None, typer.Option("--label", help="With this label: team=billing; may be repeated.")
    ] = None,
    state: Annotated[
        list[str] | None,
        typer.Option("--state", help="With this in the state: customer.id=42, the value in JSON."),
    ] = None,
    initiator: Annotated[str | None, typer.Option("--initiator", help="Started by this one.")] = None,
    before: Annotated[
        str | None, typer.Option("--created-before", help="Started before this time: 2026-03-01T12:00Z.")
    ] = None,
    after: Annotated[
        str | None, typer.Option("--created-after", help="Started at this time or later.")
    ] = None,
    error_type: Annotated[
        str | None, typer.Option("--error-type", help="That failed with an error of this type.")
    ] = None,
    reason: Reason = None,
    compensate: Compensate = False,
    node: Node = None,
    given: GivenInput = None,
    step_output: Annotated[
        str | None, typer.Option("--step-output", help="For skip: what the step is to have given.")
    ] = None,
    item: Item = None,
    to: Annotated[
        str | None, typer.Option("--to", help="For move: the version to which they are moved.")
    ] = None,
    limit: Annotated[int, typer.Option("--limit", help="At most so many.", min=1, max=100_000)] = 1000,
    yes: Annotated[bool, typer.Option("--yes", help="Do it, and do not only list the runs.")] = False,
    actor: Actor = None,
    dsn: Dsn = None,
    output: Output = None,
) -> None:
    """Cancel, pause, resume, retry, skip or move all runs that fit. Without --yes they are only listed.

    Exit code 1 if anything stood in the way of one of them; the others are done nevertheless.
    """
    filter = _given(
        graph=graph,
        status=status or None,
        labels=dict(pair_of(text, what="a label") for text in label) if label else None,
        state=_state(state) if state else None,
        initiator=initiator,
        created_before=before,
        created_after=after,
        error_type=error_type,
    )
    arguments = _given(reason=reason, compensate=compensate or None, node=node, item=item, graph=to)
    if given is not None:
        arguments["input"] = json_value(given, what="The input")
    if step_output is not None:
        arguments["output"] = json_value(step_output, what="The output")
    with session(dsn) as db:
        runs = db.queries.bulk(action.value, filter, arguments, dry_run=not yes, limit=limit, actor=actor)
    as_json = wants_json(output)
    print_rows(
        [run._asdict() for run in runs],
        ["run_id", "status", "problem"],
        as_json=as_json,
        empty="No such runs.",
    )
    problems = sum(run.problem is not None for run in runs)
    if not as_json and runs:
        done = f"{len(runs) - problems} done" if yes else "nothing has been done yet; do it with --yes"
        more = "; there may be more" if len(runs) == limit else ""
        typer.echo(f"{len(runs)} runs, {problems} with a problem: {done}{more}")
    if yes and problems:
        raise typer.Exit(FAILED)


def _given(**values: Any) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}


def _state(texts: list[str]) -> dict[str, Any]:
    state: dict[str, Any] = {}
    for path, value in assignments(texts):
        put(state, path, value)
    return state
