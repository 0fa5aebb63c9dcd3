"""A database in which each bucket of the hot tables is a partition of its own.

Whoever holds all partitions but one can tell whether a call for that one touches another: it has to wait.
"""

import re
from pathlib import Path

import psycopg
from psycopg.rows import DictRow

from tests.scale.bucket_lint import HOT_TABLES

SQL = Path(__file__).parents[2] / "sql"
BUCKETS = (3, 4, 5)


def partitioned_tables() -> str:
    """The migrations, with the hot tables as lists by bucket."""
    text = "\n".join(p.read_text("utf-8") for p in sorted((SQL / "migrations").glob("*.sql")))
    for table in sorted(HOT_TABLES):
        # Storage parameters belong to partitions, and identity columns of them came with PostgreSQL 17.
        text, count = re.subn(
            rf"(create table pgorch\.{table} \((?:.|\n)*?\n\))[^;]*;", r"\1 partition by list (bucket);", text
        )
        assert count == 1, table
        partitions = "".join(
            f"\ncreate table pgorch.{table}_{b} partition of pgorch.{table} for values in ({b});"
            for b in BUCKETS
        )
        head, tail = text.split(f"create table pgorch.{table} (", 1)
        body, rest = tail.split("partition by list (bucket);", 1)
        text = f"{head}create table pgorch.{table} ({body}partition by list (bucket);{partitions}{rest}"
    text = re.sub(r"create table pgorch\._history_rest [^;]*;", "", text)
    return re.sub(
        r"bigint generated always as identity", "bigint not null default nextval('pgorch._ids')", text
    )


def install(connection: psycopg.Connection[DictRow], replaced: tuple[str, str] | None = None) -> None:
    """`replaced`: a piece of the functions' text and what stands in its place."""
    connection.execute("set check_function_bodies = off")
    connection.execute("create schema if not exists pgorch")
    connection.execute("create sequence pgorch._ids")
    connection.execute(partitioned_tables().encode())
    functions = "\n".join(p.read_text("utf-8") for p in sorted((SQL / "functions").glob("*.sql")))
    if replaced is not None:
        assert replaced[0] in functions
        functions = functions.replace(*replaced)
    connection.execute(functions.encode())


def hold_other_buckets(
    connection: psycopg.Connection[DictRow], bucket: int, held: frozenset[str] = HOT_TABLES
) -> None:
    """Within the connection's transaction nobody else can touch any bucket but this."""
    tables = [f"pgorch.{t}_{b}" for t in sorted(held) for b in BUCKETS if b != bucket]
    connection.execute(f"lock table {', '.join(tables)} in access exclusive mode".encode())
