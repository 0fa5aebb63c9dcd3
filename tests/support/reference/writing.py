"""R7: what outputs write into the state, and how parallel writes of one key come together."""

from collections.abc import Callable, Mapping
from typing import Any

State = dict[str, Any]


class Conflict(Exception):
    """Two parallel writers of one key, which has no reducer."""


def _append(old: Any, new: Any) -> Any:
    return (old if isinstance(old, list) else [old]) + (new if isinstance(new, list) else [new])


_REDUCERS: dict[str, Callable[[Any, Any], Any]] = {
    "append": _append,
    "sum": lambda old, new: old + new,
    "min": min,
    "max": max,
    "merge": lambda old, new: {**old, **new},
    "last": lambda old, new: new,
}


class Writing:
    """The state, and who wrote each key last."""

    def __init__(self, state: State, reducers: Mapping[str, str]) -> None:
        self.state = dict(state)
        self.reducers = reducers
        self.writers: dict[str, int] = {}

    def write(self, number: int, ancestors: frozenset[int], into: str | None, output: Any) -> None:
        """What a visit writes when it ends well. Raises Conflict."""
        written = {into: output} if into is not None else output if isinstance(output, Mapping) else {}
        for key in written:
            if key not in self.reducers and self.writers.get(key, number) not in ancestors:
                raise Conflict(key)
        after = dict(self.state)
        for key, value in written.items():
            after[key] = self._reduced(key, value)
            self.writers[key] = number
        self.state = after

    def mark(self) -> tuple[State, dict[str, int]]:
        return dict(self.state), dict(self.writers)

    def reset(self, mark: tuple[State, dict[str, int]]) -> None:
        self.state, self.writers = mark

    def _reduced(self, key: str, value: Any) -> Any:
        reducer = self.reducers.get(key)
        if reducer is None:
            return value
        if key not in self.state:
            return [*value] if isinstance(value, list) else [value] if reducer == "append" else value
        return _REDUCERS[reducer](self.state[key], value)
