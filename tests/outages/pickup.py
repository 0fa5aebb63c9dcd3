"""Figure G11: from the commit of a start to the claim of its first step, idle and under load.

python -m tests.outages.pickup --seconds 30 --rate 300
"""

import argparse
import random
import time

from psycopg.types.json import Jsonb

from tests.outages.feeding import Feeder, Window, moment, steady_ground, window
from tests.outages.ground import Ground


def idle(ground: Ground, graph: str, starts: int) -> Window:
    """Single starts, with a pause in which everything falls asleep."""
    began = moment(ground)
    for _ in range(starts):
        ground.value("select pgorch.start(%s, %s)", graph, Jsonb({}))
        time.sleep(random.uniform(0.1, 0.3))
    ground.all_ended()
    return window(ground, began, moment(ground))


def loaded(ground: Ground, graph: str, seconds: float, rate: float) -> Window:
    with Feeder(ground.dsn, graph, rate):
        time.sleep(3)
        began = moment(ground)
        time.sleep(seconds)
        ended = moment(ground)
    ground.all_ended()
    return window(ground, began, ended)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=30)
    parser.add_argument("--rate", type=float, default=300)
    options = parser.parse_args()
    with steady_ground() as (ground, graph):
        print(f"   idle, ms: {idle(ground, graph, int(options.seconds * 5))}   (goal: p95 <= 15)")
        print(f"at {options.rate:.0f}/s, ms: {loaded(ground, graph, options.seconds, options.rate)}"
              "   (goal: p95 <= 40)")  # fmt: skip


if __name__ == "__main__":
    main()
