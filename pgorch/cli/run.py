"""`pgorch run`: starts a run, and follows it if asked to."""

from pathlib import Path
from typing import Annotated, Any

import typer
from psycopg.types.json import Jsonb

from pgorch.cli.following import RunTimeout, described, exit_code_of, follow, timed_out
from pgorch.cli.graphs import create_from
from pgorch.cli.looking import pair_of
from pgorch.cli.options import Dsn, Output, Timeout, json_value, wants_json
from pgorch.cli.output import print_json
from pgorch.cli.session import Session, session


def run(
    graph: Annotated[str, typer.Argument(help="A graph's name, name@version or id, or a .json file.")],
    given: Annotated[
        str, typer.Option("-i", "--input", help="The input: JSON, @file, or @- for stdin.")
    ] = "{}",
    key: Annotated[
        str | None, typer.Option("--key", help="Idempotency key: the same again is one run.")
    ] = None,
    priority: Annotated[int, typer.Option("--priority", help="Higher runs first.")] = 0,
    queue: Annotated[str | None, typer.Option("-q", "--queue", help="Queue of its steps.")] = None,
    label: Annotated[
        list[str] | None, typer.Option("--label", help="To find it by: team=billing; may be repeated.")
    ] = None,
    wait: Annotated[
        bool, typer.Option("--wait", help="Wait until it ends; exit code 1 if it failed.")
    ] = False,
    follow_it: Annotated[bool, typer.Option("--follow", help="Show its events until it ends.")] = False,
    timeout: Timeout = None,
    dsn: Dsn = None,
    output: Output = None,
) -> None:
    """Start a run of a graph."""
    value = json_value(given, what="The input")
    labels = dict(pair_of(text, what="a label") for text in label or [])
    with session(dsn) as db:
        run_id = db.value(
            "select pgorch.start(p_graph => %s, p_input => %s, p_idempotency_key => %s,"
            " p_priority => %s::int, p_queue => %s, p_labels => %s)",
            [_graph(db, graph), Jsonb(value), key, priority, queue, Jsonb(labels) if labels else None],
        )
        if not (wait or follow_it):
            print_json({"run_id": run_id}) if wants_json(output) else typer.echo(str(run_id))
            return
        as_json = wants_json(output)
        if not as_json:
            typer.echo(f"run {run_id}")

        def on_event(event: dict[str, Any]) -> None:
            if follow_it:
                typer.echo(described(event), err=as_json)
            if event["kind"] == "approval_requested":
                typer.echo(f"waits for a decision: pgorch approvals approve {run_id}", err=True)

        try:
            status = follow(db, run_id, timeout=timeout, on_event=on_event)
        except RunTimeout:
            timed_out(run_id, timeout)
        document = db.value("select pgorch.run_document(%s::uuid)", [run_id])
    if as_json:
        wanted = ("run_id", "graph", "version", "status", "state", "error", "created_at", "finished_at")
        print_json({name: document[name] for name in wanted})
    else:
        error = document["error"]
        typer.echo(f"{status}: {error['type']}: {error.get('message')}" if error else status)
    raise typer.Exit(exit_code_of(status))


def _graph(db: Session, graph: str) -> str:
    """The graph as SQL names it; one in a file is created first."""
    if graph == "-" or graph.endswith(".json") or ("/" in graph and Path(graph).is_file()):
        return str(create_from(db, graph)["graph_id"])
    return graph
