"""demos/run.py as a user starts it, in the environment that the tests run in."""

import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from demos.data_quality import rules

RUN = [str(Path(rules.__file__).parent.parent / "run.py"), "--here"]
DEMO = ["-m", "pgorch", "demo"]
pytestmark = pytest.mark.timeout(240)


@contextmanager
def started(*arguments: str, home: Path, command: list[str] = RUN) -> Iterator[subprocess.Popen[str]]:
    """The demo as a process; whatever happens, it is told to end, and has ended what it started."""
    process = subprocess.Popen(
        [sys.executable, "-u", *command, *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, "TMPDIR": str(home)},
    )
    try:
        yield process
    finally:
        if process.poll() is None:
            process.terminate()
        process.communicate(timeout=60)


def read_until(process: subprocess.Popen[str], pattern: str) -> str:
    """What it says until a line matches; its last words if it never does."""
    assert process.stdout is not None
    said = ""
    for line in process.stdout:
        said += line
        if re.search(pattern, line):
            return said
    raise AssertionError(f"it never said {pattern}:\n{said}")


def left_behind(home: Path) -> list[str]:
    """Processes that know the directory of the demo."""
    if Path("/proc/self/cmdline").exists():
        lines = [command_line(each) for each in Path("/proc").glob("[0-9]*/cmdline")]
    else:
        lines = subprocess.check_output(["ps", "-axo", "command"], text=True).splitlines()
    return [line for line in lines if str(home) in line]


def command_line(file: Path) -> str:
    try:
        return file.read_bytes().replace(b"\0", b" ").decode(errors="replace")
    except OSError:
        return ""  # it has just ended


@pytest.fixture
def home() -> Iterator[Path]:
    # Short and open to all: a server that runs as another user has to reach its socket there.
    path = Path(tempfile.mkdtemp(prefix="pgorch-", dir="/tmp"))
    path.chmod(0o755)
    yield path
    deadline = time.monotonic() + 20
    while left_behind(path) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert left_behind(path) == []
    assert list(path.iterdir()) == []
    path.rmdir()


def test_all_demos_run_and_every_claim_in_them_is_true(home: Path) -> None:
    with started("--yes", home=home) as process:
        said, _ = process.communicate(timeout=200)
    assert process.returncode == 0, said
    for claim in (
        "✓ the quality rose from 0.8379 to 0.9954",
        "✓ 342 birds are in the table penguins.birds",
        "✓ the history has the lost attempt, and one checkpoint of the second",
        "✓ nothing answers any more",
        "✓ PostgreSQL and the API are back, and both runs are exactly as they were",
        "✓ each estimate that was released is published exactly once",
        "✓ committed: the decision and her row are there",
        "✓ 49 hours, one signature: the deadline has passed, and the transfer is cancelled",
        "✓ cleo has paid and gets no ticket: payment, hotel and flight are undone, the newest first",
        "✓ and no look-up was repeated",
        "✓ approved with another amount: 89.50 are refunded, once",
        "Everything above was checked.",
    ):
        assert claim in said
    assert said.count("✓") == 54


def test_a_person_decides_at_the_keyboard_on_another_port_if_8000_is_taken(home: Path) -> None:
    with taken(8000), started("data_quality", home=home) as process:
        assert process.stdin is not None
        process.stdin.write("what?\nn\n")
        process.stdin.flush()
        said, _ = process.communicate(timeout=120)
    assert process.returncode == 0, said
    assert "Port 8000 is taken, so the API listens on " in said
    assert "Publish 342 birds of quality 0.9954?" in said
    assert "✓ rejected, so it went to quarantine" in said


@pytest.mark.long
@pytest.mark.parametrize(
    ("demo", "claims"),
    [
        ("wire_transfer", ["Shall carol release it?", "✓ rejected for good: nothing is sent"]),
        (
            "agent",
            ["✓ rejected: nothing is refunded, and the model is told why", "No refunds without a photo"],
        ),
    ],
)
def test_a_person_may_say_no(home: Path, demo: str, claims: list[str]) -> None:
    with started(demo, home=home, command=DEMO) as process:
        said, _ = process.communicate("n\n", timeout=120)
    assert process.returncode == 0, said
    assert [claim for claim in claims if claim not in said] == []


def test_the_command_demo_lists_them(home: Path) -> None:
    with started(home=home, command=DEMO) as process:
        listed, _ = process.communicate(timeout=60)
    assert process.returncode == 0
    names = [line.split()[0] for line in listed.splitlines()]
    assert names == ["data_quality", "persistence_approval", "wire_transfer", "saga", "agent"]


@pytest.mark.long
def test_an_interrupted_demo_leaves_nothing_behind(home: Path) -> None:
    with started("persistence_approval", home=home) as process:
        read_until(process, "is in the middle of the first step")
        process.send_signal(signal.SIGINT)
        said, _ = process.communicate(timeout=60)
    assert process.returncode == 130, said
    assert "Interrupted; everything that was started has been ended." in said


def test_a_demo_that_nobody_reads_any_more_leaves_nothing_behind(home: Path) -> None:
    with started("saga", home=home) as process:
        read_until(process, "one seat, one room")
        assert process.stdout is not None
        process.stdout.close()
        process.wait(60)
    assert process.returncode != 0


def test_a_demo_that_does_not_exist_is_refused_with_those_that_do(home: Path) -> None:
    with started("quality", home=home) as process:
        said, _ = process.communicate(timeout=60)
    assert process.returncode == 2
    assert (
        "there is no demo quality, only data_quality, persistence_approval, wire_transfer, saga, agent"
        in said
    )


@contextmanager
def taken(port: int) -> Iterator[None]:
    """The port is taken, by us or by somebody else."""
    with socket.socket() as listener:
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(("127.0.0.1", port))
            listener.listen()
        except OSError:
            pass
        yield
