"""Where the SQL is found, and what its digests depend on."""

from pathlib import Path

import pytest

import pgorch
from pgorch.database.sql_files import directory, sql_files
from pgorch.errors import ConfigError


def a_tree(root: Path, text: str = "select 1;\n") -> Path:
    for folder, name in (("migrations", "0001_tables"), ("functions", "10_b"), ("functions", "01_a")):
        (root / folder).mkdir(parents=True, exist_ok=True)
        (root / folder / f"{name}.sql").write_bytes(text.encode())
    return root


@pytest.mark.parametrize("place", ["site/pgorch/sql", "site/sql"], ids=["wheel", "checkout"])
def test_sql_is_found_inside_the_package_or_beside_it(
    place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "site/pgorch").mkdir(parents=True)
    monkeypatch.setattr(pgorch, "__file__", str(tmp_path / "site/pgorch/__init__.py"))
    expected = a_tree(tmp_path / place)
    assert directory() == expected


def test_an_installation_without_sql_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pgorch, "__file__", str(tmp_path / "pgorch/__init__.py"))
    with pytest.raises(ConfigError, match="SQL files of pgorch are neither in"):
        directory()


def test_files_come_in_the_order_of_their_names(tmp_path: Path) -> None:
    files = sql_files(a_tree(tmp_path))
    assert [f.name for f in files.functions] == ["01_a", "10_b"]
    assert [(f.name, f.number) for f in files.migrations] == [("0001_tables", 1)]


def test_digests_depend_on_the_text_and_not_on_line_ends(tmp_path: Path) -> None:
    unix, windows, other = (
        sql_files(a_tree(tmp_path / name, text)).digest
        for name, text in (("u", "select 1;\n"), ("w", "select 1;\r\n"), ("o", "select 2;\n"))
    )
    assert unix == windows
    assert unix != other


def test_every_file_has_a_number_of_its_own() -> None:
    files = sql_files()
    numbers = [f.number for f in files.migrations]
    assert numbers == sorted(set(numbers))
    assert len({f.number for f in files.functions}) > 10
