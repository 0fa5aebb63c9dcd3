"""`pgorch lost`: what a failover without synchronous replication, or a restore, has cost."""

import re
from datetime import UTC, datetime, timedelta
from typing import Annotated
from uuid import UUID

import typer

from pgorch.cli.failures import FAILED, UsageError
from pgorch.cli.options import Dsn, Output, text_of, wants_json
from pgorch.cli.output import print_rows
from pgorch.cli.session import session

_ID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}", re.IGNORECASE)
_COLUMNS = ("run_id", "seq", "kind", "node", "at")


def lost(
    file: Annotated[
        str | None,
        typer.Argument(help="What callers or tools wrote down: each run id in it is looked for; - is stdin."),
    ] = None,
    old: Annotated[
        str | None,
        typer.Option("--old", help="The DSN of the former primary, started by itself: what it had recorded."),
    ] = None,
    hours: Annotated[
        float, typer.Option("--hours", help="With --old: how far back to look, from its last entry.", min=0)
    ] = 24.0,
    dsn: Dsn = None,
    output: Output = None,
) -> None:
    """List runs and checkpoints that were acknowledged and are not in the database. Exit code 1 if any.

    Repeating the requests with their idempotency keys makes what is lost good; tools see the same keys again.
    """
    if (file is None) == (old is None):
        raise UsageError("Name a file with run ids, or --old with the former primary.", hint="pgorch lost -")
    rows = _of_file(file, dsn) if file is not None else _of_server(str(old), hours, dsn)
    columns = _COLUMNS if old is not None else ("run_id",)
    print_rows(rows, columns, as_json=wants_json(output), empty="Nothing is lost.")
    if rows:
        raise typer.Exit(FAILED)


def _of_file(file: str, dsn: str | None) -> list[dict[str, object]]:
    from pgorch.database.losses import missing_runs

    text, _ = text_of(file, what="the list")
    named = list(dict.fromkeys(UUID(found) for found in _ID.findall(text)))
    with session(dsn) as db:
        # Many at a time, whatever the length of the file.
        return [
            {"run_id": run_id}
            for at in range(0, len(named), 5000)
            for run_id in missing_runs(db.connection, named[at : at + 5000])
        ]


def _of_server(old: str, hours: float, dsn: str | None) -> list[dict[str, object]]:
    from pgorch.database.losses import lost_records

    with session(dsn) as new, session(old) as former:
        last = former.value("select max(h.at) as last from pgorch.history h")
        since = (last or datetime.now(UTC)) - timedelta(hours=hours)
        return [
            {"run_id": loss.run_id, "seq": loss.seq, "kind": loss.kind, "node": loss.node, "at": loss.at}
            for loss in lost_records(former.connection, new.connection, since)
        ]
