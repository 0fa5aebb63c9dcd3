"""Changes of the state as they are typed: customer.id=42."""

from collections.abc import Sequence
from typing import Any

from pgorch import strict_json
from pgorch.cli.failures import UsageError
from pgorch.cli.looking import pair_of
from pgorch.errors import InvalidValue

Path = list[str]


def assignments(texts: Sequence[str]) -> list[tuple[Path, Any]]:
    """Path and value of each: the value is JSON, or else the text as it is."""
    pairs = [pair_of(text, what="a place in the state and its value") for text in texts]
    return [(_path(name), _value(value)) for name, value in pairs]


def put(state: Any, path: Path, value: Any) -> None:
    """Sets what is at the path; objects on the way to it are made, elements of lists go by their number."""
    for at, key in enumerate(path):
        last = at == len(path) - 1
        if isinstance(state, list) and key.isdigit() and int(key) < len(state):
            if last:
                state[int(key)] = value
            else:
                state = state[int(key)]
        elif isinstance(state, dict):
            if last:
                state[key] = value
            else:
                state = state.setdefault(key, {})
        else:
            raise UsageError(
                f"There is nothing at {'.'.join(path[: at + 1])} in the state that could be set.",
                hint="Set what holds it as a whole, in JSON: 'customer={\"id\": 42}'",
            )


def _path(name: str) -> Path:
    keys = name.split(".")
    if not all(keys):
        raise UsageError(f"{name!r} is no place in the state.", hint="Write keys with dots: customer.id=42")
    return keys


def _value(text: str) -> Any:
    try:
        return strict_json.loads(text, what="The value")
    except InvalidValue:
        return text
