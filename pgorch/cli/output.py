"""Prints rows: as tables for people, as JSON for programs."""

import re
import sys
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

import orjson
import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

Row = Mapping[str, Any]

_WIDE = 240
_MOMENT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?([+-]\d\d:\d\d|Z)")


def to_json(value: Any, *, indent: bool = True) -> str:
    """JSON for programs. Intervals are seconds."""
    options = orjson.OPT_INDENT_2 if indent else 0
    return orjson.dumps(value, default=_plain, option=options | orjson.OPT_NON_STR_KEYS).decode()


def print_json(value: Any) -> None:
    typer.echo(to_json(value))


def print_rows(rows: Sequence[Row], columns: Sequence[str], *, as_json: bool, empty: str) -> None:
    """A list. JSON has all columns of the rows, a table those that are named."""
    if as_json:
        print_json(list(rows))
    elif not rows:
        typer.echo(empty)
    else:
        print_table(rows, columns)


def print_table(rows: Sequence[Row], columns: Sequence[str]) -> None:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        # Ids are copied into the next command, so they are never cut off.
        whole = column.endswith(("_id", "_at"))
        table.add_column(column.replace("_", " "), no_wrap=whole, overflow="fold")
    for row in rows:
        table.add_row(*(Text(shown(row.get(column))) for column in columns))
    width = None if sys.stdout.isatty() else _WIDE
    Console(width=width, highlight=False).print(table)


def print_fields(row: Row, fields: Sequence[str]) -> None:
    """One thing: a name and a value in each line."""
    width = max(len(field) for field in fields) + 2
    for field in fields:
        if row.get(field) not in (None, "", [], {}):
            typer.echo(f"{field.replace('_', ' '):<{width}}{shown(row[field])}")


def shown(value: Any) -> str:
    """A value as people read it."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, timedelta):
        return _duration(value.total_seconds())
    if isinstance(value, str) and _MOMENT.fullmatch(value):
        value = datetime.fromisoformat(value)
    if isinstance(value, datetime):
        return value.astimezone().strftime("%Y-%m-%d %H:%M:%S")
    if isinstance(value, list) and all(isinstance(item, str) for item in value):
        return ", ".join(value)
    if isinstance(value, dict | list):
        return to_json(value, indent=False)
    return str(value)


def _duration(seconds: float) -> str:
    if seconds < 1:
        return f"{seconds * 1000:.1f} ms"
    if seconds < 120:
        return f"{seconds:.1f} s"
    minutes = int(seconds // 60)
    if minutes < 120:
        return f"{minutes} min"
    return f"{minutes // 60} h" if minutes < 48 * 60 else f"{minutes // (24 * 60)} days"


def _plain(value: Any) -> Any:
    if isinstance(value, timedelta):
        return value.total_seconds()
    return str(value)
