import os
import shutil
import socket
from pathlib import Path

import psycopg
import pytest

from pgorch.embedded import EmbeddedServer, find_binaries
from pgorch.embedded.identity import Identity
from pgorch.embedded.places import default_data_dir, socket_dir
from pgorch.errors import ConfigError

ME = Identity(os.geteuid(), os.getegid())


@pytest.mark.parametrize("name", ["long" * 25, "with space", 'it\'s, "quoted", $(unusual) and ü'])
def test_a_path_that_no_socket_can_have_gets_a_short_private_directory(data_dir: Path, name: str) -> None:
    chosen = data_dir.parent / name / "server"
    with EmbeddedServer(chosen, fsync=False) as server, psycopg.connect(server.dsn) as connection:
        directory = Path(connection.info.host)
        assert directory.parent == Path("/tmp")
        assert directory.stat().st_mode & 0o077 == 0
        assert server.data_dir == chosen
    directory.rmdir()


def test_the_longest_path_that_fits_is_used_as_it_is_and_can_be_bound(tmp_path: Path) -> None:
    root = Path("/tmp") / ("p" * (107 - len("/tmp/") - len("/run/.s.PGSQL.5432")))
    root.mkdir()
    try:
        directory = socket_dir(root, ME)
        assert directory == root / "run"
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(str(directory / ".s.PGSQL.5432"))
    finally:
        shutil.rmtree(root)


def test_a_socket_directory_that_somebody_else_made_is_refused(data_dir: Path) -> None:
    directory = data_dir / "run"
    directory.parent.mkdir()
    directory.symlink_to("/tmp")
    with pytest.raises(ConfigError, match="belongs to somebody else"):
        socket_dir(data_dir, ME)
    directory.unlink()


def test_a_directory_with_other_files_is_not_taken(data_dir: Path) -> None:
    data_dir.mkdir()
    (data_dir / "thesis.tex").write_text("years of work")
    with pytest.raises(ConfigError, match=r"files of somebody else \(thesis\.tex\)"):
        EmbeddedServer(data_dir, fsync=False).start()
    assert [p.name for p in data_dir.iterdir()] == ["thesis.tex"]


def test_a_file_is_no_data_directory(data_dir: Path) -> None:
    data_dir.write_text("a file")
    with pytest.raises(ConfigError, match="cannot be used"):
        EmbeddedServer(data_dir, fsync=False).start()


def test_data_of_another_major_version_is_named_and_left_alone(
    data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PGORCH_PG_BIN", str(find_binaries().directory))
    (data_dir / "data").mkdir(parents=True)
    (data_dir / "data" / "PG_VERSION").write_text("9\n")
    with pytest.raises(ConfigError, match="holds data of PostgreSQL 9") as caught:
        EmbeddedServer(data_dir, fsync=False).start()
    assert caught.value.hint is not None
    assert "PGORCH_DATA_DIR" in caught.value.hint
    assert [p.name for p in data_dir.iterdir()] == ["data"]
    shutil.rmtree(data_dir)


def test_the_data_directory_can_be_named_in_the_environment(
    data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PGORCH_DATA_DIR", str(data_dir))
    with EmbeddedServer(fsync=False) as server:
        assert server.data_dir == data_dir


def test_the_default_data_directory_has_the_major_version_in_its_name(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("XDG_DATA_HOME", raising=False)
    monkeypatch.setenv("HOME", "/home/ada")
    assert default_data_dir(18, ME) == Path("/home/ada/.local/share/pgorch/postgres-18")
    monkeypatch.setenv("XDG_DATA_HOME", "/data")
    assert default_data_dir(18, ME) == Path("/data/pgorch/postgres-18")
    monkeypatch.setenv("XDG_DATA_HOME", "relative/is/to/be/ignored")
    assert default_data_dir(17, ME) == Path("/home/ada/.local/share/pgorch/postgres-17")
