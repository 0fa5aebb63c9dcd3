"""Where pgorch.testing plays: a database of the environment, one of its own, and nothing of it left there."""

import subprocess
import sys
from pathlib import Path

import psycopg
import pytest
from psycopg.rows import dict_row

import pgorch.testing
from pgorch.errors import ConfigError
from tests.support.engine import Engine, chain

ROOT = Path(__file__).resolve().parents[2]
TESTS = """
import pytest
from pgorch.tool import Registry

registry = Registry()

@registry.tool
def double(n: int) -> dict[str, int]:
    return {"n": 2 * n}

@pytest.fixture(scope="session")
def pgorch_tools():
    return registry

GRAPH = {"name": "g", "nodes": [{"id": "a", "function": "double"}], "edges": [], "start_node": "a"}

@pytest.mark.parametrize("n", [1, 2])
def test_it(pgorch_db, n):
    assert pgorch_db.run(GRAPH, {"n": n}).state == {"n": 2 * n}
    assert len(pgorch_db.connection.execute("select from pgorch.runs").fetchall()) == 1
"""


def test_nothing_is_left_in_the_database(database: str) -> None:
    with pgorch.testing.database(database) as db:
        run = db.run(chain("a b"))
        run.advance_clock("3 days")
        assert run.status == "completed"
    with psycopg.connect(database) as connection:
        for table in ("runs", "steps", "history", "graphs", "tools", "_worker_leases"):
            query = f"select count(*) from pgorch.{table}"
            assert connection.execute(query.encode()).fetchone() == (0,), table
        assert connection.execute("select offset_by = '0' from pgorch._clock").fetchone() == (True,)


def test_nothing_is_left_after_a_failed_test(database: str) -> None:
    def test() -> None:
        with pgorch.testing.database(database) as db:
            db.run(chain("a"))
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        test()
    with psycopg.connect(database) as connection:
        assert connection.execute("select count(*) from pgorch.runs").fetchone() == (0,)


def test_the_database_of_the_environment_is_taken(database: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PGORCH_DSN", database)
    with pgorch.testing.database() as db:
        assert db.run(chain("a")).status == "completed"
        name = psycopg.conninfo.conninfo_to_dict(database)["dbname"]
        assert db.connection.info.dbname == name


def test_steps_of_others_are_left_alone(database: str) -> None:
    with psycopg.connect(database, autocommit=True) as connection:
        register = 'select pgorch.register_tools(\'[{"name": "a"}]\')'
        connection.execute(register)
        create = "select pgorch.create_graph(%s)"
        connection.execute(create, [psycopg.types.json.Jsonb(chain("a") | {"name": "theirs"})])
        connection.execute("select pgorch.start('theirs')")
    called = []
    with pgorch.testing.database(database) as db:
        db.run(chain("a"), tools={"a": lambda args: called.append(args)})
    assert len(called) == 1
    with psycopg.connect(database) as connection:
        assert connection.execute("select status::text from pgorch.runs").fetchall() == [("running",)]


@pytest.mark.timeout(300)
def test_without_a_database_there_is_an_embedded_one_and_the_plugin_shares_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("PGORCH_DSN", "DATABASE_URL", "PGHOST", "PGHOSTADDR", "PGSERVICE", "PGDATABASE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PGORCH_TEST_DATA_DIR", str(tmp_path / "data"))
    (tmp_path / "test_mine.py").write_text(TESTS)
    (tmp_path / "conftest.py").write_text('pytest_plugins = ["pgorch.testing.plugin"]')
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-p",
        "no:cacheprovider",
        "--rootdir",
        str(tmp_path),
        str(tmp_path),
    ]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=240)
    assert "2 passed" in done.stdout, done.stdout + done.stderr


def test_a_database_with_living_workers_is_no_place_for_tests(database: str) -> None:
    with psycopg.connect(database, autocommit=True, row_factory=dict_row) as connection:
        engine = Engine(connection)
        run_id = engine.start(chain("a"))
        live = engine.new_worker(name="live")
        with (
            pytest.raises(ConfigError, match="live") as refused,
            pgorch.testing.database(database) as db,
        ):
            db.run(chain("b"))
        assert "workers" in str(refused.value)
        assert len(live.claim(5)) == 1
        live.leave()
        with pgorch.testing.database(database) as db:
            waits = db.run({"name": "w", "nodes": [{"id": "w", "type": "wait", "for": "1 hour"}],
                            "edges": [], "start_node": "w"})  # fmt: skip
            late = engine.new_worker(name="late")
            with pytest.raises(ConfigError, match="late"):
                waits.advance_clock("2 hours")
            connection.execute("set lock_timeout = '5s'")
            late.beat()
            assert len(late.claim(5)) == 1
        engine.cancel(run_id)
        late.leave()
