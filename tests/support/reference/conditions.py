"""Conditions and templates, as far as the tests use them: paths of keys, comparisons, &&, ||, ! and exists.

A condition is true, false or unknown, as in SQL/JSON path in lax mode: a path that finds nothing compares as
false, values of two types as unknown.
"""

import re
from collections.abc import Mapping
from typing import Any

Roots = Mapping[str, Any]

_TOKEN = re.compile(
    r"""\s*(?:(?P<path>\$\w*(?:\.(?:\w+|"[^"]*"))*)|(?P<string>"[^"]*")|(?P<number>-?\d+(?:\.\d+)?)"""
    r"""|(?P<word>true|false|null|exists)|(?P<sign>&&|\|\||==|!=|<=|>=|<|>|!|\(|\)))"""
)
_WORDS = {"true": True, "false": False, "null": None}
_NOTHING = object()


class Unknown(Exception):
    """A condition that is neither true nor false."""


class FoundNothing(Exception):
    """A template's path that leads nowhere."""


def holds(condition: Any, state: Mapping[str, Any], roots: Roots) -> bool:
    """Is an edge's condition (text, or an object that the state must contain) true? Raises Unknown."""
    if not isinstance(condition, str):
        return contains(state, condition)
    verdict = _Reader(condition, {"": state, **roots}).read()
    if verdict is None:
        raise Unknown
    return verdict


def contains(value: Any, part: Any) -> bool:
    """What @> says."""
    if isinstance(part, Mapping):
        return isinstance(value, Mapping) and all(
            k in value and contains(value[k], v) for k, v in part.items()
        )
    if isinstance(part, list):
        return isinstance(value, list) and all(any(contains(v, p) for v in value) for p in part)
    return bool(value == part) and isinstance(value, bool) == isinstance(part, bool)


def rendered(template: Any, state: Mapping[str, Any], roots: Roots) -> Any:
    """A template with its ${...} filled in. Raises FoundNothing."""
    if isinstance(template, Mapping):
        return {key: rendered(value, state, roots) for key, value in template.items()}
    if isinstance(template, list):
        return [rendered(value, state, roots) for value in template]
    if not isinstance(template, str):
        return template
    whole = re.fullmatch(r"\$\{([^{}]*)\}", template)
    if whole:
        return _value(whole[1], state, roots)
    return re.sub(
        r"\$\$\{|\$\{([^{}]*)\}",
        lambda found: "${" if found[1] is None else _as_text(_value(found[1], state, roots)),
        template,
    )


def _value(path: str, state: Mapping[str, Any], roots: Roots) -> Any:
    found = follow(path, {"": state, **roots})
    if found is _NOTHING:
        raise FoundNothing(path)
    return found


def _as_text(value: Any) -> str:
    if isinstance(value, bool) or value is None:
        return {True: "true", False: "false", None: "null"}[value]
    return str(value)


def follow(path: str, roots: Roots) -> Any:
    """What $root.key.key leads to; a mark of its own if that is nothing."""
    root, *keys = re.findall(r'"[^"]*"|\w+|^\$\w*', path)
    found: Any = roots[root[1:]]
    for key in keys:
        if not isinstance(found, Mapping) or key.strip('"') not in found:
            return _NOTHING
        found = found[key.strip('"')]
    return found


class _Reader:
    """Reads a condition from left to right; each rule gives True, False or None (unknown)."""

    def __init__(self, text: str, roots: Roots) -> None:
        self.roots = roots
        self.tokens: list[tuple[str, str]] = []
        at = 0
        while at < len(text.rstrip()):
            found = _TOKEN.match(text, at)
            assert found is not None, f"not understood: {text[at:]}"
            kind = str(found.lastgroup)
            self.tokens.append((kind, found[kind]))
            at = found.end()

    def read(self) -> bool | None:
        verdict = self.either()
        assert not self.tokens, f"left over: {self.tokens}"
        return verdict

    def either(self) -> bool | None:
        verdicts = [self.both()]
        while self.take("||"):
            verdicts.append(self.both())
        if True in verdicts:
            return True
        return None if None in verdicts else False

    def both(self) -> bool | None:
        verdicts = [self.single()]
        while self.take("&&"):
            verdicts.append(self.single())
        if False in verdicts:
            return False
        return None if None in verdicts else True

    def single(self) -> bool | None:
        if self.take("!"):
            verdict = self.single()
            return None if verdict is None else not verdict
        if self.take("exists"):
            assert self.take("(")
            found = self.operand()
            assert self.take(")")
            return found is not _NOTHING
        if self.take("("):
            verdict = self.either()
            assert self.take(")")
            return verdict
        left, (_, operator), right = self.operand(), self.tokens.pop(0), self.operand()
        return _compared(left, operator, right)

    def operand(self) -> Any:
        kind, text = self.tokens.pop(0)
        if kind == "path":
            return follow(text, self.roots)
        if kind == "string":
            return text[1:-1]
        if kind == "word":
            return _WORDS[text]
        return float(text) if "." in text else int(text)

    def take(self, text: str) -> bool:
        if self.tokens and self.tokens[0][1] == text:
            del self.tokens[0]
            return True
        return False


def _compared(left: Any, operator: str, right: Any) -> bool | None:
    if left is _NOTHING or right is _NOTHING:
        return False
    if isinstance(left, list):
        verdicts = [_compared(each, operator, right) for each in left]
        return True if True in verdicts else None if None in verdicts else False
    kinds = {_kind(left), _kind(right)}
    if len(kinds) > 1:
        return operator == "!=" if "null" in kinds else None
    if kinds == {"object"}:
        return None
    return (
        {
            "==": lambda: left == right,
            "!=": lambda: left != right,
            "<": lambda: left < right,
            "<=": lambda: left <= right,
            ">": lambda: left > right,
            ">=": lambda: left >= right,
        }[operator]()
        if kinds != {"null"}
        else operator in ("==", "<=", ">=")
    )


def _kind(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "boolean"
    if isinstance(value, int | float):
        return "number"
    return "string" if isinstance(value, str) else "object"
