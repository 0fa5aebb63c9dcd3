import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from pgorch.embedded import EmbeddedServer, places


@pytest.fixture
def data_dir(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A directory that does not exist yet, on a short path that everybody may pass. What runs there in the
    end is stopped."""
    parent = Path(tempfile.mkdtemp(prefix="pgorch-test-"))
    parent.chmod(0o755)
    directory = parent / "server"
    # Copies of programs, where only root can reach the installed ones, must not stay either.
    monkeypatch.setattr(places, "_SYSTEM", parent / "system")
    try:
        yield directory
    finally:
        if (directory / "data").exists():
            EmbeddedServer(directory, fsync=False).start().stop()
        shutil.rmtree(parent)
