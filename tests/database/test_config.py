"""Which database is used."""

import pytest

from pgorch.config import resolve_dsn
from pgorch.errors import ConfigError

ALL = {
    "PGORCH_DSN": "dbname=of_pgorch",
    "DATABASE_URL": "postgresql://host/of_the_application",
    "PGHOST": "h",
}


@pytest.mark.parametrize(
    ("explicit", "left_out", "expected"),
    [
        ("dbname=given", (), "dbname=given"),
        (None, (), "dbname=of_pgorch"),
        (None, ("PGORCH_DSN",), "postgresql://host/of_the_application"),
        (None, ("PGORCH_DSN", "DATABASE_URL"), ""),
        (None, ("PGORCH_DSN", "DATABASE_URL", "PGHOST"), None),
    ],
    ids=["option", "PGORCH_DSN", "DATABASE_URL", "libpq", "nothing"],
)
def test_the_first_that_is_set_wins(
    explicit: str | None, left_out: tuple[str, ...], expected: str | None
) -> None:
    environment = {name: value for name, value in ALL.items() if name not in left_out}
    assert resolve_dsn(explicit, environment=environment) == expected


@pytest.mark.parametrize("name", ["PGHOST", "PGHOSTADDR", "PGSERVICE", "PGDATABASE"])
def test_any_name_that_libpq_finds_a_database_by_will_do(name: str) -> None:
    assert resolve_dsn(environment={name: "x"}) == ""
    assert resolve_dsn(environment={"PGUSER": "x"}) is None


def test_what_is_empty_is_not_set() -> None:
    assert resolve_dsn("", environment={"PGORCH_DSN": " ", "DATABASE_URL": "dbname=x"}) == "dbname=x"


def test_the_environment_of_the_process_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PGORCH_DSN", "dbname=x")
    assert resolve_dsn() == "dbname=x"


@pytest.mark.parametrize("scheme", ["postgres", "postgresql", "postgresql+psycopg", "postgresql+asyncpg"])
def test_urls_of_sqlalchemy_are_understood(scheme: str) -> None:
    assert resolve_dsn(f"{scheme}://u:p@h:1/d?sslmode=require") == "postgresql://u:p@h:1/d?sslmode=require"


def test_another_kind_of_database_is_refused_by_name() -> None:
    with pytest.raises(ConfigError, match="DATABASE_URL names a database of the kind mysql") as caught:
        resolve_dsn(environment={"DATABASE_URL": "mysql://u:secret@h/d"})
    assert "secret" not in str(caught.value)
