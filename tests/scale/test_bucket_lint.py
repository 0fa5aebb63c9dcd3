"""The engine's functions keep the rules for running on many servers, and the check of that would notice."""

import re
from pathlib import Path

import pytest

from tests.scale.bucket_lint import HOT_TABLES, functions_in, lint, lint_files

ROOT = Path(__file__).parents[2]
FUNCTIONS = ROOT / "sql" / "functions"
MIGRATIONS = ROOT / "sql" / "migrations"


def plpgsql(body: str, name: str = "seeded") -> str:
    return (
        f"create or replace function pgorch.{name}(p_bucket integer, p_ids bigint[], p_run pgorch.runs)\n"
        f"    returns void language plpgsql as $$\ndeclare\n    v_now timestamptz;\nbegin\n{body}\nend\n$$;"
    )


def rules_broken_by(sql: str) -> set[int]:
    return {v.rule for v in lint(functions_in(sql))}


def test_the_functions_of_the_engine_keep_the_rules() -> None:
    assert [str(v) for v in lint_files(FUNCTIONS.glob("*.sql"))] == []


def test_every_statement_of_the_engine_is_seen() -> None:
    # A parser that gave up on a body would find nothing wrong with it.
    texts = [path.read_text("utf-8") for path in sorted(FUNCTIONS.glob("*.sql"))]
    seen = [f for text in texts for f in functions_in(text)]
    assert len(seen) == sum(text.count("create or replace function") for text in texts)
    assert all(f.statements for f in seen)
    in_bodies = sum(f.body.count("insert into pgorch.history") for f in seen)
    in_statements = sum(s.count("insert into pgorch.history") for f in seen for s in f.statements)
    assert in_statements == in_bodies >= 1


def test_every_table_with_a_bucket_counts_as_hot() -> None:
    text = "\n".join(p.read_text("utf-8") for p in sorted(MIGRATIONS.glob("*.sql")))
    tables = re.findall(r"create table pgorch\.(\w+) \(\s*bucket ", text)
    assert set(tables) == HOT_TABLES


def test_a_statement_that_keeps_the_rules_is_accepted() -> None:
    sql = plpgsql(
        """
    v_now := pgorch.clock_now();
    update pgorch.steps s set ready_at = v_now
    from pgorch.runs r
    where s.bucket = p_bucket and r.bucket = p_bucket and r.id = s.run_id;
    insert into pgorch.steps (bucket, node) select p_bucket, t.n from unnest(array['a']) t(n);
    select p_run.id into v_now from pgorch.runs r where p_bucket = r.bucket;"""
    )
    assert rules_broken_by(sql) == set()


@pytest.mark.parametrize(
    "statement",
    [
        "perform r.id from pgorch.runs r where r.id = p_run.id;",
        "delete from pgorch.steps s where s.id = any (p_ids);",
        "update pgorch.steps s set node = 'x' from pgorch.runs r where s.bucket = p_bucket and r.id = s.id;",
        "perform 1 from pgorch.steps s join pgorch.runs r on r.bucket = s.bucket where s.bucket = p_bucket;",
        "perform s.id from pgorch.steps s where s.bucket = any (p_ids);",
        "perform s.id from pgorch.steps s where s.bucket = p_bucket or s.id = 1;",
        "perform s.id from pgorch.steps s where s.bucket = p_run.bucket;",
        "v_now := (select r.created_at from pgorch.runs r where r.id = p_run.id);",
        "if exists (select from pgorch.steps s where s.id = 1) then return; end if;",
        "for v_now in select h.at from pgorch.history h where h.run_id = p_run.id loop null; end loop;",
        "with x as (select s.id from pgorch.steps s) select x.id from x into v_now;",
        "insert into pgorch.steps (node, bucket) values ('x', p_bucket);",
        "insert into pgorch.steps (bucket, node) values (7, 'x');",
        "insert into pgorch.steps (bucket) select r.bucket from pgorch.runs r where r.bucket = p_bucket;",
    ],
)
def test_a_reference_to_a_hot_table_without_its_bucket_is_found(statement: str) -> None:
    assert rules_broken_by(plpgsql(statement)) == {2}


def test_a_sql_function_on_a_hot_table_is_found() -> None:
    body = "select r.seq from pgorch.runs r where r.bucket = p_bucket"
    sql = f"create function pgorch.seeded(p_bucket integer) returns integer language sql as $$ {body} $$;"
    assert rules_broken_by(sql) == {2}


def test_two_modifying_commands_in_one_statement_are_found() -> None:
    statement = """
    with gone as (delete from pgorch.steps s where s.bucket = p_bucket returning s.id)
    update pgorch.runs r set live = 0 from gone where r.bucket = p_bucket;"""
    assert rules_broken_by(plpgsql(statement)) == {3}


@pytest.mark.parametrize("call", ["clock_timestamp()", "random()", "gen_random_uuid()", "pgorch.own_clock()"])
def test_a_volatile_call_in_an_update_is_found(call: str) -> None:
    own = "create function pgorch.own_clock() returns timestamptz language sql as $$ select now() $$;"
    statement = f"update pgorch.runs r set delta = to_jsonb({call}) where r.bucket = p_bucket;"
    assert rules_broken_by(own + plpgsql(statement)) == {4}


def test_the_time_inside_a_case_of_an_update_is_found() -> None:
    statement = "update pgorch.runs r set at = case when true then now() end where r.bucket = p_bucket;"
    assert rules_broken_by(plpgsql(statement)) == {4}


@pytest.mark.parametrize(
    "statement",
    [
        "merge into pgorch._clock c using pgorch.settings s on true when matched then do nothing;",
        "insert into pgorch.runs (bucket, seq) values (p_bucket, (select 1));",
        "perform nextval('pgorch._lease_numbers') from pgorch.steps s where s.bucket = p_bucket;",
        "perform pgorch.token() from pgorch.steps s where s.bucket = p_bucket;",
        "execute 'select 1';",
        "for v_now in execute 'select now()' loop null; end loop;",
        "create temporary table made_on_the_way (x integer);",
    ],
)
def test_what_a_hot_path_may_not_do_is_found(statement: str) -> None:
    numbers = "create function pgorch.token() returns bigint language sql as $$ select nextval('n') $$;"
    assert rules_broken_by(numbers + plpgsql(statement)) == {5}


def test_dynamic_sql_is_allowed_only_to_those_who_are_named() -> None:
    assert rules_broken_by(plpgsql("execute 'select 1';", name="_drop_history")) == set()


def test_triggers_of_users_may_look_into_all_buckets_but_write_to_none_of_them() -> None:
    assert rules_broken_by(plpgsql("perform from pgorch.runs r;", name="_row_left")) == set()
    assert rules_broken_by(plpgsql("delete from pgorch.runs r;", name="_row_left")) == {2}
    assert rules_broken_by(plpgsql("perform from pgorch.runs r;", name="_other")) == {2}


@pytest.mark.parametrize("call", ["current_setting('pgorch.me')", "set_config('pgorch.me', 'x', true)"])
def test_input_from_the_session_is_found(call: str) -> None:
    assert rules_broken_by(plpgsql(f"perform {call};")) == {6}
