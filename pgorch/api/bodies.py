"""Reading bodies: JSON only, bounded in size and time, refused before they fill the memory."""

import asyncio
from typing import Any, Final, TypeVar

import orjson
from pydantic import BaseModel, ValidationError
from starlette.requests import ClientDisconnect, Request

from pgorch import strict_json
from pgorch.api.problems import Problem
from pgorch.errors import InvalidValue

RECEIVE_SECONDS: Final = 30.0
_SHOWN_ERRORS: Final = 50
_JSON_HINT: Final = "Send JSON with Content-Type: application/json."

Model = TypeVar("Model", bound=BaseModel)


async def read_json(
    request: Request, limit: int = strict_json.MAX_INPUT_BYTES, *, without: dict[str, Any] | None = None
) -> Any:
    """The JSON value of the body. Without a body: `without`, or a problem if that is None."""
    body = await read_body(request, limit)
    if not body:
        if without is None:
            raise Problem("not-json", "The body is empty, where JSON is expected.", hint=_JSON_HINT)
        return without
    return loaded(body, limit)


def loaded(body: bytes, limit: int) -> Any:
    """The strict JSON of a body, or a problem."""
    try:
        return strict_json.loads(body, limit=limit)
    except InvalidValue as error:
        kind = "invalid-value" if _is_json(body) else "not-json"
        raise Problem(kind, str(error), hint=error.hint, errors=error.errors) from None


async def read_object(request: Request, limit: int = strict_json.MAX_INPUT_BYTES) -> dict[str, Any]:
    """The JSON object of the body."""
    return checked_object(await read_json(request, limit))


def checked_object(value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise Problem("invalid-value", f"The body is a JSON {_kind_of(value)}, where an object is expected.")
    return value


def parsed(model: type[Model], value: Any) -> Model:
    """`value` as a `model`, or a problem that names every member that does not fit."""
    try:
        return model.model_validate(checked_object(value))
    except ValidationError as error:
        faults = [
            {
                "pointer": _pointer(fault["loc"]),
                "code": fault["type"],
                "message": fault["msg"].removeprefix("Value error, "),
            }
            for fault in error.errors(include_url=False, include_context=False, include_input=False)
        ]
        first = faults[0]
        more = f" (and {len(faults) - 1} more)" if len(faults) > 1 else ""
        where = f"{first['pointer']}: " if first["pointer"] else ""
        raise Problem(
            "invalid-value",
            f"{where}{first['message']}{more}",
            hint="See /openapi.json for what the body may hold.",
            errors=faults[:_SHOWN_ERRORS],
        ) from None


async def read_body(request: Request, limit: int) -> bytes:
    """The bytes of the body. Too many are refused by the announced length, else as soon as they are seen."""
    headers = request.headers
    length = headers.get("content-length")
    if length is not None:
        if not (length.isascii() and length.isdecimal()):
            raise Problem("bad-request", "Content-Length is not a number of bytes.")
        if int(length[:20]) > limit:
            raise too_large(limit)
    if length != "0" and "content-type" in headers:
        _check_media_type(headers["content-type"])
    if headers.get("content-encoding", "identity") != "identity":
        hint = "Send it without Content-Encoding."
        raise Problem("unsupported-media-type", "The body is encoded.", hint=hint)
    try:
        async with asyncio.timeout(RECEIVE_SECONDS):
            body = await _received(request, limit)
    except TimeoutError:
        raise Problem(
            "request-timeout",
            f"The body did not arrive within {RECEIVE_SECONDS:.0f} seconds.",
            headers={"connection": "close"},
        ) from None
    if body and "content-type" not in headers:
        raise Problem("unsupported-media-type", "The body has no media type.", hint=_JSON_HINT)
    return body


async def _received(request: Request, limit: int) -> bytes:
    chunks: list[bytes] = []
    size = 0
    while True:
        message = await request.receive()
        if message["type"] == "http.disconnect":
            raise ClientDisconnect()
        chunk = message.get("body", b"")
        size += len(chunk)
        if size > limit:
            raise too_large(limit)
        if not message.get("more_body", False):
            return chunk if not chunks else b"".join([*chunks, chunk])
        chunks.append(chunk)


def too_large(limit: int) -> Problem:
    return Problem(
        "too-large",
        f"The body is larger than the limit of {limit} bytes.",
        hint="Keep large data in a table or a store of your own and pass a reference.",
        headers={"connection": "close"},
    )


def _check_media_type(header: str) -> None:
    media_type, _, parameters = header.partition(";")
    media_type = media_type.strip().lower()
    if media_type != "application/json" and not (
        media_type.startswith("application/") and media_type.endswith("+json")
    ):
        detail = f"The body is {media_type[:100] or 'of no type'}."
        raise Problem("unsupported-media-type", detail, hint=_JSON_HINT)
    charset = parameters.replace(" ", "").replace('"', "").lower()
    if charset.startswith("charset=") and charset != "charset=utf-8":
        raise Problem("unsupported-media-type", "The body is not in UTF-8.", hint="JSON is sent in UTF-8.")


def _is_json(body: bytes) -> bool:
    try:
        orjson.loads(body)
    except orjson.JSONDecodeError:
        return False
    return True


def _pointer(location: tuple[int | str, ...]) -> str:
    return "".join("/" + str(step).replace("~", "~0").replace("/", "~1") for step in location)


def _kind_of(value: Any) -> str:
    names = {list: "array", str: "string", bool: "boolean", int: "number", float: "number"}
    return names.get(type(value), "null")
