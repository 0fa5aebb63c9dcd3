"""What a wait on a row costs those who only change rows of the table."""

import time
from statistics import median

from psycopg.types.json import Jsonb

from pgorch.cli.session import Session
from tests.bench.arena import Arena, Figure

TIMES = 7
GRAPH = {
    "name": "row_wait",
    "nodes": [
        {
            "id": "w",
            "type": "wait",
            "row": {"table": "shop.orders", "key": "${$input.id}", "condition": '$.status == "paid"'},
        }
    ],
    "edges": [],
    "start_node": "w",
}


def row_triggers(arena: Arena) -> list[Figure]:
    """Microseconds that the trigger of a row wait adds to an updated row for which nobody waits."""
    rows = arena.scaled(5000, least=50)
    with arena.database() as (_, db):
        db.connection.execute("create schema shop")
        db.connection.execute(
            "create table shop.orders (id integer primary key, status text, note text) with (fillfactor = 40)"
        )
        db.connection.execute(
            "insert into shop.orders select n, 'open' from generate_series(1, %s) n", [rows]
        )
        db.connection.execute("select pgorch.create_graph(%s)", [Jsonb(GRAPH)])
        bare: list[float] = []
        watched: list[float] = []
        for turn in range(TIMES):
            for switch, seconds in (("disable", bare), ("enable", watched)):
                db.connection.execute(f"alter table shop.orders {switch} trigger user".encode())
                db.connection.execute("vacuum shop.orders")
                seconds.append(_update(db, f"{switch} {turn}"))
    per_row = 1e6 / rows
    return [
        Figure("bare update, us/row", median(bare) * per_row),
        Figure("trigger without a waiter, us/row", (median(watched) - median(bare)) * per_row),
    ]


def _update(db: Session, note: str) -> float:
    started = time.perf_counter()
    db.connection.execute("update shop.orders set note = %s", [note])
    return time.perf_counter() - started
