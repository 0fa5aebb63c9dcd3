"""The faults of the standard plan, by their numbers in the table of faults.

Each returns how often it could be seen that it happened; what can only be seen later is counted in the end.
"""

import contextlib
import random
import signal
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass

import psycopg

from tests.chaos.drivers import Drivers
from tests.chaos.ground import FAKETIME, Ground, value
from tests.chaos.processes import Process
from tests.chaos.tools import POISONS

CLOCK_FAULT, CLOCK_SHIFT_SECONDS = 30, 5
_KILLED = frozenset({-signal.SIGKILL})
_SESSIONS = "select count(*) filter (where {}(a.pid)) from pg_stat_activity a where {}"
_OURS = "a.datname = current_database() and a.application_name like 'pgorch %'"
_CANCELLING = f"""
    create function pg_temp.cancel_for(p_seconds float8) returns integer language plpgsql as $$
    declare
        v_cancelled integer := 0;
        v_now integer;
    begin
        for i in 1 .. p_seconds * 500 loop
            select count(*) filter (where pg_cancel_backend(a.pid)) into v_now
            from pg_stat_activity a where {_OURS} and a.state = 'active';
            v_cancelled := v_cancelled + v_now;
            perform pg_stat_clear_snapshot(), pg_sleep(0.002);
        end loop;
        return v_cancelled;
    end $$
""".encode()


class Scene:
    """What faults act upon. `short`: pauses and outages are for a run of seconds."""

    def __init__(self, ground: Ground, drivers: Drivers, seed: int, *, short: bool) -> None:
        self.ground, self.drivers = ground, drivers
        self.random = random.Random(seed)
        self.short = short

    def worker(self) -> Process | None:
        """One that is not frozen."""
        awake = [worker for worker in self.ground.workers if not worker.frozen]
        return self.random.choice(awake) if len(awake) > 1 else None

    def for_a_while(self, seconds: float, pause: float, act: Callable[[], int]) -> int:
        done, until = 0, time.monotonic() + seconds
        while time.monotonic() < until:
            # The server may be away just now.
            with contextlib.suppress(psycopg.OperationalError):
                done += act()
            time.sleep(pause)
        return done


def kill_worker(scene: Scene) -> int:
    worker = scene.worker()
    return 0 if worker is None else int(worker.kill())


def freeze_worker(scene: Scene) -> int:
    worker = scene.worker()
    if worker is None:
        return 0
    named = "select worker_id from pgorch._worker_leases where name = %s order by started_at desc limit 1"
    dead = "select count(*) from pgorch._worker_leases where worker_id = %s and status = 'dead'"
    worker_id = scene.ground.value(named, worker.name)
    worker.freeze()
    try:
        time.sleep(scene.ground.lease * 2)
        return int(scene.ground.value(dead, worker_id))
    finally:
        worker.thaw()


def poison(scene: Scene) -> int:
    """Seen later: runs that failed with WorkerLost."""
    scene.drivers.extra.append(("poison", {"way": scene.random.choice(list(POISONS))}))
    return 0


def server_dies_during_recovery(scene: Scene) -> int:
    kill_worker(scene)
    time.sleep(0.2)
    return int(scene.ground.crash_server(scene.random.uniform(0, 1 if scene.short else 10)))


def terminate_sessions(scene: Scene) -> int:
    query = _SESSIONS.format("pg_terminate_backend", f"{_OURS} and random() < 0.3")
    return scene.for_a_while(1.0, 0.2, lambda: int(scene.ground.value(query)))


def cancel_statements(scene: Scene) -> int:
    # They are short: whoever wants to meet one has to look from within the server.
    with scene.ground.connect() as connection:
        connection.execute(_CANCELLING)
        return int(value(connection, "select pg_temp.cancel_for(2)"))


def cut_listeners(scene: Scene) -> int:
    query = _SESSIONS.format("pg_terminate_backend", f"{_OURS} and a.application_name like '%listener%'")
    return scene.for_a_while(2.0, 0.1, lambda: int(scene.ground.value(query)))


def branches_at_once(scene: Scene) -> int:
    """Seen later: runs of 64 branches that ended."""
    scene.drivers.extra.append(("wide", {}))
    return 0


def shift_clock(scene: Scene) -> int:
    shift = scene.random.choice((-1, 1)) * CLOCK_SHIFT_SECONDS
    scene.ground.set_clock(shift)
    try:
        time.sleep(1.5)
        ahead = "select extract(epoch from clock_timestamp())::float8"
        return int(abs(scene.ground.value(ahead) - time.time()) > CLOCK_SHIFT_SECONDS / 2)
    finally:
        scene.ground.set_clock(0)


def lose_commits(scene: Scene) -> int:
    scene.ground.lines.set(eat_reply=0.2, eat_request=0.2)
    time.sleep(1.5)
    scene.ground.lines.set(eat_reply=0.0, eat_request=0.0)
    return 0


def hole(scene: Scene) -> int:
    line = scene.random.randrange(len(scene.ground.lines.dsns))
    scene.ground.lines.set(line, hole=True)
    time.sleep(3 if scene.short else scene.random.uniform(5, 20))
    scene.ground.lines.set(line, hole=False)
    return 0


def slow_link(scene: Scene) -> int:
    scene.ground.lines.set(delay=scene.random.uniform(0.05, 0.3))
    time.sleep(3)
    scene.ground.lines.set(delay=0.0)
    return 0


def reset_connections(scene: Scene) -> int:
    scene.ground.lines.reset(0.3)
    return 0


@dataclass(frozen=True)
class Fault:
    number: int
    what: str
    weight: int
    inject: Callable[[Scene], int]
    seen: str
    """What is counted as proof."""
    counter: tuple[str, ...] = ()
    """Of the proxies' counters, if the proof is there."""
    deaths: Collection[int] = ()
    """With what it makes workers end."""


DEADLY = frozenset(POISONS.values())
FAULTS = (
    Fault(1, "worker killed", 3, kill_worker, "processes ended by signal 9", deaths=_KILLED),
    Fault(2, "worker paused for two leases", 1, freeze_worker, "leases that were declared dead meanwhile"),
    Fault(
        4, "step that takes its worker with it", 1, poison, "runs that failed with WorkerLost",
        deaths=DEADLY,
    ),
    Fault(
        10, "server dies during recovery", 1, server_dies_during_recovery, "servers that were gone",
        deaths=_KILLED,
    ),
    Fault(12, "sessions terminated", 2, terminate_sessions, "sessions"),
    Fault(13, "statements cancelled", 2, cancel_statements, "statements under way"),
    Fault(14, "listeners cut", 2, cut_listeners, "sessions"),
    Fault(17, "64 branches end at once", 2, branches_at_once, "runs that completed"),
    Fault(CLOCK_FAULT, "database clock jumps 5 s", 2, shift_clock, "times that the server's clock was off"),
    Fault(
        32, "request or reply of commits lost", 3, lose_commits, "commits", ("request eaten", "reply eaten")
    ),
    Fault(33, "half-open connections", 2, hole, "messages swallowed", ("swallowed",)),
    Fault(34, "slow link", 2, slow_link, "messages delayed", ("delayed",)),
    Fault(35, "connections reset", 2, reset_connections, "connections", ("reset",)),
)  # fmt: skip


def usable() -> tuple[Fault, ...]:
    """Those that can be made here: the clock jumps only where libfaketime is installed."""
    return tuple(fault for fault in FAULTS if fault.number != CLOCK_FAULT or FAKETIME)
