"""Installing and upgrading the schema."""

import re
import subprocess
import sys
import threading
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import psycopg
import pytest

import pgorch
from pgorch.database.connection import connect, connect_sync
from pgorch.database.migrations import check_schema, check_schema_async, migrate, pending, schema_sql
from pgorch.database.sql_files import SqlFile, SqlFiles, sql_files
from pgorch.errors import ConfigError, DatabaseUnavailable, NotAllowed, SchemaMismatch
from tests.database.catalog import catalog
from tests.support.databases import Databases

NUMBERED = "select pgorch.number() as number"


def a_release(*numbers: int, function: str = "select 1") -> SqlFiles:
    """A small pgorch: a table for each migration, and one function."""
    return SqlFiles(
        migrations=tuple(
            SqlFile(
                f"{n:04}_step",
                f"create table pgorch.t{n} (a integer);\n comment on table pgorch.t{n} is '100 %';",
            )
            for n in numbers
        ),
        functions=(
            SqlFile(
                "01_number",
                "create or replace function pgorch.number() returns integer language sql"
                f" as $$ {function} $$;",
            ),
        ),
    )


def check(dsn: str, files: SqlFiles | None = None) -> None:
    with connect_sync(dsn, application_name="test") as connection:
        check_schema(connection, files=files)


def number(dsn: str) -> int:
    with psycopg.connect(dsn) as connection:
        row = connection.execute(NUMBERED).fetchone()
        assert row is not None
        return int(row[0])


def exists(dsn: str, relation: str) -> bool:
    with psycopg.connect(dsn) as connection:
        return connection.execute("select to_regclass(%s)", (relation,)).fetchone() != (None,)


@pytest.fixture
def second_database(databases: Databases) -> Iterator[str]:
    name = databases.create("template0")
    yield databases.dsn(name)
    databases.drop(name)


def test_an_empty_database_gets_every_file_and_the_next_call_has_nothing_to_do(empty_database: str) -> None:
    files = sql_files()
    applied = migrate(empty_database)
    assert applied == [f"migrations/{f.name}" for f in files.migrations] + [
        f"functions/{f.name}" for f in files.functions
    ]
    assert migrate(empty_database) == []
    check(empty_database)


def test_installing_makes_history_partitions_ahead(empty_database: str) -> None:
    migrate(empty_database)
    with psycopg.connect(empty_database) as connection:
        row = connection.execute(
            "select count(*) from pg_inherits where inhparent = 'pgorch.history'::regclass"
        ).fetchone()
    assert row is not None
    assert row[0] > 4


def test_a_changed_function_file_replays_all_of_them(empty_database: str) -> None:
    migrate(empty_database, files=a_release(1))
    assert migrate(empty_database, files=a_release(1, function="select 2")) == ["functions/01_number"]
    assert number(empty_database) == 2


def test_a_function_file_that_is_gone_leaves_the_books(empty_database: str) -> None:
    two = a_release(1)
    two = replace(two, functions=(*two.functions, SqlFile("02_more", "select 1;")))
    migrate(empty_database, files=two)
    assert migrate(empty_database, files=a_release(1)) == ["functions/01_number"]
    assert migrate(empty_database, files=a_release(1)) == []


def test_a_fresh_installation_is_the_same_as_an_upgraded_one(
    empty_database: str, second_database: str
) -> None:
    files = sql_files()
    # What an earlier release may have had: all migrations but the last, and other texts of the function
    # files, but of none that is about what came with it.
    later = set(re.findall(r"(?:create (?:table|schema)|add column) ([\w.]+)", files.migrations[-1].text))
    earlier = SqlFiles(
        migrations=files.migrations[:-1],
        functions=tuple(
            SqlFile(f.name, f"-- earlier\n{f.text}")
            for f in files.functions
            if not any(name in f.text for name in later)
        ),
    )
    assert 10 < len(earlier.functions) <= len(files.functions) - bool(later)
    migrate(empty_database, files=earlier)
    migrate(empty_database)
    migrate(second_database)
    assert catalog(empty_database) == catalog(second_database)


def test_replayed_functions_are_those_of_the_files_whatever_was_there(
    database: str, second_database: str
) -> None:
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute(
            "create or replace function pgorch.bucket_count() returns integer language sql as 'select 7'"
        )
        connection.execute("update pgorch.function_files set digest = '' where name = '01_basics'")
    migrate(database)
    migrate(second_database)
    assert catalog(database)["functions"] == catalog(second_database)["functions"]


def test_the_script_installs_the_same_schema(empty_database: str, second_database: str) -> None:
    with psycopg.connect(empty_database, autocommit=True) as connection:
        connection.execute(schema_sql().encode())
    migrate(second_database)
    assert catalog(empty_database) == catalog(second_database)
    assert migrate(empty_database) == []
    check(empty_database)


def test_later_migrations_are_applied_in_order_to_an_older_database(
    empty_database: str, second_database: str
) -> None:
    migrate(empty_database, files=a_release(1))
    later = a_release(1, 2, 3)
    assert migrate(empty_database, files=later) == [
        "migrations/0002_step",
        "migrations/0003_step",
        "functions/01_number",
    ]
    assert exists(empty_database, "pgorch.t3")
    migrate(second_database, files=later)
    assert catalog_of_tables(empty_database) == catalog_of_tables(second_database)


def catalog_of_tables(dsn: str) -> list[str]:
    with psycopg.connect(dsn) as connection:
        rows = connection.execute(
            "select format('%s %s', m.number, m.digest) from pgorch.migrations m"
            " union all select c.oid::regclass::text from pg_class c"
            " where c.relnamespace = 'pgorch'::regnamespace order by 1"
        )
        return [str(row[0]) for row in rows]


def test_a_dry_run_says_what_would_be_applied_and_changes_nothing(empty_database: str) -> None:
    files = a_release(1)
    assert pending(empty_database, files=files) == ["migrations/0001_step", "functions/01_number"]
    assert not exists(empty_database, "pgorch.migrations")
    migrate(empty_database, files=files)
    assert pending(empty_database, files=files) == []


@pytest.mark.parametrize("act", [migrate, pending, check], ids=["migrate", "dry run", "check"])
def test_an_edited_migration_is_refused(empty_database: str, act: Callable[..., object]) -> None:
    files = a_release(1)
    migrate(empty_database, files=files)
    edited = replace(files, migrations=(SqlFile("0001_step", files.migrations[0].text + " -- better"),))
    with pytest.raises(SchemaMismatch, match=r"0001_step .* changed afterwards") as refused:
        act(empty_database, files=edited)
    assert "new migration" in str(refused.value.hint)


@pytest.mark.parametrize("act", [migrate, pending, check], ids=["migrate", "dry run", "check"])
def test_a_database_with_migrations_of_a_later_version_is_refused(
    empty_database: str, act: Callable[..., object]
) -> None:
    migrate(empty_database, files=a_release(1, 2))
    with pytest.raises(SchemaMismatch, match=r"newer than this pgorch .* 0002_step") as refused:
        act(empty_database, files=a_release(1))
    assert "Upgrade pgorch" in str(refused.value.hint)


def test_functions_of_a_later_version_are_kept_and_may_be_used(empty_database: str) -> None:
    migrate(empty_database, files=a_release(1, function="select 2"))
    with psycopg.connect(empty_database) as connection:
        connection.execute("update pgorch.function_files set version = '99.0.0'")
    check(empty_database, files=a_release(1))
    with pytest.raises(SchemaMismatch, match=r"installed by pgorch 99\.0\.0") as refused:
        migrate(empty_database, files=a_release(1))
    assert "Upgrade pgorch" in str(refused.value.hint)
    assert number(empty_database) == 2


@pytest.mark.parametrize(
    ("installed", "missing"),
    [(a_release(1), "0002_step"), (a_release(1, 2, function="select 2"), "01_number")],
    ids=["migration", "function"],
)
def test_an_older_database_is_not_used_until_it_is_migrated(
    empty_database: str, installed: SqlFiles, missing: str
) -> None:
    migrate(empty_database, files=installed)
    with pytest.raises(SchemaMismatch, match=f"older than this pgorch.*{missing}") as refused:
        check(empty_database, files=a_release(1, 2))
    assert refused.value.hint == "Run: pgorch migrate"


async def test_a_database_without_schema_is_not_used(empty_database: str) -> None:
    with pytest.raises(SchemaMismatch, match="no schema pgorch yet") as refused:
        check(empty_database)
    assert refused.value.hint == "Run: pgorch migrate"
    async with await connect(empty_database, application_name="test") as connection:
        with pytest.raises(SchemaMismatch, match="no schema pgorch yet"):
            await check_schema_async(connection)


async def test_a_schema_that_fits_passes_the_check_of_async_processes_too(database: str) -> None:
    async with await connect(database, application_name="test") as connection:
        await check_schema_async(connection)


def test_twenty_installers_at_once_install_once(empty_database: str) -> None:
    together = threading.Barrier(20)

    def install(_: int) -> list[str]:
        together.wait()
        return migrate(empty_database)

    with ThreadPoolExecutor(20) as pool:
        applied = list(pool.map(install, range(20)))
    assert sorted(bool(names) for names in applied) == [False] * 19 + [True]
    check(empty_database)


INSTALLER = """
import sys, time
from pgorch.database import migrations

run, done = migrations._run, []

def run_half(connection, file):
    run(connection, file)
    done.append(file)
    if len(done) == 5:
        print("middle", flush=True)
        time.sleep(600)

migrations._run = run_half
migrations.migrate(sys.argv[1])
"""


def test_an_installer_that_is_killed_leaves_nothing_and_the_next_one_installs(
    empty_database: str, second_database: str
) -> None:
    root = Path(pgorch.__file__).parents[1]
    with subprocess.Popen(
        [sys.executable, "-c", INSTALLER, empty_database], stdout=subprocess.PIPE, text=True, cwd=root
    ) as installer:
        assert installer.stdout is not None
        assert installer.stdout.readline() == "middle\n"
        installer.kill()
    assert not exists(empty_database, "pgorch.migrations")
    migrate(empty_database)
    migrate(second_database)
    assert catalog(empty_database) == catalog(second_database)


def test_a_migration_that_fails_leaves_nothing(empty_database: str) -> None:
    broken = a_release(1)
    broken = replace(broken, migrations=(*broken.migrations, SqlFile("0002_broken", "select 1 / 0;")))
    with pytest.raises(Exception, match="division by zero"):
        migrate(empty_database, files=broken)
    assert not exists(empty_database, "pgorch.t1")
    assert migrate(empty_database, files=a_release(1)) != []


def test_a_lock_of_somebody_else_ends_it_with_a_sentence_and_nothing_changed(database: str) -> None:
    files = sql_files()
    changed = replace(
        files, functions=(*files.functions[:-1], replace(files.functions[-1], text="select 1;"))
    )
    with psycopg.connect(database) as reader:
        reader.execute("select from pgorch.run_list")
        with pytest.raises(DatabaseUnavailable, match="Another transaction holds") as refused:
            migrate(database, files=changed, lock_seconds=0.1)
    assert "pg_stat_activity" in str(refused.value.hint)
    check(database)


def test_names_without_schema_do_not_depend_on_the_search_path_of_the_role(empty_database: str) -> None:
    files = SqlFiles(migrations=(SqlFile("0001_loose", "create table loose (a integer);"),), functions=())
    with pytest.raises(psycopg.errors.InvalidSchemaName):
        migrate(empty_database, files=files)


def test_a_role_that_may_not_create_is_told_so(databases: Databases, empty_database: str) -> None:
    role = f"r_{empty_database.split('dbname=')[1].split()[0]}"
    databases.admin.execute(f"create role {role} login".encode())
    try:
        dsn = psycopg.conninfo.make_conninfo(empty_database, user=role)
        with pytest.raises(NotAllowed, match="may not do that"):
            migrate(dsn)
    finally:
        databases.admin.execute(f"drop role {role}".encode())


def test_a_database_that_cannot_hold_all_text_is_refused(databases: Databases) -> None:
    name = f"t{uuid.uuid4().hex[:12]}"
    databases.admin.execute(
        f"create database {name} encoding sql_ascii locale 'C' template template0".encode()
    )
    try:
        with pytest.raises(ConfigError, match="encoding SQL_ASCII; pgorch needs UTF8"):
            migrate(databases.dsn(name))
    finally:
        databases.drop(name)


def test_without_a_server_the_database_is_unavailable(tmp_path: Path) -> None:
    with pytest.raises(DatabaseUnavailable, match="not available"):
        migrate(f"host={tmp_path} dbname=nowhere")
