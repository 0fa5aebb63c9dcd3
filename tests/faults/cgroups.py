"""Control groups that hold a process down, where the machine has them (Linux, cgroup v1, root)."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

_ROOT = Path("/sys/fs/cgroup")


@contextlib.contextmanager
def group(controller: str, **settings: int) -> Iterator[Path]:
    """A new group with these settings; what is still in it at the end goes back to where it came from. Skips
    the test where none can be made."""
    parent = _ROOT / controller
    if not (parent / "cgroup.procs").exists() or not os.access(parent, os.W_OK):
        pytest.skip(f"no control groups of the kind {controller} can be made here")
    made = parent / f"pgorch-test-{os.getpid()}"
    made.mkdir()
    try:
        for name, value in settings.items():
            (made / f"{controller}.{name}").write_text(str(value))
        yield made
    finally:
        for pid in (made / "cgroup.procs").read_text().split():
            with contextlib.suppress(OSError):
                (parent / "cgroup.procs").write_text(pid)
        made.rmdir()


def put_into(made: Path, pid: int) -> None:
    (made / "cgroup.procs").write_text(str(pid))


def resident_bytes(pid: int) -> int:
    """How much memory the process uses now."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")
