"""The options that many commands share."""

import sys
from datetime import datetime
from enum import StrEnum
from typing import Annotated

import typer

from pgorch import strict_json
from pgorch.cli.failures import NoDatabase, UsageError


class Format(StrEnum):
    table = "table"
    json = "json"


Dsn = Annotated[
    str | None,
    typer.Option(
        "--dsn",
        help="The database. Else PGORCH_DSN, DATABASE_URL, or libpq's PG* variables.",
        show_default=False,
    ),
]
DirectDsn = Annotated[
    str | None,
    typer.Option(
        "--direct-dsn",
        help="The same database, past the pooler, for what needs a session. Else PGORCH_DIRECT_DSN.",
        show_default=False,
    ),
]
Output = Annotated[
    Format | None,
    typer.Option(
        "-o",
        "--output",
        help="table or json (for short: --json); JSON when stdout is no terminal.",
        show_default=False,
    ),
]
Timeout = Annotated[float | None, typer.Option("--timeout", help="Seconds; then exit code 4.", min=0)]
DataDir = Annotated[
    str | None,
    typer.Option("--data-dir", help="Where the embedded PostgreSQL keeps its data.", show_default=False),
]
App = Annotated[
    list[str] | None,
    typer.Option("--app", envvar="PGORCH_APP", help="Module or module:attribute with your tools."),
]


def wants_json(output: Format | None) -> bool:
    return output is Format.json or (output is None and not sys.stdout.isatty())


def moment_of(given: str | None) -> datetime | None:
    """A time that an option gives; without a zone it is one of this machine's."""
    if given is None:
        return None
    try:
        return datetime.fromisoformat(given).astimezone()
    except ValueError:
        raise UsageError(f"{given!r} is no time.", hint="Write it like 2026-03-01T12:00Z.") from None


def required_dsn(given: str | None) -> str:
    """The DSN that was given or is configured; never an embedded server in silence."""
    from pgorch.config import resolve_dsn

    dsn = resolve_dsn(given)
    if dsn is None:
        raise NoDatabase(
            "There is no --dsn, PGORCH_DSN, DATABASE_URL or PGHOST.",
            hint="export PGORCH_DSN=postgresql://user@host/database  (or: pgorch dev)",
        )
    return dsn


def direct_dsn(given: str | None, dsn: str | None) -> str | None:
    """The direct DSN that was given or is configured. `dsn`: the value of --dsn."""
    from pgorch.config import resolve_direct_dsn

    return resolve_direct_dsn(given, dsn=dsn)


def text_of(source: str, *, what: str) -> tuple[str, str]:
    """The text of a file or, for "-", of stdin, with the name by which to speak of it."""
    try:
        if source == "-":
            return sys.stdin.read(), "<stdin>"
        with open(source, encoding="utf-8") as file:
            return file.read(), source
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise UsageError(
            f"{what} {source} cannot be read: {why}.", hint=f"Name a readable file, or - for stdin: {source}"
        ) from error


def json_value(given: str, *, what: str) -> object:
    """The value of an option that takes JSON, @file or @- (stdin)."""
    text = text_of(given[1:], what=what)[0] if given.startswith("@") else given
    return strict_json.loads(text, what=what)
