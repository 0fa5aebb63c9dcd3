"""Troubles of the server and its settings: each is made, named, mended as the doctor says, and gone."""

import threading
import time
from contextlib import closing
from typing import Any

import psycopg
import pytest
from psycopg import Connection
from psycopg.conninfo import make_conninfo
from psycopg.rows import DictRow

from pgorch.doctor import Limits, examine
from pgorch.doctor.finding import Ask
from pgorch.doctor.horizon import wraparound
from tests.doctor.conftest import Examine, bad, mend, sound
from tests.support.races import Rival, open_connection

SETTINGS = [
    ("read-only", "default_transaction_read_only", "on"),
    ("durability", "synchronous_commit", "off"),
    ("settings", "statement_timeout", "900ms"),
    ("settings", "lock_timeout", "20ms"),
    ("settings", "idle_session_timeout", "9s"),
    ("settings", "default_transaction_isolation", "serializable"),
    ("settings", "plan_cache_mode", "force_custom_plan"),
    ("settings", "enable_indexscan", "off"),
]


@pytest.mark.parametrize(("check", "name", "value"), SETTINGS, ids=[name for _, name, _ in SETTINGS])
def test_a_setting_that_does_harm_is_named_and_reset_where_it_was_set(
    look: Examine, connection: Connection[DictRow], check: str, name: str, value: str
) -> None:
    dbname = connection.info.dbname
    assert not any(name in finding.found and finding.level != "ok" for finding in look(check))
    connection.execute(f"alter database {dbname} set {name} = '{value}'".encode())
    finding = bad(look(check), f"{name} is")
    # This session still has the setting that it began with.
    mend(connection, finding)
    assert not any(f"{name} is " in finding.found and finding.level != "ok" for finding in look(check))


def test_a_database_near_its_limit_of_connections_is_named(
    look: Examine, connection: Connection[DictRow]
) -> None:
    assert sound(look("connections"))
    connection.execute(f"alter database {connection.info.dbname} connection limit 2".encode())
    finding = bad(look("connections"), "of 2 that the database has are in use", "pgorch doctor")
    assert finding.level == "problem"
    mend(connection, finding)
    assert sound(look("connections"))


def test_who_keeps_others_waiting_for_a_lock_is_named(look: Examine, database: str) -> None:
    with closing(open_connection(database, autocommit=False)) as holder:
        holder.execute("lock table pgorch.hooks in access exclusive mode")
        rival = Rival(database, "select count(*) from pgorch.hooks")
        rival.wait_until_blocked()
        finding = bad(look("locks", waiting_seconds=0), f"process {holder.info.backend_pid} ")
        with open_connection(database) as other:
            mend(other, finding)
        rival.rows()
        assert sound(look("locks", waiting_seconds=0))


def test_a_clock_that_differs_from_the_one_here_is_named(
    look: Examine, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert sound(look("clock"))
    real = time.time
    monkeypatch.setattr("pgorch.doctor.server.time.time", lambda: real() + 600)
    bad(look("clock"), "differs by -")


def test_autovacuum_that_is_off_for_a_table_is_named(look: Examine, connection: Connection[DictRow]) -> None:
    assert sound(look("autovacuum"))
    connection.execute("alter table pgorch.runs set (autovacuum_enabled = off)")
    mend(connection, bad(look("autovacuum"), "runs"))
    assert sound(look("autovacuum"))


def test_a_session_that_pins_the_vacuum_horizon_is_named(look: Examine, database: str) -> None:
    with open_connection(database) as other, closing(open_connection(database, autocommit=False)) as holder:
        holder.execute("set transaction isolation level repeatable read")
        holder.execute("select count(*) from pgorch.runs")
        assert sound(look("vacuum"))
        finding = bad(
            look("vacuum", held_seconds=0), f"process {holder.info.backend_pid} ", "idle in transaction"
        )
        mend(other, finding)
        assert sound(look("vacuum", held_seconds=0.5))


def test_transaction_ids_that_run_out_are_named_with_the_database(
    look: Examine, connection: Connection[DictRow]
) -> None:
    assert sound(look("wraparound"))
    finding = bad(look("wraparound", wraparound_warning=1), "transaction ids")
    assert finding.level == "warning"
    assert "vacuumdb --freeze" in finding.next
    assert bad(look("wraparound", wraparound_warning=1, wraparound_problem=1)).level == "problem"


def test_a_database_that_nobody_can_connect_to_is_opened_before_it_is_vacuumed(
    connection: Connection[DictRow], monkeypatch: pytest.MonkeyPatch
) -> None:
    ask = Ask(connection, Limits(wraparound_warning=1))
    # Whichever is the oldest here: as if it were closed, and named so that it has to be quoted.
    oldest = ask.row
    closed = {"database": "Old one", "quoted": '"Old one"', "allowed": False}
    monkeypatch.setattr(ask, "row", lambda query: oldest(query) | closed)
    (finding,) = wraparound(ask)
    assert finding.next == (
        'alter database "Old one" allow_connections true; vacuumdb --freeze --jobs 2 --dbname "Old one";'
        ' alter database "Old one" allow_connections false'
    )


def test_a_slot_that_keeps_the_write_ahead_log_is_named(
    look: Examine, connection: Connection[DictRow]
) -> None:
    name = f"slot_{connection.info.dbname}"
    connection.execute("select pg_create_physical_replication_slot(%s, true)", [name])
    try:
        connection.execute("create table filler as select generate_series(1, 1000)")
        finding = bad(look("wal", wal_bytes=1000), name, "nobody uses it")
    finally:
        connection.execute("select pg_drop_replication_slot(%s)", [name])
    assert name in finding.next
    assert not any(name in finding.found for finding in look("wal", wal_bytes=1000))


def test_what_a_role_may_not_see_is_said_to_be_unknown(
    database: str, connection: Connection[DictRow]
) -> None:
    role = f"looker_{connection.info.dbname}"
    connection.execute(f"create role {role} login".encode())
    try:
        address = make_conninfo(database, user=role)
        seen = {f.check: f for f in examine(address, only=("vacuum", "disk", "schema", "stuck runs"))}
        assert {check: f.level for check, f in seen.items()} == dict.fromkeys(
            ("vacuum", "disk", "schema"), "unknown"
        )
        assert "grant pg_read_all_stats" in seen["vacuum"].next
        connection.execute(f"grant pg_monitor to {role}".encode())
        assert sound(examine(address, only=["vacuum"]))
    finally:
        connection.execute(f"drop owned by {role}".encode())
        connection.execute(f"drop role {role}".encode())


def test_a_disk_with_little_room_is_named(look: Examine) -> None:
    findings = look("disk")
    if any(finding.level == "unknown" for finding in findings):
        pytest.skip("the server's directory is not to be seen from here")
    finding = bad(look("disk", disk_warning=1.1)[:1], "are free")
    assert finding.next.startswith("df -h ")


def test_a_check_that_takes_too_long_does_not_spoil_the_others(
    database: str, connection: Connection[DictRow], monkeypatch: pytest.MonkeyPatch
) -> None:
    def slow(ask: Any) -> list[Any]:
        ask.connection.execute("set statement_timeout = '50ms'")
        ask.rows("select pg_sleep(5)")
        return []

    monkeypatch.setattr("pgorch.doctor.examination._OF_THE_SERVER", (("slow", slow),))
    findings = examine(database, only=("slow", "stuck runs"))
    assert (findings[0].check, findings[0].level) == ("slow", "unknown")
    assert "stuck runs" in {finding.check for finding in findings}


def test_a_direct_address_that_leads_nowhere_is_named_and_spoils_no_other_check(database: str) -> None:
    nowhere = make_conninfo(database, host="127.0.0.1", port=1, connect_timeout=5)
    checks = ("pooler", "notifications", "stuck runs")
    findings = {f.check: f for f in examine(database, direct_dsn=nowhere, only=checks)}
    assert tuple(findings) == checks
    assert findings["pooler"].level == "problem"
    assert "PGORCH_DIRECT_DSN" in findings["pooler"].next
    assert findings["notifications"].level == "unknown"
    assert "not available" in findings["notifications"].found
    assert findings["stuck runs"].level == "ok"


@pytest.mark.parametrize("direct", [False, True])
def test_that_no_connection_is_left_is_named_and_spoils_no_other_check(
    database: str, connection: Connection[DictRow], direct: bool
) -> None:
    role = f"looker_{connection.info.dbname}"
    connection.execute(f"create role {role} login connection limit 1".encode())
    connection.execute(f"grant pg_monitor to {role}".encode())
    try:
        address = make_conninfo(database, user=role)
        checks = ("connections", "disk", "pooler", "notifications")
        findings = {f.check: f for f in examine(address, direct_dsn=address if direct else None, only=checks)}
        assert tuple(findings) == checks
        assert "1 of 1 that the role has are in use" in findings["connections"].found
        assert findings["notifications"].level == "unknown"
        assert "too many connections" in findings["notifications"].found
        if direct:
            assert "too many connections" in findings["pooler"].found
            assert "said of connections" in findings["pooler"].next
    finally:
        connection.execute(f"drop owned by {role}".encode())
        connection.execute(f"drop role {role}".encode())


def test_a_schema_that_cannot_be_read_now_spoils_no_other_check(database: str) -> None:
    with closing(open_connection(database, autocommit=False)) as holder:
        holder.execute("lock table pgorch.migrations in access exclusive mode")
        findings = {f.check: f for f in examine(database, only=("connections", "schema"))}
    assert findings["connections"].level == "ok"
    assert findings["schema"].level == "unknown"
    assert "lock timeout" in findings["schema"].found


def test_a_database_that_goes_away_is_no_finding(database: str) -> None:
    def again_and_again() -> None:
        for _ in range(50):
            examine(database, limits=Limits(notify_seconds=0.1))

    with open_connection(database) as other:
        stop = threading.Event()

        def end_sessions() -> None:
            while not stop.is_set():
                other.execute(
                    "select pg_terminate_backend(a.pid) from pg_stat_activity a"
                    " where a.datname = current_database() and a.application_name = 'pgorch doctor'"
                )

        thread = threading.Thread(target=end_sessions)
        thread.start()
        try:
            with pytest.raises(psycopg.OperationalError):
                again_and_again()
        finally:
            stop.set()
            thread.join()
