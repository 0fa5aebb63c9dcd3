"""Path, query and header parameters: what they may be, and their values or a problem."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from difflib import get_close_matches
from typing import Any, Final
from uuid import UUID

from starlette.requests import Request

from pgorch.api.problems import Problem

_UUID: Final = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}\Z")
_WAIT: Final = re.compile(r"(?:^|[,;\s])wait\s*=\s*\"?(\d{1,6})\"?(?=$|[,;\s])", re.IGNORECASE)
_KEY: Final = re.compile(r"[\x21-\x7e]{1,200}\Z")
LONGEST_WAIT_SECONDS: Final = 300
LARGEST_PAGE: Final = 1000


@dataclass(frozen=True)
class Parameter:
    """A parameter as OpenAPI describes it. `place` is path, query or header.

    A name that ends with <...> stands for every name that begins with what is before it.
    """

    name: str
    place: str
    description: str
    schema: Mapping[str, Any] = field(default_factory=lambda: {"type": "string"})
    repeatable: bool = False

    @property
    def prefix(self) -> str | None:
        """What the names begin with, for which it stands; None: it stands for itself."""
        return self.name.partition("<")[0] if self.name.endswith(">") else None


RUN_ID: Final = Parameter("run_id", "path", "Id of a run.", {"type": "string", "format": "uuid"})
WAIT: Final = Parameter(
    "wait",
    "query",
    "Wait up to so many seconds until the run has ended or awaits an approval.",
    {"type": "integer", "minimum": 0, "maximum": LONGEST_WAIT_SECONDS},
)
PREFER: Final = Parameter("Prefer", "header", "`wait=30` is the same as ?wait=30 (RFC 7240).")
AT: Final = Parameter(
    "at",
    "query",
    "As it was after this entry of the run's history; 0: before the first.",
    {"type": "integer", "minimum": 0, "maximum": 2**31 - 1},
)
LIMIT: Final = Parameter(
    "limit",
    "query",
    "How many at most.",
    {"type": "integer", "minimum": 1, "maximum": LARGEST_PAGE, "default": 100},
)
CURSOR: Final = Parameter("cursor", "query", "`next_cursor` of the page before.")
IDEMPOTENCY_KEY: Final = Parameter(
    "Idempotency-Key",
    "header",
    "The same key with the same request gives the same run; with another request a problem of status 409.",
    {"type": "string", "minLength": 1, "maxLength": 200},
)
SIGNAL_KEY: Final = replace(
    IDEMPOTENCY_KEY,
    description="The same key with the same signal counts once; with another it is a problem of status 409.",
)


def check_query(request: Request, known: Sequence[Parameter]) -> None:
    """Refuses query parameters that the endpoint does not have: a misspelt filter must not select all."""
    allowed = {parameter.name: parameter for parameter in known if parameter.place == "query"}
    prefixes = tuple(parameter.prefix for parameter in allowed.values() if parameter.prefix)
    for name, value in request.query_params.multi_items():
        if name.startswith(prefixes) and not {name, value} & {""} and "\0" not in name + value:
            continue
        if name not in allowed:
            near = get_close_matches(name, allowed, n=1)
            hint = f"Did you mean {near[0]}?" if near else f"Known here: {', '.join(allowed) or 'none'}."
            raise _refused(name[:100], "there is no such parameter", hint)
        if "\0" in value:
            raise _refused(name, "it holds a NUL character")
        if not allowed[name].repeatable and len(request.query_params.getlist(name)) > 1:
            raise _refused(name, "it is given more than once")


def integer(request: Request, parameter: Parameter) -> int | None:
    """The value of an integer in the query; its default, or None, if it is not given."""
    schema = parameter.schema
    text = request.query_params.get(parameter.name)
    if text is None:
        default: int | None = schema.get("default")
        return default
    least, most = schema["minimum"], schema["maximum"]
    if not re.fullmatch(r"[0-9]{1,10}", text) or not least <= int(text) <= most:
        raise _refused(parameter.name, f"it is an integer from {least} to {most}")
    return int(text)


def fields(request: Request, parameter: Parameter) -> list[tuple[str, str]]:
    """What is given for a parameter that stands for many: the rest of each name, and the value."""
    assert parameter.prefix
    length = len(parameter.prefix)
    pairs = request.query_params.multi_items()
    return [(name[length:], value) for name, value in pairs if name.startswith(parameter.prefix)]


def page_size(request: Request) -> int:
    return integer(request, LIMIT) or LARGEST_PAGE


def flag(request: Request, parameter: Parameter) -> bool:
    """The value of a yes or no in the query; no, if it is not given."""
    text = request.query_params.get(parameter.name, "false")
    if text not in ("true", "false"):
        raise _refused(parameter.name, "it is true or false")
    return text == "true"


def choices(request: Request, parameter: Parameter) -> list[str]:
    """All values of a repeatable parameter, each one of its enum."""
    values = request.query_params.getlist(parameter.name)
    allowed = parameter.schema["items"]["enum"]
    for value in values:
        if value not in allowed:
            raise _refused(parameter.name, f"it is one of {', '.join(allowed)}")
    return values


def identifier(request: Request, name: str, noun: str) -> UUID:
    """The UUID in the path. Anything else names nothing that there is."""
    text = request.path_params[name]
    if not _UUID.match(text):
        detail = f"There is no {noun} {_shown(text)}: that is not an id."
        raise Problem("not-found", detail, hint="Ids are UUIDs.")
    return UUID(text)


def cursor_id(request: Request) -> UUID | None:
    """The cursor, where it is the id of the last row."""
    text = request.query_params.get("cursor")
    if text is None:
        return None
    if not _UUID.match(text):
        raise _refused("cursor", "it is the next_cursor of the page before")
    return UUID(text)


def cursor_number(request: Request) -> int | None:
    """The cursor, where it is the number of the last row."""
    text = request.query_params.get("cursor")
    if text is None:
        return None
    if not re.fullmatch(r"[0-9]{1,18}", text):
        raise _refused("cursor", "it is the next_cursor of the page before")
    return int(text)


def query_id(request: Request, parameter: Parameter) -> UUID | None:
    """An id in the query; None if it is not given."""
    text = request.query_params.get(parameter.name)
    if text is None:
        return None
    if not _UUID.match(text):
        raise _refused(parameter.name, "it is a UUID")
    return UUID(text)


def moment(request: Request, parameter: Parameter) -> datetime | None:
    """A time with its zone in the query; None if it is not given."""
    text = request.query_params.get(parameter.name)
    if text is None:
        return None
    try:
        # A plus sign in a query that nobody has escaped is a space.
        found = datetime.fromisoformat(text.replace(" ", "+") if "T" in text else text)
    except ValueError:
        found = None
    if found is None or found.tzinfo is None:
        raise _refused(parameter.name, "it is a time with its zone", "For instance 2026-03-01T12:00:00Z.")
    return found


def cursor_text(request: Request) -> str | None:
    """The cursor, where it is the name of the last row."""
    return request.query_params.get("cursor")


def seconds_to_wait(request: Request) -> int:
    """How long the client wants to wait: ?wait, else the preference, which is cut to what is possible."""
    asked = integer(request, WAIT)
    if asked is not None:
        return asked
    preferred = _WAIT.search(request.headers.get("prefer", ""))
    return min(int(preferred.group(1)), LONGEST_WAIT_SECONDS) if preferred else 0


def idempotency_key(request: Request, in_body: str | None) -> str | None:
    """The key of the header or of the body."""
    key = request.headers.get("idempotency-key")
    if key is None:
        return in_body
    if not _KEY.match(key):
        detail = "Idempotency-Key has 1 to 200 visible ASCII characters."
        raise Problem("invalid-value", detail, hint="Use a UUID.")
    if in_body is not None and in_body != key:
        detail = "The header and the body carry different idempotency keys."
        raise Problem("invalid-value", detail, hint="Send one.")
    return key


def _refused(name: str, why: str, hint: str | None = None) -> Problem:
    return Problem("invalid-value", f"Query parameter {name}: {why}.", hint=hint)


def _shown(text: str) -> str:
    clipped = text if len(text) <= 60 else text[:57] + "..."
    return repr(clipped)
