"""How commands end: exit codes, and errors in three lines (what, why, what to type next)."""

from typing import Any, NoReturn

import psycopg
import typer
from typer.core import TyperGroup

from pgorch.errors import (
    ConfigError,
    DatabaseUnavailable,
    IdempotencyConflict,
    InvalidGraph,
    InvalidValue,
    LeaseLost,
    NotAllowed,
    NotFound,
    PgorchError,
    SchemaMismatch,
    WrongState,
)

OK = 0
FAILED = 1
USAGE = 2
NO_DATABASE = 3
TIMEOUT = 4

_WHAT: dict[type[PgorchError], str] = {
    NotFound: "not found",
    WrongState: "not possible now",
    LeaseLost: "not possible now",
    InvalidGraph: "the graph is not valid",
    InvalidValue: "the value is not accepted",
    IdempotencyConflict: "the key is taken",
    NotAllowed: "not allowed",
    SchemaMismatch: "the schema does not fit",
    DatabaseUnavailable: "no database",
    ConfigError: "not configured",
}


class NoDatabase(PgorchError):
    """No DSN was given where one is needed."""


class UsageError(PgorchError):
    """The arguments of a command make no sense."""


class Failure(PgorchError):
    """Something that a command was to do did not come out well; ends with exit code 1."""


def fail(what: str, why: str = "", next_step: str = "", *, code: int = FAILED) -> NoReturn:
    """End the command with up to three lines on stderr."""
    typer.echo(f"pgorch: {what}", err=True)
    if why:
        typer.echo(f"  why:  {' '.join(why.split())}", err=True)
    if next_step:
        typer.echo(f"  next: {next_step}", err=True)
    raise typer.Exit(code)


def report(error: Exception, command: str) -> NoReturn:
    """End the command with what the error says."""
    if isinstance(error, NoDatabase):
        fail("no database is named", str(error), error.hint or "", code=NO_DATABASE)
    if isinstance(error, UsageError):
        fail("that cannot be meant", str(error), error.hint or f"{command} --help", code=USAGE)
    if isinstance(error, PgorchError):
        what = next((text for kind, text in _WHAT.items() if isinstance(error, kind)), "failed")
        marked = f" ({error.code})" if error.code else ""
        fail(f"{what}{marked}", str(error), error.hint or f"{command} --help", code=_code(error))
    fail("the database refused", " ".join(str(error).split()), "pgorch doctor")


def _code(error: PgorchError) -> int:
    if isinstance(error, DatabaseUnavailable | SchemaMismatch):
        return NO_DATABASE
    return USAGE if isinstance(error, ConfigError) else FAILED


def _written_out(args: list[str]) -> list[str]:
    """--json is short for -o json, with every command that has -o. What follows -- is no option."""
    end = args.index("--") if "--" in args else len(args)
    before = [part for arg in args[:end] for part in (("-o", "json") if arg == "--json" else (arg,))]
    return before + args[end:]


class Commands(TyperGroup):
    """The root of all commands: what they raise becomes three lines and an exit code."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        return list(super().parse_args(ctx, _written_out(args)))

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except (PgorchError, psycopg.Error) as error:
            report(error, ctx.command_path)
