"""How fast the steps of a worker that dies, is paused or is told to end are claimed by another."""

import os
import signal
import time
from collections.abc import Callable
from typing import NamedTuple
from uuid import UUID

from tests.crash.conftest import Crew
from tests.support.proxy import Proxy

# When the first claim after an instant was made, by the clock of the database, which is that of the machine.
_CLAIMED = """
    select extract(epoch from min(h.started_at)) from pgorch.run_history h
    where h.run_id = any (%s) and h.kind = 'step_completed' and h.attempt = %s
"""
# When the second worker of each run began with it; and all that the history says of attempts.
_GONE_ON_WITH = """
    select extract(epoch from min(h.started_at)) as claimed_at
    from pgorch.run_history h
    join (select f.run_id, f.worker_id from pgorch.run_history f where f.seq = 1) f using (run_id)
    where h.run_id = any (%s) and h.worker_id <> f.worker_id
    group by h.run_id
"""
_ATTEMPTS = """
    select array_agg(distinct case when h.kind = 'step_completed' then h.attempt::text else h.kind::text end)
    from pgorch.run_history h where h.run_id = any (%s) and h.kind <> 'run_completed'
"""


class Pause(NamedTuple):
    """What came of a worker that was cut off from the database for a while. Seconds. `late_writes` counts
    what was written into the history after the end of that while; the other two say how long after the end of
    its lease, and after the end of that while, the worker last began an effect."""

    claimed_after: float
    late_writes: int
    effects_after_lease: float
    effects_after_end: float


def seconds_after_kills(crew: Crew, kills: int) -> list[float]:
    """Kills workers (kill -9) that hold a step, one after the other; how long until each step was claimed
    by another."""
    workers = crew.hire(2)
    graph = crew.graph("hold")
    took = []
    for done in range(kills):
        runs = crew.start(graph)
        _until_effects(crew, 2 * done + 1)
        holder = crew.effects()[-1]["pid"]
        (victim,) = [w for w in workers if w.pid == holder]
        killed_at = time.time()
        victim.kill()
        victim.join(20)
        assert victim.exitcode == -signal.SIGKILL
        crew.all_ended()
        took.append(float(crew.value(_CLAIMED, runs, 2)) - killed_at)
        workers.remove(victim)
        workers += crew.hire()
    return took


def pause_one(crew: Crew, *, lease: float, beat: float) -> Pause:
    """Stops a worker (kill -STOP) in the middle of a step for twice its lease, while another takes it over,
    and lets it go on (kill -CONT)."""
    (paused,) = crew.hire(lease=lease, beat=beat)
    pid = paused.pid or 0
    run_id = _go_on(crew, lease, beat)
    stopped_at = time.time()
    os.kill(pid, signal.SIGSTOP)
    crew.until(lambda: process_state(pid) == "T")
    return _what_came_of(crew, run_id, pid, stopped_at, lease, lambda: os.kill(pid, signal.SIGCONT))


def cut_off_one(crew: Crew, *, lease: float, beat: float) -> Pause:
    """Holds the wires between a worker and the database open and dead for twice its lease, while its tool
    goes on to have effects elsewhere."""
    with Proxy(crew.dsn) as proxy:
        (deaf,) = crew.hire(through=proxy.dsn, lease=lease, beat=beat)
        run_id = _go_on(crew, lease, beat)
        held_at = time.time()
        proxy.hold()
        seen = _what_came_of(crew, run_id, deaf.pid or 0, held_at, lease, proxy.flow)
        deaf.kill()
        deaf.join(20)
        return seen


def _go_on(crew: Crew, lease: float, beat: float) -> UUID:
    """A run whose step has effects all the time in the hands of the only worker; then there is another."""
    (run_id,) = crew.start(crew.graph("go_on"))
    crew.until(lambda: len(crew.effects()) >= 3)
    crew.hire(lease=lease, beat=beat)
    return run_id


def _what_came_of(
    crew: Crew, run_id: UUID, pid: int, began_at: float, lease: float, end: Callable[[], None]
) -> Pause:
    run = crew.ended(run_id)
    crew.until(lambda: time.time() > began_at + 2 * lease, 3 * lease)
    entries = crew.value("select count(*) from pgorch.history")
    ended_at = time.time()
    end()
    crew.until(lambda: "a tool returned in vain" in crew.logs())
    assert "the lease is lost" in crew.logs()
    assert crew.run(run_id) == run
    last = float(crew.value("select extract(epoch from max(at)) from effects where pid = %s", pid))
    return Pause(
        claimed_after=float(crew.value(_CLAIMED, [run_id], 2)) - began_at,
        late_writes=crew.value("select count(*) from pgorch.history") - entries,
        effects_after_lease=last - (began_at + lease),
        effects_after_end=last - ended_at,
    )


def seconds_after_sigterm(crew: Crew, times: int) -> list[float]:
    """Tells a worker to end (SIGTERM) that has several runs under way; how long until another went on with
    each. None of the attempts is counted twice, and none is lost."""
    nodes = [{"id": f"n{at}", "function": "step"} for at in range(400)]
    graph = crew.graph(nodes, [f"n{at}>n{at + 1}" for at in range(399)])
    (leaving,) = crew.hire()
    took = []
    for _ in range(times):
        before = crew.value("select count(*) from pgorch.history")
        runs = crew.start(graph, 5)
        crew.until_done(before + 50)
        (other,) = crew.hire()
        told_at = time.time()
        leaving.terminate()
        leaving.join(20)
        assert leaving.exitcode == 0
        crew.all_ended()
        rows = crew.connection.execute(_GONE_ON_WITH, [runs]).fetchall()
        assert len(rows) == len(runs), "it was not under way any more"
        took += [float(row["claimed_at"]) - told_at for row in rows]
        assert crew.value(_ATTEMPTS, runs) == ["1"]
        leaving = other
    return took


def _until_effects(crew: Crew, count: int) -> None:
    crew.until(lambda: len(crew.effects()) == count)


def process_state(pid: int) -> str:
    """R, S, T (stopped), Z ..., as the kernel says."""
    with open(f"/proc/{pid}/stat") as file:
        return file.read().rpartition(")")[2].split()[0]
