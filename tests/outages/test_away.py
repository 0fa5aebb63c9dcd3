"""The database is away: stopped, or silent. What callers of the API are told meanwhile, and what is lost."""

import signal
import threading
import time

import pytest

from tests.outages.calls import Call, calling, percentile
from tests.outages.cluster import Cluster
from tests.outages.ground import Api, Ground
from tests.support.proxy import Proxy

pytestmark = [pytest.mark.long, pytest.mark.timeout(300)]


def check_answers(calls: list[Call], *, p99: float) -> None:
    """503 with Retry-After, quickly, and never a hang."""
    assert calls
    took = [call.took for call in calls]
    statuses = {call.status for call in calls}
    print(f"{len(calls)} calls while it was away: {sorted(statuses)}, p50 {percentile(took, 50):.2f} s,"
          f" p99 {percentile(took, 99):.2f} s, max {max(took):.2f} s")  # fmt: skip
    assert statuses == {503}
    assert all(int(call.retry_after or 0) >= 1 for call in calls)
    assert percentile(took, 99) <= p99


def seconds_until(api: Api, path: str, status: int, within: float) -> float:
    began = time.monotonic()
    while api.status(path, within) != status:
        assert time.monotonic() < began + within, f"{path} is not {status} within {within} s"
        time.sleep(0.02)
    return time.monotonic() - began


@pytest.mark.parametrize("down", [0.0, 4.0])
def test_the_server_crashes_and_comes_back(cluster: Cluster, ground: Ground, down: float) -> None:
    graph = ground.prepare()
    api = ground.api(key=True)
    ground.worker()
    with calling([api], graph, clients=6) as callers:
        ground.until(lambda: len(callers.acknowledged) > 200, what="200 starts")
        cluster.stop(signal.SIGQUIT)
        away = time.monotonic()
        if down:
            live, ready = api.status("/livez"), seconds_until(api, "/readyz", 503, 1)
            time.sleep(down)
            assert live == 200
            print(f"injected: an immediate stop; /livez {live}, /readyz 503 after {ready:.2f} s")
        before = time.monotonic()
        cluster.start()
        back = time.monotonic()
        if down:
            check_answers(callers.since(away + 0.2, before - 1), p99=2)
        ground.until(lambda: any(call.status == 200 for call in callers.since(back)), what="a first 2xx")
        first = min(call.sent + call.took for call in callers.since(back) if call.status == 200) - back
        print(f"the first 2xx came {first:.2f} s after the server was back")
        assert first <= 2
        ground.until(lambda: len(callers.since(back + 1)) > 100, what="calls go on")
    ground.all_ended()
    print(f"{callers.check(ground.db)} acknowledged, none lost")
    assert cluster.said("database system was interrupted") or cluster.said("was not properly shut down")
    ground.check()


def test_a_server_that_says_nothing_is_given_up(ground: Ground) -> None:
    """Row 33: nothing arrives and nothing is closed, as behind a firewall that has forgotten us."""
    graph = ground.prepare()
    with Proxy(ground.dsn) as line:
        api = ground.api(line.dsn, key=True)
        worker = ground.worker(line.dsn)
        with calling([api], graph, clients=6) as callers:
            ground.until(lambda: len(callers.acknowledged) > 100, what="100 starts")
            line.hold()
            held = time.monotonic()
            assert api.status("/livez") == 200
            time.sleep(20)
            flowing = time.monotonic()
            line.flow()
            print(f"injected: a dead line for {flowing - held:.0f} s, {line.happened['held']} held")
            first = callers.since(held - 1, held + 0.3)
            longest = max(call.took for call in first)
            print(f"the calls under way when it went dead were answered after at most {longest:.1f} s")
            assert longest <= 10
            check_answers(callers.since(held + 10, flowing - 2.5), p99=2)
            ground.until(lambda: any(call.status == 200 for call in callers.since(flowing - 2)))
            took = min(c.sent + c.took for c in callers.since(flowing - 2) if c.status == 200) - flowing
            print(f"the first 2xx came {took:.2f} s after the line was back")
            assert took <= 2
        assert line.happened["held"] > 0
        ground.all_ended()
        callers.check(ground.db)
        assert worker.poll() is None
        assert ground.log_lines("the heartbeat was not answered") >= 1
    ground.check()


def test_connections_that_died_without_a_word_are_given_up_while_new_ones_work(ground: Ground) -> None:
    """Row 33: each connection of API and worker is half-open for ever; nobody is restarted."""
    graph = ground.prepare()
    with Proxy(ground.dsn) as line:
        api = ground.api(line.dsn, key=True)
        worker = ground.worker(line.dsn)
        with calling([api], graph, clients=6) as callers:
            ground.until(lambda: ground.done() > 100, what="work goes on")
            stranded = line.strand()
            at = time.monotonic()
            ground.until(lambda: any(call.status == 200 for call in callers.since(at)), 30, "a 2xx")
            recovered = min(c.sent + c.took for c in callers.since(at) if c.status == 200) - at
            done = ground.done()
            ground.until(lambda: ground.done() > done + 20, 30, "steps are performed again")
            working = time.monotonic() - at
            ground.until(lambda: len(callers.since(at + 12)) > 50)
        slow = max(call.took for call in callers.since(at - 1))
        print(f"injected: {stranded} connections half-open for ever. Longest call {slow:.1f} s, first 2xx"
              f" after {recovered:.1f} s, steps performed again after {working:.1f} s")  # fmt: skip
        assert stranded >= 6
        assert line.happened["swallowed"] > 0
        assert slow <= 10
        assert recovered <= 10
        assert working <= 15
        ground.all_ended()
        callers.check(ground.db)
        assert worker.poll() is None
    ground.check()


def test_the_server_is_frozen_and_goes_on(cluster: Cluster, ground: Ground) -> None:
    """All its processes stand still: sockets accept and acknowledge, nobody answers."""
    graph = ground.prepare()
    api = ground.api(key=True)
    ground.worker()
    with calling([api], graph, clients=4) as callers:
        ground.until(lambda: len(callers.acknowledged) > 100, what="100 starts")
        frozen = cluster.freeze()
        at = time.monotonic()
        thaw = threading.Timer(14, cluster.thaw)
        thaw.start()
        thaw.join()
        back = time.monotonic()
        check_answers(callers.since(at + 10, back - 2.5), p99=2)
        ground.until(lambda: any(call.status == 200 for call in callers.since(back)), what="a 2xx")
        first = min(c.sent + c.took for c in callers.since(back) if c.status == 200) - back
    slow = max(call.took for call in callers.calls)
    print(f"injected: {frozen} processes of the server stopped for {back - at:.0f} s; longest call"
          f" {slow:.1f} s, first 2xx {first:.2f} s after")  # fmt: skip
    assert frozen > 5
    assert slow <= 10
    assert first <= 2
    ground.all_ended()
    callers.check(ground.db)
    ground.check()
