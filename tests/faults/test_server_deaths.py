"""Fault 10, figure G5: the server dies while the work of a dead worker is being recovered, over and over."""

import random
import signal
import time

import pytest

from pgorch.embedded import EmbeddedServer
from tests.crash.conftest import Crew, kill_server
from tests.faults.outage import seconds_to_recover
from tests.faults.proof import injected

pytestmark = pytest.mark.long
ROUNDS = 4


def test_the_server_dies_during_recovery_again_and_again(own_crew: Crew, own_server: EmbeddedServer) -> None:
    crew = own_crew
    seed = random.randrange(2**32)
    choose = random.Random(seed)
    nodes = ["step", "effect", "pay", {"id": "last", "function": "step"}]
    crew.start(crew.graph(nodes, ["step>effect", "effect>pay", "pay>last"]), 300)
    workers = crew.hire(3)
    codes = []
    for at in range(ROUNDS):
        crew.until_done(100 * at + 50)
        victim = workers.pop(0)
        victim.kill()
        victim.join(20)
        codes.append(victim.exitcode)
        time.sleep(0.2)
        kill_server(own_server)
        time.sleep(choose.uniform(0, 3))
        own_server.start()
        crew.reconnect()
        workers += crew.hire()
    done = f"kill -9 of a worker and 0.2 s later of the server, seed {seed}"
    injected(done, codes == [-signal.SIGKILL] * ROUNDS, f"exit codes {codes}")
    crew.all_ended()
    assert crew.value("select array_agg(distinct status::text) from pgorch.runs") == ["completed"]
    assert crew.value("select count(*) = 300 and count(distinct run_id) = 300 from payments")
    assert all(worker.is_alive() for worker in workers)
    lost = "select count(*) from pgorch.history where kind = 'attempt_lost'"
    print(f"{crew.value(lost)} attempts were lost")


def test_work_goes_on_within_seconds_of_a_restart(own_crew: Crew, own_server: EmbeddedServer) -> None:
    seen = seconds_to_recover(own_crew, own_server, away=1.0, runs=160_000)
    injected("the server killed under load", seen.farewell != "", f"a session ended with: {seen.farewell}")
    print(seen)
    assert seen.first_step <= 2.0
    # Goal: 90 %. A machine that others use as well varies by more from second to second.
    assert seen.rate_after > 0.5 * seen.rate_before
