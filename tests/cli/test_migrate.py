import psycopg

from tests.cli.conftest import Cli


def test_an_empty_database_gets_the_schema_and_the_second_time_there_is_nothing_to_do(
    nowhere: Cli, empty_database: str
) -> None:
    first = nowhere("migrate", "--dsn", empty_database)
    assert first.code == 0
    assert "migrations/0001_tables" in first.json["applied"]
    assert nowhere("migrate", "--dsn", empty_database).json == {"applied": []}
    assert "Nothing to do" in nowhere("migrate", "--dsn", empty_database, "-o", "table").out


def test_a_dry_run_changes_nothing(nowhere: Cli, empty_database: str) -> None:
    assert (
        "migrations/0001_tables" in nowhere("migrate", "--dry-run", "--dsn", empty_database).json["pending"]
    )
    assert nowhere("migrate", "--dry-run", "--dsn", empty_database).json["pending"]


def test_the_printed_sql_installs_the_schema(nowhere: Cli, empty_database: str) -> None:
    script = nowhere("migrate", "--sql").out
    with psycopg.connect(empty_database, autocommit=True) as connection:
        connection.execute(script.encode())
    assert nowhere("migrate", "--dsn", empty_database).json == {"applied": []}


def test_printing_sql_and_a_dry_run_exclude_each_other(nowhere: Cli) -> None:
    assert nowhere("migrate", "--sql", "--dry-run").code == 2
