"""The server of a test run, and the check for sessions that a test left open."""

import os
import subprocess
import sys
import time
from pathlib import Path

import psycopg
import pytest

import pgorch
from tests.support.databases import Databases
from tests.support.server import wait_for_end_of_sessions

CONTROLLER = """
import sys, time, psycopg
from tests.support.server import TestRun, shared_server

run = TestRun()
dsn = shared_server(run.directory)
assert shared_server(run.directory) == dsn
psycopg.connect(dsn).close()
print(run.directory, flush=True)
time.sleep(600)
"""


def test_the_server_of_a_killed_test_run_is_stopped_and_leaves_nothing() -> None:
    environment = {name: value for name, value in os.environ.items() if name != "PGORCH_TEST_DSN"}
    with subprocess.Popen(
        [sys.executable, "-c", CONTROLLER],
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(pgorch.__file__).parents[1],
        env=environment,
    ) as controller:
        assert controller.stdout is not None
        directory = Path(controller.stdout.readline().strip())
        assert (directory / "dsn").exists()
        dsn = (directory / "dsn").read_text()
        controller.kill()
    deadline = time.monotonic() + 60
    while directory.exists():
        assert time.monotonic() < deadline, "the watchdog did nothing"
        time.sleep(0.05)
    try:
        psycopg.connect(dsn).close()
    except psycopg.OperationalError:
        return
    raise AssertionError("the server still answers")


@pytest.mark.sessions
def test_a_session_that_is_left_open_is_named(databases: Databases, database: str) -> None:
    name = psycopg.conninfo.conninfo_to_dict(database)["dbname"]
    with psycopg.connect(database, application_name="the leak") as connection:
        connection.execute("select 'what it did last'")
        left = wait_for_end_of_sessions(databases.admin, str(name), seconds=0)
    assert len(left) == 1
    assert "the leak" in left[0]
    assert "what it did last" in left[0]
    assert wait_for_end_of_sessions(databases.admin, str(name), seconds=20) == []


def test_databases_of_tests_know_nothing_of_each_other(databases: Databases, database: str) -> None:
    other = databases.create(databases.template())
    try:
        with psycopg.connect(databases.dsn(other)) as connection:
            connection.execute("insert into pgorch.settings (name, value) values ('mine', '1')")
        with psycopg.connect(database) as connection:
            rows = connection.execute("select from pgorch.settings where name = 'mine'").fetchall()
        assert rows == []
    finally:
        databases.drop(other)
