"""Finds the SQL of pgorch: in the wheel it lies inside the package, in a checkout beside it."""

import hashlib
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path

import pgorch
from pgorch.errors import ConfigError


@dataclass(frozen=True)
class SqlFile:
    """One file of `sql/migrations` or `sql/functions`. `name` has no suffix: "0001_tables"."""

    name: str
    text: str

    @property
    def number(self) -> int:
        """The number that the name begins with."""
        return int(self.name.partition("_")[0])

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the text in hexadecimal."""
        return hashlib.sha256(self.text.encode()).hexdigest()


@dataclass(frozen=True)
class SqlFiles:
    """All SQL of one version of pgorch, each kind in the order in which it is applied."""

    migrations: tuple[SqlFile, ...]
    functions: tuple[SqlFile, ...]

    @property
    def digest(self) -> str:
        """SHA-256 over all files: the same digest means the same schema."""
        parts = [f"{file.name} {file.digest}" for file in self.migrations + self.functions]
        return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def directory() -> Path:
    """Where the SQL of the running pgorch is. Raises ConfigError if the installation has none."""
    package = Path(pgorch.__file__).resolve().parent
    for candidate in (package / "sql", package.parent / "sql"):
        if (candidate / "migrations").is_dir() and (candidate / "functions").is_dir():
            return candidate
    raise ConfigError(
        f"The SQL files of pgorch are neither in {package / 'sql'} nor in {package.parent / 'sql'}.",
        hint="The installation is incomplete: install pgorch anew.",
    )


@cache
def sql_files(root: Path | None = None) -> SqlFiles:
    """All SQL files below `root`, or those of the running pgorch, read once: a process is of one version."""
    root = root or directory()
    return SqlFiles(migrations=_read(root / "migrations"), functions=_read(root / "functions"))


def _read(folder: Path) -> tuple[SqlFile, ...]:
    # Text mode turns CRLF into LF, so that a checkout on Windows has the same digests.
    return tuple(
        SqlFile(path.stem, path.read_text(encoding="utf-8")) for path in sorted(folder.glob("*.sql"))
    )
