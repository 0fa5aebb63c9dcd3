"""Faults 14 and 15, figures G8 and G12: notifications that nobody hears, that are stuck, or cost much."""

import psycopg
import pytest

from pgorch.embedded import EmbeddedServer
from tests.crash.conftest import Crew
from tests.faults.proof import injected
from tests.faults.storms import sessions_opened
from tests.faults.wakeups import cost_of_notify, sleeper, start_while_deaf
from tests.support.races import open_connection

pytestmark = pytest.mark.long


def test_runs_started_while_every_listener_is_ended_are_found_by_looking(crew: Crew) -> None:
    before = sessions_opened(crew.connection)
    seen = start_while_deaf(crew, 200, 6.0)
    injected("every listener ended as soon as it is there", seen.cuts)
    print(seen)
    assert seen.stranded == 0
    assert seen.slowest <= 1.0 + 1.0, "a second, and what a busy machine takes"
    assert "the listening connection was lost" in crew.logs()
    opened = sessions_opened(crew.connection) - before
    print(f"{opened} sessions were opened in about 6 s by 2 processes")
    assert opened / 6 / 2 < 20, "no busy loop"


def test_a_full_queue_of_notifications_fails_no_commit(own_crew: Crew, own_server: EmbeddedServer) -> None:
    crew = own_crew
    if crew.connection.info.server_version < 170000:
        pytest.skip("the queue of notifications cannot be made small before PostgreSQL 17")
    crew.connection.execute("alter system set max_notify_queue_pages = 64")
    crew.connection.close()
    own_server.stop()
    own_server.start()
    crew.reconnect()
    with open_connection(crew.dsn) as stuck:
        # Who listens and does not end its transaction keeps the queue from being emptied.
        stuck.execute("listen something")
        stuck.execute("begin")
        stuck.execute("select 1")
        problem = None
        while problem is None:
            try:
                crew.value("select pg_notify('something', repeat('x', 7900))::text")
            except psycopg.Error as full:
                problem = full
        usage = crew.value("select pg_notification_queue_usage()")
        said = f"{problem.diag.message_primary}, {usage:.2f} full"
        injected("a listener stuck in a transaction", usage > 0.9, said)
        sleeper(crew, asleep=True)
        graph = crew.graph("step")
        runs = crew.start(graph, 5)
        crew.hire()
        crew.all_ended()
        assert {crew.run(run)["status"] for run in runs} == {"completed"}
        stuck.execute("rollback")


def test_notifications_cost_little(crew: Crew) -> None:
    seen = cost_of_notify(crew, writers=32, seconds=3.0)
    injected(
        "32 writers and somebody who sleeps all the time", seen.heard, f"{seen.heard} notifications heard"
    )
    print(seen)
    # The goal is 0.9; two measurements on a machine that others use too differ by more. When each of these
    # commits notified, it was 0.32.
    assert seen.with_notify > 0.6 * seen.without
