"""What a database does not have that it should: runs that callers were told of, or what the server had
recorded that was the primary before a failover."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import LiteralString
from uuid import UUID

from psycopg import Connection, ServerCursor
from psycopg.rows import args_row

from pgorch.database.translation import translated

_BATCH = 1000
_MISSING: LiteralString = """
    select w.id from unnest(%s::uuid[]) w(id)
    where not exists (
        select from pgorch.runs r where r.bucket = pgorch.bucket_of(w.id) and r.id = w.id)
"""
# A run is there from its start on, and has no entry in the history for that.
_RECORDED: LiteralString = """
    select r.id, 0, 'run_started', null::text, r.created_at
    from pgorch.runs r where r.created_at >= %(since)s
    union all
    select h.run_id, h.seq, h.kind::text, h.node, h.at
    from pgorch.history h where h.at >= %(since)s
    order by 1, 2
"""
_UNKNOWN: LiteralString = """
    select w.n
    from unnest(%(ids)s::uuid[], %(seqs)s::int[], %(kinds)s::text[], %(times)s::timestamptz[])
         with ordinality w(id, seq, kind, at, n)
    where case w.seq
        when 0 then not exists (
            select from pgorch.runs r where r.bucket = pgorch.bucket_of(w.id) and r.id = w.id)
        else not exists (
            select from pgorch.history h
            where h.bucket = pgorch.bucket_of(w.id) and h.run_id = w.id and h.seq = w.seq
              and h.kind::text = w.kind and h.at = w.at) end
"""


@dataclass(frozen=True)
class Loss:
    """Something recorded that is not there: `seq` is its number in the history of the run, 0 for the run
    itself; `kind` that of the history, or run_started."""

    run_id: UUID
    seq: int
    kind: str
    node: str | None
    at: datetime


def missing_runs(connection: Connection, run_ids: Sequence[UUID]) -> list[UUID]:
    """Those of the runs that the database does not have."""
    with translated():
        rows = connection.execute(_MISSING, [list(run_ids)]).fetchall()
    missing = {row[0] for row in rows}
    return [run_id for run_id in run_ids if run_id in missing]


def lost_records(old: Connection, new: Connection, since: datetime) -> Iterator[Loss]:
    """What the old database has recorded since then and the new one does not have. Times are the database's.

    Both connections are in transactions of the caller's, or in none.
    """
    with (
        translated(),
        old.transaction(),
        ServerCursor(old, "pgorch_lost", row_factory=args_row(Loss)) as recorded,
    ):
        recorded.execute(_RECORDED, {"since": since})
        while batch := recorded.fetchmany(_BATCH):
            yield from _unknown(new, batch)


def _unknown(new: Connection, batch: list[Loss]) -> Iterator[Loss]:
    with new.cursor(row_factory=args_row(int)) as cursor:
        rows = cursor.execute(
            _UNKNOWN,
            {
                "ids": [record.run_id for record in batch],
                "seqs": [record.seq for record in batch],
                "kinds": [record.kind for record in batch],
                "times": [record.at for record in batch],
            },
        ).fetchall()
    yield from (batch[number - 1] for number in sorted(rows))
