"""Where the server's CPU goes, function by function: perf with whole stacks, sampled by the clock.

Needs `perf`, the right to use it, and a server whose programs have their symbols (the wheel's do).
"""

import contextlib
import re
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

# What is worth knowing of a call of advance(), by the function of PostgreSQL in which it happens. A part that
# lies within another is counted in both.
PARTS = {
    "PostgresMain": "everything",
    "plpgsql_exec_function": "functions (all that follows but commit and arguments)",
    "standard_ExecutorStart": "starting executors",
    "standard_ExecutorEnd": "ending executors",
    "GetCachedPlan": "finding and checking plans",
    "ExecModifyTable": "writing rows: insert, update, delete",
    "ExecInsertIndexTuples": "  new index entries",
    "heap_update": "  new versions of rows",
    "ExecConstraints": "  check constraints",
    "_bt_first": "descending indexes",
    "ExecLockRows": "locking rows",
    "ExecReScan": "starting a look-up once more",
    "jsonb_concat": "laying JSON over JSON",
    "executeJsonPath": "JSON paths",
    "array_in": "reading the arguments",
    "printtup": "sending rows",
    "XLogInsert": "making WAL",
    "CommitTransaction": "commit",
    "XLogFlush": "  writing and syncing WAL",
    "issue_xlog_fsync.part.0": "    fdatasync",
}
_LINE = re.compile(r"^\s*([\d.]+)%\s+([\d.]+)%\s+(?:\S+\s+)?\S+\s+\[[.k]\]\s+(\S+)")


@dataclass
class Samples:
    """Percent of the samples in which a function was on the stack, and in which it was the one that ran."""

    within: dict[str, float] = field(default_factory=dict)
    itself: dict[str, float] = field(default_factory=dict)


def why_not() -> str | None:
    """The reason why there is no perf here."""
    if shutil.which("perf") is None:
        return "there is no perf on this machine"
    with tempfile.TemporaryDirectory() as directory:
        command = ["perf", "record", "-q", "-e", "cpu-clock", "-o", f"{directory}/data", "true"]
        done = subprocess.run(command, capture_output=True, text=True)
    return None if done.returncode == 0 else f"perf may not be used: {done.stderr.strip()[:200]}"


@contextlib.contextmanager
def sampled(pid: int, hertz: int = 500) -> Iterator[Samples]:
    """Samples a process while the block runs; afterwards the samples are filled in."""
    samples = Samples()
    with tempfile.TemporaryDirectory(prefix="pgorch-perf-") as directory:
        data = Path(directory) / "data"
        command = ["perf", "record", "-q", "-e", "cpu-clock", "-F", str(hertz), "--call-graph", "dwarf,16384"]
        process = subprocess.Popen([*command, "-p", str(pid), "-o", data], stderr=subprocess.DEVNULL)
        time.sleep(0.5)
        try:
            yield samples
        finally:
            process.send_signal(signal.SIGINT)
            process.wait()
        report = ["perf", "report", "-i", str(data), "--no-inline", "--children", "--stdio", "-g", "none"]
        said = subprocess.run([*report, "--percent-limit", "0.2"], capture_output=True, text=True, check=True)
    for line in said.stdout.splitlines():
        if found := _LINE.match(line):
            within, itself, name = found.groups()
            samples.within[name] = samples.within.get(name, 0) + float(within)
            samples.itself[name] = samples.itself.get(name, 0) + float(itself)


def lines(columns: dict[str, Samples]) -> Iterator[str]:
    """A table: the parts of a call with their shares in each of the columns, then what ran most."""
    yield f"{'% of the CPU':<56}" + "".join(f"{name:>18}" for name in columns)
    for function, what in PARTS.items():
        shares = [samples.within.get(function, 0.0) for samples in columns.values()]
        yield f"{what:<56}" + "".join(f"{share:>18.1f}" for share in shares)
    for name, samples in columns.items():
        most = sorted(samples.itself.items(), key=lambda one: -one[1])[:12]
        yield f"most by themselves, {name}: " + ", ".join(
            f"{function} {share:.1f}" for function, share in most
        )
