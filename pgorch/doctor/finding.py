"""What the doctor says, and how he asks."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, LiteralString

from psycopg import Connection
from psycopg.rows import dict_row


@dataclass(frozen=True)
class Finding:
    """What one check found. `level`: ok, warning, problem, or unknown if it could not be seen."""

    check: str
    level: str
    found: str
    next: str = ""


@dataclass(frozen=True)
class Limits:
    """From where on something is a trouble. Seconds, shares of 1, transactions, bytes."""

    skew_seconds: float = 5.0
    notify_seconds: float = 2.0
    queue_share: float = 0.1
    held_seconds: float = 600.0
    held_transactions: int = 2_000_000
    waiting_seconds: float = 10.0
    wraparound_warning: int = 1_000_000_000
    wraparound_problem: int = 1_600_000_000
    connections_warning: float = 0.8
    connections_problem: float = 0.95
    disk_warning: float = 0.15
    disk_problem: float = 0.05
    wal_bytes: int = 10 * 1024**3
    dead_rows: int = 200_000
    late_seconds: float = 60.0
    short_timeout: float = 5.0


class Ask:
    """Asks a database; rows are dicts. Raises psycopg.Error."""

    def __init__(self, connection: Connection[Any], limits: Limits) -> None:
        self.connection = connection
        self.limits = limits

    def rows(
        self, query: LiteralString, values: Sequence[Any] | Mapping[str, Any] = ()
    ) -> list[dict[str, Any]]:
        with self.connection.cursor(row_factory=dict_row) as cursor:
            return cursor.execute(query, values or None).fetchall()

    def row(self, query: LiteralString, values: Sequence[Any] | Mapping[str, Any] = ()) -> dict[str, Any]:
        return self.rows(query, values)[0]

    def value(self, query: LiteralString, values: Sequence[Any] | Mapping[str, Any] = ()) -> Any:
        """The only column of the only row."""
        (value,) = self.row(query, values).values()
        return value


def worst(findings: list[Finding]) -> list[Finding]:
    """Those that are bad, or else the first."""
    return [finding for finding in findings if finding.level != "ok"] or findings[:1]


def spoken(seconds: float) -> str:
    """A length of time for people: 42 s, 17 min, 3 h, 5 days."""
    for size, name in ((172_800.0, "days"), (7200.0, "h"), (120.0, "min")):
        if seconds >= size:
            return f"{seconds / {'days': 86_400, 'h': 3600, 'min': 60}[name]:.0f} {name}"
    return f"{seconds:.0f} s"


def size(count: float) -> str:
    """A number of bytes for people."""
    for name in ("bytes", "KiB", "MiB", "GiB"):
        if count < 1024:
            return f"{count:.0f} {name}" if name == "bytes" else f"{count:.1f} {name}"
        count /= 1024
    return f"{count:.1f} TiB"
