"""`pgorch schedules`: list, show, create, pause, resume, trigger and delete."""

from enum import StrEnum
from typing import Annotated
from uuid import UUID

import typer
from psycopg.types.json import Jsonb

from pgorch.cli.options import Dsn, Output, json_value, wants_json
from pgorch.cli.output import print_fields, print_json, print_rows, print_table
from pgorch.cli.session import session

app = typer.Typer(help="Graphs that are started by the clock.", no_args_is_help=True)

Name = Annotated[str, typer.Argument(help="The schedule's name.")]
Actor = Annotated[str | None, typer.Option("--actor", help="Who does it, if not the database user.")]


class Overlap(StrEnum):
    skip = "skip"
    buffer_one = "buffer_one"
    cancel_other = "cancel_other"
    allow = "allow"


class CatchUp(StrEnum):
    one = "one"
    all = "all"
    none = "none"


@app.command("list")
def list_schedules(dsn: Dsn = None, output: Output = None) -> None:
    """List schedules, with when they are due next."""
    with session(dsn) as db:
        rows = db.rows("select * from pgorch.schedule_list s order by s.name")
    for row in rows:
        row["last_error"] = (row["last_error"] or {}).get("message")
    print_rows(
        rows,
        ["name", "graph", "cron", "time_zone", "paused", "next_due", "last_due", "last_status", "last_error"],
        as_json=wants_json(output),
        empty="No schedules yet. Create one with: pgorch schedules create NAME GRAPH '0 2 * * *'",
    )


@app.command("show")
def show_schedule(name: Name, dsn: Dsn = None, output: Output = None) -> None:
    """Show a schedule: the next times at which it is due, and what became of the last ones."""
    from pgorch.cron import coming_times

    with session(dsn) as db:
        document = db.value("select pgorch.schedule_document(%s)", [name])
    document["next_times"] = coming_times(document)
    if wants_json(output):
        print_json(document)
        return
    print_fields(
        document,
        ["name", "graph", "cron", "time_zone", "input", "queue", "priority", "labels", "overlap", "catch_up",
         "catch_up_window", "paused", "buffered", "last_due", "last_run_id", "last_status", "last_error",
         "created_by", "updated_by"],
    )  # fmt: skip
    # In the schedule's own time zone, unlike all other times here.
    for number, due in enumerate(document["next_times"]):
        typer.echo(f"{'' if number else 'next times':<17}{due:%a %Y-%m-%d %H:%M %Z}")
    if document["firings"]:
        typer.echo("")
        print_table(document["firings"], ["due", "outcome", "run_id", "actor", "detail"])


@app.command("create")
def create_schedule(
    name: Name,
    graph: Annotated[str, typer.Argument(help="A graph's name, name@version or id.")],
    cron: Annotated[str, typer.Argument(help="When: minute hour day-of-month month day-of-week, in quotes.")],
    time_zone: Annotated[str, typer.Option("--time-zone", help="For instance Europe/Berlin.")] = "UTC",
    given: Annotated[
        str, typer.Option("-i", "--input", help="Input of its runs: JSON, @file, or @- for stdin.")
    ] = "{}",
    queue: Annotated[str | None, typer.Option("-q", "--queue", help="Queue of its runs.")] = None,
    priority: Annotated[int, typer.Option("--priority", help="Higher runs first.")] = 0,
    label: Annotated[list[str] | None, typer.Option("--label", help="NAME=TEXT; may be repeated.")] = None,
    overlap: Annotated[
        Overlap, typer.Option("--overlap", help="When it is due while a run of it has not ended.")
    ] = Overlap.skip,
    catch_up: Annotated[
        CatchUp, typer.Option("--catch-up", help="Of due times that passed while no worker was there.")
    ] = CatchUp.one,
    window: Annotated[
        str, typer.Option("--catch-up-window", help="Due times older than this are not caught up.")
    ] = "7 days",
    paused: Annotated[
        bool | None, typer.Option("--paused/--not-paused", help="If left out: as it is.", show_default=False)
    ] = None,
    actor: Actor = None,
    dsn: Dsn = None,
    output: Output = None,
) -> None:
    """Create a schedule, or describe the one of that name anew."""
    value = json_value(given, what="The input")
    labels = Jsonb(dict(each.partition("=")[::2] for each in label)) if label else None
    with session(dsn) as db:
        created = db.value(
            "select pgorch.create_schedule(p_name => %s, p_graph => %s, p_cron => %s, p_time_zone => %s,"
            " p_input => %s, p_queue => %s, p_priority => %s::int, p_labels => %s, p_overlap => %s,"
            " p_catch_up => %s, p_catch_up_window => %s::interval, p_paused => %s::boolean, p_actor => %s)",
            [name, graph, cron, time_zone, Jsonb(value), queue, priority, labels, overlap.value,
             catch_up.value, window, paused, actor],
        )  # fmt: skip
    if wants_json(output):
        print_json({"name": name, "created": created})
    else:
        typer.echo(f"{'created' if created else 'changed'}: see pgorch schedules show {name}")


@app.command("pause")
def pause_schedule(name: Name, actor: Actor = None, dsn: Dsn = None, output: Output = None) -> None:
    """Start nothing until the schedule is resumed."""
    with session(dsn) as db:
        changed = db.value("select pgorch.pause_schedule(%s, p_actor => %s)", [name, actor])
    _tell(name, paused=True, changed=changed, as_json=wants_json(output))


@app.command("resume")
def resume_schedule(name: Name, actor: Actor = None, dsn: Dsn = None, output: Output = None) -> None:
    """Go on with the next due time; what was due while it was paused is not caught up."""
    with session(dsn) as db:
        changed = db.value("select pgorch.resume_schedule(%s, p_actor => %s)", [name, actor])
    _tell(name, paused=False, changed=changed, as_json=wants_json(output))


@app.command("trigger")
def trigger_schedule(
    name: Name,
    overlap: Annotated[
        Overlap | None,
        typer.Option("--overlap", help="Instead of the schedule's own policy.", show_default=False),
    ] = None,
    key: Annotated[str | None, typer.Option("--key", help="Idempotency key.")] = None,
    actor: Actor = None,
    dsn: Dsn = None,
    output: Output = None,
) -> None:
    """Start a run of a schedule now."""
    policy = None if overlap is None else overlap.value
    with session(dsn) as db:
        run_id: UUID = db.value(
            "select pgorch.trigger_schedule(%s, p_overlap => %s, p_idempotency_key => %s, p_actor => %s)",
            [name, policy, key, actor],
        )
    print_json({"name": name, "run_id": run_id}) if wants_json(output) else typer.echo(str(run_id))


@app.command("delete")
def delete_schedule(name: Name, actor: Actor = None, dsn: Dsn = None, output: Output = None) -> None:
    """Delete a schedule. Its runs go on."""
    with session(dsn) as db:
        db.value("select pgorch.delete_schedule(%s, p_actor => %s)", [name, actor])
    print_json({"name": name, "deleted": True}) if wants_json(output) else typer.echo(f"deleted: {name}")


def _tell(name: str, *, paused: bool, changed: bool, as_json: bool) -> None:
    if as_json:
        print_json({"name": name, "paused": paused, "changed": changed})
    else:
        done, before = ("paused", "paused already") if paused else ("resumed", "not paused")
        typer.echo(f"{done}: {name}" if changed else f"{name} was {before}")
