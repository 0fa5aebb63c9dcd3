"""What a docstring says about a tool and its parameters, in Google's style or Sphinx's."""

import inspect
import re
from collections.abc import Callable
from typing import Any

_SECTION = re.compile(
    r"^\s*(Args|Arguments|Parameters|Params|Returns?|Raises|Yields?|Examples?|Notes?):\s*$|^\s*:\w+[^:]*:",
    re.MULTILINE,
)
_ARGUMENT = re.compile(r"^\s+\*{0,2}(\w+)\s*(?:\([^)]*\))?\s*:\s*(.+)$")
_FIELD = re.compile(r"^\s*:param\s+(?:[^:]*\s)?(\w+)\s*:\s*(.+)$")


def innermost(function: Callable[..., Any]) -> Any:
    """What `functools.partial` objects call in the end."""
    inner: Any = function
    while hasattr(inner, "func"):
        inner = inner.func
    return inner


def described(function: Callable[..., Any]) -> tuple[str, dict[str, str]]:
    """The description of a callable, and those of its parameters by name."""
    inner = innermost(function)
    called = inner if inspect.isroutine(inner) or inspect.isclass(inner) else type(inner)
    doc = inspect.getdoc(called)
    if doc is None and called is not inner:
        doc = inspect.getdoc(called.__call__)
    if doc is None:
        return "", {}
    section = _SECTION.search(doc)
    return doc[: section.start() if section else None].strip(), _parameters(doc)


def _parameters(doc: str) -> dict[str, str]:
    found: dict[str, str] = {}
    inside, last, indent = False, "", 0
    for line in doc.splitlines():
        if field := _FIELD.match(line):
            found[field[1]] = field[2].strip()
        elif section := _SECTION.match(line):
            inside, last, indent = (section[1] or "").startswith(("Arg", "Param")), "", 0
        elif inside and line.strip():
            depth = len(line) - len(line.lstrip())
            argument = _ARGUMENT.match(line)
            if argument and (indent == 0 or depth <= indent):
                indent, last = depth, argument[1]
                found[last] = argument[2].strip()
            elif last and depth > indent:
                found[last] += " " + line.strip()
            else:
                inside = depth > 0
    return found
