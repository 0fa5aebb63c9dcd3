import psycopg
import pytest

from tests.cli.conftest import Cli

FIGURES = {
    "steps_per_second",
    "runs_per_second",
    "wal_bytes_per_step",
    "transactions_per_step",
    "server_cpu_us_per_step",
    "client_cpu_us_per_step",
    "idle_run_ms_p50",
    "idle_run_ms_p99",
    "marginal_step_ms",
    "resume_ms_p50",
    "resume_ms_p99",
    "starts_per_second_bulk",
    "starts_per_second_single",
    "postgres",
    "machine",
    "date",
    "command",
}


def databases(dsn: str) -> set[str]:
    with psycopg.connect(dsn) as connection:
        return {name for (name,) in connection.execute("select datname from pg_database").fetchall()}


@pytest.mark.sessions
def test_the_benchmark_measures_in_a_scratch_database_and_leaves_nothing(cli: Cli, database: str) -> None:
    before = databases(database)
    said = cli("bench", "--runs", 20, "--steps", 4, "--workers", 1, "--samples", 3, "--json")
    assert said.code == 0
    figures = said.json
    assert set(figures) >= FIGURES
    assert figures["steps"] == 80
    assert sum(figures["steps_by_worker"].values()) == 80
    assert figures["steps_per_second"] > 0
    assert figures["idle_run_ms_p50"] > 0
    assert {name for name in databases(database) - before if "bench" in name} == set()
    assert cli("runs", "list").json == []
