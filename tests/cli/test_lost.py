"""`pgorch lost`; with a real failover: tests/outages/test_failover.py."""

from collections.abc import Callable, Iterator
from pathlib import Path
from uuid import uuid4

import psycopg
import pytest
from psycopg.rows import dict_row

from tests.cli.conftest import Cli
from tests.support.databases import Databases
from tests.support.engine import Engine, chain


@pytest.fixture
def former(databases: Databases, template: str) -> Iterator[str]:
    """The DSN of another database with pgorch in it: that of the server that was the primary."""
    name = databases.create(template)
    yield databases.dsn(name)
    databases.drop(name)


def test_runs_of_a_list_that_are_not_there_are_named(
    cli: Cli, engine: Engine, write: Callable[[str, str], Path]
) -> None:
    there, gone = engine.start(chain("a")), uuid4()
    told = write("told", f'key-1 {there}\n{{"run_id": "{gone}", "status": 200}}\nnothing {there}\n')
    said = cli("lost", told)
    assert (said.code, said.json) == (1, [{"run_id": str(gone)}])
    said = cli("lost", "-", "-o", "table", stdin=f"{there}\n")
    assert (said.code, said.out) == (0, "Nothing is lost.\n")


def test_what_the_former_primary_had_and_the_new_one_has_not_is_named(
    cli: Cli, database: str, former: str
) -> None:
    with psycopg.connect(former, autocommit=True, row_factory=dict_row) as connection:
        old = Engine(connection)
        run_id = old.start(chain("a b"))
        old.run()
    assert cli("lost", "--old", former, "--dsn", former).json == []
    said = cli("lost", "--old", former)
    assert said.code == 1
    assert [(row["run_id"], row["seq"], row["kind"], row["node"]) for row in said.json] == [
        (str(run_id), 0, "run_started", None),
        (str(run_id), 1, "step_completed", "a"),
        (str(run_id), 2, "step_completed", "b"),
        (str(run_id), 3, "run_completed", None),
    ]


def test_neither_a_list_nor_a_server_is_a_usage_error(cli: Cli) -> None:
    said = cli("lost")
    assert said.code == 2
    assert "--old" in said.err
