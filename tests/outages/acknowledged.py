"""Figure G7: starts that were acknowledged, then lost. The server is stopped at once every few seconds, and
the lines of the APIs lose requests and replies.

    python -m tests.outages.acknowledged --starts 100000
"""

import argparse
import contextlib
import signal
import tempfile
import time
from pathlib import Path

from tests.outages.calls import Callers
from tests.outages.cluster import Cluster
from tests.outages.ground import Ground
from tests.support.proxy import Proxy


def measure(starts: int, *, between: float = 8.0, eaten: float = 0.02) -> str:
    with contextlib.ExitStack() as stack:
        place = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="pgorch-outage-")))
        place.chmod(0o755)
        logs = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="pgorch-logs-")))
        cluster = Cluster(place, settings={"fsync": "on"}).create().start().migrate()
        stack.callback(cluster.stop)
        ground = Ground(cluster.dsn, logs)
        stack.callback(ground.close)
        ground.prepare()
        graph = ground.graph(["step"])
        line = stack.enter_context(Proxy(cluster.dsn))
        apis = [ground.api(line.dsn) for _ in range(2)]
        ground.worker()
        ground.worker()
        line.set(eat_request=eaten, eat_reply=eaten)
        callers = Callers(apis, graph, clients=16, most=starts).start()
        restarts, began = 0, time.monotonic()
        while True:
            callers.join(between)
            if callers.given_up or not callers.under_way:
                break
            cluster.stop(signal.SIGQUIT)
            time.sleep(0.5)
            cluster.start()
            restarts += 1
        took = time.monotonic() - began
        callers.stop()
        line.clear()
        ground.reconnect()
        ground.all_ended(600)
        acknowledged = callers.check(ground.db)
        assert acknowledged == starts, f"given up after a minute: {callers.given_up}"
        unknown = sum(call.status == 0 for call in callers.calls)
        refused = sum(call.status == 503 for call in callers.calls)
        ground.check()
    return (
        f"{acknowledged} starts acknowledged in {took:.0f} s, 0 lost, 0 doubled; {restarts} immediate stops,"
        f" {line.happened['request eaten']} requests and {line.happened['reply eaten']} replies eaten,"
        f" {refused} answers 503, {unknown} without answer"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--starts", type=int, default=100_000)
    options = parser.parse_args()
    print(measure(options.starts))


if __name__ == "__main__":
    main()
