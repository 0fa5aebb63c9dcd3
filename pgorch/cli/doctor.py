"""`pgorch doctor`: looks at a database and says what is wrong."""

import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime

import typer

from pgorch.cli.failures import FAILED
from pgorch.cli.options import Dsn, Output, required_dsn, wants_json
from pgorch.cli.output import print_json
from pgorch.cli.retention import kept
from pgorch.cli.session import Session, session
from pgorch.errors import PgorchError

_MOST_SKEW_SECONDS = 5.0
_NOTIFY_SECONDS = 2.0
_OLD_SNAPSHOT_SECONDS = 600.0


@dataclass(frozen=True)
class Finding:
    """What one check found. `level`: ok, warning or problem."""

    check: str
    level: str
    found: str
    next: str = ""


def doctor(dsn: Dsn = None, output: Output = None) -> None:
    """Check server, schema, clock, notifications, pooler, vacuum, stuck runs. Exit code 1 if one is bad."""
    address = required_dsn(dsn)
    with session(address, check=False) as db:
        findings = list(_findings(db, address))
    if wants_json(output):
        print_json([asdict(finding) for finding in findings])
    else:
        for finding in findings:
            typer.echo(f"{finding.level:<9}{finding.check:<14}{finding.found}")
            if finding.next:
                typer.echo(f"{'':<9}{'':<14}next: {finding.next}")
    if any(finding.level == "problem" for finding in findings):
        raise typer.Exit(FAILED)


def _findings(db: Session, dsn: str) -> Iterator[Finding]:
    yield _server(db)
    yield _durability(db)
    yield _clock(db)
    pooler = _pooler(db)
    yield pooler
    yield _notify(db, dsn)
    yield _horizon(db)
    schema = _schema(db)
    yield schema
    if schema.level == "ok":
        checks: list[Callable[[Session], Finding]] = [_workers, _stuck, _retention]
        for check in checks:
            yield check(db)


def _server(db: Session) -> Finding:
    number = db.connection.info.server_version
    version = db.value("select current_setting('server_version') as version")
    if number < 150000:
        return Finding("server", "problem", f"PostgreSQL {version} is too old", "Upgrade to 15 or newer.")
    return Finding("server", "ok", f"PostgreSQL {version}")


def _durability(db: Session) -> Finding:
    row = db.row("select current_setting('fsync') as fsync, current_setting('synchronous_commit') as commit")
    if row["fsync"] == "off":
        return Finding(
            "durability", "problem", "fsync is off: a crash can lose or corrupt data", "Set fsync = on."
        )
    if row["commit"] == "off":
        next_step = "Set synchronous_commit = on."
        return Finding(
            "durability", "warning", "synchronous_commit is off: a crash forgets checkpoints", next_step
        )
    return Finding("durability", "ok", "fsync and synchronous_commit are on")


def _clock(db: Session) -> Finding:
    before = time.time()
    server = db.value("select clock_timestamp() as now").timestamp()
    after = time.time()
    skew = server - (before + after) / 2
    text = f"the server's clock differs by {skew:+.3f} s from the one here ({datetime.now(UTC):%H:%M:%S} UTC)"
    # pgorch uses the server's clock alone; a skew only confuses those who compare logs.
    if abs(skew) > _MOST_SKEW_SECONDS + (after - before):
        return Finding("clock", "warning", text, "Set both clocks by NTP.")
    return Finding("clock", "ok", text)


def _pooler(db: Session) -> Finding:
    """Where a pooler changes sessions, a setting made by one statement is gone at the next."""
    db.connection.execute("set pgorch.doctor = 'here'")
    pids, kept = set(), True
    for _ in range(5):
        row = db.row("select pg_backend_pid() as pid, current_setting('pgorch.doctor', true) as mark")
        pids.add(row["pid"])
        kept = kept and row["mark"] == "here"
    if len(pids) > 1 or not kept:
        return Finding(
            "pooler",
            "warning",
            "a pooler gives each transaction another session: no notifications, and deaths are seen late",
            "Give workers and the API a direct connection, or session pooling.",
        )
    return Finding("pooler", "ok", "sessions are kept")


def _notify(db: Session, dsn: str) -> Finding:
    with session(dsn, check=False) as other:
        other.connection.execute("listen pgorch_doctor")
        sent = time.monotonic()
        db.connection.execute("select pg_notify('pgorch_doctor', '')")
        for _ in other.connection.notifies(timeout=_NOTIFY_SECONDS, stop_after=1):
            took = (time.monotonic() - sent) * 1000
            return Finding("notifications", "ok", f"arrive, after {took:.1f} ms")
    return Finding(
        "notifications",
        "warning",
        f"did not arrive within {_NOTIFY_SECONDS:g} s; workers poll instead, which is slower",
        "Is there a pooler in transaction mode? Connect directly.",
    )


def _horizon(db: Session) -> Finding:
    rows = db.rows(
        "select a.pid, a.application_name,"
        " extract(epoch from clock_timestamp() - a.xact_start)::float8 as seconds"
        " from pg_stat_activity a where a.datname = current_database() and a.backend_xmin is not null"
        " and a.xact_start is not null and a.pid <> pg_backend_pid() order by a.xact_start limit 1"
    )
    if rows and rows[0]["seconds"] > _OLD_SNAPSHOT_SECONDS:
        row = rows[0]
        return Finding(
            "vacuum",
            "warning",
            f"process {row['pid']} ({row['application_name']}) has kept a transaction open for"
            f" {row['seconds'] / 60:.0f} minutes; finished rows cannot be removed meanwhile",
            f"End it: select pg_terminate_backend({row['pid']})",
        )
    return Finding("vacuum", "ok", "no old transaction holds it up")


def _schema(db: Session) -> Finding:
    from pgorch.database.migrations import check_schema

    try:
        check_schema(db.connection)
    except PgorchError as error:
        return Finding("schema", "problem", str(error), error.hint or "pgorch migrate")
    newest = db.value("select max(m.name) as newest from pgorch.migrations m")
    return Finding("schema", "ok", f"is that of this version ({newest})")


def _workers(db: Session) -> Finding:
    row = db.row(
        "select count(distinct w.worker_id) filter (where w.status = 'alive') as alive,"
        " count(distinct w.worker_id) filter (where w.status = 'lost') as lost from pgorch.worker_list w"
    )
    if row["alive"] == 0:
        return Finding("workers", "warning", "none is alive", "pgorch worker --app your_module")
    lost = f", {row['lost']} lost" if row["lost"] else ""
    return Finding("workers", "ok", f"{row['alive']} alive{lost}")


def _stuck(db: Session) -> Finding:
    rows = db.rows(
        "select s.run_id, s.node, s.why, count(*) over () as total from pgorch.stuck_runs s limit 1"
    )
    if rows:
        row = rows[0]
        return Finding(
            "stuck runs",
            "problem",
            f"{row['total']}; for instance run {row['run_id']} at {row['node']}: {row['why']}",
            "select * from pgorch.stuck_runs",
        )
    return Finding("stuck runs", "ok", "none")


def _retention(db: Session) -> Finding:
    return Finding("retention", "ok", f"{kept(db)}; pgorch retention set changes it")
