"""Where a worker process spends its time, by py-spy, which is installed on demand."""

import contextlib
import signal
import subprocess
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from tests.bench.environments import environment

# Sampled more often, the worker is stopped for a good part of the time.
_HERTZ = 100

# Functions of the loop's thread, and what they stand for. One that lies within another is counted in both.
PARTS = {
    "Working._advance": "calls of advance(), and beginning what comes back",
    "advance": "  the call",
    "_arguments": "    making its arguments",
    "AsyncConnection.wait": "    sending and waiting, that is: switching",
    "AsyncCursor.fetchall": "    reading its rows",
    "Working._take_up": "  beginning steps",
    "Performer.begin": "    making their tasks",
    "Running.__init__": "    noting them",
    "Performer._run": "tasks of steps",
    "Running.arguments": "  arguments of tools",
    "success": "  results",
    "dumps": "    as strict JSON",
    "Performer._end": "  ending them",
}


@dataclass
class Samples:
    """Samples of the loop's thread: how many, and in how many each function was on the stack, or ran."""

    total: int = 0
    within: Counter[str] = field(default_factory=Counter)
    itself: Counter[str] = field(default_factory=Counter)


@contextlib.contextmanager
def sampled(pid: int) -> Iterator[Samples]:
    """Samples a worker process while the block runs; afterwards the samples are filled in."""
    program = environment("py-spy", ("py-spy",)) / "py-spy"
    samples = Samples()
    with tempfile.TemporaryDirectory(prefix="pgorch-spy-") as directory:
        raw = Path(directory) / "stacks"
        options = ["-p", str(pid), "-r", str(_HERTZ), "-f", "raw", "-o", str(raw), "-d", "600"]
        command = [str(program), "record", *options]
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        time.sleep(1)
        try:
            yield samples
        finally:
            process.send_signal(signal.SIGINT)
            process.wait(60)
        _count(raw.read_text().splitlines(), samples)


def lines(samples: Samples) -> Iterator[str]:
    """A table: the parts with their shares, then what ran most."""
    if not samples.total:
        yield "no samples were taken"
        return
    yield f"{'% of the CPU of the loop':<56}{samples.total:>10} samples"
    for function, what in PARTS.items():
        yield f"{what:<56}{100 * samples.within[function] / samples.total:>10.1f}"
    most = [f"{name} {100 * count / samples.total:.1f}" for name, count in samples.itself.most_common(12)]
    yield "most by themselves: " + ", ".join(most)


def _count(stacks: list[str], samples: Samples) -> None:
    for line in stacks:
        stack, _, count = line.rpartition(" ")
        names = [frame.partition(" (")[0] for frame in stack.split(";")]
        # The threads of the lease and of the watchdog are other stacks.
        if "Runner.run" not in names:
            continue
        samples.total += int(count)
        samples.itself[names[-1]] += int(count)
        for name in set(names):
            samples.within[name] += int(count)
