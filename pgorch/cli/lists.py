"""`pgorch workers list` and `drain`, `pgorch tools list` and `pgorch queues list`."""

from typing import Annotated

import typer

from pgorch.cli.options import Dsn, Output, wants_json
from pgorch.cli.output import print_json, print_rows
from pgorch.cli.session import session

workers = typer.Typer(help="Worker processes.", no_args_is_help=True)
tools = typer.Typer(help="Tools that workers have registered.", no_args_is_help=True)
queues = typer.Typer(help="What waits to be claimed.", no_args_is_help=True)


@tools.callback()
@queues.callback()
def _noun() -> None:
    """Keeps the verb, although there is one alone."""


@workers.command("list")
def list_workers(dsn: Dsn = None, output: Output = None) -> None:
    """List workers, the living ones first."""
    with session(dsn) as db:
        rows = db.rows(
            "select w.worker_id, w.name, min(w.status) as status, w.queues, w.tools, w.slots,"
            " sum(w.running_steps)::int as running_steps, bool_and(w.asleep) as asleep,"
            " min(w.started_at) as started_at, min(w.expires_at) as expires_at,"
            " bool_and(w.death_seen_at_once) as death_seen_at_once"
            " from pgorch.worker_list w group by w.worker_id, w.name, w.queues, w.tools, w.slots"
            " order by (min(w.status) = 'alive') desc, w.name, w.worker_id"
        )
    print_rows(
        rows,
        ["name", "status", "queues", "tools", "slots", "running_steps", "started_at"],
        as_json=wants_json(output),
        empty="No workers. Start one with: pgorch worker --app your_module",
    )


@workers.command("drain")
def drain_worker(
    worker: Annotated[str, typer.Argument(help="Its name or id; of several with one name all.")],
    dsn: Dsn = None,
    output: Output = None,
) -> None:
    """Let a worker end what it has begun, begin nothing more, and go. It hears of it within seconds."""
    with session(dsn) as db:
        asked = db.queries.drain_worker(worker)
    if wants_json(output):
        print_json({"worker_ids": asked})
    else:
        typer.echo(f"asked to drain: {', '.join(map(str, asked))}")


@tools.command("list")
def list_tools(dsn: Dsn = None, output: Output = None) -> None:
    """List tools, with how many living workers run them."""
    with session(dsn) as db:
        rows = db.rows("select t.* from pgorch.tool_list t order by t.name")
    print_rows(
        rows,
        ["name", "workers", "description"],
        as_json=wants_json(output),
        empty="No tools. They are registered by: pgorch worker --app your_module",
    )


@queues.command("list")
def list_queues(dsn: Dsn = None, output: Output = None) -> None:
    """List what waits, by queue and tool."""
    with session(dsn) as db:
        rows = db.rows(
            "select q.queue, q.tool, sum(q.ready)::int as ready, sum(q.retrying)::int as retrying,"
            " min(q.oldest_ready_at) as oldest_ready_at, max(q.oldest_age) as oldest_age,"
            " max(q.workers) as workers from pgorch.queue_depth q group by q.queue, q.tool"
            " order by q.queue, q.tool"
        )
    print_rows(
        rows,
        ["queue", "tool", "ready", "retrying", "oldest_age", "workers"],
        as_json=wants_json(output),
        empty="Nothing waits.",
    )
