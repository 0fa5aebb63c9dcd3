"""The server: its version, whether it can be written to, its connections, locks and clock."""

import time
from datetime import UTC, datetime

from pgorch.doctor.finding import Ask, Finding, spoken

_OLDEST = 150000


def server(ask: Ask) -> list[Finding]:
    version = ask.value("select current_setting('server_version')")
    if ask.connection.info.server_version < _OLDEST:
        return [Finding("server", "problem", f"PostgreSQL {version} is too old", "Upgrade to 15 or newer.")]
    return [Finding("server", "ok", f"PostgreSQL {version}")]


def read_only(ask: Ask) -> list[Finding]:
    row = ask.row(
        "select pg_is_in_recovery() as standby, s.setting, s.source,"
        " quote_ident(current_user) as role, quote_ident(current_database()) as database"
        " from pg_settings s where s.name = 'default_transaction_read_only'"
    )
    if row["standby"]:
        return [
            Finding(
                "read-only", "problem", "the server is a standby: nothing can be written here",
                "Name the primary in the DSN, or all hosts with target_session_attrs=read-write",
            )
        ]  # fmt: skip
    if row["setting"] == "on":
        reset = {
            "user": f"alter role {row['role']} reset default_transaction_read_only",
            "database": f"alter database {row['database']} reset default_transaction_read_only",
            "database user": f"alter role {row['role']} in database {row['database']}"
            " reset default_transaction_read_only",
        }.get(row["source"], "alter system reset default_transaction_read_only; select pg_reload_conf()")
        found = f"default_transaction_read_only is on (set by: {row['source']}): nothing can be written"
        return [Finding("read-only", "problem", found, reset)]
    return [Finding("read-only", "ok", "the server takes writes")]


def connections(ask: Ask) -> list[Finding]:
    """Of the server, of the database and of the role: what is nearest to its limit."""
    rows = ask.rows(
        """
        with sessions as (
            select a.datid, a.usesysid from pg_stat_activity a where a.backend_type = 'client backend'),
        most as (
            select current_setting('max_connections')::int
                   - current_setting('superuser_reserved_connections')::int
                   - coalesce(current_setting('reserved_connections', true)::int, 0) as here)
        select 'server' as what, (select count(*) from sessions) as used, (select m.here from most m) as most,
               'alter system set max_connections = ' || 2 * (select m.here from most m) || '; -- and restart'
               as next
        union all
        select 'database', (select count(*) from sessions s where s.datid = d.oid), d.datconnlimit,
               format('alter database %I connection limit -1', d.datname)
        from pg_database d where d.datname = current_database() and d.datconnlimit >= 0
        union all
        select 'role', (select count(*) from sessions s where s.usesysid = r.oid), r.rolconnlimit,
               format('alter role %I connection limit -1', r.rolname)
        from pg_roles r where r.rolname = current_user and r.rolconnlimit >= 0
        """
    )
    row = max(rows, key=lambda row: row["used"] / max(row["most"], 1))
    share = row["used"] / max(row["most"], 1)
    found = f"{row['used']} of {row['most']} that the {row['what']} has are in use"
    if share < ask.limits.connections_warning:
        return [Finding("connections", "ok", found)]
    holders = ask.rows(
        "select coalesce(nullif(a.application_name, ''), 'no name') as name, count(*) as n"
        " from pg_stat_activity a where a.backend_type = 'client backend'"
        " and (%(what)s <> 'database' or a.datname = current_database())"
        " and (%(what)s <> 'role' or a.usename = current_user) group by 1 order by 2 desc limit 3",
        {"what": row["what"]},
    )
    most = ", ".join(f"{holder['name']} {holder['n']}" for holder in holders)
    level = "problem" if share >= ask.limits.connections_problem else "warning"
    return [Finding("connections", level, f"{found}; most of them: {most}", row["next"])]


def locks(ask: Ask) -> list[Finding]:
    """Who keeps others waiting."""
    rows = ask.rows(
        """
        select b.pid, h.application_name, h.state, count(*) as waiting,
               max(extract(epoch from clock_timestamp() - w.query_start))::float8 as seconds
        from pg_stat_activity w
        cross join lateral unnest(pg_blocking_pids(w.pid)) b(pid)
        left join pg_stat_activity h on h.pid = b.pid
        where w.datname = current_database() and w.wait_event_type = 'Lock'
          and w.query_start < clock_timestamp() - make_interval(secs => %s)
          -- Who waits himself is not whom to end.
          and h.wait_event_type is distinct from 'Lock'
        group by 1, 2, 3 order by waiting desc limit 1
        """,
        [ask.limits.waiting_seconds],
    )
    if not rows:
        return [Finding("locks", "ok", "nobody waits long for one")]
    row = rows[0]
    found = (
        f"process {row['pid']} ({row['application_name'] or 'no name'}, {row['state']}) keeps"
        f" {row['waiting']} others waiting, for up to {spoken(row['seconds'])}"
    )
    return [Finding("locks", "warning", found, f"select pg_terminate_backend({row['pid']})")]


def clock(ask: Ask) -> list[Finding]:
    """pgorch uses the server's clock alone; a skew only confuses those who compare logs."""
    before = time.time()
    there = ask.value("select clock_timestamp() as now").timestamp()
    after = time.time()
    skew = there - (before + after) / 2
    text = f"the server's clock differs by {skew:+.3f} s from the one here ({datetime.now(UTC):%H:%M:%S} UTC)"
    if abs(skew) > ask.limits.skew_seconds + (after - before):
        return [Finding("clock", "warning", text, "timedatectl set-ntp true (on both machines)")]
    return [Finding("clock", "ok", text)]
