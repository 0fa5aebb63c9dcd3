"""Fault 17, figure G17: every pair of engine functions at one run, the second one seen waiting for the first,
or seen not to wait; the first is then committed, or rolled back."""

from collections.abc import Iterator
from dataclasses import dataclass

import psycopg
import pytest
from psycopg.rows import DictRow

from tests.engine.conftest import fresh_database
from tests.faults.pairs import CALLS, Scene, Stage
from tests.support.invariants import violations
from tests.support.races import Rival, open_connection

__all__ = ["fresh_database"]

# Who comes too late is told so; who met another in the middle of the plain way is told to call again.
WRONG_STATE, AGAIN = "OR002", "40001"
# What takes the run's lock waits for whoever has it. A claim, a sweep and a heartbeat wait for no run.
NEED_THE_RUN = {"complete", "fail", "cancel", "decide", "signal", "retry", "migrate", "pause", "resume"}
WAIT_FOR = dict.fromkeys(CALLS, NEED_THE_RUN) | {
    # It has a step and no run: who gets the run first waits at the step, if it changes that.
    "claim": {"cancel", "fail", "migrate", "pause", "retry"},
    # It has the run, its step, and the row of its own lease.
    "leave": NEED_THE_RUN | {"leave"},
    # It has the run, and the rows of the leases of who beats and of who is dead.
    "heartbeat": NEED_THE_RUN | {"heartbeat", "leave"},
    # The run has failed: nothing is live in it, so a result is refused without a look at the run.
    "retry": NEED_THE_RUN - {"complete", "fail"},
}
# Those that hold the most, in each run of the suite; the others when they are asked for.
FIRSTS = [
    name if name in ("complete", "heartbeat") else pytest.param(name, marks=pytest.mark.long)
    for name in CALLS
]


@dataclass
class Players:
    """Two sessions, and what they play on."""

    dsn: str
    stage: Stage
    first: psycopg.Connection[DictRow]
    second: psycopg.Connection[DictRow]


@pytest.fixture
def players(fresh_database: str) -> Iterator[Players]:
    with (
        open_connection(fresh_database) as connection,
        open_connection(fresh_database, autocommit=False) as first,
        open_connection(fresh_database) as second,
    ):
        yield Players(fresh_database, Stage(connection), first, second)
        assert violations(connection) == {}


@pytest.mark.parametrize("first", FIRSTS)
def test_a_pair_whose_first_commits(players: Players, first: str) -> None:
    play_all(players, first, commits=True)


@pytest.mark.long
@pytest.mark.parametrize("first", list(CALLS))
def test_a_pair_whose_first_rolls_back(players: Players, first: str) -> None:
    play_all(players, first, commits=False)


def play_all(players: Players, first: str, *, commits: bool) -> None:
    waited = {second for second in CALLS if second_waits(players, first, second, commits)}
    print(f"injected: {first} held open; seen waiting for its end: {', '.join(sorted(waited))}")
    assert waited == WAIT_FOR[first]


def second_waits(players: Players, first: str, second: str, commits: bool) -> bool:
    scene = players.stage.scene(failed=first == "retry", paused=first == "resume")
    query, parameters = scene.call(first)
    players.first.execute(query.encode(), parameters)
    query, parameters = scene.call(second)
    rival = Rival(players.dsn, query, *parameters, connection=players.second)
    waits = rival.waits()
    if commits:
        players.first.commit()
    else:
        players.first.rollback()
    counts = was_taken(players, scene, second, rival)
    # Before anything else is done: what comes later may repair it.
    assert violations(players.stage.engine.connection) == {}, f"{first}, then {second}"
    status = "failed" if first == "retry" else "completed"
    for name in [first] * commits + [second] * counts:
        status = {"cancel": "cancelled", "fail": "failed", "retry": "completed"}.get(name, status)
    assert scene.play_to_its_end() == status, f"{first}, then {second}"
    return waits


def was_taken(players: Players, scene: Scene, second: str, rival: Rival) -> bool:
    try:
        rows = rival.rows()
    except psycopg.Error as problem:
        state = problem.sqlstate
    else:
        return not any(row.get("kind") == "refused" for row in rows)
    assert state in (WRONG_STATE, AGAIN), f"{second}: {state}"
    if state == WRONG_STATE:
        return False
    query, parameters = scene.call(second)
    rows = players.second.execute(query.encode(), parameters).fetchall()
    return not any(row.get("kind") == "refused" for row in rows)
