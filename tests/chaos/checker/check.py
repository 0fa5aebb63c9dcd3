"""Asks everything that must hold: of the database alone, and together with the outside logs."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from psycopg import Connection, sql
from psycopg.rows import DictRow
from psycopg.types.json import Jsonb

from tests.chaos.checker.checks import CHECKS
from tests.support.invariants import INVARIANTS, violations

CONTRACT = Path(__file__).with_name("contract.sql")
LOGS = ("ext_api", "ext_effect", "ext_read")
# Right as long as the clock runs on; where it was set back, the check of entries says the same.
BY_THE_CLOCK = "I14 a step begins after what leads to it has ended"


def install(connection: Connection[DictRow]) -> None:
    """Makes the contract's views, the record of claims and the outside's tables, before anything starts."""
    connection.execute(CONTRACT.read_bytes())
    connection.execute("insert into outside.accounts select n, 0 from generate_series(0, 1) n")


def bring(connection: Connection[DictRow], log: str, rows: Iterable[Mapping[str, Any]]) -> int:
    """Brings rows of an outside log into the database; numbers them in their order. Returns how many."""
    columns: list[str] = [
        row["column_name"]
        for row in connection.execute(
            "select column_name from information_schema.columns where table_schema = 'outside'"
            " and table_name = %s and column_name <> 'number' order by ordinal_position",
            [log],
        )
    ]
    statement = sql.SQL("copy outside.{} (number, {}) from stdin").format(
        sql.Identifier(log), sql.SQL(", ").join(map(sql.Identifier, columns))
    )
    number = 0
    with connection.cursor() as cursor, cursor.copy(statement) as copy:
        for number, row in enumerate(rows, 1):
            copy.write_row([number, *(_plain(row.get(column)) for column in columns)])
    return number


def check(connection: Connection[DictRow], *, clock_shifted: bool) -> dict[str, list[dict[str, Any]]]:
    """What does not hold, each with its first rows. The logs have to be there already."""
    connection.execute("analyze")
    inside = {
        name: query for name, query in INVARIANTS.items() if not (clock_shifted and name == BY_THE_CLOCK)
    }
    return violations(connection, inside) | violations(connection, CHECKS)


def _plain(value: Any) -> Any:
    return Jsonb(value) if isinstance(value, dict | list) else value
