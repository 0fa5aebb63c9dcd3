"""A failover to a standby that lacked the last moments: what it costs, and what stays the same."""

import subprocess
from contextlib import closing

import psycopg
import pytest
from psycopg.rows import dict_row

from pgorch.database.migrations import migrate
from pgorch.embedded import EmbeddedServer
from tests.support.engine import Engine, chain
from tests.support.invariants import violations


@pytest.mark.long
def test_what_a_failover_has_lost_is_done_again_under_the_same_keys(own_server: EmbeddedServer) -> None:
    migrate(own_server.dsn)
    with closing(psycopg.connect(own_server.dsn, autocommit=True, row_factory=dict_row)) as connection:
        engine = Engine(connection)
        graph = engine.graph(chain("a b"))
        kept = engine.start(graph, idempotency_key="kept")
        (a,) = engine.worker.claim(1)
        (b,) = engine.worker.succeed(a, {"n": 1}, want=1)
        assert (b.run_id, b.node) == (kept, "b")
    # What the standby has when the primary goes: a copy of its disk at this moment.
    own_server.stop()
    there = own_server.data_dir.parent / "standby"
    subprocess.run(["cp", "-a", str(own_server.data_dir), str(there)], check=True)
    subprocess.run(["rm", "-rf", str(there / "run")], check=True)
    own_server.start()
    with closing(psycopg.connect(own_server.dsn, autocommit=True, row_factory=dict_row)) as connection:
        before = Engine(connection)
        before.register("a", "b")
        before.worker.id = engine.worker.id
        before.worker.succeed(b, {"n": 2})
        lost = before.start(graph, idempotency_key="lost")
        assert before.value("select status::text from pgorch.runs where id = %s", kept) == "completed"
    own_server.stop()
    with (
        EmbeddedServer(there, fsync=False) as standby,
        closing(psycopg.connect(standby.dsn, autocommit=True, row_factory=dict_row)) as connection,
    ):
        after = Engine(connection)
        after.register("a", "b")
        # The checkpoint of b is gone, and with it the end of the run: it goes on at b.
        assert after.value("select status::text from pgorch.runs where id = %s", kept) == "running"
        assert after.value("select count(*) from pgorch.runs where id = %s", lost) == 0
        connection.execute("update pgorch._worker_leases set expires_at = now() - interval '1 minute'")
        after.worker.beat_everywhere()
        (again,) = [step for step in after.worker.claim(10) if step.run_id == kept]
        # Who is told of it once more can see that it is the same.
        assert (again.run_id, again.node, again.born) == (b.run_id, b.node, b.born)
        assert again.lease_token != b.lease_token
        after.worker.succeed(again, {"n": 2})
        assert after.value("select status::text from pgorch.runs where id = %s", kept) == "completed"
        assert after.start(graph, idempotency_key="kept") == kept
        repeated = after.start(graph, idempotency_key="lost")
        assert repeated == after.start(graph, idempotency_key="lost") != lost
        assert violations(connection) == {}
