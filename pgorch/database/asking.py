"""What the parts of `Queries` and `SyncQueries` have in common: how they ask, and how JSON is sent."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, LiteralString, TypeVar

from psycopg.rows import BaseRowFactory

from pgorch.strict_json import MAX_INPUT_BYTES, dumps

Row = TypeVar("Row")
Parameters = Mapping[str, Any]


class Asking(ABC):
    """A part of `Queries`: on an async connection."""

    @abstractmethod
    async def _one(self, row: BaseRowFactory[Row], statement: LiteralString, parameters: Parameters) -> Row:
        """The one row of an answer."""

    @abstractmethod
    async def _all(
        self, row: BaseRowFactory[Row], statement: LiteralString, parameters: Parameters
    ) -> list[Row]:
        """All rows of an answer."""


class SyncAsking(ABC):
    """A part of `SyncQueries`: on a sync connection."""

    @abstractmethod
    def _one(self, row: BaseRowFactory[Row], statement: LiteralString, parameters: Parameters) -> Row:
        """The one row of an answer."""

    @abstractmethod
    def _all(self, row: BaseRowFactory[Row], statement: LiteralString, parameters: Parameters) -> list[Row]:
        """All rows of an answer."""


def json_text(value: Any, what: str) -> str:
    """The JSON of a value, checked before it is sent. Raises InvalidValue, which names it by `what`."""
    return dumps(value, what=what, limit=MAX_INPUT_BYTES)
