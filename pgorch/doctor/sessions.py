"""What stands between: poolers; and whether notifications arrive."""

import time

from pgorch.database.connection import connect_sync
from pgorch.database.pooling import is_lent, settle_sync
from pgorch.doctor.finding import Ask, Finding
from pgorch.errors import PgorchError

_PLACE = "select d.oid, pg_postmaster_start_time() from pg_database d where d.datname = current_database()"


def pooler(ask: Ask, direct_dsn: str | None) -> list[Finding]:
    """Is there one in front, and a way past it?"""
    lent = is_lent(ask.connection)
    if direct_dsn is None:
        if not lent:
            return [Finding("pooler", "ok", "none in front: sessions are our own")]
        found = (
            "one stands in front, so sessions may change with each transaction: workers poll each second"
            " instead of being notified, and deaths of workers are seen when their leases end (10 s)"
        )
        return [
            Finding("pooler", "warning", found, "export PGORCH_DIRECT_DSN=postgresql://… (the server itself)")
        ]
    try:
        with connect_sync(direct_dsn, application_name="pgorch doctor") as direct:
            own = settle_sync(direct, {})
            there = direct.execute(_PLACE).fetchone()
    except PgorchError as error:
        found = f"the direct DSN cannot be used: {error}"
        mend = "Correct PGORCH_DIRECT_DSN, or unset it; if it is right, see what is said of connections."
        return [Finding("pooler", "problem", found, mend)]
    here = tuple(ask.row(_PLACE).values())
    if not own:
        found = "the direct DSN leads through a pooler, too: workers refuse to start"
        return [
            Finding("pooler", "problem", found, "Name the server itself in PGORCH_DIRECT_DSN, or unset it.")
        ]
    if here != there:
        found = "the direct DSN leads to another database: workers refuse to start"
        return [
            Finding("pooler", "problem", found, "Name the same server and database in PGORCH_DIRECT_DSN.")
        ]
    return [
        Finding(
            "pooler", "ok", f"{'one stands in front' if lent else 'none in front'}, and the direct DSN works"
        )
    ]


def notifications(ask: Ask, dsn: str) -> list[Finding]:
    """`dsn`: where listeners listen."""
    return _queue(ask) + _delivery(ask, dsn)


def _queue(ask: Ask) -> list[Finding]:
    share = ask.value("select pg_notification_queue_usage()")
    if share < ask.limits.queue_share:
        return []
    # No view says who listens. Whoever does, in a transaction, keeps the queue from being emptied.
    rows = ask.rows(
        "select a.pid, coalesce(nullif(a.application_name, ''), 'no name') as name, a.datname,"
        " extract(epoch from clock_timestamp() - a.xact_start)::float8 as seconds from pg_stat_activity a"
        " where a.backend_type = 'client backend' and a.xact_start is not null and a.pid <> pg_backend_pid()"
        " order by a.xact_start limit 1"
    )
    found = f"their queue is {share:.1%} full; when it is full, commits that notify fail"
    if not rows:
        found += "; no old transaction can be seen that holds it up"
        return [
            Finding("notifications", "problem", found, "grant pg_read_all_stats to the role, and look again")
        ]
    row = rows[0]
    found += (
        f". A session that listens is stuck in a transaction: the oldest is that of process {row['pid']}"
        f" ({row['name']}, database {row['datname']})"
    )
    return [Finding("notifications", "problem", found, f"select pg_terminate_backend({row['pid']})")]


def _delivery(ask: Ask, dsn: str) -> list[Finding]:
    with connect_sync(dsn, application_name="pgorch doctor") as ear:
        if not settle_sync(ear, {}):
            found = "none arrive through a pooler; work is found by polling, each second"
            return [Finding("notifications", "warning", found, "export PGORCH_DIRECT_DSN=postgresql://…")]
        ear.execute("listen pgorch_doctor")
        sent = time.monotonic()
        ask.rows("select pg_notify('pgorch_doctor', '')::text")
        for _ in ear.notifies(timeout=ask.limits.notify_seconds, stop_after=1):
            took = (time.monotonic() - sent) * 1000
            return [Finding("notifications", "ok", f"arrive, after {took:.1f} ms")]
    found = f"did not arrive within {ask.limits.notify_seconds:g} s; workers poll instead, which is slower"
    return [
        Finding(
            "notifications",
            "warning",
            found,
            "select * from pg_stat_activity where wait_event = 'NotifyQueue'",
        )
    ]
