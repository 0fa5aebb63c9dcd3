"""JSON as RFC 8259 has it, and nothing that a database or another client would read differently.

Refused at every door: NaN and Infinity, duplicate keys, NUL characters, lone surrogates, nesting deeper than
`MAX_DEPTH`, integers beyond ±2^53 that a double cannot hold exactly, numbers beyond the range of a double.
Both directions serialise first and look for signs of trouble in the text, in C; only then is the value walked
to say where the trouble is. A small, clean result costs about a microsecond.
"""

import dataclasses
import enum
import math
import re
from collections.abc import Iterator
from datetime import date, datetime, time
from typing import Any, Final
from uuid import UUID

import orjson

from pgorch.errors import InvalidValue
from pgorch.json_places import STRING, Path, clipped, line_and_column, path_at, pointer, sentence_part

MAX_DEPTH: Final = 64
MAX_INPUT_BYTES: Final = 4 * 1024 * 1024
MAX_RESULT_BYTES: Final = 1024 * 1024
MAX_INTEGER: Final = 2**53

_STRING = re.compile(STRING, re.DOTALL)
_LONG_INTEGER = re.compile(rb"(?<![0-9.eE+-])-?[1-9][0-9]{15,}(?![0-9.eE])")
_STRING_OR_LONG_INTEGER = re.compile(_STRING.pattern + rb"|(" + _LONG_INTEGER.pattern + rb")", re.DOTALL)
_LONG_DIGITS = re.compile(rb"(?<![0-9.])[1-9][0-9]{15}")
_ADVICE: Final = {
    "BaseModel": "Return model.model_dump(mode='json').",
    "Decimal": "Return str(value), or float(value) if it may lose digits.",
    "bytes": "Return text, for instance base64.",
    "set": "Return a list.",
    "frozenset": "Return a list.",
    "timedelta": "Return its total_seconds().",
    "ndarray": "Return value.tolist().",
    "DataFrame": "Return value.to_dict('records'), or write it to a table and return a reference.",
    "coroutine": "It was not awaited: write await before the call.",
    "generator": "Return a list.",
}
_SMALLER: Final = "Keep large data in a table or a store of your own and pass a reference."


def loads(data: bytes | bytearray | str, *, what: str = "The body", limit: int = MAX_INPUT_BYTES) -> Any:
    """The value of a JSON text of at most `limit` bytes; InvalidValue says what is wrong, and where."""
    text = data.encode("utf-8", "surrogatepass") if isinstance(data, str) else bytes(data)
    if len(text) > limit:
        raise InvalidValue(f"{what} has {len(text)} bytes, more than the limit of {limit}.", hint=_SMALLER)
    try:
        value = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise _invalid(
            f"{what} is not valid JSON: {error.msg} (line {error.lineno}, column {error.colno}).",
            "JSON of RFC 8259 in UTF-8 is expected.",
            path_at(text, len(error.doc[: error.pos].encode("utf-8", "surrogatepass"))),
            "no_json",
        ) from None
    bare = _STRING.sub(b"", text)
    if _LONG_INTEGER.search(bare):
        _check_integers(text, what)
    if bare.count(b"{") + bare.count(b"[") > MAX_DEPTH or b"\\u0000" in text:
        _check(value, what)
    if bare.count(b":") != _count_members(value):
        _report_duplicate(value, text, what)
    return value


def dumps(value: Any, *, what: str = "The result", limit: int = MAX_RESULT_BYTES) -> str:
    """`value` as JSON text; InvalidValue names the path of whatever JSON, or a client, cannot hold exactly.

    Tuples become lists, datetimes and UUIDs strings, dataclasses objects, enums their values. Nothing else
    is converted.
    """
    try:
        text = orjson.dumps(value)
    except (TypeError, RecursionError) as error:
        _check(value, what)
        raise InvalidValue(f"{what} cannot be written as JSON: {error}.") from error
    if len(text) > limit:
        raise InvalidValue(
            f"{what} has {len(text)} bytes as JSON, more than the limit of {limit}.", hint=_SMALLER
        )
    if (
        b"null" in text  # what orjson makes of NaN
        or b"\\u0000" in text
        or (len(text) >= 16 and _LONG_DIGITS.search(text))
        or (len(text) > MAX_DEPTH and text.count(b"{") + text.count(b"[") > MAX_DEPTH)
    ):
        _check(value, what)
    return text.decode()


def is_exact(number: int) -> bool:
    """Can every client that reads numbers as doubles write this integer back unchanged?"""
    if -MAX_INTEGER <= number <= MAX_INTEGER:
        return True
    try:
        mantissa, _, exponent = repr(float(number)).partition("e")
    except OverflowError:
        return False
    whole, _, fraction = mantissa.partition(".")
    digits = whole + fraction.rstrip("0")
    scale: int = 10 ** (int(exponent or 0) - len(digits) + len(whole))
    return int(digits) * scale == number


def _check(value: Any, what: str) -> None:
    """Walk `value` and raise InvalidValue at the first thing that is not allowed."""
    todo: list[tuple[Any, Path]] = [(value, ())]
    while todo:
        item, path = todo.pop()
        kind = type(item)
        if kind is str or kind is int or kind is float:
            _check_scalar(item, path, what)
        elif item is None or kind is bool:
            continue
        elif isinstance(item, dict):
            _check_depth(path, what)
            for key in item:
                if type(key) is not str:
                    raise _invalid(
                        f"{what} has the key {_shown(key)} {sentence_part(path)}:"
                        f" {_article(key)}, not a string.",
                        "Keys of JSON objects are strings.",
                        path,
                        "key",
                    )
                _check_scalar(key, (*path, key), what)
            todo.extend((member, (*path, key)) for key, member in reversed(item.items()))
        elif isinstance(item, list | tuple) and not hasattr(item, "_fields"):
            _check_depth(path, what)
            todo.extend((item[index], (*path, index)) for index in range(len(item) - 1, -1, -1))
        elif isinstance(item, enum.Enum):
            todo.append((item.value, path))
        elif isinstance(item, str | int | float):
            _check_scalar(item, path, what)
        elif dataclasses.is_dataclass(item) and not isinstance(item, type):
            _check_depth(path, what)
            todo.extend((getattr(item, f.name), (*path, f.name)) for f in dataclasses.fields(item))
        elif not isinstance(item, datetime | date | time | UUID):
            raise _invalid(
                f"{what} holds {_article(item)} {sentence_part(path)}, which JSON cannot express.",
                _advice(item),
                path,
                "type",
            )


def _check_scalar(item: str | int | float, path: Path, what: str) -> None:
    if isinstance(item, str):
        if "\0" in item:
            raise _invalid(
                f"{what} holds a NUL character {sentence_part(path)}, which Postgres cannot store.",
                "Remove it, or encode the text, for instance as base64.",
                path,
                "nul",
            )
        if not item.isascii() and any("\ud800" <= character <= "\udfff" for character in item):
            raise _invalid(
                f"{what} holds half of a surrogate pair {sentence_part(path)}, which is no text.",
                "Text must be valid Unicode: check how it was decoded.",
                path,
                "surrogate",
            )
    elif isinstance(item, float):
        if not math.isfinite(item):
            raise _invalid(
                f"{what} holds {_shown(item)} {sentence_part(path)}, which JSON cannot express.",
                "Use null, or leave the key out.",
                path,
                "number",
            )
    elif not is_exact(item):
        raise _invalid(
            f"{what} holds the integer {_shown(item)} {sentence_part(path)},"
            " which clients cannot read exactly.",
            "Integers go up to 2^53; pass a larger one as a string.",
            path,
            "number",
        )


def _check_depth(path: Path, what: str) -> None:
    if len(path) >= MAX_DEPTH:
        raise _invalid(f"{what} is nested deeper than {MAX_DEPTH} levels.", "Flatten it.", path, "depth")


def _invalid(message: str, hint: str, path: Path, code: str) -> InvalidValue:
    fault = {"path": pointer(path), "code": code, "message": message, "hint": hint}
    return InvalidValue(message, errors=[fault], hint=hint)


def _check_integers(text: bytes, what: str) -> None:
    for match in _STRING_OR_LONG_INTEGER.finditer(text):
        digits = match.group(1)
        if digits is not None and (len(digits) > 310 or not is_exact(int(digits))):
            place = line_and_column(text, match.start())
            raise _invalid(
                f"{what} holds the integer {clipped(digits.decode())} ({place}), "
                "which clients cannot read exactly.",
                "Integers go up to 2^53; send a larger one as a string.",
                path_at(text, match.start()),
                "number",
            )


def _count_members(value: Any) -> int:
    count = 0
    todo = [value]
    while todo:
        item = todo.pop()
        if type(item) is dict:
            count += len(item)
            todo.extend(item.values())
        elif type(item) is list:
            todo.extend(item)
    return count


def _report_duplicate(value: Any, text: bytes, what: str) -> None:
    _check(value, what)
    members: list[tuple[set[bytes], bool]] = []
    for kind, position, key in _tokens(text):
        if kind == b"{" or kind == b"[":
            members.append((set(), kind == b"{"))
        elif kind == b"}" or kind == b"]":
            members.pop()
        elif members[-1][1]:
            name = orjson.dumps(orjson.loads(key))
            if name in members[-1][0]:
                place = line_and_column(text, position)
                raise _invalid(
                    f"{what} has the key {clipped(name.decode())} twice in one object ({place}).",
                    "Readers disagree on which of the two counts: keep one.",
                    path_at(text, position),
                    "key",
                )
            members[-1][0].add(name)


def _tokens(text: bytes) -> Iterator[tuple[bytes, int, bytes]]:
    """Brackets, and the strings that are followed by a colon: (bracket or b"key", position, key)."""
    for match in re.finditer(rb"(" + _STRING.pattern + rb")\s*(:?)|[\[\]{}]", text, re.DOTALL):
        if match.group(1) is None:
            yield match.group(), match.start(), b""
        elif match.group(2):
            yield b"key", match.start(), match.group(1)


def _shown(value: Any) -> str:
    try:
        return clipped(repr(value))
    except Exception:  # a repr of the user's own, or an integer of more than 4,300 digits
        return f"({_article(value)} that cannot be shown)"


def _article(value: Any) -> str:
    name = type(value).__name__
    return f"{'an' if name[:1].lower() in 'aeiou' else 'a'} {name}"


def _advice(value: Any) -> str:
    for kind in type(value).__mro__:
        if kind.__name__ in _ADVICE:
            return _ADVICE[kind.__name__]
    return "Return objects, lists, strings, numbers, booleans and null."
