"""The state of a run, as a worker knows it."""

from collections.abc import Mapping
from typing import Any

import orjson


class State:
    """JSON text, and members that were written since, each as JSON. It is decoded anew for each reader, so
    that none sees what another has changed in it."""

    __slots__ = ("_text", "_written")

    def __init__(self, text: str | None, written: Mapping[str, bytes] | None = None) -> None:
        self._text = text
        self._written = written

    def after(self, written: str) -> "State":
        """The state with the members of a JSON object laid over it."""
        members = {key: orjson.dumps(value) for key, value in orjson.loads(written).items()}
        return State(self._text, {**(self._written or {}), **members})

    def read(self) -> dict[str, Any]:
        members: dict[str, Any] = orjson.loads(self._text or "{}")
        if self._written:
            members.update((key, orjson.loads(value)) for key, value in self._written.items())
        return members
