"""Where in a JSON text the value of a JSON pointer is, so that an error can name line and column."""

import json
import re
from collections.abc import Iterator

_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"|[{}\[\]:,]|[^\s{}\[\]:,"]+')


def position_of(pointer: str, text: str) -> tuple[int, int]:
    """Line and column, both from 1, of the value; of the innermost one that is there if it is missing.

    `text` is JSON that was parsed without an error.
    """
    found = 0
    longest = -1
    for path, offset in _values(text):
        if len(path) > longest and (pointer == path or pointer.startswith(f"{path}/")):
            found, longest = offset, len(path)
            if path == pointer:
                break
    line_start = text.rfind("\n", 0, found) + 1
    return text.count("\n", 0, found) + 1, found - line_start + 1


def _values(text: str) -> Iterator[tuple[str, int]]:
    """The pointer and the offset of every value, outer ones first."""
    # One entry for each open container: its pointer, and the index of the next item (None: an object).
    open_containers: list[tuple[str, int | None]] = []
    key: str | None = None
    for token in _TOKEN.finditer(text):
        mark = token.group()
        if mark in "}]":
            open_containers.pop()
        elif mark == ",":
            path, index = open_containers[-1]
            open_containers[-1] = (path, None if index is None else index + 1)
        elif mark != ":":
            path, index = open_containers[-1] if open_containers else ("", None)
            if open_containers and index is None and key is None:
                key = _escaped(json.loads(mark))
                continue
            if open_containers:
                path = f"{path}/{key if index is None else index}"
            key = None
            yield path, token.start()
            if mark in "{[":
                open_containers.append((path, 0 if mark == "[" else None))


def _escaped(key: str) -> str:
    return key.replace("~", "~0").replace("/", "~1")
