"""Vacuum: what keeps it from removing dead rows, and how near the end of transaction ids is."""

from pgorch.doctor.finding import Ask, Finding, spoken

# Everything that can hold the horizon, with since when (if it is known) and for how many transactions.
_HOLDERS = """
    select 'session' as kind, a.pid::text as name,
           format('process %%s (%%s, %%s)', a.pid,
                  coalesce(nullif(a.application_name, ''), 'no name'), a.state) as who,
           extract(epoch from clock_timestamp() - a.xact_start)::float8 as seconds,
           greatest(age(a.backend_xmin), age(a.backend_xid))::bigint as transactions,
           format('select pg_terminate_backend(%%s)', a.pid) as next
    from pg_stat_activity a
    where a.datname = current_database() and a.pid <> pg_backend_pid() and a.backend_type = 'client backend'
      and num_nonnulls(a.backend_xmin, a.backend_xid) > 0
    union all
    select 'prepared transaction', p.gid, format('the prepared transaction %%L of %%s', p.gid, p.owner),
           extract(epoch from clock_timestamp() - p.prepared)::float8, age(p.transaction)::bigint,
           format('rollback prepared %%L -- or commit prepared', p.gid)
    from pg_prepared_xacts p where p.database = current_database()
    union all
    select 'replication slot', s.slot_name,
           format('the replication slot %%I (%%s)', s.slot_name,
                  case when s.active then 'in use' else 'nobody uses it' end),
           null, greatest(age(s.xmin), age(s.catalog_xmin))::bigint,
           format('select pg_drop_replication_slot(%%L)', s.slot_name)
    from pg_replication_slots s where num_nonnulls(s.xmin, s.catalog_xmin) > 0
    union all
    select 'standby', r.application_name,
           format('a query on the standby %%s (hot_standby_feedback)', r.application_name),
           null, age(r.backend_xmin)::bigint,
           'on the standby: select pid, query from pg_stat_activity where backend_xmin is not null'
    from pg_stat_replication r where r.backend_xmin is not null
"""
_SEES_ALL = "select pg_has_role(current_user, 'pg_read_all_stats', 'usage')"


def horizon(ask: Ask) -> list[Finding]:
    rows = ask.rows(
        f"select h.* from ({_HOLDERS}) h where h.seconds > %s or h.transactions > %s"
        " order by h.transactions desc nulls last, h.seconds desc nulls last limit 3",
        [ask.limits.held_seconds, ask.limits.held_transactions],
    )
    findings = []
    for row in rows:
        since = f" for {spoken(row['seconds'])}" if row["seconds"] is not None else ""
        found = (
            f"{row['who']} has held the horizon{since}, over {row['transactions']} transactions:"
            " dead rows cannot be removed meanwhile"
        )
        findings.append(Finding("vacuum", "warning", found, row["next"]))
    if findings:
        return findings
    if not ask.value(_SEES_ALL):
        found = "no old transaction of this role; those of others cannot be seen"
        return [Finding("vacuum", "unknown", found, "grant pg_read_all_stats to the role")]
    return [Finding("vacuum", "ok", "no session, prepared transaction, slot or standby holds it up")]


def wraparound(ask: Ask) -> list[Finding]:
    """Of all databases of the server: it refuses writes to all when one of them is there."""
    row = ask.row(
        """
        select d.datname as database, quote_ident(d.datname) as quoted,
               age(d.datfrozenxid)::bigint as transactions,
               mxid_age(d.datminmxid)::bigint as multixacts, d.datallowconn as allowed
        from pg_database d order by greatest(age(d.datfrozenxid), mxid_age(d.datminmxid)) desc limit 1
        """
    )
    worse = max(row["transactions"], row["multixacts"])
    what = "transaction ids" if worse == row["transactions"] else "multixact ids"
    found = f"{worse:,} {what} of 2,147,483,648 are used since the oldest row of database {row['database']}"
    if worse < ask.limits.wraparound_warning:
        return [Finding("wraparound", "ok", found)]
    level = "problem" if worse >= ask.limits.wraparound_problem else "warning"
    found += "; at the end the server takes no more writes"
    mend = f'vacuumdb --freeze --jobs 2 --dbname "{row["database"]}"'
    if not row["allowed"]:
        # Nobody can connect to it, vacuumdb neither: template0 is such a one.
        allow = f"alter database {row['quoted']} allow_connections"
        mend = f"{allow} true; {mend}; {allow} false"
    return [Finding("wraparound", level, found, mend)]
