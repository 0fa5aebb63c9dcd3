"""What came of it: everything is asked that must hold, and figures are taken."""

import itertools
import time
from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import psycopg
from psycopg.rows import DictRow

from tests.chaos.checker.check import bring, check
from tests.chaos.checker.checks import BY_SQL, CHECKS
from tests.chaos.checker.footprint import settled
from tests.chaos.drivers import Drivers
from tests.chaos.ground import Ground
from tests.chaos.logs import entries
from tests.chaos.sink import digest
from tests.support.invariants import violations

_AUTOVACUUM_SECONDS = 60.0
# Keepalives end a session whose process was cut off.
_GIVEN_UP_SECONDS = 30.0
_DEAD_ROWS = "I28 hot tables hold little that is dead"
_SESSIONS = "I28 no session is left, nor a transaction open"
_FIGURES = """
    select (select count(*) from contract.runs) as runs,
           (select count(*) from contract.runs where over) as ended,
           (select count(*) from contract.results where accepted) as steps,
           (select count(*) from contract.results where kind = 'attempt_lost') as lost,
           (select count(*) from contract.claims) as claims,
           (select string_agg(format('%s sessions, %s locks, %s temporary files %s the faults', f.sessions,
                                     f.locks, f.temp_files, f.moment), '; ' order by f.moment desc)
            from outside.footprints f) as held,
           (select count(*) from outside.ext_api) as calls,
           (select count(*) from outside.ext_effect) as effects,
           (select count(*) from outside.ext_read) as reads,
           (select count(*) from outside.ext_effect e join contract.runs r on r.id = e.run_id
            where e.what = 'begin' and r.status <> 'cancelled' and e.node <> 'poison') as executions,
           (select count(*) from contract.results h join contract.runs r on r.id = h.run_id
            where h.accepted and r.status <> 'cancelled') as successes
"""


@dataclass
class Injected:
    """A fault: how often it was injected, and what was seen of it."""

    number: int
    what: str
    times: int
    seen: int
    proof: str

    def line(self) -> str:
        return f"{self.number:>5}  {self.what:<38} {self.times:>4} x   {self.seen:>7} {self.proof}"


@dataclass
class Verdict:
    violations: dict[str, list[dict[str, Any]]]
    figures: dict[str, Any]
    quiet_seconds: float | None
    left: list[str]
    """What had not ended."""
    statuses: Counter[int]
    ended: Counter[tuple[str, str]]
    errors: Counter[str]
    problems: list[str]
    """Of the harness itself, and of processes that did not end as they should."""
    exits: dict[str, Counter[int]]
    lasted: float = 0.0
    injected: list[Injected] = field(default_factory=list)

    @property
    def whole(self) -> bool:
        """Everything ended, and everything held."""
        return self.quiet_seconds is not None and not (self.violations or self.problems)

    @property
    def well(self) -> bool:
        """And each fault was seen to happen."""
        return self.whole and not self.unproved

    @property
    def unproved(self) -> list[str]:
        """Faults of which nothing was seen."""
        return [fault.what for fault in self.injected if fault.times and not fault.seen]

    @property
    def wasted(self) -> float:
        executions, successes = int(self.figures["executions"]), int(self.figures["successes"])
        return executions / max(1, successes) - 1

    def __str__(self) -> str:
        f = self.figures
        quiet = "not reached" if self.quiet_seconds is None else f"{self.quiet_seconds:.1f} s"
        lines = [fault.line() for fault in self.injected]
        lines += [
            f"runs {f['runs']}, ended {100 * f['ended'] / max(1, f['runs']):.2f} %, steps {f['steps']}",
            f"quiet after the last fault: {quiet}; executions in vain {100 * self.wasted:.2f} % "
            f"({f['executions']} for {f['successes']}); attempts lost {f['lost']}",
            f"compared: {f['claims']} claims, {f['effects']} beginnings and ends of tools, "
            f"{f['calls']} calls, {f['reads']} readings",
            f"held: {f['held']}",
            f"ended: {_counted(self.ended)}",
            f"errors: {_counted(self.errors) or 'none'}; answers of the API: {_counted(self.statuses)}",
            "processes ended: "
            + "; ".join(f"{name} {_counted(exits)}" for name, exits in self.exits.items() if exits),
        ]
        lines += [f"not ended: {run}" for run in self.left[:10]]
        lines += [f"PROBLEM {problem}" for problem in self.problems]
        lines += [f"NOT SEEN TO HAPPEN {what}" for what in self.unproved]
        for name, rows in self.violations.items():
            lines.append(f"VIOLATION {name}")
            lines += [f"    {row['run_id']}: {row['why']}" for row in rows]
        lines.append(f"{len(self.violations)} invariants violated")
        return "\n".join(lines)


def judge(
    ground: Ground,
    crowd: Drivers,
    *,
    quiet_seconds: float | None,
    deaths: Collection[int],
    clock_shift: float,
    settle_seconds: float,
) -> Verdict:
    """Looks what the processes hold, ends them in good order, brings the logs in, and asks.

    `deaths`: with what the faults made workers end. `settle_seconds`: so long dead rows may be cleared and
    sessions end."""
    with ground.connect() as connection:
        left = _not_ended(connection)
        settled(connection, _GIVEN_UP_SECONDS)
    codes = ground.crew.end()
    problems = [f"{name} ended with {code} when it was told to" for name, code in codes.items() if code]
    problems += unexplained({worker.name: worker.exits for worker in ground.workers}, deaths)
    problems += unexplained({api.name: api.exits for api in ground.apis}, ())
    problems += [f"{name} did not end when it was told to" for name, code in codes.items() if code is None]
    with ground.connect() as connection:
        connection.execute("insert into outside.circumstances values (1, %s, 10)", [clock_shift])
        bring(connection, "ext_api", entries(ground.calls))
        bring(connection, "ext_effect", entries(ground.effects))
        with ground.connect() as other:
            bring(connection, "ext_read", itertools.chain(entries(ground.reads), _read_by_sql(other)))
        if settle_seconds < _AUTOVACUUM_SECONDS:
            # There is no time for it to come by; what it could clear away is what nothing holds.
            connection.execute("vacuum")
            connection.execute("select pg_stat_force_next_flush()")
        found = check(connection, clock_shifted=clock_shift > 0)
        deadline = time.monotonic() + settle_seconds
        for name in (_SESSIONS, _DEAD_ROWS):
            while name in found and time.monotonic() < deadline:
                time.sleep(1)
                if not violations(connection, {name: CHECKS[name]}):
                    del found[name]
        figures = connection.execute(_FIGURES).fetchone()
        assert figures is not None
    exits = {member.name: member.exits for member in ground.crew.members}
    return Verdict(
        found, dict(figures), quiet_seconds, left, crowd.statuses, crowd.ended, crowd.errors, problems, exits
    )


def unexplained(exits: Mapping[str, Counter[int]], deaths: Collection[int]) -> list[str]:
    """Processes that ended while nobody told them to, and with a code that no fault gives them."""
    return [
        f"{name} ended by itself with {code}, {times} times: see its log (--keep)"
        for name, codes in exits.items()
        for code, times in sorted(codes.items())
        if code not in deaths
    ]


def _read_by_sql(connection: psycopg.Connection[DictRow]) -> Iterator[dict[str, Any]]:
    """The state of every run, as a last reader."""
    rows = connection.execute(
        "select r.id as run_id, r.status, r.seq, pgorch.run_state(r.id) -> 'payload' as payload"
        " from contract.runs r"
    )
    for row in rows:
        payload = row.pop("payload")
        read = None if payload is None else digest(payload)
        yield {"at": time.time(), "reader": BY_SQL, "digest": read, **row}


def _not_ended(connection: psycopg.Connection[DictRow]) -> list[str]:
    rows = connection.execute(
        "select r.id, r.graph, r.status, (select jsonb_agg(to_jsonb(s)) from pgorch.live_steps s"
        " where s.run_id = r.id) as live from contract.runs r where not r.over limit 20"
    ).fetchall()
    return [f"{row['graph']} {row['id']} {row['status']}: {row['live']}" for row in rows]


def _counted(counter: Counter[Any]) -> str:
    def named(key: Any) -> str:
        return " ".join(map(str, key)) if isinstance(key, tuple) else str(key)

    return ", ".join(f"{named(key)} {count}" for key, count in sorted(counter.items(), key=str))
