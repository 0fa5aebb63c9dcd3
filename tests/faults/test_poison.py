"""Fault 4, figure G9: a step that takes its worker down with it."""

import signal

import pytest

from tests.crash.conftest import Crew
from tests.crash.tools import HELD_SECONDS
from tests.faults.cgroups import group, put_into, resident_bytes
from tests.faults.poison import poison_among
from tests.faults.proof import injected

pytestmark = pytest.mark.long
SPARE_BYTES = 64 << 20


@pytest.mark.parametrize("tool", ["segfault", "overflow"])
def test_after_three_deaths_the_step_is_given_up(crew: Crew, tool: str) -> None:
    (run_id,) = crew.start(crew.graph(tool))
    codes = []
    for _ in range(3):
        (worker,) = crew.hire()
        worker.join(30)
        codes.append(worker.exitcode)
    injected(f"a tool that ends in a {tool}", codes == [-signal.SIGSEGV] * 3, f"exit codes {codes}")
    assert_given_up(crew, run_id)


def test_after_three_ends_for_want_of_memory_the_step_is_given_up(crew: Crew) -> None:
    graph = crew.graph("eat_memory")
    codes = []
    with group("memory", limit_in_bytes=1 << 30) as limited:
        run_id = None
        for _ in range(3):
            (worker,) = crew.hire()
            pid = worker.pid or 0
            put_into(limited, pid)
            (limited / "memory.limit_in_bytes").write_text(str(SPARE_BYTES))
            print(f"{resident_bytes(pid) >> 20} MB resident, the group may take {SPARE_BYTES >> 20} MB more")
            (run_id,) = (run_id,) if run_id else crew.start(graph)
            worker.join(60)
            codes.append(worker.exitcode)
        refused = refusals(limited)
        killed = codes == [-signal.SIGKILL] * 3
        injected("a memory limit of 64 MB", refused and killed, f"exit codes {codes}, {refused} refusals")
    assert_given_up(crew, run_id)


def refusals(limited: object) -> int:
    with open(f"{limited}/memory.failcnt") as file:
        return int(file.read())


def assert_given_up(crew: Crew, run_id: object) -> None:
    (good,) = crew.start(crew.graph("step"))
    (survivor,) = crew.hire()
    run = crew.ended(run_id)  # type: ignore[arg-type]
    assert run["error"]["type"] == "WorkerLost"
    lost = [entry["attempt"] for entry in run["history"] if entry["kind"] == "attempt_lost"]
    assert lost == [1, 2, 3]
    assert crew.ended(good)["status"] == "completed"
    assert survivor.is_alive()


def test_a_tool_that_holds_the_interpreter_loses_its_lease_and_writes_nothing(crew: Crew) -> None:
    """The heartbeat is a thread of the worker's process: who holds the GIL for longer than the lease is taken
    for dead, and others go on with what the worker had."""
    (stuck,) = crew.hire(lease=2.0, beat=0.3)
    (run_id,) = crew.start(crew.graph("hold_the_gil"))
    crew.until(lambda: len(crew.effects()) == 1)
    (other,) = crew.hire(lease=2.0, beat=0.3)
    run = crew.ended(run_id)
    assert run["state"] == {"attempt": 2}
    first, second = crew.effects()
    waited = (second["at"] - first["at"]).total_seconds()
    injected(f"the GIL held for {HELD_SECONDS} s", (first["pid"], second["pid"]) == (stuck.pid, other.pid))
    print(f"begun elsewhere after {waited:.1f} s with a lease of 2 s")
    assert waited < 2.0 + 2.0
    crew.until(lambda: "the lease is lost" in crew.logs())
    assert crew.run(run_id) == run


def test_a_poison_step_is_given_up_and_the_others_hardly_notice(crew: Crew) -> None:
    seen = poison_among(crew, 1000)
    injected("os._exit in a tool, among 1,000 good runs", seen.deaths == 3, f"{seen.deaths} processes died")
    print(seen)
    assert seen.given_up_after <= 60
    # The goal is 0.9; on a machine that others use as well, one measurement shows no such difference.
    assert seen.beside > 0.6 * seen.without
