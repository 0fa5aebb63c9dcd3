"""Errors as `application/problem+json` (RFC 9457): what happened, why, and what to do next."""

import logging
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import orjson
import psycopg
from starlette.responses import Response

from pgorch import errors
from pgorch.database.translation import is_transient, translate

logger = logging.getLogger("pgorch.api")

MEDIA_TYPE: Final = "application/problem+json"
TYPE_PREFIX: Final = "urn:pgorch:problem:"

# Every kind of problem that the API answers with: its status and title.
KINDS: Final[Mapping[str, tuple[int, str]]] = {
    "bad-request": (400, "The request cannot be read"),
    "not-json": (400, "The body is not JSON"),
    "unauthenticated": (401, "A key is needed"),
    "not-allowed": (403, "Not allowed"),
    "missing-role": (403, "The key has not the role for this"),
    "not-found": (404, "Not found"),
    "method-not-allowed": (405, "Method not allowed"),
    "request-timeout": (408, "The request did not arrive in time"),
    "wrong-state": (409, "Not possible in this state"),
    "idempotency-conflict": (409, "The idempotency key belongs to another request"),
    "too-large": (413, "The body is too large"),
    "unsupported-media-type": (415, "Unsupported media type"),
    "misdirected": (421, "Unknown host"),
    "invalid-graph": (422, "The graph is not valid"),
    "invalid-value": (422, "A value is not valid"),
    "internal-error": (500, "Internal error"),
    "database-unavailable": (503, "The database does not answer"),
    "schema-mismatch": (503, "The database's schema does not fit"),
}
_OF_ERROR: Final[Mapping[type[errors.PgorchError], str]] = {
    errors.LeaseLost: "wrong-state",
    errors.WrongState: "wrong-state",
    errors.NotFound: "not-found",
    errors.InvalidGraph: "invalid-graph",
    errors.IdempotencyConflict: "idempotency-conflict",
    errors.InvalidValue: "invalid-value",
    errors.NotAllowed: "not-allowed",
    errors.SchemaMismatch: "schema-mismatch",
    errors.DatabaseUnavailable: "database-unavailable",
}
_RETRY: Final = {"retry-after": "1"}


@dataclass(eq=False)
class Problem(Exception):
    """A refusal. `kind` is a key of KINDS; `errors` say what is wrong: pointer, code, message, hint."""

    kind: str
    detail: str
    hint: str | None = None
    errors: Sequence[Mapping[str, Any]] = ()
    headers: Mapping[str, str] = field(default_factory=dict)
    instance: str | None = None

    @property
    def status(self) -> int:
        return KINDS[self.kind][0]

    def response(self) -> Response:
        body: dict[str, Any] = {
            "type": TYPE_PREFIX + self.kind,
            "title": KINDS[self.kind][1],
            "status": self.status,
            "detail": self.detail,
        }
        if self.hint:
            body["hint"] = self.hint
        if self.instance:
            body["instance"] = self.instance
        if self.errors:
            body["errors"] = with_pointers(self.errors)
        return Response(orjson.dumps(body), self.status, dict(self.headers), MEDIA_TYPE)


def with_pointers(faults: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Faults of a graph as HTTP shows them: what SQL calls path is a pointer (RFC 9457's word)."""
    return [{"pointer" if key == "path" else key: value for key, value in fault.items()} for fault in faults]


def problem_of(error: Exception) -> Problem:
    """The problem that tells a client of an error. Of an unexpected one it tells only an id."""
    if isinstance(error, Problem):
        return error
    if isinstance(error, errors.PgorchError):
        for kind_of_error in type(error).__mro__:
            if kind_of_error in _OF_ERROR:
                return _told(_OF_ERROR[kind_of_error], error)
    if isinstance(error, psycopg.Error):
        better = translate(error)
        if better is not None:
            return problem_of(better)
        if is_transient(error):
            logger.warning("The database broke a request off: %s", error)
            return _unavailable("The database cannot be reached, or it broke the request off.")
        # What the driver cannot even send, for instance a NUL character.
        if isinstance(error, psycopg.DataError):
            return Problem("invalid-value", str(error))
    instance = f"urn:uuid:{uuid.uuid4()}"
    logger.error("Unexpected error %s", instance, exc_info=error)
    return Problem(
        "internal-error",
        "Something unexpected happened; the server's log has the details under this instance.",
        hint="Whether the request took effect is not known; with an idempotency key it is safe to repeat.",
        instance=instance,
    )


def _told(kind: str, error: errors.PgorchError) -> Problem:
    if kind == "database-unavailable":
        logger.warning("The database is unavailable: %s", error)
        return _unavailable("The database cannot be reached, or it broke the request off.")
    if kind == "schema-mismatch":
        return Problem(kind, str(error), hint=error.hint, headers=_RETRY)
    if isinstance(error, errors.InvalidGraph):
        return Problem(
            kind, str(error), hint="`errors` has all of them; nothing was stored.", errors=error.errors
        )
    faults = error.errors if isinstance(error, errors.InvalidValue) else ()
    return Problem(kind, str(error), hint=error.hint, errors=faults)


def _unavailable(detail: str) -> Problem:
    return Problem(
        "database-unavailable",
        detail,
        hint="Repeat the request; with an idempotency key that is always safe.",
        headers=_RETRY,
    )
