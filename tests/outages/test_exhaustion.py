"""What runs out: connections, transaction ids, the numbers of sequences, multixacts."""

import contextlib
import struct
import time
from pathlib import Path

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from pgorch.database.migrations import migrate
from tests.outages.calls import calling, percentile
from tests.outages.cluster import Cluster
from tests.outages.ground import Ground

pytestmark = [pytest.mark.long, pytest.mark.timeout(300)]
INT4_END = 2_147_483_600


def test_others_take_all_connections(place: Path, tmp_path: Path) -> None:
    """Whoever has connections keeps them; who needs one is told 503, and no lease is lost."""
    with contextlib.ExitStack() as stack:
        # A superuser's reserve is for the one who mends it, so ours is no superuser.
        cluster = Cluster(place).create().start()
        stack.callback(cluster.stop)
        with cluster.connect() as admin:
            admin.execute("create role app login")
            admin.execute("create role crowd login")
            admin.execute("create database app owner app")
        dsn = make_conninfo(cluster.dsn, user="app", dbname="app")
        migrate(dsn)
        ground = Ground(make_conninfo(cluster.dsn, dbname="app"), tmp_path)
        stack.callback(ground.close)
        graph = ground.prepare()
        ground.db.execute("grant all on payments to app")
        api = ground.api(dsn)
        worker = ground.worker(dsn, lease=5, beat=0.3)
        crowd = stack.enter_context(contextlib.ExitStack())
        with calling([api], graph, clients=6) as callers:
            ground.until(lambda: len(callers.acknowledged) > 50, what="50 starts")
            taken, refusal = _take_all(crowd, make_conninfo(cluster.dsn, user="crowd"))
            full, before = time.monotonic(), ground.done()
            time.sleep(7)
            during = callers.since(full)
            answered, steps = sum(call.status == 200 for call in during), ground.done() - before
            assert ground.log_lines("the lease is lost") == 0
            # Those who lose a connection now get none, and wait: the crowd takes what comes free.
            ground.db.execute("alter role app connection limit 3")
            ended = ground.value(
                "select count(pg_terminate_backend(pid)) from pg_stat_activity where usename = 'app'"
                " and application_name in ('pgorch worker advance', 'pgorch api')"
            )
            crowded_at = time.monotonic()
            time.sleep(4)
            crowded = callers.since(crowded_at)
            ground.db.execute("alter role app connection limit -1")
            crowd.close()
            freed = time.monotonic()
            ground.until(lambda: len([c for c in callers.since(freed) if c.status == 200]) > 50, what="2xx")
        took = [call.took for call in crowded]
        print(f"injected: {taken} idle clients until: {refusal.splitlines()[-1]}. {answered} of {len(during)}"
              f" starts answered with 200 over connections that were there, {steps} steps, no lease lost."
              f" Then {ended} of ours ended and a limit of 3 for the role:"
              f" {sorted({c.status for c in crowded})}, p99 {percentile(took, 99):.1f} s")  # fmt: skip
        assert taken >= 20
        assert answered > 50
        assert steps > 50
        assert {call.status for call in callers.calls} <= {200, 503}
        assert 503 in {call.status for call in crowded}
        assert percentile(took, 99) <= 6
        ground.all_ended()
        callers.check(ground.db)
        assert worker.poll() is None
        assert ground.value("select count(*) from pgorch.history where kind = 'step_failed'") == 0
        ground.check()


def _take_all(stack: contextlib.ExitStack, dsn: str) -> tuple[int, str]:
    """How many connections there were to be had, and what was said to the first who got none."""
    for taken in range(200):
        try:
            stack.enter_context(psycopg.connect(dsn))
        except psycopg.OperationalError as refusal:
            return taken, str(refusal).strip()
    raise AssertionError("200 connections, and still more")


def _use_up(cluster: Cluster) -> None:
    with cluster.connect() as db:
        for _ in range(10_000):
            db.execute("select pg_current_xact_id()")


def test_numbers_beyond_four_bytes(ground: Ground) -> None:
    """Row 26: every sequence of ours stands where an int4 ends."""
    graph = ground.prepare()
    sequences = ground.rows(
        "select s.schemaname || '.' || s.sequencename as name, s.data_type::text as type"
        " from pg_sequences s where s.schemaname = 'pgorch'"
    )
    narrow = [row["name"] for row in sequences if row["type"] != "bigint"]
    for row in sequences:
        ground.db.execute(f"alter sequence {row['name']} restart {INT4_END}".encode())
    ground.worker()
    ground.start(graph, 200)
    ground.all_ended()
    beyond = [row["name"] for row in sequences
              if ground.value(f"select last_value from {row['name']}") > 2**31]  # fmt: skip
    print(f"injected: {len(sequences)} sequences at {INT4_END}; {len(beyond)} went beyond 2^31: {beyond}")
    assert sequences
    assert narrow == []
    assert "pgorch.steps_id_seq" in beyond or len(beyond) >= 2
    assert {e["token"] > INT4_END for e in ground.effects("effect")} == {True}
    assert ground.value("select count(*) from pgorch.runs where status <> 'completed'") == 0
    ground.check()


def test_transaction_ids_run_out_and_come_back(place: Path, tmp_path: Path) -> None:
    """The server refuses to write until it is vacuumed: as an outage, no step fails of it."""
    cluster = Cluster(place, settings={"autovacuum": "off"})
    if not (cluster.programs / "pg_resetwal").exists():
        pytest.skip("pg_resetwal is not here: set PGORCH_PG_BIN to a directory with all programs.")
    cluster.create().start().migrate()
    with contextlib.ExitStack() as stack:
        stack.callback(cluster.stop)
        ground = Ground(cluster.dsn, tmp_path)
        stack.callback(ground.close)
        graph = ground.prepare()
        ground.db.execute("create table forgotten ()")
        oldest = ground.value("select min(datfrozenxid::text::bigint) from pg_database")
        ground.reconnect()
        cluster.stop()
        # Three million before the end a server refuses to give out numbers; we stand just before that.
        near = (oldest + 2**31 - 3_000_000 - 1000) % 2**32
        _make_clog(cluster.data, near)
        cluster.run("pg_resetwal", "-x", str(near), str(cluster.data))
        cluster.start()
        # This near the end the server vacuums by itself; it waits for whoever holds one of the tables.
        holder = stack.enter_context(psycopg.connect(cluster.dsn))
        holder.execute("lock table forgotten in share update exclusive mode")
        api = ground.api()
        worker = ground.worker()
        with calling([api], graph, clients=4) as callers:
            ground.until(lambda: any(call.status == 503 for call in callers.calls), 120, "a refusal")
            with pytest.raises(psycopg.errors.ProgramLimitExceeded) as refusal:
                _use_up(cluster)
            out = time.monotonic()
            time.sleep(4)
            during = callers.since(out)
            assert {call.status for call in during} == {503}
            holder.rollback()
            for name in ("postgres", "template1"):
                with psycopg.connect(make_conninfo(cluster.dsn, dbname=name), autocommit=True) as db:
                    db.execute("vacuum freeze")
            # Nobody can connect to template0; the server vacuums that by itself.
            oldest_age = "select max(age(datfrozenxid)) from pg_database"
            ground.until(lambda: ground.value(oldest_age) < 1_000_000_000, 90, "all is vacuumed")
            back = time.monotonic()
            ground.until(lambda: any(call.status == 200 for call in callers.since(back)), what="a 2xx")
            first = min(c.sent + c.took for c in callers.since(back) if c.status == 200) - back
        print(f"injected: no transaction ids ({refusal.value.sqlstate}: {refusal.value}); answers"
              f" {sorted({c.status for c in during})}; first 2xx {first:.1f} s after the vacuum")  # fmt: skip
        assert first <= 2
        ground.all_ended()
        callers.check(ground.db)
        assert worker.poll() is None
        assert ground.value("select count(*) from pgorch.history where kind = 'step_failed'") == 0
        ground.check()


def _make_clog(data: Path, xid: int) -> None:
    """The pages that say of those transactions what became of them."""
    for number in range(xid // (2048 * 16 * 32) - 1, xid // (2048 * 16 * 32) + 2):
        segment = data / "pg_xact" / f"{number:04X}"
        if number >= 0 and not segment.exists():
            segment.write_bytes(struct.pack("x") * 262144)
            segment.chmod(0o600)


def test_five_hundred_children_at_once_make_no_multixacts(cluster: Cluster, ground: Ground) -> None:
    """Row 27: no hot row is locked in common, so no multixact is needed."""
    ground.prepare()
    each = {"id": "each", "type": "map", "items": "${$.items}", "function": "step", "into": "all",
            "concurrency": 500}  # fmt: skip
    graph = ground.graph([each])
    for _ in range(2):
        ground.worker(slots=200)
    next_multi = "select next_multixact_id::text::bigint from pg_control_checkpoint()"
    ground.db.execute("checkpoint")
    before = ground.value(next_multi)
    ground.start(graph, 4, {"items": [{"n": n} for n in range(500)]})
    ground.all_ended()
    ground.db.execute("checkpoint")
    made = ground.value(next_multi) - before
    steps = ground.value("select count(*) from pgorch.history where kind = 'item_completed'")
    keys = ground.rows(
        "select c.conrelid::regclass::text as child, c.confrelid::regclass::text as parent"
        " from pg_constraint c where c.contype = 'f' and c.confrelid in ("
        " 'pgorch.runs'::regclass, 'pgorch.steps'::regclass, 'pgorch.approvals'::regclass)"
    )
    print(f"injected: {steps} items of 4 runs under way at once, 500 each; {made} multixacts, {len(keys)}"
          " foreign keys to hot tables")  # fmt: skip
    assert steps == 2000
    assert keys == []
    assert made <= steps / 100
    ground.check()
