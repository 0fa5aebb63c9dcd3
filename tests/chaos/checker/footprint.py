"""What pgorch's processes hold of the server: sessions, locks and temporary files."""

import time
from collections.abc import Callable

from psycopg import Connection
from psycopg.rows import DictRow

from tests.chaos.checker.checks import CHECKS
from tests.support.invariants import violations

HOLD_NO_MORE = "I28 processes hold no more than before the faults"
_LOOKS, _PAUSE_SECONDS = 20, 0.1
_HELD = """
    with ours as materialized (
        select a.pid from pg_stat_activity a
        where a.datname = current_database() and a.application_name like 'pgorch %')
    select (select count(*) from ours) as sessions,
           (select count(*) from pg_locks l join ours o on o.pid = l.pid where l.granted) as locks,
           (select count(*) from pg_ls_tmpdir() f
            join ours o on f.name like 'pgsql_tmp' || o.pid || '.%') as temp_files
"""


def footprint(connection: Connection[DictRow], moment: str) -> None:
    """Notes what is held at the moment `before` the faults, at most, or `after` them, at least: what is held
    only for a statement is not held at every look."""
    held = []
    for _ in range(_LOOKS):
        held.append(connection.execute(_HELD).fetchone() or {})
        time.sleep(_PAUSE_SECONDS)
    # Pools have as many sessions as the load has made them open; locks and files come and go.
    most: Callable[..., int] = max if moment == "before" else min
    connection.execute("delete from outside.footprints where moment = %s", [moment])
    connection.execute(
        "insert into outside.footprints values (%s, %s, %s, %s)",
        [
            moment,
            most(row["sessions"] for row in held),
            min(row["locks"] for row in held),
            min(row["temp_files"] for row in held),
        ],
    )


def settled(connection: Connection[DictRow], seconds: float) -> None:
    """Notes what is held afterwards; for so long what was cut off may still be given up."""
    deadline = time.monotonic() + seconds
    while True:
        footprint(connection, "after")
        held_more = violations(connection, {HOLD_NO_MORE: CHECKS[HOLD_NO_MORE]})
        if not held_more or time.monotonic() > deadline:
            return
