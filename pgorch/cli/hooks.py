"""`pgorch hooks`: addresses that are told of events, and what was sent to them."""

import time
from typing import Annotated, Any
from uuid import UUID

import typer

from pgorch.cli.failures import TIMEOUT, Failure, fail
from pgorch.cli.options import Dsn, Output, Timeout, text_of, wants_json
from pgorch.cli.output import print_fields, print_json, print_rows
from pgorch.cli.session import Session, session
from pgorch.errors import NotFound

app = typer.Typer(help="Webhooks: who is told of events.", no_args_is_help=True)

Hook = Annotated[str, typer.Argument(help="Its name or id.", metavar="HOOK")]
Kinds = Annotated[
    list[str], typer.Option("--kind", help="run_completed, approval_requested, ...; may be repeated.")
]
SecretFile = Annotated[
    str | None,
    typer.Option(
        "--secret-file",
        help="Where the secret is (whsec_...), or - for stdin. Else one is made and shown this once.",
        show_default=False,
    ),
]
_FIELDS = ["name", "hook_id", "url", "kinds", "graph", "allow_private", "status", "paused_at",
           "paused_because", "created_at", "created_by"]  # fmt: skip


@app.command("create")
def create_hook(
    name: Annotated[str, typer.Argument(help="What it is called.", metavar="NAME")],
    url: Annotated[str, typer.Argument(help="Where messages go: https://...", metavar="URL")],
    kinds: Kinds,
    graph: Annotated[
        str | None, typer.Option("--graph", help="Only of runs of the graph with this name.")
    ] = None,
    allow_private: Annotated[
        bool, typer.Option("--allow-private", help="The address may be a private one, and plain http.")
    ] = False,
    secret_file: SecretFile = None,
    dsn: Dsn = None,
    output: Output = None,
) -> None:
    """Tell an address of events."""
    given = _given(secret_file)
    with session(dsn) as db:
        secret = given or db.value("select pgorch.new_hook_secret()")
        hook_id = db.value(
            "select pgorch.create_hook(p_name => %s, p_url => %s, p_kinds => %s::text[], p_secret => %s,"
            " p_graph => %s, p_allow_private => %s)",
            [name, url, kinds, secret, graph, allow_private],
        )
        row = _row(db, str(hook_id))
    _print(row if given else {"secret": secret, **row}, output)
    if not given:
        _say_once()


@app.command("list")
def list_hooks(dsn: Dsn = None, output: Output = None) -> None:
    """List hooks."""
    with session(dsn) as db:
        rows = db.rows("select h.* from pgorch.hook_list h order by h.name")
    print_rows(
        rows,
        ["name", "status", "url", "kinds", "graph"],
        as_json=wants_json(output),
        empty="No hooks. Make one with: pgorch hooks create NAME URL --kind run_completed",
    )


@app.command("show")
def show_hook(hook: Hook, dsn: Dsn = None, output: Output = None) -> None:
    """Show a hook."""
    with session(dsn) as db:
        _print(_row(db, hook), output)


@app.command("update")
def update_hook(
    hook: Hook,
    url: Annotated[str | None, typer.Option("--url", help="Where messages go from now on.")] = None,
    kinds: Annotated[
        list[str] | None, typer.Option("--kind", help="All kinds that it wants; may be repeated.")
    ] = None,
    dsn: Dsn = None,
    output: Output = None,
) -> None:
    """Change the address or the kinds of a hook."""
    with session(dsn) as db:
        db.value(
            "select pgorch.update_hook(p_hook => %s, p_url => %s, p_kinds => %s::text[])",
            [hook, url, kinds or None],
        )
        _print(_row(db, hook), output)


@app.command("rotate")
def rotate_hook(
    hook: Hook,
    end_old: Annotated[bool, typer.Option("--end-old", help="Sign with the newest secret alone.")] = False,
    secret_file: SecretFile = None,
    dsn: Dsn = None,
    output: Output = None,
) -> None:
    """Sign with a new secret and the old one, until the receiver knows the new one; then --end-old."""
    given = _given(secret_file)
    with session(dsn) as db:
        secret = None if end_old else given or db.value("select pgorch.new_hook_secret()")
        db.value("select pgorch.rotate_hook_secret(p_hook => %s, p_secret => %s)", [hook, secret])
        row = _row(db, hook)
    is_made = secret is not None and given is None
    _print({"secret": secret, **row} if is_made else row, output)
    if is_made:
        _say_once()


@app.command("pause")
def pause_hook(hook: Hook, dsn: Dsn = None, output: Output = None) -> None:
    """Send nothing to a hook for now. What happens meanwhile waits, for a day."""
    with session(dsn) as db:
        db.value("select pgorch.pause_hook(%s)", [hook])
        _print(_row(db, hook), output)


@app.command("resume")
def resume_hook(hook: Hook, dsn: Dsn = None, output: Output = None) -> None:
    """Send to a paused hook again."""
    with session(dsn) as db:
        db.value("select pgorch.resume_hook(%s)", [hook])
        _print(_row(db, hook), output)


@app.command("delete")
def delete_hook(hook: Hook, dsn: Dsn = None, output: Output = None) -> None:
    """End a hook. Nothing more is sent to it."""
    with session(dsn) as db:
        hook_id = db.value("select pgorch.delete_hook(%s)", [hook])
    if wants_json(output):
        print_json({"hook_id": hook_id})
    else:
        typer.echo(f"deleted: {hook}")


@app.command("deliveries")
def list_deliveries(
    hook: Hook,
    limit: Annotated[int, typer.Option("--limit", help="How many at most.", min=1, max=10000)] = 50,
    dsn: Dsn = None,
    output: Output = None,
) -> None:
    """List what was and is to be sent to a hook, newest first, with every attempt."""
    with session(dsn) as db:
        rows = db.rows(
            "select d.* from pgorch.hook_delivery_list d where d.hook_id = %s"
            " order by d.delivery_id desc limit %s",
            [_row(db, hook)["hook_id"], limit],
        )
    for row in rows:
        row["last_answer"] = _last_answer(row["log"])
    print_rows(
        rows,
        ["delivery_id", "kind", "run_id", "status", "attempts", "last_answer", "next_at"],
        as_json=wants_json(output),
        empty="Nothing yet.",
    )


@app.command("resend")
def resend_delivery(
    delivery: Annotated[UUID, typer.Argument(help="The delivery's id.", metavar="DELIVERY")],
    dsn: Dsn = None,
    output: Output = None,
) -> None:
    """Send once more what was given up."""
    with session(dsn) as db:
        delivery_id = db.queries.resend_delivery(delivery)
    if wants_json(output):
        print_json({"delivery_id": delivery_id})
    else:
        typer.echo(f"on its way: {delivery_id}")


@app.command("test")
def send_test(hook: Hook, timeout: Timeout = 30, dsn: Dsn = None, output: Output = None) -> None:
    """Send a message of the type test to a hook, and tell what came of it."""
    deadline = time.monotonic() + (30 if timeout is None else timeout)
    with session(dsn) as db:
        delivery_id = db.value("select pgorch.test_hook(%s)", [hook])
        while True:
            [row] = db.rows(
                "select d.* from pgorch.hook_delivery_list d"
                " where d.bucket = pgorch.bucket_of(%s) and d.delivery_id = %s",
                [delivery_id, delivery_id],
            )
            if row["log"] and row["log"][0]["ended_at"]:
                break
            if time.monotonic() >= deadline:
                fail("nobody has delivered it yet", "Workers deliver.", "pgorch workers list", code=TIMEOUT)
            time.sleep(0.1)
    if row["status"] != "delivered":
        raise Failure(
            f"The receiver did not take it: {_last_answer(row['log'])}.",
            hint=f"It is tried again: pgorch hooks deliveries {hook}",
        )
    if wants_json(output):
        print_json(row)
    else:
        typer.echo(f"delivered: {_last_answer(row['log'])}")


def _last_answer(log: list[dict[str, Any]]) -> str:
    if not log:
        return ""
    status, problem = log[-1]["http_status"], log[-1]["problem"]
    return ", ".join(str(part) for part in (status, problem) if part is not None)


def _row(db: Session, hook: str) -> dict[str, Any]:
    rows = db.rows(
        "select h.* from pgorch.hook_list h where h.name = %s or h.hook_id::text = lower(%s)", [hook, hook]
    )
    if not rows:
        raise NotFound(f"there is no hook {hook!r}", hint="pgorch hooks list")
    return rows[0]


def _given(secret_file: str | None) -> str | None:
    return None if secret_file is None else text_of(secret_file, what="The secret")[0].strip()


def _print(row: dict[str, Any], output: Any) -> None:
    if wants_json(output):
        print_json(row)
    else:
        print_fields(row, ["secret", *_FIELDS])


def _say_once() -> None:
    typer.echo(
        "Give the secret to the receiver, who checks signatures with it: it is not shown again.", err=True
    )
