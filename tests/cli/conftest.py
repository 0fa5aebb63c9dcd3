import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from pgorch.cli.main import app
from tests.support.emptied import connection, database, engine

__all__ = ["connection", "database", "engine"]

_DATABASE_VARIABLES = (
    "PGORCH_DSN",
    "DATABASE_URL",
    "PGHOST",
    "PGHOSTADDR",
    "PGSERVICE",
    "PGDATABASE",
    "PGORCH_APP",
)


@dataclass(frozen=True)
class Said:
    """What a command printed, and how it ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


Cli = Callable[..., Said]


@pytest.fixture
def nowhere(monkeypatch: pytest.MonkeyPatch) -> Cli:
    """The command line in an environment that names no database."""
    for name in _DATABASE_VARIABLES:
        monkeypatch.delenv(name, raising=False)

    def call(*arguments: object, stdin: str | None = None) -> Said:
        result = CliRunner().invoke(app, [str(each) for each in arguments], input=stdin, prog_name="pgorch")
        if result.exception and not isinstance(result.exception, SystemExit):
            raise result.exception
        return Said(result.exit_code, result.stdout, result.stderr)

    return call


@pytest.fixture
def cli(nowhere: Cli, database: str, monkeypatch: pytest.MonkeyPatch) -> Cli:
    """The command line with PGORCH_DSN set to the database of the test."""
    monkeypatch.setenv("PGORCH_DSN", database)
    return nowhere


@pytest.fixture
def environment(database: str) -> dict[str, str]:
    """The environment of a real process on the database of the test."""
    kept = {name: value for name, value in os.environ.items() if name not in _DATABASE_VARIABLES}
    return {**kept, "PGORCH_DSN": database}


@pytest.fixture
def write(tmp_path: Path) -> Callable[[str, str], Path]:
    """Writes a file for the test; its path."""

    def written(name: str, text: str) -> Path:
        path = tmp_path / name
        path.write_text(text, encoding="utf-8")
        return path

    return written
