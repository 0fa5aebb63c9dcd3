"""Wrong arguments, told in sentences that name the parameter, what it takes and what was given."""

from collections.abc import Iterable, Mapping
from typing import Any, Final

import orjson
from pydantic import ValidationError

_OF_JSON: Final = {
    "string": "a string",
    "integer": "an integer",
    "number": "a number",
    "boolean": "a boolean",
    "object": "an object",
    "null": "null",
}
_OF_PYTHON: Final = {
    str: "a string",
    bool: "a boolean",
    int: "an integer",
    float: "a number",
    list: "a list",
    dict: "an object",
    type(None): "null",
}


def explain(
    error: ValidationError, tool: str, properties: Mapping[str, Any], source: Mapping[str, Any]
) -> str:
    """One sentence per wrong argument, at most three."""
    sentences: dict[str, None] = {}
    for problem in error.errors(include_url=False, include_context=False):
        name, *deeper = problem["loc"]
        place = str(name) + "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in deeper)
        expected, given = expectation(properties.get(str(name), {})), kind(problem["input"])
        if deeper:
            sentence = f"The argument {place} of the tool {tool} is wrong ({given}): {problem['msg']}."
        elif problem["type"] == "missing":
            known = f"there is only {listed(source)}" if source else "there is none"
            sentence = f"The tool {tool} needs the argument {place} ({expected}), but {known}."
        else:
            sentence = f"The argument {place} of the tool {tool} must be {expected}, but it is {given}."
        sentences[sentence] = None
    more = f" And {len(sentences) - 3} more." if len(sentences) > 3 else ""
    return " ".join(list(sentences)[:3]) + more


def expectation(schema: Mapping[str, Any]) -> str:
    """The values that a JSON Schema allows, in a few words."""
    if "anyOf" in schema:
        return " or ".join(dict.fromkeys(expectation(part) for part in schema["anyOf"]))
    if "enum" in schema:
        return f"one of {', '.join(map(repr, schema['enum']))}"
    if "const" in schema:
        return repr(schema["const"])
    if "$ref" in schema:
        return f"an object ({schema['$ref'].rpartition('/')[2]})"
    if schema.get("type") == "array":
        items = expectation(schema.get("items", {}))
        return "a list" if items == "any value" else f"a list in which each item is {items}"
    words = _OF_JSON.get(str(schema.get("type")), "any value")
    if "format" in schema:
        words += f" ({schema['format']})"
    bounds = [
        f"{sign} {schema[key]}"
        for key, sign in (
            ("minimum", "≥"),
            ("exclusiveMinimum", ">"),
            ("maximum", "≤"),
            ("exclusiveMaximum", "<"),
        )
        if key in schema
    ]
    return f"{words} {' and '.join(bounds)}" if bounds else words


def kind(value: Any) -> str:
    """What a value is in JSON's words, with the value itself if it is short."""
    words = _OF_PYTHON.get(type(value), f"of type {type(value).__name__}")
    if isinstance(value, str | int | float) and len(str(value)) <= 60:
        return f"{words} ({orjson.dumps(value).decode()})"
    return words


def listed(names: Iterable[str]) -> str:
    """Ten of the names, in order, and how many more there are."""
    known = sorted(names)
    if not known:
        return "none"
    return ", ".join(known[:10]) + (f" and {len(known) - 10} more" if len(known) > 10 else "")
