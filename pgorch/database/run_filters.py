"""Which runs a list shows: by fields of their state, and by labels.

Paths and names stand in the statement as literals, since an index on them serves only a query in which the
planner can read them; see "Finding runs" in TECHNICAL_DOCS.md for the indexes.
"""

from collections.abc import Sequence
from typing import Final

from psycopg import sql

from pgorch.errors import InvalidValue

MOST_FILTERS: Final = 10


def run_conditions(states: Sequence[tuple[str, str]], labels: Sequence[tuple[str, str]]) -> sql.Composed:
    """Conditions on a row `r` of pgorch.run_list, each beginning with "and"; empty without filters.

    `states` are pairs of a path, with dots between its keys and numbers of elements, and the value there, as
    text; `labels` pairs of name and value. Raises InvalidValue for too many, and for what is no path.
    """
    if len(states) + len(labels) > MOST_FILTERS:
        raise InvalidValue(f"A list has at most {MOST_FILTERS} filters by state and labels.")
    parts = [
        sql.SQL(" and r.state #>> {} = {}").format(_literal(_array(_keys(path))), _literal(value))
        for path, value in states
    ]
    parts += [
        sql.SQL(" and r.labels ->> {} = {}").format(_literal(name), _literal(value)) for name, value in labels
    ]
    return sql.Composed(parts)


def _keys(path: str) -> list[str]:
    keys = path.split(".")
    if not all(keys) or "\0" in path:
        raise InvalidValue(
            f"{path[:100]!r} is no path into the state.",
            hint="Write keys with dots between them: customer.id",
        )
    return keys


def _array(keys: Sequence[str]) -> str:
    quoted = (key.replace("\\", "\\\\").replace('"', '\\"') for key in keys)
    return "{" + ",".join(f'"{key}"' for key in quoted) + "}"


def _literal(text: str) -> sql.SQL:
    # A percent sign would begin the name of a parameter.
    written = sql.Literal(text).as_string(None).replace("%", "%%")
    return sql.SQL(written)
