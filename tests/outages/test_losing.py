"""Row 32: replies to COMMIT are lost, and requests, on the lines of API and workers."""

import time

import pytest

from tests.outages.calls import calling
from tests.outages.ground import Ground
from tests.support.proxy import Fault, Proxy

pytestmark = [pytest.mark.long, pytest.mark.timeout(300)]


def test_every_fifth_request_and_every_fifth_reply_are_lost(ground: Ground) -> None:
    graph = ground.prepare()
    with Proxy(ground.dsn, seed=7) as line:
        api = ground.api(line.dsn)
        workers = [ground.worker(line.dsn, beat=0.3) for _ in range(2)]
        line.set(eat_request=0.2, eat_reply=0.2)
        began = time.monotonic()
        with calling([api], graph, clients=6) as callers:
            ground.until(lambda: len(callers.acknowledged) > 100, 90, "100 starts on a bad line")
            ground.until(lambda: time.monotonic() > began + 20)
        took = time.monotonic() - began
        unknown = sum(call.status != 200 for call in callers.calls)
        line.clear()
        ground.all_ended()
        acknowledged = callers.check(ground.db)
        print(f"injected in {took:.0f} s: {dict(line.happened)}. {acknowledged} starts acknowledged after"
              f" {unknown} that were not; none lost, none doubled")  # fmt: skip
        assert line.happened["request eaten"] > 50
        assert line.happened["reply eaten"] > 50
        assert unknown > 20
        assert all(worker.poll() is None for worker in workers)
    assert ground.value("select count(*) from pgorch.runs where status <> 'completed'") == 0
    ground.check()


@pytest.mark.parametrize("lost", ["request", "reply"])
def test_the_commit_itself_of_a_transactional_tool_is_lost(ground: Ground, lost: str) -> None:
    """I17: whether it happened is read back by the step's token, never guessed."""
    graph = ground.prepare()
    with Proxy(ground.dsn) as line:
        ground.worker(line.dsn)
        lose = line.lose_request if lost == "request" else line.lose_reply
        faults: list[Fault] = []

        def ten_are_lost() -> bool:
            # One after the other, so that some come through between.
            if not faults or faults[-1].happened.is_set():
                faults.append(lose("", b"COMMIT"))
            return len(faults) > 10

        runs = ground.start(graph, 30)
        ground.until(ten_are_lost, what="ten lost commits")
        ground.all_ended()
    print(f"injected: {len(faults) - 1} times the {lost} of a COMMIT lost; 30 payments for 30 runs")
    assert ground.value("select count(*) from payments") == len(runs) == 30
    assert ground.value("select count(distinct run_id) from payments") == 30
    assert ground.value("select count(*) from pgorch.runs where status <> 'completed'") == 0
    ground.check()
