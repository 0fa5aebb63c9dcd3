"""Fault 17, figure G13: branches that end at the same moment, and roles with other isolation levels."""

import pytest
from psycopg import Connection
from psycopg.rows import DictRow

from tests.crash.conftest import Crew
from tests.faults.joins import BRANCHES, Fan
from tests.faults.proof import injected
from tests.support.invariants import violations


@pytest.mark.parametrize("sessions", [8, pytest.param(BRANCHES, marks=pytest.mark.long)])
def test_64_branches_that_end_at_once_fire_their_join_once(
    connection: Connection[DictRow], database: str, sessions: int
) -> None:
    with Fan(connection, database, sessions) as fan:
        for _ in range(2):
            fan.join()
    injected(f"64 branches handed in by {sessions} sessions at one barrier", fan.seen.seconds)
    assert fan.seen.surfaced == []
    assert violations(connection) == {}


@pytest.mark.long
@pytest.mark.parametrize("level", ["repeatable read", "serializable"])
def test_the_isolation_level_of_the_role_is_not_that_of_the_workers(crew: Crew, level: str) -> None:
    database = crew.value("select current_database()")
    crew.connection.execute(
        f"alter database {database} set default_transaction_isolation = '{level}'".encode()
    )
    crew.reconnect()
    injected("a default isolation level", crew.value("show default_transaction_isolation") == level)
    names = [{"id": f"b{at}", "function": "effect", "into": f"b{at}"} for at in range(16)]
    ids = [name["id"] for name in names]
    pays = [{"id": f"p{at}", "function": "pay", "into": f"p{at}"} for at in range(4)]
    everyone = [*ids, *(pay["id"] for pay in pays)]
    graph = crew.graph(
        [{"id": "begin", "function": "step"}, *names, *pays, {"id": "end", "function": "step"}],
        [*(f"begin>{n}" for n in everyone), *(f"{n}>end" for n in everyone)],
    )
    crew.hire(2)
    crew.start(graph, 20)
    crew.all_ended()
    assert crew.value("select array_agg(distinct status::text) from pgorch.runs") == ["completed"]
    assert crew.value("select count(*) from pgorch.history where kind = 'step_completed'") == 20 * 22
    assert crew.value("select count(*) from payments") == 80
    assert "could not serialize" not in crew.logs()
