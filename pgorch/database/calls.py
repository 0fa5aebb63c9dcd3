"""How a statement is asked, on an async and on a sync connection."""

from collections.abc import Mapping
from typing import Any, LiteralString, TypeVar

from psycopg import AsyncConnection, Connection
from psycopg.rows import BaseRowFactory

from pgorch.database.translation import translated
from pgorch.strict_json import MAX_INPUT_BYTES, dumps

Row = TypeVar("Row")
Parameters = Mapping[str, Any]


class Calls:
    """Statements on an async connection."""

    def __init__(self, connection: AsyncConnection[Any]) -> None:
        self.connection = connection

    async def _one(self, row: BaseRowFactory[Row], statement: LiteralString, parameters: Parameters) -> Row:
        (only,) = await self._all(row, statement, parameters)
        return only

    async def _all(
        self, row: BaseRowFactory[Row], statement: LiteralString, parameters: Parameters
    ) -> list[Row]:
        with translated():
            async with self.connection.cursor(row_factory=row) as cursor:
                await cursor.execute(statement, parameters)
                return await cursor.fetchall()


class SyncCalls:
    """Statements on a sync connection."""

    def __init__(self, connection: Connection[Any]) -> None:
        self.connection = connection

    def _one(self, row: BaseRowFactory[Row], statement: LiteralString, parameters: Parameters) -> Row:
        (only,) = self._all(row, statement, parameters)
        return only

    def _all(self, row: BaseRowFactory[Row], statement: LiteralString, parameters: Parameters) -> list[Row]:
        with translated(), self.connection.cursor(row_factory=row) as cursor:
            return cursor.execute(statement, parameters).fetchall()


def json_text(value: Any, what: str) -> str:
    """The value as JSON. Raises InvalidValue."""
    return dumps(value, what=what, limit=MAX_INPUT_BYTES)


def input_text(input: Mapping[str, Any] | None) -> str:
    """The input of a run as JSON; {} if there is none. Raises InvalidValue."""
    return json_text({} if input is None else input, "The input")
