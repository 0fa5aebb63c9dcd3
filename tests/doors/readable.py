"""Is everything in a database readable? Each row of each table and view of pgorch, each JSON by our rules.

What a door let in that should not have come in is found here: a value that PostgreSQL cannot show, that a
strict reader refuses, or that a view stumbles over.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, LiteralString

import orjson
import psycopg
from psycopg import Connection, sql
from psycopg.types.json import set_json_loads
from psycopg.types.string import TextLoader

from pgorch import strict_json
from pgorch.errors import InvalidValue

_RELATIONS: LiteralString = """
    select c.relname,
           array(select a.attname::text from pg_attribute a
                 where a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped order by a.attnum)
    from pg_class c where c.relnamespace = 'pgorch'::regnamespace and c.relkind in ('r', 'p', 'v')
      and not c.relispartition
    order by c.relname
"""
# Several values that were stored apart come together in one of these, each within its limit.
_MOST_BYTES = 256 * 1024 * 1024
_MOST_LEVELS = 64 + 8


@dataclass
class Reading:
    """What was read, and what could not be."""

    relations: int = 0
    rows: int = 0
    values: int = 0
    problems: list[str] = field(default_factory=list)


def read_everything(dsn: str) -> Reading:
    """Reads the whole schema pgorch, and the document and export of each run."""
    reading = Reading()
    with psycopg.connect(dsn, autocommit=True, application_name="reading") as connection:
        set_json_loads(_strictly, connection)
        # Python has no time before the year 1; PostgreSQL, and what it shows, has.
        for kind in ("timestamptz", "timestamp", "interval"):
            connection.adapters.register_loader(kind, TextLoader)
        for relation, columns in connection.execute(_RELATIONS).fetchall():
            reading.relations += 1
            wanted = sql.SQL("select {} from pgorch.{}").format(
                sql.SQL(", ").join(sql.Identifier(column) for column in columns), sql.Identifier(relation)
            )
            _read(connection, reading, relation, wanted)
        for function in ("run_document", "export_run", "run_tree", "timeline"):
            wanted = sql.SQL("select f from pgorch.runs r, pgorch.{}(r.id) f").format(
                sql.Identifier(function)
            )
            _read(connection, reading, f"{function}()", wanted)
    return reading


def _read(connection: Connection[Any], reading: Reading, name: str, wanted: sql.Composed) -> None:
    try:
        for row in _rows(connection, wanted):
            reading.rows += 1
            reading.values += len(row)
    except (psycopg.Error, InvalidValue, UnicodeError) as error:
        reading.problems.append(f"{name}: {type(error).__name__}: {error}"[:500])


def _rows(connection: Connection[Any], wanted: sql.Composed) -> Iterator[tuple[Any, ...]]:
    with connection.cursor() as cursor:
        yield from cursor.stream(wanted)


def _strictly(text: bytes | str) -> Any:
    try:
        return strict_json.loads(text, what="What was stored", limit=_MOST_BYTES)
    except InvalidValue as error:
        # Each value has at most 64 levels; states, documents and exports put values into others.
        if error.errors and error.errors[0]["code"] == "depth":
            value = orjson.loads(text)
            if _levels(value) <= _MOST_LEVELS:
                return value
        raise


def _levels(value: Any) -> int:
    members = value.values() if isinstance(value, dict) else value if isinstance(value, list) else None
    return 0 if members is None else 1 + max(map(_levels, members), default=0)
