"""Room on disk. A SQL client sees how much is used, never how much is free; on the same machine we look."""

import os

from pgorch.doctor.finding import Ask, Finding, size


def disk(ask: Ask) -> list[Finding]:
    used = ask.value("select pg_database_size(current_database())")
    places = ask.rows(
        """
        select 'data directory' as what, current_setting('data_directory', true) as path
        union all
        select 'tablespace ' || t.spcname, pg_tablespace_location(t.oid)
        from pg_tablespace t where pg_tablespace_location(t.oid) <> ''
        """
    )
    directory = next((place["path"] for place in places if place["what"] == "data directory"), None)
    if not directory:
        found = f"the database has {size(used)}; the role does not see where it is, nor how much is free"
        return [
            Finding("disk", "unknown", found, "grant pg_read_all_settings to the role, and ask on the server")
        ]
    if not _is_here(ask, directory):
        found = f"the database has {size(used)}; how much is free cannot be seen from here"
        return [Finding("disk", "unknown", found, f"on the server: df -h {directory}")]
    findings = [_room(ask, place["what"], place["path"]) for place in places]
    findings.append(_room(ask, "write-ahead log", os.path.join(directory, "pg_wal")))
    bad = [finding for finding in findings if finding is not None and finding.level != "ok"]
    if bad:
        # Several places on one disk are one trouble.
        return list({finding.found.partition(": ")[2]: finding for finding in reversed(bad)}.values())
    return [
        Finding("disk", "ok", f"the database has {size(used)}; {findings[0].found if findings[0] else ''}")
    ]


def _is_here(ask: Ask, directory: str) -> bool:
    """Does this machine have the directory of that server, and not another's of the same name?"""
    started = ask.value("select extract(epoch from pg_postmaster_start_time())::float8")
    try:
        with open(os.path.join(directory, "postmaster.pid")) as file:
            return bool(abs(int(file.read().splitlines()[2]) - started) <= 5)
    except (OSError, ValueError, IndexError):
        return False


def _room(ask: Ask, what: str, path: str) -> Finding | None:
    try:
        there = os.statvfs(path)
    except OSError:
        return None
    free, whole = there.f_bavail * there.f_frsize, there.f_blocks * there.f_frsize
    share = free / whole if whole else 1.0
    found = f"{what} in {path}: {size(free)} of {size(whole)} are free"
    if share >= ask.limits.disk_warning:
        return Finding("disk", "ok", found)
    level = "problem" if share < ask.limits.disk_problem else "warning"
    next_step = f"df -h {path}; then give it room, or: pgorch retention set '7 days'"
    return Finding("disk", level, found + "; when it is full, nothing can be written", next_step)


def wal(ask: Ask) -> list[Finding]:
    """Slots and a failing archiver keep the write-ahead log until the disk is full."""
    if ask.value("select pg_is_in_recovery()"):
        return [Finding("wal", "ok", "is that of the primary")]
    rows = ask.rows(
        "select s.slot_name, case when s.active then 'in use' else 'nobody uses it' end as used,"
        " pg_wal_lsn_diff(pg_current_wal_lsn(), s.restart_lsn)::float8 as kept,"
        " format('select pg_drop_replication_slot(%%L)', s.slot_name) as next from pg_replication_slots s"
        " where pg_wal_lsn_diff(pg_current_wal_lsn(), s.restart_lsn) > %s order by kept desc",
        [ask.limits.wal_bytes],
    )
    findings = [
        Finding(
            "wal", "warning",
            f"the replication slot {row['slot_name']} ({row['used']}) keeps {size(row['kept'])} on the disk",
            row["next"],
        )
        for row in rows
    ]  # fmt: skip
    archiver = ask.row(
        "select a.last_failed_wal, current_setting('archive_mode') <> 'off'"
        " and a.last_failed_time > coalesce(a.last_archived_time, '-infinity') as fails"
        " from pg_stat_archiver a"
    )
    if archiver["fails"]:
        found = f"archiving fails (last: {archiver['last_failed_wal']}): it is kept on the disk meanwhile"
        findings.append(
            Finding("wal", "warning", found, "show archive_command; select * from pg_stat_archiver")
        )
    return findings or [Finding("wal", "ok", "no slot keeps much of it")]
