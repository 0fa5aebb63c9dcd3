"""The chaos harness itself: its plans end well, and it sees what does not."""

import asyncio

import pytest

from tests.chaos.drivers import Drivers
from tests.chaos.faults import usable
from tests.chaos.ground import Ground, ground
from tests.chaos.liveness import LASTING, liveness
from tests.chaos.plan import standard, until_quiet
from tests.chaos.verdict import Verdict, judge


async def played(found: Ground, *, seed: int, count: int, runs: int) -> tuple[Drivers, float | None]:
    """So many runs without a fault."""
    crowd = Drivers(found, seed=seed, count=count, limit=runs)
    driving = asyncio.create_task(crowd.drive())
    return crowd, await until_quiet(crowd, driving)


async def judged(found: Ground, *, count: int, runs: int) -> Verdict:
    crowd, quiet = await played(found, seed=1, count=count, runs=runs)
    return await asyncio.to_thread(
        judge, found, crowd, quiet_seconds=quiet, deaths=(), clock_shift=0, settle_seconds=0
    )


# An engine that is wrong: what it does at a moment that a trigger chooses.
WRONG = {
    "I3 a signal that was acknowledged is there": (
        "create function contract.wrong() returns trigger language plpgsql as $$ begin return null; end $$;"
        "create trigger wrong before insert on pgorch.signals for each row execute function contract.wrong()"
    ),
    "I11 history is numbered without gaps": (
        "create function contract.wrong() returns trigger language plpgsql as $$ begin"
        " if new.seq = 2 then return null; end if; return new; end $$;"
        "create trigger wrong before insert on pgorch.history for each row execute function contract.wrong()"
    ),
    "I31 transfers keep the total": (
        "create function contract.wrong() returns trigger language plpgsql as $$ begin"
        " new.balance := new.balance + 1; return new; end $$;"
        "create trigger wrong before update on outside.accounts"
        " for each row execute function contract.wrong()"
    ),
}


@pytest.mark.long
@pytest.mark.timeout(120)
@pytest.mark.parametrize("invariant", WRONG)
def test_a_wrong_engine_is_seen(invariant: str) -> None:
    with ground(seed=1, lease=2, workers=1, apis=1, fsync=False) as found:
        with found.connect() as connection:
            connection.execute(WRONG[invariant].encode())
        verdict = asyncio.run(judged(found, count=10, runs=40))
    assert invariant in verdict.violations
    assert not verdict.whole


@pytest.mark.long
@pytest.mark.timeout(120)
def test_processes_that_end_by_themselves_are_a_problem() -> None:
    with ground(seed=1, lease=2, workers=2, apis=1, fsync=False) as found:
        for process in (found.workers[0], found.apis[0]):
            assert process.kill()
        verdict = asyncio.run(judged(found, count=4, runs=20))
    told = [problem.partition(":")[0] for problem in verdict.problems]
    assert told == [f"{name} ended by itself with -9, 1 times" for name in ("worker-0", "api-0")]
    assert verdict.violations == {}
    assert not verdict.whole


@pytest.mark.timeout(180)
def test_the_standard_plan_for_some_seconds() -> None:
    with ground(seed=4, lease=2, workers=2, apis=1, fsync=False) as found:
        verdict = asyncio.run(standard(found, seed=4, seconds=6, runs=80, drivers=12))
    print(verdict)
    assert verdict.whole, str(verdict)
    assert any(fault.seen for fault in verdict.injected)


@pytest.mark.long
@pytest.mark.timeout(300)
def test_the_standard_plan_in_a_minute() -> None:
    with ground(seed=60, lease=2, fsync=False) as found:
        verdict = asyncio.run(standard(found, seed=60, seconds=60, runs=None, drivers=24))
    print(verdict)
    assert verdict.whole, str(verdict)
    # Each comes about twice, too seldom for each to be seen: no statement may be under way just then.
    assert len(usable()) - len(verdict.unproved) >= 9


@pytest.mark.long
@pytest.mark.timeout(400)
def test_one_fault_stays_for_ever() -> None:
    with ground(seed=61, lease=2, fsync=False) as found:
        verdict = asyncio.run(liveness(found, seed=61, drivers=24, runs=50))
    print(verdict)
    assert verdict.well, str(verdict)
    assert len(verdict.injected) == len(LASTING)
