"""Lines that are slow, that reset, that drop packets; workers that reach only half of the world."""

import contextlib
import os
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from psycopg.conninfo import make_conninfo

from tests.outages.calls import calling
from tests.outages.cluster import Cluster
from tests.outages.ground import Ground
from tests.outages.machine import Network, needs, needs_root, network, tried
from tests.support.proxy import Proxy

pytestmark = [pytest.mark.long, pytest.mark.timeout(300)]


@pytest.fixture
def apart(place: Path, tmp_path: Path) -> Iterator[tuple[Ground, Network, str]]:
    """A ground whose server listens on a line of its own, the network at its other end, and the DSN there."""
    with network(f"pgo{os.getpid() % 100000}") as net, contextlib.ExitStack() as stack:
        cluster = Cluster(place, settings={"listen_addresses": f"127.0.0.1,{net.host}"})
        cluster.create()
        with (cluster.data / "pg_hba.conf").open("a") as rules:
            rules.write(f"host all all {net.inside}/32 trust\n")
        cluster.start().migrate()
        stack.callback(cluster.stop)
        ground = Ground(cluster.dsn, tmp_path)
        stack.callback(ground.close)
        yield ground, net, make_conninfo(cluster.dsn, host=net.host)


def test_packets_to_the_database_vanish(apart: tuple[Ground, Network, str]) -> None:
    """Row 33 by the kernel's own means, and row 36: the worker reaches the world, but not the database.

    What it does outside must not begin after its lease may be over: others have taken over by then (I19)."""
    ground, net, dsn = apart
    ground.prepare()
    napping = ground.graph(["nap"])
    port = int(dsn.split("port=")[1].split()[0])
    cut_off = ground.worker(dsn, wrap=net.wrap, lease=4, beat=0.3, slots=10)
    ground.start(napping, 40, {"seconds": 1.0})
    ground.until(lambda: len(ground.effects("began")) >= 10, what="ten begun")
    net.drop(port)
    dropped = time.monotonic()
    ground.worker(lease=4, beat=0.3, slots=10)
    ground.until(lambda: len({e["pid"] for e in ground.effects("began")}) == 2, 30, "another takes over")
    took_over = time.monotonic() - dropped
    ground.all_ended()
    time.sleep(max(0.0, dropped + 12 - time.monotonic()))
    hits = net.hits()
    alone = [e for e in ground.effects("began") if e["pid"] == cut_off.pid and e["at"] > dropped]
    last = max((e["at"] - dropped for e in alone), default=0.0)
    print(f"injected: DROP of {hits} packets; another worker took over after {took_over:.1f} s;"
          f" the last effect began {last:.1f} s after the line was cut (lease 4 s)")  # fmt: skip
    assert hits > 0
    assert took_over <= 4 + 2 + 3
    assert last <= 4 + 1
    assert ground.log_lines("the lease is lost") >= 1
    net.clear()
    back = time.monotonic()

    def works_again() -> bool:
        ground.start(napping, 5, {"seconds": 0.05})
        time.sleep(0.5)
        return any(e["pid"] == cut_off.pid and e["at"] > back for e in ground.effects("began"))

    ground.until(works_again, 30, "it works again without a restart")
    ground.all_ended()
    assert cut_off.poll() is None
    assert ground.value("select count(*) from pgorch.runs where status <> 'completed'") == 0
    ground.check()


def test_a_third_of_the_packets_is_answered_with_a_reset(apart: tuple[Ground, Network, str]) -> None:
    ground, net, dsn = apart
    graph = ground.prepare()
    port = int(dsn.split("port=")[1].split()[0])
    worker = ground.worker(dsn, wrap=net.wrap, beat=0.3)
    ground.start(graph, 20)
    ground.all_ended()
    net.reset(port, 0.3)
    ground.start(graph, 60)
    time.sleep(12)
    hits = net.hits()
    net.clear()
    ground.all_ended()
    attempts = ground.log_lines("cannot be reached") + ground.log_lines("connection was lost")
    print(f"injected: {hits} resets in 12 s; {attempts} lines of log about lost connections")
    assert hits > 5
    # With a pause between attempts: at most a few each second and connection.
    assert attempts < 12 * 20
    assert worker.poll() is None
    assert ground.value("select count(*) from pgorch.runs where status <> 'completed'") == 0
    ground.check()


def test_live_sockets_are_cut(cluster: Cluster, ground: Ground) -> None:
    """`ss -K`: both ends are told that it is over, in the middle of whatever they do."""
    needs_root()
    ss = needs("ss", "no socket can be cut")
    graph = ground.prepare()
    api = ground.api()
    worker = ground.worker(beat=0.3)
    cut = 0
    with calling([api], graph, clients=4) as callers:
        ground.until(lambda: len(callers.acknowledged) > 50, what="50 starts")
        began = time.monotonic()
        for _ in range(10):
            done = tried(ss, "-K", "dst", "127.0.0.1", "dport", "=", str(cluster.port))
            cut += max(0, len(done.stdout.splitlines()) - 1)
            ground.reconnect()
            time.sleep(0.7)
        over = time.monotonic()
        ground.until(lambda: len(callers.since(over)) > 50, what="calls go on")
    statuses = {call.status for call in callers.since(began)}
    print(f"injected: {cut} sockets cut in {over - began:.0f} s; answers {sorted(statuses)}")
    if cut == 0:
        pytest.skip("This kernel cuts no sockets (CONFIG_INET_DIAG_DESTROY).")
    assert statuses <= {200, 503}
    ground.all_ended()
    callers.check(ground.db)
    assert worker.poll() is None
    assert ground.value("select count(*) from pgorch.runs where status <> 'completed'") == 0
    ground.check()


@pytest.mark.parametrize(("delay", "rate"), [(0.05, 0), (0.3, 0), (0.0, 125_000)])
def test_a_slow_line_costs_speed_and_no_lease(ground: Ground, delay: float, rate: float) -> None:
    graph = ground.prepare()
    with Proxy(ground.dsn) as line:
        worker = ground.worker(line.dsn)
        ground.start(graph, 30)
        fast = ground.all_ended()
        line.set(delay=delay, bytes_per_second=rate or None)
        ground.start(graph, 100)
        slow = ground.all_ended(120)
        time.sleep(max(0.0, 12 - slow))
        line.clear()
        print(f"injected: {delay * 1000:.0f} ms each way, {rate or 'no'} bytes/s limit; 100 runs in"
              f" {slow:.1f} s (30 in {fast:.1f} s before)")  # fmt: skip
        assert worker.poll() is None
    assert ground.lost_attempts() == 0
    assert ground.log_lines("the lease is lost") == 0
    assert ground.value("select count(*) from pgorch.runs where status <> 'completed'") == 0
    ground.check()


def test_a_worker_that_reaches_the_database_and_not_the_world(apart: tuple[Ground, Network, str]) -> None:
    """The reverse of row 36: tools fail, and that is all: the worker lives, attempts are the policy's."""
    ground, net, dsn = apart
    ground.prepare()
    graph = ground.graph(["fetch"])
    served = _Server(net.host)
    threading.Thread(target=served.serve, daemon=True).start()
    worker = ground.worker(dsn, wrap=net.wrap, beat=0.3)
    net.reset(served.port, 1.0)
    ground.start(graph, 5, {"host": net.host, "port": served.port})
    time.sleep(4)
    hits = net.hits()
    failed = ground.value("select count(*) from pgorch.history where kind = 'attempt_failed'")
    net.clear()
    ground.all_ended()
    served.close()
    print(f"injected: {hits} packets to the world refused; {failed} attempts failed, then all succeeded")
    assert hits > 0
    assert failed > 0
    assert worker.poll() is None
    assert ground.lost_attempts() == 0
    assert ground.value("select count(*) from pgorch.runs where status <> 'completed'") == 0
    ground.check()


class _Server:
    """Something in the world outside: accepts, says a word, closes."""

    def __init__(self, host: str) -> None:
        self._listener = socket.create_server((host, 0))
        self.port = int(self._listener.getsockname()[1])

    def serve(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                with connection:
                    connection.sendall(b"here")

    def close(self) -> None:
        self._listener.close()
