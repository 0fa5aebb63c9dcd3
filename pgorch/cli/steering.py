"""`pgorch signal`, and what `pgorch runs` does to one run: cancel, pause, resume, retry, skip, fork, move."""

from typing import Annotated, Any
from uuid import UUID

import typer

from pgorch.cli.edits import assignments, put
from pgorch.cli.failures import FAILED
from pgorch.cli.looking import RunId, pair_of
from pgorch.cli.options import Dsn, Output, json_value, wants_json
from pgorch.cli.output import print_json
from pgorch.cli.session import Session, session

app = typer.Typer()

Actor = Annotated[str | None, typer.Option("--actor", help="Who does it, if not the database user.")]
Node = Annotated[str | None, typer.Option("--node", help="Which step, if several could be meant.")]
Item = Annotated[int | None, typer.Option("--item", help="One item of a map, from 0.", min=0)]
Reason = Annotated[str | None, typer.Option("--reason", help="Why; kept in the history.")]
Compensate = Annotated[
    bool, typer.Option("--compensate", help="Undo first what it has done, the newest first.")
]
GivenInput = Annotated[
    str | None, typer.Option("-i", "--input", help="Other arguments for it: JSON, @file, or @- for stdin.")
]
StepOutput = Annotated[
    str, typer.Option("--step-output", help="What it is to have given: JSON, @file, or @- for stdin.")
]


def send_signal(
    run_id: RunId,
    name: Annotated[str, typer.Argument(help="The name that the wait of the graph gives.")],
    payload: Annotated[
        str, typer.Option("-p", "--payload", help="What it says: JSON, @file, or @- for stdin.")
    ] = "{}",
    key: Annotated[
        str | None, typer.Option("--key", help="Idempotency key: the same again counts once.")
    ] = None,
    actor: Actor = None,
    dsn: Dsn = None,
    output: Output = None,
) -> None:
    """Send a signal to a run: a wait for its name takes it, now or later."""
    value = json_value(payload, what="The payload")
    with session(dsn) as db:
        signal_id = db.queries.signal(run_id, name, value, idempotency_key=key, actor=actor)
    if wants_json(output):
        print_json({"run_id": run_id, "signal_id": signal_id})
    else:
        typer.echo(str(signal_id))


@app.command("cancel")
def cancel_run(
    run_id: RunId,
    reason: Reason = None,
    compensate: Compensate = False,
    actor: Actor = None,
    dsn: Dsn = None,
    output: Output = None,
) -> None:
    """End a run now."""
    with session(dsn) as db:
        status = db.queries.cancel(run_id, reason=reason, compensate=compensate, actor=actor)
    _say(run_id, status, output)


@app.command("pause")
def pause_run(run_id: RunId, actor: Actor = None, dsn: Dsn = None, output: Output = None) -> None:
    """Let no step of a run begin until it is resumed."""
    with session(dsn) as db:
        status = db.queries.pause(run_id, actor=actor)
    _say(run_id, status, output)


@app.command("resume")
def resume_run(run_id: RunId, actor: Actor = None, dsn: Dsn = None, output: Output = None) -> None:
    """Let a paused run go on."""
    with session(dsn) as db:
        status = db.queries.resume(run_id, actor=actor)
    _say(run_id, status, output)


@app.command("retry")
def retry_run(
    run_id: RunId,
    node: Node = None,
    given: GivenInput = None,
    item: Item = None,
    actor: Actor = None,
    dsn: Dsn = None,
    output: Output = None,
) -> None:
    """Try the failed step of a run again, or one that waits for its next attempt."""
    value = None if given is None else json_value(given, what="The input")
    with session(dsn) as db:
        status = db.queries.retry(run_id, node, input=value, item=item, actor=actor)
    _say(run_id, status, output)


@app.command("skip")
def skip_step(
    run_id: RunId,
    node: Node = None,
    step_output: StepOutput = "{}",
    item: Item = None,
    actor: Actor = None,
    dsn: Dsn = None,
    output: Output = None,
) -> None:
    """Go on as if a step had succeeded: the one at which the run failed, or one that is live."""
    value = json_value(step_output, what="The output")
    with session(dsn) as db:
        status = db.queries.skip(run_id, node, output=value, item=item, actor=actor)
    _say(run_id, status, output)


@app.command("fork")
def fork_run(
    run_id: RunId,
    from_: Annotated[
        str,
        typer.Option(
            "--from",
            help="A step, to do it again; or the number of the history's entry after which it goes on.",
        ),
    ],
    edits: Annotated[
        list[str] | None,
        typer.Option("--set", help="Change the state: customer.id=42, the value in JSON; may be repeated."),
    ] = None,
    label: Annotated[
        list[str] | None, typer.Option("--label", help="Labels in place of its own; may be repeated.")
    ] = None,
    actor: Actor = None,
    dsn: Dsn = None,
    output: Output = None,
) -> None:
    """Start a new run that goes on as this one was at a step. This one is left as it is."""
    seq, node = (int(from_), None) if from_.isascii() and from_.isdigit() else (None, from_)
    wanted = assignments(edits or [])
    labels = dict(pair_of(text, what="a label") for text in label) if label else None
    with session(dsn) as db:
        if any(len(path) > 1 for path, _ in wanted):
            seq, state = _state_there(db, run_id, seq, node)
            node = None
        else:
            state = {}
        for path, value in wanted:
            put(state, path, value)
        changed = {path[0]: state[path[0]] for path, _ in wanted}
        fork_id = db.queries.fork(run_id, seq=seq, node=node, state=changed, labels=labels, actor=actor)
    if wants_json(output):
        print_json({"run_id": fork_id, "forked_from": run_id})
    else:
        typer.echo(str(fork_id))


@app.command("move")
def move_run(
    run_id: RunId,
    graph: Annotated[str, typer.Argument(help="Another version of its graph: name, name@version or id.")],
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only say what stands in the way; exit code 1 if anything does.")
    ] = False,
    actor: Actor = None,
    dsn: Dsn = None,
    output: Output = None,
) -> None:
    """Let a run go on in another version of its graph."""
    with session(dsn) as db:
        if dry_run:
            problems = db.queries.check_move(run_id, graph)
            graph_id = db.queries.find_graph(graph)
        else:
            problems = []
            graph_id = db.queries.move(run_id, graph, actor=actor)
    if wants_json(output):
        print_json({"run_id": run_id, "moved": not dry_run, "graph_id": graph_id, "problems": problems})
    elif dry_run:
        typer.echo("\n".join(problems) or "Nothing stands in the way.")
    else:
        typer.echo(f"moved to {graph_id}")
    if problems:
        raise typer.Exit(FAILED)


def _say(run_id: UUID, status: str, output: Any) -> None:
    print_json({"run_id": run_id, "status": status}) if wants_json(output) else typer.echo(status)


def _state_there(db: Session, run_id: UUID, seq: int | None, node: str | None) -> tuple[int, dict[str, Any]]:
    """At which entry of the history a fork would begin, and the state there: it is forked, and taken back."""
    with db.connection.transaction(force_rollback=True):
        draft = db.queries.fork(run_id, seq=seq, node=node)
        row = db.row(
            "select r.forked_at, pgorch.state_at(r.id, r.forked_at) as state from pgorch.runs r"
            " where r.bucket = pgorch.bucket_of(%(id)s) and r.id = %(id)s",
            {"id": draft},
        )
    return row["forked_at"], row["state"]
