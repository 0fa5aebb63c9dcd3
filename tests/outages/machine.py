"""What this machine must allow for some of the tests: disks that fill up or freeze, networks of one's own,
clocks that lie. Where it does not, a test is skipped with a sentence."""

import contextlib
import glob
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest


def needs_root() -> None:
    if os.geteuid() != 0:
        pytest.skip("This needs root: it mounts disks or makes network namespaces.")


def needs(program: str, why: str) -> str:
    found = shutil.which(program) or shutil.which(program, path="/usr/sbin:/sbin")
    if found is None:
        pytest.skip(f"The program {program} is not here: {why}.")
    return found


def tried(*command: str) -> subprocess.CompletedProcess[str]:
    """Runs a command that this machine may refuse: then the test is skipped."""
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    if done.returncode != 0:
        pytest.skip(f"This machine does not allow `{' '.join(command)}`: {done.stderr.strip()}")
    return done


@contextlib.contextmanager
def memory_disk(place: Path, megabytes: int) -> Iterator[Path]:
    """A disk of this size, in memory."""
    needs_root()
    place.mkdir()
    tried("mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "pgorch-test", str(place))
    try:
        yield place
    finally:
        subprocess.run(["umount", "-l", str(place)], check=False, timeout=60)


@contextlib.contextmanager
def freezable_disk(place: Path, megabytes: int) -> Iterator[Path]:
    """An ext4 of its own in a file, which `fsfreeze` can freeze."""
    needs_root()
    needs("mkfs.ext4", "no disk can be made in a file")
    needs("fsfreeze", "no disk can be frozen")
    image = place.with_suffix(".img")
    with image.open("wb") as file:
        file.truncate(megabytes << 20)
    tried("mkfs.ext4", "-q", str(image))
    place.mkdir()
    tried("mount", "-o", "loop", str(image), str(place))
    try:
        yield place
    finally:
        subprocess.run(["fsfreeze", "-u", str(place)], capture_output=True, check=False, timeout=60)
        subprocess.run(["umount", "-l", str(place)], check=False, timeout=60)


def fill(place: Path, leave: int = 0) -> Path:
    """Fills the disk up to `leave` bytes with one file. Removing it gives the space back."""
    ballast = place / "ballast"
    free = os.statvfs(place)
    left = free.f_bavail * free.f_frsize - leave
    with ballast.open("wb") as file, contextlib.suppress(OSError):
        for _ in range(max(0, left) // 65536 + 1):
            if os.statvfs(place).f_bavail * free.f_frsize <= leave:
                break
            file.write(b"\0" * min(65536, max(1, left)))
            file.flush()
    return ballast


def faketime_library() -> str:
    """The path of libfaketime."""
    for found in glob.glob("/usr/lib/*/faketime/libfaketimeMT.so.1") + glob.glob(
        "/usr/lib/*/faketime/libfaketime.so.1"
    ):
        return found
    pytest.skip("libfaketime is not here (Debian: apt-get install faketime).")


@contextlib.contextmanager
def network(name: str) -> Iterator["Network"]:
    """A network namespace that is joined to this machine by a line of its own."""
    needs_root()
    needs("ip", "there are no network namespaces")
    needs("iptables", "packets cannot be dropped")
    tried("ip", "netns", "add", name)
    try:
        yield Network(name)
    finally:
        subprocess.run(["ip", "netns", "del", name], capture_output=True, check=False, timeout=60)


class Network:
    """`host` is this machine as seen from inside. Rules hold inside, for what leaves."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.host, self.inside = "10.213.77.1", "10.213.77.2"
        outer, inner = f"{name}o", f"{name}i"
        tried("ip", "link", "add", outer, "type", "veth", "peer", "name", inner)
        tried("ip", "link", "set", inner, "netns", name)
        tried("ip", "addr", "add", f"{self.host}/30", "dev", outer)
        tried("ip", "link", "set", outer, "up")
        for command in (
            ["ip", "addr", "add", f"{self.inside}/30", "dev", inner],
            ["ip", "link", "set", inner, "up"],
            ["ip", "link", "set", "lo", "up"],
        ):
            tried(*self.wrap, *command)

    @property
    def wrap(self) -> list[str]:
        """Put before a command, it runs inside."""
        return ["ip", "netns", "exec", self.name]

    def rule(self, *rule: str) -> None:
        tried(*self.wrap, "iptables", "-A", "OUTPUT", *rule)

    def drop(self, port: int) -> None:
        """What goes to this port of the host vanishes."""
        self.rule("-p", "tcp", "--dport", str(port), "-j", "DROP")

    def reset(self, port: int, probability: float) -> None:
        """So much of what goes there is answered with a reset."""
        self.rule("-p", "tcp", "--dport", str(port), "-m", "statistic", "--mode", "random", "--probability",
                  str(probability), "-j", "REJECT", "--reject-with", "tcp-reset")  # fmt: skip

    def hits(self) -> int:
        """How many packets rules have met."""
        listed = subprocess.run(
            [*self.wrap, "iptables", "-L", "OUTPUT", "-v", "-x", "-n"],
            capture_output=True, text=True, timeout=60,
        ).stdout  # fmt: skip
        return sum(int(line.split()[0]) for line in listed.splitlines()[2:])

    def clear(self) -> None:
        tried(*self.wrap, "iptables", "-F", "OUTPUT")
