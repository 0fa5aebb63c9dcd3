import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from pgorch.embedded import EmbeddedServer
from pgorch.errors import ConfigError
from tests.cli.conftest import Cli


@pytest.fixture
def data_dir() -> Iterator[Path]:
    # A short path that whoever runs PostgreSQL here may pass.
    parent = Path(tempfile.mkdtemp(prefix="pgorch-db-"))
    parent.chmod(0o755)
    try:
        yield parent / "server"
    finally:
        shutil.rmtree(parent)


def pgorch(*arguments: object) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "pgorch", *map(str, arguments)],
        env={**os.environ, "PGORCH_DATA_DIR": ""},
        stdout=subprocess.PIPE,
        text=True,
        timeout=60,
        check=True,
    )
    return done.stdout


def test_the_embedded_server_is_started_asked_emptied_and_stopped(nowhere: Cli, data_dir: Path) -> None:
    place = ("--data-dir", data_dir)
    try:
        said = pgorch("db", "start", *place, "-o", "table")
    except ConfigError:
        pytest.skip("no embedded PostgreSQL here")
    dsn = said.splitlines()[1].removeprefix("export PGORCH_DSN=").strip("'")
    try:
        with psycopg.connect(dsn, autocommit=True) as connection:
            connection.execute("create table mine ()")
        # Another user comes and goes; the server stays.
        with EmbeddedServer(data_dir) as server:
            assert server.adopted
            has_psql = (server.bin_dir / "psql").exists() or shutil.which("psql")
        if has_psql:
            assert pgorch("db", "psql", *place, "--", "-Atc", "select 6 * 7").strip() == "42"
        assert nowhere("db", "reset", "--yes", *place).code == 0
        with psycopg.connect(dsn, autocommit=True) as connection:
            row = connection.execute("select to_regclass('mine'), to_regclass('pgorch.runs')").fetchone()
        assert row == (None, "pgorch.runs")
        refused = nowhere("db", "reset", *place, stdin="n\n")
        assert refused.code == 1
    finally:
        assert nowhere("db", "stop", *place).out == "stopped\n"
    with pytest.raises(psycopg.OperationalError):
        psycopg.connect(dsn).close()
    assert nowhere("db", "stop", *place).out == "it did not run\n"
