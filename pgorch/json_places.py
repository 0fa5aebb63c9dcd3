"""Where something stands in JSON: as a line and column, as a JSON pointer, and as a path that people read."""

import re
from typing import Final

import orjson

Path = tuple[str | int, ...]

STRING: Final = rb'"[^"\\]*(?:\\.[^"\\]*)*"'
_TOKEN: Final = re.compile(STRING + rb"|[\[\]{},]", re.DOTALL)
_LONGEST_POINTER: Final = 1000
_PLAIN_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")


def line_and_column(text: bytes, position: int) -> str:
    start = text.rfind(b"\n", 0, position) + 1
    line = text.count(b"\n", 0, position) + 1
    return f"line {line}, column {len(text[start:position].decode('utf-8', 'replace')) + 1}"


def path_at(text: bytes, position: int) -> Path:
    """The path of what begins at a position of a text, which may be no JSON from there on. A key counts as
    the member that it names."""
    path: list[str | int] = []
    for token in _TOKEN.finditer(text):
        if token.start() > position:
            break
        found = token.group()
        if found == b"{":
            path.append("")
        elif found == b"[":
            path.append(0)
        elif found == b"}" or found == b"]":
            del path[-1:]
        elif found == b",":
            if path and isinstance(path[-1], int):
                path[-1] += 1
        elif path and isinstance(path[-1], str) and text[token.end() : token.end() + 20].lstrip()[:1] == b":":
            path[-1] = _text_of(found)
    return tuple(path)


def pointer(path: Path) -> str:
    """A JSON pointer (RFC 6901); of a very long one, the beginning."""
    text = ""
    for step in path:
        longer = text + "/" + str(step).replace("~", "~0").replace("/", "~1")
        if len(longer) > _LONGEST_POINTER:
            break
        text = longer
    return _sendable(text)


def sentence_part(path: Path) -> str:
    """ "at $.a[0]", or "at its top"."""
    if not path:
        return "at its top"
    text = ""
    for step in path:
        if isinstance(step, int):
            text += f"[{step}]"
        else:
            text += f".{step}" if _PLAIN_NAME.match(step) else f'."{clipped(step)}"'
    return "at $" + _sendable(text)


def clipped(text: str) -> str:
    return text if len(text) <= 40 else f"{text[:37]}..."


def _text_of(string: bytes) -> str:
    try:
        return str(orjson.loads(string))
    except orjson.JSONDecodeError:
        return string[1:-1].decode("utf-8", "replace")


def _sendable(text: str) -> str:
    """Names what a text may not hold."""
    return text.encode("utf-8", "backslashreplace").decode().replace("\0", "\\u0000")
