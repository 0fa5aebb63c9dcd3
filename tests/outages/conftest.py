import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.outages.cluster import Cluster
from tests.outages.ground import Ground


@pytest.fixture
def place() -> Iterator[Path]:
    """A directory that a server which runs as somebody else gets into."""
    parent = Path(tempfile.mkdtemp(prefix="pgorch-outage-"))
    parent.chmod(0o755)
    yield parent
    shutil.rmtree(parent, ignore_errors=True)


@pytest.fixture
def cluster(place: Path) -> Iterator[Cluster]:
    """A server of this test alone, with pgorch in it. Its data is in memory where that is possible."""
    cluster = Cluster(place).create().start().migrate()
    yield cluster
    cluster.stop()


@pytest.fixture
def ground(cluster: Cluster, tmp_path: Path) -> Iterator[Ground]:
    ground = Ground(cluster.dsn, tmp_path)
    yield ground
    ground.close()
