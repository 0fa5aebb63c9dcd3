from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from pgorch.database.migrations import migrate
from pgorch.embedded import EmbeddedServer
from tests.crash.conftest import Crew, crew, own_server
from tests.support.invariants import violations

__all__ = ["crew", "own_server"]


@pytest.fixture
def own_crew(own_server: EmbeddedServer, tmp_path: Path) -> Iterator[Crew]:
    """A crew on a server of its own, whose commits survive what is done to it."""
    with psycopg.connect(own_server.dsn, autocommit=True) as admin:
        admin.execute("alter database pgorch set synchronous_commit = on")
    migrate(own_server.dsn)
    crew = Crew(own_server.dsn, tmp_path)
    try:
        yield crew
        assert violations(crew.connection) == {}
    finally:
        crew.dismiss()
