"""What the work costs: WAL, transactions, and the CPU of the server and of the workers."""

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from pgorch.cli.session import Session

_TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Counters:
    """Readings at one moment; differences of two are the cost of what lies between."""

    wal_bytes: int
    transactions: int
    server_cpu: float | None
    """Seconds of CPU of all processes of the server; None if they are not here."""
    client_cpu: float | None

    def __sub__(self, earlier: "Counters") -> "Counters":
        return Counters(
            self.wal_bytes - earlier.wal_bytes,
            self.transactions - earlier.transactions,
            _difference(self.server_cpu, earlier.server_cpu),
            _difference(self.client_cpu, earlier.client_cpu),
        )


def read(db: Session, workers: Iterable[int] = ()) -> Counters:
    """Read all counters. Transactions are those that wrote, counted exactly by their ids."""
    row = db.row(
        "select (pg_current_wal_insert_lsn() - '0/0')::bigint as wal,"
        " pg_snapshot_xmax(pg_current_snapshot())::text::bigint as xid, pg_backend_pid() as pid"
    )
    client = [cpu_seconds(pid) for pid in workers]
    return Counters(
        row["wal"],
        row["xid"],
        _server_cpu(db, row["pid"]),
        None if None in client else sum(cpu for cpu in client if cpu is not None),
    )


def cpu_seconds(pid: int, *, with_children: bool = False) -> float | None:
    """CPU that a process has used (with that of its ended children); None if it is not to be seen here."""
    fields = _stat(pid)
    return sum(int(ticks) for ticks in fields[11 : 15 if with_children else 13]) / _TICKS if fields else None


def _server_cpu(db: Session, backend: int) -> float | None:
    """The postmaster, its children, and those of its children that have ended."""
    host = db.connection.info.host
    fields = _stat(backend)
    if not (host.startswith("/") or host in ("127.0.0.1", "::1", "localhost")) or not fields:
        return None
    postmaster = int(fields[1])
    command = Path(f"/proc/{postmaster}/comm").read_text().strip()
    if not command.startswith("postgres"):
        return None
    total = cpu_seconds(postmaster, with_children=True) or 0.0
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and (stat := _stat(int(entry.name))) and int(stat[1]) == postmaster:
            total += sum(int(ticks) for ticks in stat[11:13]) / _TICKS
    return total


def _stat(pid: int) -> list[str]:
    """The fields of /proc/<pid>/stat behind the name: state, parent, ...; empty if there is none."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return []


def _difference(later: float | None, earlier: float | None) -> float | None:
    return None if later is None or earlier is None else later - earlier
