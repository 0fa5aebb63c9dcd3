import pytest

from tests.cli.conftest import Cli

UNREACHABLE = "postgresql://127.0.0.1:1/nothing"


@pytest.mark.parametrize(
    "command",
    [
        ("serve",),
        ("worker", "--app", "tests.cli.some_tools"),
        ("migrate",),
        ("runs", "list"),
        ("doctor",),
    ],
    ids=" ".join,
)
def test_without_a_database_nothing_is_started_in_silence(nowhere: Cli, command: tuple[str, ...]) -> None:
    said = nowhere(*command)
    assert said.code == 3
    what, why, following = said.err.splitlines()
    assert what == "pgorch: no database is named"
    assert "PGORCH_DSN" in why
    assert "pgorch dev" in following


def test_a_database_that_does_not_answer_ends_with_3(nowhere: Cli) -> None:
    said = nowhere("runs", "list", "--dsn", UNREACHABLE)
    assert said.code == 3
    assert len(said.err.splitlines()) == 3


def test_a_dsn_that_cannot_be_meant_ends_with_2(nowhere: Cli) -> None:
    assert nowhere("runs", "list", "--dsn", "mysql://host/db").code == 2
    assert nowhere("runs", "list", "--dsn", "not a dsn").code == 2


def test_the_option_goes_before_pgorch_dsn_and_that_before_database_url(
    nowhere: Cli, database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATABASE_URL", UNREACHABLE)
    assert nowhere("runs", "list").code == 3
    monkeypatch.setenv("PGORCH_DSN", database)
    assert nowhere("runs", "list").code == 0
    monkeypatch.setenv("PGORCH_DSN", UNREACHABLE)
    assert nowhere("runs", "list", "--dsn", database).code == 0


def test_a_database_without_the_schema_says_to_migrate(nowhere: Cli, empty_database: str) -> None:
    said = nowhere("runs", "list", "--dsn", empty_database)
    assert said.code == 3
    assert "pgorch migrate" in said.err


def test_a_worker_without_tools_is_a_mistake_in_the_usage(cli: Cli) -> None:
    said = cli("worker")
    assert said.code == 2
    assert "--app" in said.err


def test_a_worker_whose_module_is_not_there_says_so(cli: Cli) -> None:
    said = cli("worker", "--app", "tests.cli.no_such_tools")
    assert said.code == 2
    assert "no module tests.cli.no_such_tools" in said.err
