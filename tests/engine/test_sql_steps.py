"""SQL as a step: performed in the transaction that records it, with the rights of the graph's owner."""

import json
import secrets
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import psycopg
import pytest
from psycopg.conninfo import make_conninfo
from psycopg.types.json import Jsonb

from tests.support.engine import Engine, definition


def statement(sql: str, *parameters: Any, **more: Any) -> dict[str, Any]:
    given = {"input": list(parameters)} if parameters else {}
    return {"id": "s", "sql": sql, "into": "out", **given, **more}


def performed(engine: Engine, node: dict[str, Any], input: Any = None) -> Any:
    run_id = engine.start(definition([node]), input)
    engine.value("select sum(pgorch.run_sql_steps(b)) from generate_series(0, pgorch.bucket_count() - 1) b")
    assert engine.status(run_id) == "completed", engine.error(run_id)
    return engine.state(run_id)["out"]


@pytest.fixture(autouse=True)
def things(engine: Engine) -> Iterator[None]:
    engine.connection.execute("create table things (id int primary key, words text[], doc jsonb, at date)")
    yield
    engine.connection.execute("drop table things")


@pytest.mark.parametrize(
    ("sql", "parameters", "output"),
    [
        ("select 1 as x", [], 1),
        ("select 1 as x, 'a' as y", [], {"x": 1, "y": "a"}),
        ("select x from generate_series(1, 3) x", [], [1, 2, 3]),
        ("select 1 where false", [], None),
        ("select $1::int + $2", ["${$.n}", 2], 7),
        ("select $1::text[]", ["${$.words}"], ["a", 'b"c']),
        ("select $1::jsonb", ["${$.words}"], ["a", 'b"c']),
        ("select $1::date", ["2026-01-31"], "2026-01-31"),
        ("select $1::text is null", [None], True),
        ("insert into things values ($1, $2, $3, null)", [1, "${$.words}", {"k": [1]}], None),
        ("insert into things values (5) returning id", [], 5),
        ("select 'it''s; one statement' -- ; really", [], "it's; one statement"),
    ],
)
def test_the_output_is_what_the_statement_gives(
    engine: Engine, sql: str, parameters: list[Any], output: Any
) -> None:
    assert performed(engine, statement(sql, *parameters), {"n": 5, "words": ["a", 'b"c']}) == output


def failed(engine: Engine, node: dict[str, Any], input: Any = None) -> Any:
    run_id = engine.start(definition([node]), input)
    engine.value("select sum(pgorch.run_sql_steps(b)) from generate_series(0, pgorch.bucket_count() - 1) b")
    assert engine.status(run_id) == "failed"
    return engine.error(run_id)


def test_what_a_failing_statement_wrote_is_gone(engine: Engine) -> None:
    error = failed(engine, statement("with x as (insert into things values (1)) select 1 / $1::int", 0))
    assert error["code"] == "22012"
    assert engine.rows("select * from things") == []


@pytest.mark.parametrize("sql", ["select 1; select 2", "select 1; drop table things", "select 1;;select 2"])
def test_two_statements_are_refused_and_none_is_run(engine: Engine, sql: str) -> None:
    assert "one statement" in failed(engine, statement(sql))["message"]
    assert engine.rows("select * from things") == []


def test_the_number_of_values_has_to_fit(engine: Engine) -> None:
    assert (
        "2 parameters, and the input 1 values"
        in failed(engine, statement("select $1::int, $2::int", 1))["message"]
    )


def test_a_map_may_run_a_statement_for_each_item(engine: Engine) -> None:
    node = {"id": "m", "type": "map", "items": "${$.n}", "sql": "select $1::int * 2", "into": "out"}
    assert performed(engine, node, {"n": [1, 2, 3]}) == [2, 4, 6]


def test_a_graph_of_statements_runs_to_its_end_from_psql_alone(engine: Engine) -> None:
    nodes = [
        {"id": "put", "sql": "insert into things values ($1)", "input": ["${$.id}"], "into": "put"},
        {
            "id": "get",
            "sql": "select id as found from things where id = $1",
            "input": ["${$.id}"],
            "into": "got",
        },
    ]
    run_id = engine.start(definition(nodes, ["put>get"]), {"id": 8})
    assert (
        engine.value(
            "select sum(pgorch.run_sql_steps(b)) from generate_series(0, pgorch.bucket_count() - 1) b"
        )
        == 2
    )
    assert engine.status(run_id) == "completed"
    assert engine.state(run_id)["got"] == 8


@pytest.fixture
def author(engine: Engine) -> Iterator[psycopg.Connection[Any]]:
    """A role that may have SQL steps, and may not read `things`."""
    name = f"author_{secrets.token_hex(4)}"
    engine.connection.execute(f"create role {name} login".encode())
    for grant in (
        "usage on schema pgorch", "select, insert, update, delete on all tables in schema pgorch",
        "usage on all sequences in schema pgorch", "usage, create on schema pgorch_sql",
    ):  # fmt: skip
        engine.connection.execute(f"grant {grant} to {name}".encode())
    with psycopg.connect(make_conninfo(engine.connection.info.dsn, user=name), autocommit=True) as connection:
        yield connection
    engine.connection.execute(f"drop owned by {name}".encode())
    engine.connection.execute(f"drop role {name}".encode())


def run_of(author: psycopg.Connection[Any], engine: Engine, sql: str) -> Any:
    graph = definition([statement(sql)])
    author.execute("select pgorch.create_graph(%s)", [Jsonb(graph)])
    run_id = engine.start(graph["name"])
    engine.value("select sum(pgorch.run_sql_steps(b)) from generate_series(0, pgorch.bucket_count() - 1) b")
    return engine.error(run_id) or engine.state(run_id)["out"]


def test_a_statement_has_the_rights_of_the_graphs_owner_and_no_others(
    engine: Engine, author: psycopg.Connection[Any]
) -> None:
    assert run_of(author, engine, "select current_user::text") == author.info.user
    assert run_of(author, engine, "select count(*) from things")["code"] == "42501"


@pytest.mark.parametrize("role", ["none", "postgres"])
def test_a_statement_cannot_put_the_role_back(
    engine: Engine, author: psycopg.Connection[Any], role: str
) -> None:
    error = run_of(author, engine, f"select set_config('role', '{role}', true)")
    assert "security-definer" in error["message"] or "security definer" in error["message"]


def test_nobody_else_can_use_the_function_of_an_owner(
    engine: Engine, author: psycopg.Connection[Any]
) -> None:
    engine.graph(definition([statement("select 1")]))
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        author.execute(f"select pgorch_sql.\"{engine.connection.info.user}\"('select 1', '[]')")


def test_who_may_not_have_sql_steps_is_told_what_is_missing(
    engine: Engine, author: psycopg.Connection[Any]
) -> None:
    engine.connection.execute(f"revoke create on schema pgorch_sql from {author.info.user}".encode())
    with pytest.raises(psycopg.Error, match="may not create graphs with SQL steps") as refused:
        author.execute("select pgorch.create_graph(%s)", [Jsonb(definition([statement("select 1")]))])
    assert "grant create on schema pgorch_sql" in str(refused.value.diag.message_hint)


ASKED = {"id": "ask", "type": "approval", "assignees": ["role:finance", "user:boss", "user:postgres"]}
OPEN = "(select id from pgorch.approvals where status = 'open')"


@pytest.mark.parametrize(
    "sql",
    [
        "select pgorch.decide(p_approval_id => {0}, p_decision => 'approved', p_actor => 'boss')",
        "select pgorch.decide(p_approval_id => {0}, p_decision => 'approved', p_roles => '{{finance}}')",
        "select pgorch.decide(p_approval_id => {0}, p_decision => 'approved')",
        "select pgorch.reassign({0}, '{{user:x}}')",
        "select pgorch.start('other', p_actor => 'boss')",
        # As the statement is known by the functions around it, it might try to look like that of another.
        "select pgorch.decide(p_approval_id => {0}, p_decision => 'approved', p_actor => 'postgres')"
        " /*\nPL/pgSQL function pgorch._run_statement(text,jsonb) line 1 at RETURN\n"
        "PL/pgSQL function pgorch_sql.postgres(text,jsonb) line 1 at RETURN\n*/",
    ],
)
def test_a_statement_speaks_for_nobody_but_the_graphs_owner(
    engine: Engine, author: psycopg.Connection[Any], sql: str
) -> None:
    asked = engine.start(definition([ASKED]))
    engine.graph(definition(["a"], name="other"))
    assert run_of(author, engine, sql.format(OPEN))["code"] == "OR007"
    assert engine.status(asked) == "awaiting_approval"


def test_what_a_statement_does_is_its_graphs_owners_doing(
    engine: Engine, author: psycopg.Connection[Any]
) -> None:
    asked = engine.start(definition([{"id": "ask", "type": "approval"}]))
    engine.graph(definition(["a"], name="other"))
    run_of(author, engine, f"select pgorch.decide(p_approval_id => {OPEN}, p_decision => 'approved')")
    run_of(author, engine, "select pgorch.start('other')::text")
    assert [a["decided_by"] for a in engine.approvals(asked)] == [author.info.user]
    started = engine.rows("select r.initiator from pgorch.runs r join pgorch.graphs g on g.id = r.graph_id"
                          " where g.name = 'other'")  # fmt: skip
    assert started == [{"initiator": author.info.user}]


def test_a_graph_that_a_statement_makes_has_its_graphs_owners_rights(
    engine: Engine, author: psycopg.Connection[Any]
) -> None:
    engine.graph(definition([statement("select 1")], name="of_the_workers_user"))
    inner = definition([statement("select count(*) from things")], name="inner")
    assert run_of(author, engine, f"select version from pgorch.create_graph('{json.dumps(inner)}')") == 1
    run_id = engine.start("inner")
    engine.value("select sum(pgorch.run_sql_steps(b)) from generate_series(0, pgorch.bucket_count() - 1) b")
    assert engine.error(run_id)["code"] == "42501"


def runner_of(author: psycopg.Connection[Any]) -> str:
    return f'pgorch_sql."{author.info.user}"(text, jsonb)'


BODY = "returns jsonb language plpgsql security definer as $$ begin return to_jsonb(current_user); end $$"


@pytest.mark.parametrize(
    "change",
    [
        "alter function {0} security invoker",
        "alter function {0} set search_path = evil",
        "create or replace function pgorch_sql.{1}(p_sql text, p_parameters jsonb) " + BODY,
    ],
)
def test_an_owners_function_that_was_altered_is_not_called(
    engine: Engine, author: psycopg.Connection[Any], change: str
) -> None:
    assert run_of(author, engine, "select current_user::text") == author.info.user
    author.execute(change.format(runner_of(author), author.info.user).encode())
    # Its graph is there already, so that nothing is made or looked at but by who performs it.
    run_id = engine.start(engine.value("select name from pgorch.graphs order by created_at desc limit 1"))
    engine.value("select sum(pgorch.run_sql_steps(b)) from generate_series(0, pgorch.bucket_count() - 1) b")
    assert engine.error(run_id)["code"] == "OR007"
    with pytest.raises(psycopg.Error, match="is not the function that create_graph"):
        author.execute("select pgorch.create_graph(%s)", [Jsonb(definition([statement("select 1")]))])
    author.execute(f"drop function {runner_of(author)}".encode())
    assert run_of(author, engine, "select current_user::text") == author.info.user


def test_a_function_that_somebody_made_for_another_is_not_called(
    engine: Engine, author: psycopg.Connection[Any]
) -> None:
    ada = f"ada_{secrets.token_hex(4)}"
    engine.connection.execute(f"create role {ada}".encode())
    author.execute(
        f"create function pgorch_sql.{ada}(p_sql text, p_parameters jsonb) returns jsonb language plpgsql"
        " security definer as $$ begin return pgorch._run_statement(p_sql, p_parameters); end $$".encode()
    )
    with pytest.raises(psycopg.Error, match="is not the function that create_graph") as refused:
        engine.value("select pgorch._sql_runner(%s)", ada)
    assert refused.value.sqlstate == "OR007"
    # One with other parameters is another function.
    author.execute(f"drop function pgorch_sql.{ada}(text, jsonb)".encode())
    author.execute(f"create function pgorch_sql.{ada}(text) returns int language sql as 'select 1'".encode())
    assert engine.value("select pgorch._sql_runner(%s)", ada) is None
    engine.connection.execute(f"drop role {ada}".encode())


def test_an_owners_function_stays_as_it_is_while_it_is_called(
    engine: Engine, author: psycopg.Connection[Any]
) -> None:
    assert run_of(author, engine, "select 1") == 1
    change = f"alter function {runner_of(author)} security invoker"
    with engine.connection.transaction():
        assert run_of(author, engine, "select 2") == 2
        author.execute("set lock_timeout = '200ms'")
        with pytest.raises(psycopg.errors.LockNotAvailable):
            author.execute(change.encode())


def test_what_ran_while_its_function_was_altered_does_not_count(
    engine: Engine, author: psycopg.Connection[Any]
) -> None:
    """Who is no superuser cannot lock it, and finds out when the statement has been run."""
    worker = f"worker_{secrets.token_hex(4)}"
    engine.connection.execute(f"create role {worker} login in role {engine.connection.info.user}".encode())
    graph = definition([statement("select pg_advisory_lock(77)::text")])
    author.execute("select pgorch.create_graph(%s)", [Jsonb(graph)])
    run_id = engine.start(graph["name"])
    engine.connection.execute("select pg_advisory_lock(77)")
    dsn = make_conninfo(engine.connection.info.dsn, user=worker)
    with psycopg.connect(dsn, autocommit=True) as performer, ThreadPoolExecutor(1) as pool:
        call = "select sum(pgorch.run_sql_steps(b)) from generate_series(0, pgorch.bucket_count() - 1) b"
        performing = pool.submit(performer.execute, call)
        waits = "select count(*) from pg_locks where locktype = 'advisory' and not granted and pid = %s"
        while not engine.value(waits, performer.info.backend_pid):
            assert not performing.done()
        author.execute(f"alter function {runner_of(author)} security invoker".encode())
        author.execute(f"alter function {runner_of(author)} security definer".encode())
        engine.connection.execute("select pg_advisory_unlock(77)")
        performing.result(20)
    assert engine.error(run_id)["code"] == "OR007"
    engine.connection.execute(f"drop role {worker}".encode())


@pytest.fixture
def evil(engine: Engine, author: psycopg.Connection[Any]) -> Iterator[str]:
    """A schema in which things of pg_catalog have other meanings: each notes as whom it was called."""
    engine.connection.execute(f"create schema evil authorization {author.info.user}".encode())
    author.execute("create table evil.called (as_whom name)")
    author.execute("grant usage on schema evil to public")
    author.execute("grant insert on evil.called to public")
    for signature, is_true in {
        "cardinality(anyarray) returns int": "pg_catalog.cardinality($1)",
        "strpos(text, text) returns int": "0",
        "pg_has_role(name, oid, text) returns boolean": "true",
        "set_config(text, text, boolean) returns text": "pg_catalog.set_config($1, $2, $3)",
        "jsonb_build_object(variadic text[]) returns jsonb": "pg_catalog.jsonb_build_object(variadic $1)",
    }.items():
        author.execute(
            f"create function evil.{signature} language plpgsql as $$ begin"
            f" insert into evil.called values (current_user); return {is_true}; end $$".encode()
        )
    yield "evil, pg_catalog"
    assert engine.rows("select * from evil.called where as_whom <> %s", author.info.user) == []


@pytest.mark.parametrize("locally", ["true", "false"])
def test_what_a_statement_sets_is_put_back(
    engine: Engine, author: psycopg.Connection[Any], evil: str, locally: str
) -> None:
    before = engine.rows("select name, setting, source from pg_settings")
    sets = ", ".join(
        f"set_config('{name}', '{value}', {locally})"
        for name, value in {
            "transform_null_equals": "on", "enable_seqscan": "off", "DateStyle": "German",
            "plpgsql.check_asserts": "off", "search_path": evil,
        }.items()
    )  # fmt: skip
    if locally == "false":
        engine.connection.execute("grant set on parameter plpgsql.check_asserts to public")
    assert run_of(author, engine, f"select {sets}") is not None
    assert engine.rows("select name, setting, source from pg_settings") == before


def test_what_the_session_had_set_itself_stays(
    engine: Engine, author: psycopg.Connection[Any], evil: str
) -> None:
    engine.connection.execute("set search_path = public, pg_catalog; set datestyle = 'SQL'")
    try:
        run_of(author, engine, f"select set_config('search_path', '{evil}', false)")
        run_of(author, engine, "select set_config('datestyle', 'German', false)")
        assert engine.value("show search_path") == "public, pg_catalog"
        assert engine.value("show datestyle").startswith("SQL")
    finally:
        engine.connection.execute("reset search_path; reset datestyle")


@pytest.mark.parametrize("fails", ["", "raise exception 'no';"])
@pytest.mark.parametrize(
    "leaves",
    [
        "prepare pgorch_left as select 1",
        "deallocate kept; prepare kept as select 2",
        "declare pgorch_left cursor with hold for select 1",
    ],
)
def test_what_a_statement_prepares_and_opens_is_gone(
    engine: Engine, author: psycopg.Connection[Any], evil: str, leaves: str, fails: str
) -> None:
    engine.connection.execute("prepare kept as select 1")
    commands = "".join(f"execute '{command}';" for command in leaves.split("; "))
    author.execute(
        "create function evil.leave() returns int language plpgsql as"
        f" $$ begin {commands} {fails} return 1; end $$".encode()
    )
    run_of(author, engine, "select evil.leave()")
    left = "select name from pg_prepared_statements where name = 'pgorch_left' or statement like '%%select 2'"
    assert engine.rows(left) == []
    assert engine.rows("select name from pg_cursors where name = 'pgorch_left'") == []
    engine.connection.execute("deallocate all")


def test_what_a_statement_makes_for_a_while_is_gone_and_what_was_there_stays(
    engine: Engine, author: psycopg.Connection[Any], evil: str
) -> None:
    engine.connection.execute("create temporary table kept ()")
    author.execute(
        """create function evil.make() returns int language plpgsql as $$ begin
               create temporary table pg_roles (x int) on commit drop;
               create temporary table pg_proc (x int, y pg_temp.pg_roles);
               create temporary view pg_namespace as select * from pg_proc;
               create temporary sequence s;
               create domain pg_temp.jsonb as pg_catalog.jsonb;
               create type pg_temp.uuid as enum ('a');
               create type pg_temp.record as (x int);
               insert into pg_roles values (1);
               return (select x from pg_roles); end $$"""
    )
    assert run_of(author, engine, "select evil.make()") == 1
    left = "select relname from pg_catalog.pg_class where relnamespace = pg_my_temp_schema()"
    types = "select typname from pg_catalog.pg_type where typnamespace = pg_my_temp_schema() and typelem = 0"
    assert engine.rows(left) == [{"relname": "kept"}]
    assert engine.rows(types) == [{"typname": "kept"}]
    engine.connection.execute("drop table kept")


FAKED = (
    "PL/pgSQL function pgorch._run_statement(text,jsonb) line 1 at RETURN\n"
    'PL/pgSQL function pgorch_sql.postgres(text,jsonb) line 1 at RETURN\n"'
)


@pytest.mark.parametrize("how", ["functions", "text"])
def test_nobody_is_somebody_else_because_functions_have_such_names(
    engine: Engine, author: psycopg.Connection[Any], evil: str, how: str
) -> None:
    asked = engine.start(definition([{"id": "ask", "type": "approval", "assignees": ["user:postgres"]}]))
    decide = f"select pgorch.decide(p_approval_id => {OPEN}, p_decision => 'approved')"
    if how == "functions":
        author.execute("set search_path = evil")
        body = f"language plpgsql as $$ begin {decide.replace('select', 'perform', 1)}; return null; end $$"
        author.execute(f"create function _run_statement(text, jsonb) returns text {body}".encode())
        author.execute(
            "create function postgres(text, jsonb) returns text language plpgsql as"
            " $$ begin return _run_statement($1, $2); end $$"
        )
        call, arguments = "select postgres('', '{}')", []
    else:
        call, arguments = "select query_to_xml(%s, true, true, '')", [f"{decide} /*\n{FAKED}*/"]
    with pytest.raises(psycopg.Error) as refused:
        author.execute(call.encode(), arguments)
    assert refused.value.sqlstate == "OR007"
    assert engine.status(asked) == "awaiting_approval"


def test_names_that_a_statement_gives_another_meaning_make_it_nobody_else(
    engine: Engine, author: psycopg.Connection[Any], evil: str
) -> None:
    asked = engine.start(definition([{"id": "ask", "type": "approval", "assignees": ["user:postgres"]}]))
    author.execute(
        """create function evil.decide() returns text language plpgsql as $f$ begin
               perform pg_catalog.set_config('search_path', 'evil, pg_catalog', true);
               perform pgorch.decide(p_approval_id => (select id from pgorch.approvals where status = 'open'),
                                     p_decision => 'approved', p_actor => 'postgres');
               return 'done'; end $f$"""
    )
    assert run_of(author, engine, "select evil.decide()")["code"] == "OR007"
    assert engine.status(asked) == "awaiting_approval"


def test_an_sql_step_performs_no_others(engine: Engine, author: psycopg.Connection[Any]) -> None:
    author.execute(
        "select pgorch.create_graph(%s)", [Jsonb(definition([statement("select 1")], name="other"))]
    )
    engine.start("other")
    run_id = engine.start(definition([statement(
        "select pgorch.perform_sql(s.bucket, s.id, s.lease_token) from pgorch.steps s where s.node = 's'"
    )]))  # fmt: skip
    engine.value("select sum(pgorch.run_sql_steps(b)) from generate_series(0, pgorch.bucket_count() - 1) b")
    assert engine.error(run_id)["code"] in ("OR007", "OR001")


def test_a_lock_that_is_not_to_be_had_is_no_attempt(engine: Engine, author: psycopg.Connection[Any]) -> None:
    engine.connection.execute(b"grant select, insert, delete on things to public")
    run_id = engine.start(definition([statement("insert into things values (1)", retry={"max_attempts": 1})]))
    performs = "select sum(pgorch.run_sql_steps(b)) from generate_series(0, pgorch.bucket_count() - 1) b"
    with author.transaction():
        author.execute("insert into things values (1)")
        engine.connection.execute("set lock_timeout = '100ms'")
        assert engine.value(performs) == 0
        engine.connection.execute("reset lock_timeout")
        assert engine.status(run_id) == "running"
        author.execute("delete from things")
    assert engine.value(performs) == 1
    assert engine.status(run_id) == "completed", engine.error(run_id)


@pytest.mark.parametrize(("depth", "code"), [(3, None), (30, "OR007")])
def test_what_a_deferred_trigger_defers_again_runs_as_the_owner(
    engine: Engine, author: psycopg.Connection[Any], evil: str, depth: int, code: str | None
) -> None:
    author.execute("create table evil.deferring (n int)")
    author.execute(
        """create function evil.defer() returns trigger language plpgsql as $$ begin
               insert into evil.called values (current_user);
               if new.n > 0 then
                   set constraints all deferred;
                   insert into evil.deferring values (new.n - 1);
               end if;
               return null; end $$"""
    )
    author.execute(
        "create constraint trigger again after insert on evil.deferring deferrable initially deferred"
        " for each row execute function evil.defer()"
    )
    made = run_of(author, engine, f"insert into evil.deferring values ({depth})")
    # PostgreSQL 18 itself runs each with the rights of whoever deferred it.
    if engine.connection.info.server_version < 180000:
        assert (made or {}).get("code") == code
