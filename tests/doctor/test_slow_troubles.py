"""Troubles that need a server of their own: what holds the horizon beside sessions, a stuck listener, a disk
that runs full, transaction ids near their end, a crash-prone configuration."""

import os
import subprocess
from contextlib import closing
from pathlib import Path

import psycopg
import pytest
from psycopg import Connection
from psycopg.rows import DictRow, dict_row

from pgorch.database.migrations import migrate
from pgorch.doctor import Finding, Limits, examine
from pgorch.embedded import EmbeddedServer
from pgorch.embedded.identity import choose_identity, surroundings
from tests.crash.conftest import own_server  # noqa: F401
from tests.doctor.conftest import bad, mend, sound
from tests.support.races import wait_until

pytestmark = [pytest.mark.long, pytest.mark.timeout(300)]


def look(dsn: str, check: str, **limits: float) -> list[Finding]:
    return examine(dsn, limits=Limits(**limits), only=[check])  # type: ignore[arg-type]


def opened(dsn: str) -> Connection[DictRow]:
    return psycopg.connect(dsn, autocommit=True, row_factory=dict_row)


@pytest.fixture
def dsn(own_server: EmbeddedServer) -> str:  # noqa: F811
    """A server with everything that can hold the horizon switched on."""
    with closing(opened(own_server.dsn)) as connection:
        connection.execute("alter system set wal_level = logical")
        connection.execute("alter system set max_prepared_transactions = 5")
        connection.execute("alter system set hot_standby_feedback = on")
    own_server.stop()
    own_server.start()
    migrate(own_server.dsn)
    return own_server.dsn


def test_prepared_transactions_and_slots_that_hold_the_horizon_are_named(dsn: str) -> None:
    with closing(opened(dsn)) as connection:
        connection.execute("begin")
        connection.execute("delete from pgorch.hooks")
        connection.execute("select pg_current_xact_id()")
        connection.execute("prepare transaction 'left behind'")
        mend(connection, bad(look(dsn, "vacuum", held_seconds=0), "prepared transaction 'left behind'"))
        connection.execute("select pg_create_logical_replication_slot('abandoned', 'pgoutput')")
        for _ in range(20):
            connection.execute("select pg_current_xact_id()")
        finding = bad(look(dsn, "vacuum", held_transactions=10), "slot abandoned", "nobody uses it")
        mend(connection, finding)
        assert sound(look(dsn, "vacuum", held_transactions=10))


def test_a_listener_that_is_stuck_in_a_transaction_is_named(dsn: str) -> None:
    with closing(opened(dsn)) as connection, closing(opened(dsn)) as listener:
        assert sound(look(dsn, "notifications"))
        listener.execute("listen anything")
        listener.execute("begin")
        listener.execute("select 1")
        # Each notification takes what it is long; the queue has 8 GB.
        for _ in range(10):
            connection.execute(
                "select pg_notify('anything', n || repeat('x', 7000)) from generate_series(1, 1000) n"
            )
        finding = bad(look(dsn, "notifications", queue_share=0.001), f"process {listener.info.backend_pid} ")
        mend(connection, finding)
        # The queue is emptied by whoever notifies next.
        connection.execute("select pg_notify('anything', '')")
        wait_until(lambda: sound(look(dsn, "notifications", queue_share=0.001)))


def test_what_makes_a_crash_expensive_is_named(own_server: EmbeddedServer, dsn: str) -> None:  # noqa: F811
    found = look(dsn, "durability")
    for name in ("fsync", "full_page_writes", "synchronous_commit"):
        assert bad(found, f"{name} is off").next == f"Start the server without -c {name}=off"
    own_server.stop()
    with EmbeddedServer(own_server.data_dir, fsync=True) as server:
        assert sound(look(server.dsn, "durability"))


def test_a_server_that_never_vacuums_is_named(dsn: str) -> None:
    with closing(opened(dsn)) as connection:
        connection.execute("alter system set autovacuum = off")
        connection.execute("select pg_reload_conf()")
        wait_until(lambda: not sound(look(dsn, "autovacuum")))
        mend(connection, bad(look(dsn, "autovacuum"), "autovacuum is off"))
        wait_until(lambda: sound(look(dsn, "autovacuum")))


def test_a_query_on_a_standby_is_named_on_the_primary_and_the_standby_is_no_place_to_work(
    own_server: EmbeddedServer,  # noqa: F811
    dsn: str,
) -> None:
    # A cold copy is as good as a base backup, and needs no more programs.
    own_server.stop()
    there = own_server.data_dir.parent / "standby"
    subprocess.run(["cp", "-a", str(own_server.data_dir), str(there)], check=True)
    subprocess.run(["rm", "-rf", str(there / "run")], check=True)
    own_server.start()
    with (there / "data" / "postgresql.auto.conf").open("a") as config:
        config.write(f"primary_conninfo = '{dsn}'\nwal_receiver_status_interval = 1\n")
    (there / "data" / "standby.signal").touch()
    owner = (there / "data" / "PG_VERSION").stat()
    os.chown(there / "data" / "standby.signal", owner.st_uid, owner.st_gid)
    with EmbeddedServer(there, fsync=False) as standby:
        finding = bad(examine(standby.dsn, only=["read-only"]))
        assert "standby" in finding.found
        with (
            closing(opened(dsn)) as primary,
            closing(psycopg.connect(standby.dsn, application_name="report")) as reader,
        ):
            # Read there in one transaction, while much is written here.
            reader.execute("set transaction isolation level repeatable read")
            reader.execute("select count(*) from pgorch.runs")
            wait_until(
                lambda: (
                    primary.execute(
                        "select from pg_stat_replication where backend_xmin is not null"
                    ).fetchone()
                    is not None
                )
            )
            for _ in range(20):
                primary.execute("select pg_current_xact_id()")
            bad(look(dsn, "vacuum", held_transactions=10), "on the standby", "hot_standby_feedback")
            reader.rollback()
            wait_until(lambda: sound(look(dsn, "vacuum", held_transactions=10)))


def test_transaction_ids_near_their_end_are_a_problem(own_server: EmbeddedServer, dsn: str) -> None:  # noqa: F811
    own_server.stop()
    data = own_server.data_dir / "data"
    owner = (data / "PG_VERSION").stat()
    # Far ahead, with the page of the commit log that the new id is on: 32,768 ids a page, 32 pages a file.
    ahead = 1_750_000_000 // 1_048_576 * 1_048_576
    log = data / "pg_xact" / f"{ahead // 1_048_576:04X}"
    log.write_bytes(b"\0" * 262_144)
    os.chown(log, owner.st_uid, owner.st_gid)
    reset = own_server.bin_dir / "pg_resetwal"
    identity = choose_identity(owner.st_uid, own_server.bin_dir / "postgres")
    command = identity.command(reset, "-f", "-x", str(ahead), "-D", str(data))
    done = subprocess.run(command, capture_output=True, text=True, **surroundings(identity))
    assert done.returncode == 0, done.stderr
    own_server.start()
    finding = bad(look(dsn, "wraparound"), "transaction ids")
    assert finding.level == "problem"
    assert "vacuumdb --freeze" in finding.next


def test_a_disk_that_is_nearly_full_is_named(dsn: str) -> None:
    place = Path("/mnt/pgorch-test-tablespace")
    if os.geteuid() != 0:
        pytest.skip("only root may mount a disk")
    place.mkdir(exist_ok=True)
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=24m,mode=0777", "tmpfs", str(place)])
    if mounted.returncode:
        pytest.skip("a disk cannot be mounted here")
    try:
        with closing(opened(dsn)) as connection:
            directory = place / "space"
            directory.mkdir(mode=0o700)
            owner = Path(connection.execute("show data_directory").fetchone()["data_directory"]).stat()  # type: ignore[index]
            os.chown(directory, owner.st_uid, owner.st_gid)
            connection.execute(f"create tablespace small location '{directory}'".encode())
            assert not any(
                "tablespace small" in finding.found for finding in look(dsn, "disk") if finding.level != "ok"
            )
            (place / "filler").write_bytes(b"\0" * 24_500_000)
            finding = bad(look(dsn, "disk"), "tablespace small")
            assert finding.level == "problem"
            (place / "filler").unlink()
            assert not any(
                "tablespace small" in finding.found for finding in look(dsn, "disk") if finding.level != "ok"
            )
            connection.execute("drop tablespace small")
    finally:
        subprocess.run(["umount", str(place)], check=True)
        place.rmdir()
