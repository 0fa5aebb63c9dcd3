"""Every error that pgorch raises. The same tree serves Python, HTTP and the CLI.

PgorchError
├── LeaseLost            OR001
├── WrongState           OR002
├── NotFound             OR003
├── InvalidGraph         OR004, with all errors of the graph
├── IdempotencyConflict  OR005
├── InvalidValue         OR006
├── NotAllowed           OR007
├── SchemaMismatch       the database's schema is older or newer than this program
├── DatabaseUnavailable
└── ConfigError
"""

from typing import Any, ClassVar


class PgorchError(Exception):
    """Something that pgorch refused or could not do.

    `str(error)` says what happened and why; `hint` what to do next; `code` is the SQLSTATE, if it came from
    SQL.
    """

    code: ClassVar[str | None] = None

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.hint = hint


class LeaseLost(PgorchError):
    """The lease on a step is over: another worker may have it, or the run has ended."""

    code = "OR001"


class WrongState(PgorchError):
    """What was asked for is not possible in the state that the run or approval is in."""

    code = "OR002"


class NotFound(PgorchError):
    """There is no such graph, run or approval."""

    code = "OR003"


class InvalidGraph(PgorchError):
    """A graph was refused. `errors` holds everything that is wrong, each as path, code, message and hint."""

    code = "OR004"

    def __init__(self, message: str, *, errors: list[dict[str, Any]], hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.errors = errors


class IdempotencyConflict(PgorchError):
    """The idempotency key was used before with another graph, input, labels, priority or queue."""

    code = "OR005"


class InvalidValue(PgorchError):
    """A value is outside what pgorch accepts, for instance no strict JSON.

    `errors` holds what does not fit, each as path (a JSON pointer), code, message and hint, if
    that is known.
    """

    code = "OR006"

    def __init__(
        self, message: str, *, errors: list[dict[str, Any]] | None = None, hint: str | None = None
    ) -> None:
        super().__init__(message, hint=hint)
        self.errors = errors or []


class NotAllowed(PgorchError):
    """The caller may not do this."""

    code = "OR007"


class SchemaMismatch(PgorchError):
    """The schema in the database does not fit this version of pgorch."""


class DatabaseUnavailable(PgorchError):
    """The database did not answer."""


class ConfigError(PgorchError):
    """A setting is missing or makes no sense."""
