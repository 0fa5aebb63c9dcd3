"""As whom PostgreSQL runs. It refuses to run as root, and `initdb` refuses users that have no name."""

import functools
import os
import pwd
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pgorch.errors import ConfigError

_MAP_USER = Path(__file__).with_name("map_user.py")


@dataclass(frozen=True)
class Identity:
    """The user that PostgreSQL's programs run as, and how they come to be it."""

    uid: int
    gid: int
    mapped: bool = False
    """In a user namespace: the programs see `uid`, the files stay with the user who starts them."""

    @property
    def owner(self) -> tuple[int, int]:
        """User and group to whom the files belong, seen from outside."""
        return (os.geteuid(), os.getegid()) if self.mapped else (self.uid, self.gid)

    @property
    def dropped(self) -> bool:
        """Somebody else than the user who starts the programs owns the files."""
        return self.owner[0] != os.geteuid()

    def command(self, program: Path, *arguments: str) -> list[str]:
        plain = [str(program), *arguments]
        if not self.mapped:
            return plain
        return [sys.executable, "-I", "-S", str(_MAP_USER), str(self.uid), str(self.gid), *plain]


def choose_identity(owner: int | None, probe: Path) -> Identity:
    """Who should run PostgreSQL on data that belongs to the user `owner` (None: there is no data yet).

    `probe` is a program that exits with 0, run to see whether this system allows user namespaces. Raises
    ConfigError if there is no way.
    """
    me = os.geteuid()
    if me != 0:
        return _ordinary(me, probe)
    if owner:
        return Identity(owner, _group_of(owner))
    nobody = _nobody()
    if namespaces_work(probe):
        return Identity(nobody.pw_uid, nobody.pw_gid, mapped=True)
    if owner == 0:
        raise ConfigError(
            "The data belongs to root, PostgreSQL refuses to run as root, and this system allows no user "
            "namespaces.",
            hint="Choose another data directory (PGORCH_DATA_DIR), give this one to an ordinary user with "
            "chown -R, or set PGORCH_DSN to a server that runs already.",
        )
    return Identity(nobody.pw_uid, nobody.pw_gid)


def reachable(path: Path, identity: Identity) -> bool:
    """Whether that user can get to `path` through all the directories above it."""
    return all(_may_enter(parent, identity) for parent in path.resolve().parents)


@functools.cache
def namespaces_work(probe: Path) -> bool:
    """Whether a program can be run in a user namespace here. Docker's default profile refuses it."""
    if sys.platform != "linux":
        return False
    nobody = _nobody()
    identity = Identity(nobody.pw_uid, nobody.pw_gid, mapped=True)
    try:
        done = subprocess.run(identity.command(probe, "--version"), capture_output=True, cwd="/", timeout=30)
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0


def _ordinary(uid: int, probe: Path) -> Identity:
    try:
        pwd.getpwuid(uid)
    except KeyError:
        if namespaces_work(probe):
            nobody = _nobody()
            return Identity(nobody.pw_uid, nobody.pw_gid, mapped=True)
        raise ConfigError(
            f"User {uid} has no entry in the password file, so PostgreSQL's initdb refuses it, and this "
            "system allows no user namespaces.",
            hint="Run as a user with a name, or set PGORCH_DSN to a server that runs already.",
        ) from None
    return Identity(uid, os.getegid())


def _nobody() -> pwd.struct_passwd:
    try:
        return pwd.getpwnam("nobody")
    except KeyError:
        raise ConfigError(
            "PostgreSQL refuses to run as root, and this system has no user named nobody to run it instead.",
            hint="Run as an ordinary user, or set PGORCH_DSN to a server that runs already.",
        ) from None


def _group_of(uid: int) -> int:
    try:
        return pwd.getpwuid(uid).pw_gid
    except KeyError:
        return uid


def _may_enter(directory: Path, identity: Identity) -> bool:
    status = directory.stat()
    uid, gid = identity.owner
    if status.st_uid == uid:
        return bool(status.st_mode & 0o100)
    if status.st_gid == gid:
        return bool(status.st_mode & 0o010)
    return bool(status.st_mode & 0o001)


def surroundings(identity: Identity) -> dict[str, Any]:
    """Arguments for `subprocess` with which PostgreSQL's programs are run.

    In a session of its own, so that Ctrl-C in the terminal does not reach the server, and without the
    caller's PG* variables.
    """
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith(("PG", "LC_", "LANG"))
    }
    as_whom = {"user": identity.uid, "group": identity.gid, "extra_groups": []} if identity.dropped else {}
    return {
        "stdin": subprocess.DEVNULL,
        "cwd": "/",
        "env": {**environment, "LC_ALL": "C"},
        "start_new_session": True,
        **as_whom,
    }
