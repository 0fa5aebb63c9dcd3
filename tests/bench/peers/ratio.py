"""The goal that is a ratio: W1 here against Absurd, the quickest of the peers."""

import statistics

from tests.bench.arena import Arena, Figure
from tests.bench.peers.engines import Absurd, Pgorch


def absurd(arena: Arena) -> list[Figure]:
    """10-step chains in pgorch and Absurd (Python), two processes each, turn and turn about."""
    seconds = arena.scaled(4)
    rounds = []
    for _ in range(3):
        found = []
        for engine in (Pgorch(), Absurd()):
            with engine.open(arena):
                found.append(engine.chains(seconds).figures())
        rounds.append(found)
    own, other = (statistics.median(found[n]["steps/s"] for found in rounds) for n in (0, 1))
    ratio = statistics.median(found[0]["steps/s"] / found[1]["steps/s"] for found in rounds)
    return [
        Figure("steps/s, pgorch, 2 workers", own, ">= 30000"),
        Figure("steps/s, Absurd, 2 processes, 20 at once", other),
        Figure(
            "WAL bytes per step, Absurd", statistics.median(found[1]["WAL bytes/step"] for found in rounds)
        ),
        Figure("ratio", ratio, ">= 20"),
    ]
